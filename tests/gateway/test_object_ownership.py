"""Whose an object is that somebody of another organization wrote into a bucket."""

from __future__ import annotations

import json

import pytest

from amur.gateway.app import App
from amur.iam.model import Actor
from amur.iam.service import Iam
from amur.objects.store import Store
from tests.support.managed import Signing, made

EVE = Actor("eve", "maker")
FULL = {"x-amz-acl": "bucket-owner-full-control"}
OPEN = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::eve:root"},
                "Action": "s3:*",
                "Resource": ["arn:aws:s3:::bkt", "arn:aws:s3:::bkt/*"],
            }
        ],
    }
).encode()


@pytest.fixture
async def owner(app: App, store: Store, iam: Iam) -> Signing:
    await store.create_bucket("bkt", owner="acme")
    owner = Signing(app, await made(iam, roles=[("*", "NamespaceAdmin")]))
    assert (await owner("PUT", "/bkt?policy", OPEN)).status == 204
    return owner


@pytest.fixture
async def eve(app: App, iam: Iam) -> Signing:
    return Signing(app, await made(iam, roles=[("*", "NamespaceAdmin")], actor=EVE))


async def settle(owner: Signing, ownership: str) -> None:
    rule = f"<Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule>"
    body = f"<OwnershipControls>{rule}</OwnershipControls>".encode()
    assert (await owner("PUT", "/bkt?ownershipControls", body)).status == 200


async def owner_of(call: Signing, key: str) -> str | None:
    answer = await call("GET", f"/bkt/{key}?acl")
    assert answer.status == 200, answer.body
    return answer.xml.findtext("Owner/ID")


async def test_enforced_all_are_the_buckets(owner: Signing, eve: Signing) -> None:
    await eve("PUT", "/bkt/before", b"x")
    assert await owner_of(eve, "before") == "eve"
    await settle(owner, "BucketOwnerEnforced")
    await eve("PUT", "/bkt/after", b"x")
    await eve("PUT", "/bkt/copy", headers={"x-amz-copy-source": "/bkt/after"})
    for key in ("before", "after", "copy"):
        assert await owner_of(eve, key) == "acme", key
    await owner("DELETE", "/bkt?policy")
    for key in ("before", "after", "copy"):
        assert (await eve("GET", f"/bkt/{key}")).code == "AccessDenied", key
        assert (await eve("GET", f"/bkt/{key}?acl")).code == "AccessDenied", key
        assert (await owner("GET", f"/bkt/{key}")).status == 200, key
    await owner("DELETE", "/bkt?ownershipControls")  # as it was written, again
    assert (await eve("GET", "/bkt/before")).status == 200


async def test_preferred_those_given_away_are_the_buckets(owner: Signing, eve: Signing) -> None:
    await settle(owner, "BucketOwnerPreferred")
    source = {"x-amz-copy-source": "/bkt/given"}
    for key, headers in (
        ("given", FULL), ("kept", {}), ("private", {"x-amz-acl": "private"}),
        ("copied", source), ("copied-given", source | FULL),
    ):  # fmt: skip
        body = b"" if "copy" in key or "copied" in key else b"x"
        assert (await eve("PUT", f"/bkt/{key}", body, headers)).status == 200, key
    expected = {"given": "acme", "kept": "eve", "private": "eve", "copied": "eve"}
    expected["copied-given"] = "acme"
    assert {key: await owner_of(eve, key) for key in expected} == expected
    await owner("DELETE", "/bkt?policy")
    readable = {key for key in expected if (await eve("GET", f"/bkt/{key}")).status == 200}
    assert readable == {"kept", "private", "copied"}


async def test_writers_keep_theirs_otherwise(owner: Signing, eve: Signing) -> None:
    await settle(owner, "ObjectWriter")
    await eve("PUT", "/bkt/key", b"x", FULL)
    assert await owner_of(eve, "key") == "eve"
