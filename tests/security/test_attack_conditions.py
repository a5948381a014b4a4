"""Attacks on what policies ask about a request: the condition must see what the handler does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.gateway.presign import sign_request
from amur.gateway.sigv4 import UNSIGNED_PAYLOAD
from amur.iam.model import Actor, RoleGrant
from amur.iam.service import Iam
from amur.meta.memory import MemoryEngine
from amur.meta.records import BucketRecord
from amur.objects.errors import StoreError
from amur.objects.store import Store
from amur.objects.types import Attributes
from tests.gateway.conftest import Answer, FakeExchange
from tests.support.iam import iam_of

ROOT = ("tid_root", "tsec_root_secret")
SETTINGS = [("AKIAACME", "secret of acme", "acme"), ("AKIAEVE", "secret of eve", "eve")]
HOST = "s3.test"
ACME, EVE = Actor("acme", "AKIAACME"), Actor("eve", "AKIAEVE")


class Key(NamedTuple):
    id: str
    secret: str
    token: str = ""


def allow(actions: Any, resources: Any = "*", **condition: Any) -> dict[str, Any]:
    return _statement("Allow", actions, resources, condition)


def deny(actions: Any, resources: Any = "*", **condition: Any) -> dict[str, Any]:
    return _statement("Deny", actions, resources, condition)


def _statement(effect: str, actions: Any, resources: Any, condition: Any) -> dict[str, Any]:
    found = {"Effect": effect, "Action": actions, "Resource": resources}
    if condition:
        found["Condition"] = condition
    return found


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Scene:
    """One region over memory, with the organizations acme and eve."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.store = Store(MemoryEngine(clock), MemoryDataStore(), clock)
        self.iam: Iam = iam_of(self.store, ROOT, SETTINGS)
        self.app = App(
            self.store, self.iam, domains=("s3.test",), auth_failures_per_second=1_000_000
        )
        self.admin = Key(*SETTINGS[0][:2])
        self.eve = Key(*SETTINGS[1][:2])
        self.root = Key(*ROOT)
        self._made = 0

    async def bucket(self, name: str, owner: str = "acme", **more: Any) -> None:
        await self.store.create_bucket(BucketRecord(name=name, owner=owner, **more))

    async def put(
        self, bucket: str, key: str, data: bytes = b"x", tags: dict[str, str] | None = None,
        **more: Any,
    ) -> None:  # fmt: skip
        attributes = Attributes(owner="acme", **more)
        attributes.tags = tags or {}
        await self.store.put(bucket, key, data, attributes)

    async def has(self, bucket: str, key: str) -> bool:
        try:
            await self.store.head(bucket, key)
        except StoreError:
            return False
        return True

    async def key(
        self, *statements: Mapping[str, Any], actor: Actor = ACME, roles: Sequence[RoleGrant] = (),
        **more: Any,
    ) -> Key:  # fmt: skip
        policies = []
        if statements:
            self._made += 1
            made = await self.iam.directory.policies.create(
                actor, f"p{self._made}", document(*statements)
            )
            policies = [made.arn]
        key, secret = await self.iam.directory.keys.create(
            actor, "key", roles=roles, policies=policies, **more
        )
        return Key(key.id, secret)

    async def send(
        self,
        key: Key | None,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        client: str = "192.0.2.7:4711",
        service: str = "s3",
        app: App | None = None,
    ) -> Answer:
        path, _, query = target.partition("?")
        sent = {"host": HOST, "content-length": str(len(body))} | dict(headers or {})
        if key is not None:
            if key.token:
                sent["x-amz-security-token"] = key.token
            payload = sha256(body).hexdigest() if path == "/" else UNSIGNED_PAYLOAD
            sent = sign_request(
                method, unquote(path), query, sent, key_id=key.id, secret=key.secret,
                now_s=int(time.time()), service=service, payload=payload,
            )  # fmt: skip
        exchange = FakeExchange(method, target, list(sent.items()), body)
        exchange.client = client
        await (app or self.app)(exchange)  # type: ignore[arg-type]
        return Answer(exchange)


@pytest.fixture
def scene() -> Scene:
    return Scene()


LOCKED = deny("s3:*", StringEquals={"s3:ExistingObjectTag/locked": "yes"})


async def test_rename_is_held_against_the_tags_of_its_source(scene: Scene) -> None:
    """Deny of what is locked: the source's tags count, not those of the target, which were read
    before."""
    await scene.bucket("data")
    await scene.put("data", "held", tags={"locked": "yes"})
    key = await scene.key(
        allow("s3:*"),
        deny(
            ["s3:DeleteObject", "s3:PutObject", "s3:PutObjectTagging"],
            StringEquals={"s3:ExistingObjectTag/locked": "yes"},
        ),
    )
    assert (await scene.send(key, "DELETE", "/data/held")).status == 403
    answer = await scene.send(
        key,
        "PUT",
        "/data/away",
        headers={"x-amz-copy-source": "/data/held", "x-tigris-rename": "true"},
    )
    assert answer.status == 403
    assert await scene.has("data", "held")


async def test_forced_deletion_of_a_bucket_takes_nothing_that_a_deny_protects(
    scene: Scene,
) -> None:
    await scene.bucket("data")
    await scene.put("data", "protected/a")
    key = await scene.key(
        allow("s3:*"),
        deny(["s3:DeleteObject", "s3:DeleteObjectVersion"], "arn:aws:s3:::data/protected/*"),
    )
    assert (await scene.send(key, "DELETE", "/data/protected/a")).status == 403
    answer = await scene.send(key, "DELETE", "/data", headers={"tigris-force-delete": "true"})
    assert answer.status == 403
    assert await scene.has("data", "protected/a")


async def test_forced_deletion_of_a_bucket_takes_nothing_that_is_locked_by_a_tag(
    scene: Scene,
) -> None:
    await scene.bucket("data")
    await scene.put("data", "held", tags={"locked": "yes"})
    key = await scene.key(allow("s3:*"), LOCKED)
    answer = await scene.send(key, "DELETE", "/data", headers={"tigris-force-delete": "true"})
    assert answer.status == 403
    assert await scene.has("data", "held")


async def test_forced_deletion_is_not_allowed_by_a_pattern_of_one_character(scene: Scene) -> None:
    """`data/?` means keys of one character, and the literal resource `data/*` is one of them."""
    await scene.bucket("data")
    await scene.put("data", "a long name")
    key = await scene.key(
        allow("s3:DeleteBucket"),
        allow(["s3:DeleteObject", "s3:DeleteObjectVersion"], "arn:aws:s3:::data/?"),
    )
    answer = await scene.send(key, "DELETE", "/data", headers={"tigris-force-delete": "true"})
    assert answer.status == 403
    assert await scene.has("data", "a long name")


async def test_metadata_in_a_listing_is_what_getting_each_object_would_tell(scene: Scene) -> None:
    await scene.bucket("data")
    await scene.put("data", "secret/a", metadata={"password": "hunter2"})
    key = await scene.key(
        allow(["s3:GetObject", "s3:ListBucket"]),
        deny("s3:GetObject", "arn:aws:s3:::data/secret/*"),
    )
    assert (await scene.send(key, "HEAD", "/data/secret/a")).status == 403
    answer = await scene.send(
        key, "GET", "/data?list-type=2", headers={"x-tigris-list-metadata": "true"}
    )
    assert b"hunter2" not in answer.body


async def test_metadata_in_a_listing_is_not_allowed_by_a_pattern_of_one_character(
    scene: Scene,
) -> None:
    await scene.bucket("data")
    await scene.put("data", "secret", metadata={"password": "hunter2"})
    key = await scene.key(allow("s3:ListBucket"), allow("s3:GetObject", "arn:aws:s3:::data/?"))
    answer = await scene.send(
        key, "GET", "/data?list-type=2", headers={"x-tigris-list-metadata": "true"}
    )
    assert b"hunter2" not in answer.body


async def test_a_version_id_that_the_handler_ignores_does_not_choose_the_tags(
    scene: Scene,
) -> None:
    """CompleteMultipartUpload takes no versionId: the object that it replaces is the newest."""
    await scene.bucket("data")
    await scene.put("data", "held", b"kept", tags={"locked": "yes"})
    key = await scene.key(allow("s3:*"), LOCKED)
    admin = scene.admin
    begun = await scene.send(admin, "POST", "/data/held?uploads=")
    upload = begun.xml.findtext("UploadId")
    part = await scene.send(admin, "PUT", f"/data/held?partNumber=1&uploadId={upload}", b"new")
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    plain = await scene.send(key, "POST", f"/data/held?uploadId={upload}", body)
    assert plain.status == 403
    answer = await scene.send(key, "POST", f"/data/held?uploadId={upload}&versionId=12345", body)
    assert answer.status in (400, 403)
    assert (await scene.store.head("data", "held")).size == 4


async def test_a_copy_takes_no_tags_along_that_may_not_be_set(scene: Scene) -> None:
    """Amazon asks s3:PutObjectTagging for it (and s3:GetObjectTagging of the source)."""
    await scene.bucket("data")
    await scene.put("data", "source", tags={"class": "public"})
    key = await scene.key(
        allow("s3:*"),
        deny(["s3:PutObjectTagging", "s3:GetObjectTagging"]),
    )
    tagged = await scene.send(key, "PUT", "/data/own", b"x", {"x-amz-tagging": "class=public"})
    assert tagged.status == 403
    answer = await scene.send(
        key, "PUT", "/data/own", headers={"x-amz-copy-source": "/data/source"}
    )
    if answer.status == 200:
        assert not (await scene.store.head("data", "own")).tags
    else:
        assert answer.status == 403


async def test_request_tags_of_a_copy_are_those_that_it_gets(scene: Scene) -> None:
    """Without the directive REPLACE the header x-amz-tagging means nothing: a policy that asks
    for a tag must not be content with it."""
    await scene.bucket("data")
    await scene.put("data", "source", tags={"class": "public"})
    key = await scene.key(
        allow(["s3:GetObject", "s3:PutObjectTagging"]),
        allow("s3:PutObject", StringEquals={"s3:RequestObjectTag/class": "internal"}),
    )
    assert (await scene.send(key, "PUT", "/data/own", b"x")).status == 403
    answer = await scene.send(
        key, "PUT", "/data/own",
        headers={"x-amz-copy-source": "/data/source", "x-amz-tagging": "class=internal"},
    )  # fmt: skip
    if answer.status == 200:
        assert (await scene.store.head("data", "own")).tags == {"class": "internal"}


def form(fields: Mapping[str, str], data: bytes = b"data") -> tuple[bytes, dict[str, str]]:
    pieces = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = "".join(pieces) + '--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    body = head.encode() + data + b"\r\n--b--\r\n"
    return body, {"content-type": "multipart/form-data; boundary=b"}


def signed_form(key: Key, fields: dict[str, str]) -> dict[str, str]:
    from base64 import b64encode
    from datetime import UTC, datetime, timedelta
    from hmac import digest

    from amur.gateway.sigv4 import signing_key

    now = datetime.now(UTC)
    date = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/auto/s3/aws4_request"
    fields = fields | {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{key.id}/{scope}",
        "x-amz-date": date,
    }
    if key.token:
        fields["x-amz-security-token"] = key.token
    conditions = [{name: value} for name, value in fields.items()]
    expires = (now + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    policy = b64encode(
        json.dumps({"expiration": expires, "conditions": conditions}).encode()
    ).decode()
    signature = digest(signing_key(key.secret, scope), policy.encode(), "sha256").hex()
    return fields | {"policy": policy, "x-amz-signature": signature}


async def test_a_forms_acl_is_what_conditions_see(scene: Scene) -> None:
    await scene.bucket("data", object_acl=True)
    key = await scene.key(
        allow(["s3:PutObject", "s3:PutObjectAcl"]),
        deny("s3:PutObject", StringEquals={"s3:x-amz-acl": "public-read"}),
    )
    put = await scene.send(key, "PUT", "/data/own", b"x", {"x-amz-acl": "public-read"})
    assert put.status == 403
    body, headers = form(signed_form(key, {"key": "own", "acl": "public-read"}))
    answer = await scene.send(None, "POST", "/data", body, headers)
    assert answer.status == 403
    assert not await scene.has("data", "own")


async def test_a_forms_header_is_not_what_conditions_see(scene: Scene) -> None:
    """The header of the POST is nobody's signature's: what a form asks for is in its fields."""
    await scene.bucket("data", object_acl=True)
    key = await scene.key(
        allow("s3:PutObject", StringEquals={"s3:x-amz-storage-class": "STANDARD_IA"}),
    )
    body, headers = form(signed_form(key, {"key": "own"}))
    sent = headers | {"x-amz-storage-class": "STANDARD_IA"}
    answer = await scene.send(None, "POST", "/data", body, sent)
    assert answer.status == 403
    assert not await scene.has("data", "own")


@pytest.mark.parametrize(
    "condition",
    [
        {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}},
        {"DateGreaterThan": {"aws:CurrentTime": "1970-01-01T00:00:00Z"}},
        {"StringLike": {"aws:PrincipalType": "*"}},
        {"Null": {"aws:SourceIp": "false"}},
        {"StringNotEquals": {"aws:userid": "nobody in particular"}},
        {"Bool": {"aws:SecureTransport": ["true", "false"]}},
    ],
    ids=str,
)
async def test_a_policy_that_is_open_to_all_is_public_whatever_it_pretends(
    scene: Scene, condition: Any
) -> None:
    """BlockPublicPolicy: a condition that everybody fulfils does not make it private."""
    await scene.bucket("data", public_block=["BlockPublicPolicy"])
    statement = allow("s3:GetObject", "arn:aws:s3:::data/*", **condition) | {"Principal": "*"}
    answer = await scene.send(scene.admin, "PUT", "/data?policy=", document(statement).encode())
    assert answer.status == 403


async def test_the_location_of_a_new_bucket_is_what_conditions_see(scene: Scene) -> None:
    key = await scene.key(
        allow("s3:CreateBucket"),
        deny("s3:CreateBucket", StringEquals={"s3:LocationConstraint": "eu-north-1"}),
    )
    body = (
        b"<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint>"
        b"</CreateBucketConfiguration>"
    )
    assert (await scene.send(key, "PUT", "/new-bucket", body)).status == 403


async def test_an_exchange_of_star_for_a_key_is_no_wildcard(scene: Scene) -> None:
    """A literal key `*` is one object."""
    await scene.bucket("data")
    await scene.put("data", "*")
    await scene.put("data", "other")
    key = await scene.key(allow("s3:GetObject", "arn:aws:s3:::data/${*}"))
    assert (await scene.send(key, "GET", "/data/*")).status == 200
    assert (await scene.send(key, "GET", "/data/other")).status == 403


async def test_a_parameter_that_means_nothing_opens_no_oracle(scene: Scene) -> None:
    """Who may list one prefix learns of other keys neither that they are nor that they are not:
    `prefix` in the URL of a GetObject is the caller's own invention."""
    await scene.bucket("data")
    await scene.put("data", "secret/there")
    key = await scene.key(
        allow("s3:ListBucket", "arn:aws:s3:::data", StringLike={"s3:prefix": "home/alice/*"})
    )
    there = await scene.send(key, "GET", "/data/secret/there?prefix=home/alice/x")
    missing = await scene.send(key, "GET", "/data/secret/missing?prefix=home/alice/x")
    assert (there.status, missing.status) == (403, 403)


async def test_a_copys_source_is_compared_as_it_is_meant(scene: Scene) -> None:
    await scene.bucket("data")
    await scene.put("data", "secret/a")
    key = await scene.key(
        allow("s3:*"),
        deny("s3:PutObject", StringLike={"s3:x-amz-copy-source": "data/secret/*"}),
    )
    plain = await scene.send(key, "PUT", "/data/b", headers={"x-amz-copy-source": "/data/secret/a"})
    assert plain.status == 403
    for source in ("/data/%73ecret/a", "/data%2Fsecret/a", "data%2fsecret%2fa"):
        answer = await scene.send(key, "PUT", "/data/b", headers={"x-amz-copy-source": source})
        assert answer.status == 403, source


async def test_a_listing_without_a_prefix_has_none(scene: Scene) -> None:
    """`Null` asks whether the parameter is there, as at Amazon: a Deny of listings without one."""
    await scene.bucket("data")
    key = await scene.key(allow("s3:ListBucket"), deny("s3:ListBucket", Null={"s3:prefix": "true"}))
    assert (await scene.send(key, "GET", "/data?list-type=2&prefix=home/")).status == 200
    assert (await scene.send(key, "GET", "/data?list-type=2")).status == 403


async def test_every_condition_key_that_a_policy_may_name_can_have_a_value(scene: Scene) -> None:
    """A key that no request ever has makes a Deny that denies nothing."""
    from amur.gateway import policy_context
    from amur.iam.policy import contextkeys

    known = set(policy_context._KEYS) | {"s3:prefix", "s3:requestobjecttagkeys"}
    known |= {"s3:existingobjecttag/", "s3:requestobjecttag/", "aws:principaltag/"}
    assert {key.name.lower() for key in contextkeys.KEYS} - known == set()


async def test_the_status_of_a_policy_of_a_newer_amur_is_no_failure(scene: Scene) -> None:
    await scene.bucket("data", policy='{"Version":"2040-01-01","Statement":[]}')
    answer = await scene.send(scene.root, "GET", "/data?policyStatus=")
    assert answer.status < 500


@pytest.mark.parametrize("field", ["tagging", "x-amz-tagging"])
async def test_a_form_sets_no_tags_without_the_right_to(scene: Scene, field: str) -> None:
    """Tags come in the field `tagging`; what a field `x-amz-tagging` says is stored, too."""
    await scene.bucket("data")
    key = await scene.key(allow("s3:PutObject"))
    assert (await scene.send(key, "PUT", "/data/own", b"x", {"x-amz-tagging": "a=b"})).status == 403
    value = "a=b"
    if field == "tagging":
        value = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    body, headers = form(signed_form(key, {"key": "own", field: value}))
    answer = await scene.send(None, "POST", "/data", body, headers)
    assert answer.status >= 400 or not (await scene.store.head("data", "own")).tags


@pytest.mark.parametrize("field", ["tagging", "x-amz-tagging"])
async def test_a_forms_tags_are_what_conditions_see(scene: Scene, field: str) -> None:
    await scene.bucket("data")
    key = await scene.key(
        allow("s3:*"), deny("s3:PutObject", StringEquals={"s3:RequestObjectTag/a": "b"})
    )
    value = "a=b"
    if field == "tagging":
        value = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    body, headers = form(signed_form(key, {"key": "own", field: value}))
    answer = await scene.send(None, "POST", "/data", body, headers)
    assert answer.status >= 400


@pytest.mark.parametrize("query", ["", "&max-keys=", "&max-keys=1000", "&max-keys=%2B1000"])
async def test_an_empty_max_keys_is_the_default(scene: Scene, query: str) -> None:
    """The handler reads 1,000 into it, so must the condition."""
    await scene.bucket("data")
    key = await scene.key(
        allow("s3:ListBucket"),
        deny("s3:ListBucket", NumericGreaterThan={"s3:max-keys": "10"}),
    )
    assert (await scene.send(key, "GET", f"/data?list-type=2{query}")).status in (400, 403)


GRANTS = b"""<AccessControlPolicy><Owner><ID>acme</ID></Owner><AccessControlList>
<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">
<ID>acme</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>
<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group">
<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>
<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"""


@pytest.mark.parametrize("target", ["/data?acl=", "/data/k?acl="])
async def test_an_acl_spelled_out_is_what_conditions_see(scene: Scene, target: str) -> None:
    """Grants are read as the canned ACL that they stand for: the Deny of that one is meant."""
    await scene.bucket("data", object_acl=True)
    await scene.put("data", "k")
    key = await scene.key(
        allow("s3:*"),
        deny(["s3:PutObjectAcl", "s3:PutBucketAcl"], StringEquals={"s3:x-amz-acl": "public-read"}),
    )
    assert (await scene.send(key, "PUT", target, b"", {"x-amz-acl": "public-read"})).status == 403
    assert (await scene.send(key, "PUT", target, GRANTS)).status == 403


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("10.1.1.1:5", 200),
        ("[::ffff:10.1.1.1]:5", 200),
        ("::ffff:10.1.1.1:5", 200),
        ("11.0.0.1:1", 403),
        ("[::10.1.1.1]:5", 403),
        ("", 403),
        ("junk:1", 403),
    ],
)
async def test_an_address_in_odd_clothes(scene: Scene, client: str, status: int) -> None:
    await scene.bucket("data")
    await scene.put("data", "k")
    allowed = await scene.key(allow("s3:*", IpAddress={"aws:SourceIp": "10.0.0.0/8"}))
    denied = await scene.key(
        allow("s3:*"), deny("s3:*", NotIpAddress={"aws:SourceIp": "10.0.0.0/8"})
    )
    spoofed = {"x-forwarded-for": "10.2.2.2"}
    for key in (allowed, denied):
        answer = await scene.send(key, "GET", "/data/k", headers=spoofed, client=client)
        assert answer.status == status
