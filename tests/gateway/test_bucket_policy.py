"""A bucket's policy and its public-access block: kept, checked, and taking effect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur.gateway.app import App
from amur.iam.model import Actor
from amur.iam.service import Iam
from amur.objects.store import Store
from tests.support.managed import Key, Signing, made

EVE = Actor("eve", "maker")
BUCKET = ["arn:aws:s3:::bkt", "arn:aws:s3:::bkt/*"]
BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def policy(effect: str, actions: Any, principal: Any = "*", **more: Any) -> bytes:
    statement = {"Effect": effect, "Principal": principal, "Action": actions, "Resource": BUCKET}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | more]}).encode()


def block(*names: str) -> bytes:
    members = "".join(f"<{n}>{'true' if n in names else 'false'}</{n}>" for n in BLOCKS)
    return f"<PublicAccessBlockConfiguration>{members}</PublicAccessBlockConfiguration>".encode()


@pytest.fixture
async def owner(app: App, store: Store, iam: Iam) -> Signing:
    await store.create_bucket("bkt", owner="acme")
    await store.put("bkt", "key", b"body")
    return Signing(app, await made(iam, roles=[("*", "NamespaceAdmin")]))


async def test_kept_as_it_was_put(owner: Signing) -> None:
    assert (await owner("GET", "/bkt?policy")).code == "NoSuchBucketPolicy"
    assert (await owner("GET", "/bkt?policyStatus")).code == "NoSuchBucketPolicy"
    text = policy("Allow", "s3:GetObject")
    assert (await owner("PUT", "/bkt?policy", text)).status == 204
    answer = await owner("GET", "/bkt?policy")
    assert (answer.body, answer.headers["content-type"]) == (text, "application/json")
    status = await owner("GET", "/bkt?policyStatus")
    assert status.xml.findtext("IsPublic") == "true"
    assert (await owner("DELETE", "/bkt?policy")).status == 204
    assert (await owner("DELETE", "/bkt?policy")).status == 204
    assert (await owner("GET", "/bkt?policy")).code == "NoSuchBucketPolicy"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "JSON"),
        (b"", "JSON"),
        (b"\xff", "UTF-8"),
        (policy("Allow", "s3:GetObjekt"), "s3:GetObject"),
        (policy("Allow", "s3:GetObject", Resource="arn:aws:s3:::other/*"), "bkt"),
        (b'{"Version":"2012-10-17","Statement":[]}', "Statement"),
        (policy("Allow", "s3:GetObject").replace(b'"Principal": "*", ', b""), "Principal"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told(owner: Signing, text: bytes, said: str) -> None:
    answer = await owner("PUT", "/bkt?policy", text)
    assert (answer.status, answer.code) == (400, "MalformedPolicy")
    assert said in (answer.xml.findtext("Message") or "")
    assert (await owner("GET", "/bkt?policy")).code == "NoSuchBucketPolicy"


async def test_too_long(owner: Signing) -> None:
    answer = await owner("PUT", "/bkt?policy", b" " * 20_481)
    assert answer.status == 400
    assert (await owner("GET", "/bkt?policy")).code == "NoSuchBucketPolicy"


async def test_for_everybody_for_one_key_and_for_an_organization(
    app: App, owner: Signing, iam: Iam
) -> None:
    eve, other = await made(iam, actor=EVE), await made(iam, actor=EVE)
    nobody = owner.by(None)

    async def readers() -> set[str]:
        callers = {"eve": owner.by(eve), "other": owner.by(other), "nobody": nobody}
        return {n for n, call in callers.items() if (await call("GET", "/bkt/key")).status == 200}

    assert await readers() == set()
    for principal, expected in (
        ("*", {"eve", "other", "nobody"}),
        ({"AWS": "*"}, {"eve", "other", "nobody"}),
        ({"AWS": eve.id}, {"eve"}),
        ({"AWS": f"arn:aws:iam::eve:user/{other.id}"}, {"other"}),
        ({"AWS": "arn:aws:iam::eve:root"}, {"eve", "other"}),
        ({"AWS": ["arn:aws:iam::acme:root", eve.id]}, {"eve"}),
    ):
        assert (
            await owner("PUT", "/bkt?policy", policy("Allow", "s3:GetObject", principal))
        ).status == 204
        assert await readers() == expected, principal
    assert (await nobody("PUT", "/bkt/key", b"x")).code == "AccessDenied"


async def test_a_deny_holds_for_the_owners_keys_and_root_can_take_it_back(
    app: App, owner: Signing
) -> None:
    assert (await owner("PUT", "/bkt?policy", policy("Deny", "s3:*"))).status == 204
    for method, target in (("GET", "/bkt/key"), ("DELETE", "/bkt?policy"), ("DELETE", "/bkt/key")):
        assert (await owner(method, target)).code == "AccessDenied"
    root = owner.by(Key("tid_root", "tsec_root_secret"))
    assert (await root("DELETE", "/bkt?policy")).status == 204
    assert (await owner("GET", "/bkt/key")).status == 200


async def test_the_public_access_block(app: App, owner: Signing) -> None:
    nobody = owner.by(None)
    assert (
        await owner("GET", "/bkt?publicAccessBlock")
    ).code == "NoSuchPublicAccessBlockConfiguration"
    await owner("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read"})
    assert (await nobody("GET", "/bkt/key")).status == 200
    assert (await owner("PUT", "/bkt?publicAccessBlock", block("IgnorePublicAcls"))).status == 200
    assert (await nobody("GET", "/bkt/key")).code == "AccessDenied"
    assert (await nobody("GET", "/bkt")).code == "AccessDenied"
    answer = await owner("GET", "/bkt?publicAccessBlock")
    assert [answer.xml.findtext(name) for name in BLOCKS] == ["false", "true", "false", "false"]
    await owner("PUT", "/bkt?policy", policy("Allow", "s3:GetObject"))
    assert (await nobody("GET", "/bkt/key")).status == 200
    await owner("PUT", "/bkt?publicAccessBlock", block("RestrictPublicBuckets", "BlockPublicAcls"))
    assert (await nobody("GET", "/bkt/key")).status == 200  # by its ACL, which counts again
    for target, body in (("/bkt?acl", b""), ("/bkt/key?acl", b""), ("/bkt/new", b"x")):
        answer = await owner("PUT", target, body, {"x-amz-acl": "public-read"})
        assert (answer.status, answer.code) == (403, "AccessDenied"), target
    await owner("PUT", "/bkt?acl", headers={"x-amz-acl": "private"})
    assert (await nobody("GET", "/bkt/key")).code == "AccessDenied"
    status = await owner("GET", "/bkt?policyStatus")
    assert status.xml.findtext("IsPublic") == "false"
    await owner("PUT", "/bkt?publicAccessBlock", block("BlockPublicPolicy"))
    answer = await owner("PUT", "/bkt?policy", policy("Allow", "s3:PutObject"))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    bound = policy(
        "Allow", "s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
    )
    assert (await owner("PUT", "/bkt?policy", bound)).status == 204
    guessed = policy("Allow", "s3:GetObject", Condition={"StringLike": {"aws:UserAgent": "x*"}})
    assert (await owner("PUT", "/bkt?policy", guessed)).code == "AccessDenied"
    assert (await owner("DELETE", "/bkt?publicAccessBlock")).status == 204
    assert (await owner("PUT", "/bkt?policy", guessed)).status == 204


async def test_restricted_are_buckets_with_a_public_policy(owner: Signing, iam: Iam) -> None:
    eve = owner.by(await made(iam, actor=EVE))
    await owner("PUT", "/bkt?publicAccessBlock", block("RestrictPublicBuckets"))
    for principal, status in (("*", 403), ({"AWS": "arn:aws:iam::eve:root"}, 200)):
        await owner("PUT", "/bkt?policy", policy("Allow", "s3:GetObject", principal))
        assert (await eve("GET", "/bkt/key")).status == status, principal
    both = json.loads(policy("Allow", "s3:GetObject", {"AWS": "arn:aws:iam::eve:root"}))
    both["Statement"] += json.loads(policy("Allow", "s3:ListBucket"))["Statement"]
    await owner("PUT", "/bkt?policy", json.dumps(both).encode())
    assert (await eve("GET", "/bkt/key")).code == "AccessDenied"


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-grant-full-control", "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-aws-kms-key-id",
    ],
)  # fmt: skip
async def test_conditions_on_headers_that_are_refused(owner: Signing, iam: Iam, name: str) -> None:
    """Policies written for Amazon hold here, too: what they ask for can't be had, though."""
    eve = owner.by(await made(iam, actor=EVE))
    given = policy("Allow", "s3:PutObject", Condition={"Null": {f"s3:{name}": "false"}})
    assert (await owner("PUT", "/bkt?policy", given)).status == 204
    assert (await eve("PUT", "/bkt/new", b"x")).code == "AccessDenied"
    assert (await eve("PUT", "/bkt/new", b"x", {name: "it"})).code == "NotImplemented"
    lacking = policy("Allow", "s3:PutObject", Condition={"Null": {f"s3:{name}": "true"}})
    assert (await owner("PUT", "/bkt?policy", lacking)).status == 204
    assert (await eve("PUT", "/bkt/new", b"x")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<x/>", b"<PublicAccessBlockConfiguration><Other>true</Other>"
        b"</PublicAccessBlockConfiguration>",
        b"<PublicAccessBlockConfiguration><BlockPublicAcls>yes</BlockPublicAcls>"
        b"</PublicAccessBlockConfiguration>",
    ],
)  # fmt: skip
async def test_a_block_that_is_none(owner: Signing, body: bytes) -> None:
    answer = await owner("PUT", "/bkt?publicAccessBlock", body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


async def test_only_administrators_set_them(app: App, owner: Signing, iam: Iam) -> None:
    editor = owner.by(await made(iam, roles=[("bkt", "Editor")]))
    for method, target, body in (
        ("PUT", "/bkt?policy", policy("Allow", "s3:*")),
        ("DELETE", "/bkt?policy", b""),
        ("PUT", "/bkt?publicAccessBlock", block()),
        ("DELETE", "/bkt?publicAccessBlock", b""),
        ("PUT", "/bkt?acl", b""),
    ):
        answer = await editor(method, target, body, {"x-amz-acl": "private"} if not body else None)
        assert answer.code == "AccessDenied", target


async def test_a_policy_that_is_not_understood_refuses(
    app: App, owner: Signing, store: Store
) -> None:
    """One of a newer Amur, say: what it denies is not known."""

    def newer(bucket: Any) -> None:
        bucket.policy = '{"Version":"2036-01-01","Statement":[]}'

    await store.update_bucket("bkt", newer)
    assert (await owner("GET", "/bkt/key")).code == "AccessDenied"
    root = owner.by(Key("tid_root", "tsec_root_secret"))
    assert (await root("GET", "/bkt/key")).status == 200
