"""Who may do what: every endpoint, principal, ownership and ACL against a small model of its own.

The model below knows S3's rules from its documentation and nothing of the code: it is given the
operation's name, who asks, who owns the bucket and the object, and their canned ACLs.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.gateway.authorize import authorize, authorize_form, authorize_source
from amur.gateway.context import Context
from amur.gateway.endpoints import ALL, BY_NAME, Endpoint
from amur.gateway.errors import S3Error
from amur.gateway.request import Request
from amur.gateway.signers import Signers
from amur.iam.acl import CANNED
from amur.meta.memory import MemoryEngine
from amur.meta.records import BucketRecord
from amur.objects.bundling import Refused
from amur.objects.store import Store
from amur.objects.types import Attributes
from tests.support.iam import iam_of

Client = Any

_S3 = [endpoint for endpoint in ALL if not endpoint.is_iam]  # the others: gateway/iam/
PRINCIPALS = {"nobody": "", "bob": "tid_bob", "alice": "tid_alice", "root": "tid_root"}
"""Access key ids."""
BUCKET_ACLS = sorted(CANNED)
OBJECT_ACLS = ["", *sorted(CANNED)]
OBJECT_OWNERS = ["alice", "bob"]

# --- the model ---

_ANYBODY_WITH_A_KEY = {"ListBuckets", "CreateBucket"}
_LISTS = {
    "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "HeadBucket",
}  # fmt: skip
_WRITES = {
    "PutObject", "PostObject", "CopyObject", "DeleteObject", "DeleteObjects",
    "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload",
    "AbortMultipartUpload", "ListParts",
}  # fmt: skip
_READS = {
    "GetObject", "HeadObject", "GetObjectVersion", "HeadObjectVersion", "BundleObjects",
}  # fmt: skip
_OF_OBJECT_OWNER = {
    "GetObjectAcl", "PutObjectAcl", "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging",
    "GetObjectAttributes", "GetObjectRetention", "GetObjectLegalHold",
}  # fmt: skip


def readable(acl: str, who: str) -> bool:
    return acl in ("public-read", "public-read-write") or (
        acl == "authenticated-read" and who != "nobody"
    )


def allowed(
    operation: str, who: str, bucket_acl: str, listing: bool, object_acl: str, writer: str
) -> bool:
    """Whether `who` may; the bucket is alice's, the object was written by `writer`."""
    if who in ("root", "alice"):
        return True
    if operation in _ANYBODY_WITH_A_KEY:
        return who == "bob"
    if operation in _LISTS:
        return listing and readable(bucket_acl, who)
    if operation in _WRITES:
        return bucket_acl == "public-read-write"
    if operation in _READS:
        return who == writer or readable(object_acl or bucket_acl, who)
    if operation in _OF_OBJECT_OWNER:
        return who == writer
    return False


# --- the matrix ---


class World:
    """One bucket of alice's per ACL, with an object for each owner and ACL, and a key without."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.store = Store(MemoryEngine(clock), MemoryDataStore(), clock)
        keys = [(f"tid_{name}", "secret", name) for name in ("alice", "bob")]
        self.iam = iam_of(self.store, ("tid_root", "secret"), keys)

    async def context(self, endpoint: Endpoint, request: Request, who: str) -> Context:
        store: Any = SimpleNamespace(
            bucket=self.store.bucket, head=self.store.head, core=self.store.core
        )
        body: Any = None
        access = await self.iam.find(PRINCIPALS[who])
        return Context(request, endpoint, access, store, body, Signers(self.iam, 1))

    async def fill(self) -> None:
        for acl, listing in itertools.product(BUCKET_ACLS, (True, False)):
            bucket = BucketRecord(
                name=self.bucket(acl, listing), owner="alice", acl=acl, public_list=listing
            )
            await self.store.create_bucket(bucket)
            for own, writer in itertools.product(OBJECT_ACLS, OBJECT_OWNERS):
                await self.store.put(
                    bucket.name, f"{writer}/{own}", b"x", Attributes(acl=own, owner=writer)
                )

    @staticmethod
    def bucket(acl: str, listing: bool) -> str:
        return f"{acl}-{'listed' if listing else 'hidden'}"

    async def decides(self, endpoint: Endpoint, who: str, bucket: str, key: str) -> str:
        """The code of the refusal, or "": authorisation alone, and for reads the permit."""
        path = "/" if endpoint.level == "service" else f"/{bucket}"
        if endpoint.level == "object":
            path += f"/{key}"
        request = Request(endpoint.method, path, "", [("host", "h")])
        request.parse()
        context = await self.context(endpoint, request, who)
        try:
            if "form" in endpoint.modes:
                await authorize_form(context, key, {}, {})
            else:
                await authorize(context)
            if endpoint.name == "BundleObjects":
                bundle = await self.store.bundle(bucket, [key], permit=context.permit)
                (entry,) = bundle.entries
                if isinstance(entry, Refused):
                    raise entry.error
            elif endpoint.name in _READS:
                await self.store.head(bucket, key, permit=context.permit)
        except S3Error as error:
            return error.code
        return ""


@pytest.mark.parametrize("endpoint", _S3, ids=lambda endpoint: endpoint.name)
async def test_matrix(endpoint: Endpoint) -> None:
    """Each endpoint x principal x bucket ACL x listing flag x object ACL x object's owner."""
    world = World()
    await world.fill()
    objects = (
        list(itertools.product(OBJECT_ACLS, OBJECT_OWNERS))
        if endpoint.level == "object" or endpoint.name == "BundleObjects"
        else [("", "alice")]
    )
    cells = 0
    for who, acl, listing, (own, writer) in itertools.product(
        PRINCIPALS, BUCKET_ACLS, (True, False), objects
    ):
        told = await world.decides(endpoint, who, world.bucket(acl, listing), f"{writer}/{own}")
        expected = allowed(endpoint.name, who, acl, listing, own, writer)
        assert told == ("" if expected else "AccessDenied"), (who, acl, listing, own, writer)
        cells += 1
    assert cells >= 56


def test_the_model_knows_every_endpoint() -> None:
    """A new endpoint must be put somewhere on purpose."""
    known = _ANYBODY_WITH_A_KEY | _LISTS | _WRITES | _READS | _OF_OBJECT_OWNER
    assert known <= set(BY_NAME)
    rest = {endpoint.name for endpoint in _S3} - known
    settings = ("Bucket", "PublicAccessBlock", "Configuration", "DeleteObjectVersion")
    assert all(any(part in name for part in settings) for name in rest), rest


@pytest.mark.parametrize("who", PRINCIPALS)
@pytest.mark.parametrize("acl", BUCKET_ACLS)
@pytest.mark.parametrize("listing", [True, False])
async def test_missing_keys_are_told_to_those_who_may_list(
    who: str, acl: str, listing: bool
) -> None:
    world = World()
    await world.fill()
    for name in ("GetObject", "HeadObject", "GetObjectAcl"):
        try:
            told = await world.decides(BY_NAME[name], who, world.bucket(acl, listing), "missing")
        except Exception as error:
            told = type(error).__name__
        if not told and who in ("alice", "root"):
            continue  # the handler will find out
        expected = allowed("ListObjects", who, acl, listing, "", "alice")
        assert told == ("NoSuchKey" if expected else "AccessDenied"), name


@pytest.mark.parametrize("who", PRINCIPALS)
@pytest.mark.parametrize("acl", BUCKET_ACLS)
async def test_sources_of_copies_are_reads(who: str, acl: str) -> None:
    world = World()
    await world.fill()
    name = world.bucket(acl, True)
    request = Request("PUT", "/elsewhere/key", "", [("host", "h")])
    request.parse()
    context = await world.context(BY_NAME["CopyObject"], request, who)
    for own, writer in itertools.product(OBJECT_ACLS, OBJECT_OWNERS):
        told = ""
        try:
            permit = await authorize_source(context, (name, f"{writer}/{own}", ""))
            await world.store.head(name, f"{writer}/{own}", permit=permit)
        except S3Error as error:
            told = error.code
        expected = allowed("GetObject", who, acl, True, own, writer)
        assert told == ("" if expected else "AccessDenied")


async def test_object_acls_do_not_count_where_they_are_off() -> None:
    world = World()
    bucket = BucketRecord(name="bkt", owner="alice", acl="private", object_acl=False)
    await world.store.create_bucket(bucket)
    await world.store.put("bkt", "key", b"x", Attributes(acl="public-read", owner="alice"))
    assert await world.decides(BY_NAME["GetObject"], "nobody", "bkt", "key") == "AccessDenied"


# --- through the app ---


async def test_conditions_are_not_evaluated_for_strangers(client: Client, store: Store) -> None:
    """An ETag that could be guessed must not be confirmed by 304 or 412."""
    await client.as_("alice")("PUT", "/bkt")
    put = await client.as_("alice")("PUT", "/bkt/key", b"x")
    for header in ("if-match", "if-none-match"):
        for etag in (put.headers["etag"], '"0"'):
            answer = await client.as_("bob")("GET", "/bkt/key", headers={header: etag})
            assert (answer.status, answer.code) == (403, "AccessDenied")
    missing = await client.as_("bob")("GET", "/bkt/none")
    assert (missing.status, missing.code) == (403, "AccessDenied")


async def test_denied_requests_touch_nothing(client: Client, store: Store) -> None:
    await client.as_("alice")("PUT", "/bkt")
    await client.as_("alice")("PUT", "/bkt/key", b"before")
    engine: Any = store.core.engine
    before = dict(engine._values)
    for who in ("bob", "nobody"):
        for method, target in (
            ("PUT", "/bkt/key"), ("DELETE", "/bkt/key"), ("DELETE", "/bkt"),
            ("POST", "/bkt?delete"),
            ("PUT", "/bkt?acl"), ("PUT", "/bkt?versioning"), ("POST", "/bkt/m?uploads"),
            ("PUT", "/bkt/key?acl"), ("PUT", "/bkt/key?tagging"), ("PUT", "/bkt?cors"),
            ("POST", "/bkt"),
        ):  # fmt: skip
            answer = await client.as_(who)(method, target, b"after")
            assert answer.status in (400, 403, 412), (method, target)
    assert engine._values == before


async def test_a_public_bucket_takes_and_gives(client: Client) -> None:
    await client.as_("alice")("PUT", "/bkt", headers={"x-amz-acl": "public-read-write"})
    nobody, bob = client.as_("nobody"), client.as_("bob")
    assert (await nobody("PUT", "/bkt/key", b"data")).status == 200
    assert (await nobody("GET", "/bkt/key")).body == b"data"
    assert (await bob("GET", "/bkt?list-type=2")).texts("Contents/Key") == ["key"]
    assert (await bob("DELETE", "/bkt/key")).status == 204
    assert (await bob("DELETE", "/bkt/key?versionId=null")).status == 403
    assert (await bob("DELETE", "/bkt")).status == 403


async def test_copies_need_the_source_too(client: Client) -> None:
    await client.as_("alice")("PUT", "/private")
    await client.as_("alice")("PUT", "/private/key", b"secret")
    bob = client.as_("bob")
    await bob("PUT", "/mine")
    for source in ("private/key", "/private/key", "private/none"):
        answer = await bob("PUT", "/mine/copy", headers={"x-amz-copy-source": source})
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (await bob("GET", "/mine/copy")).status == 404
    started = await bob("POST", "/mine/up?uploads")
    upload = started.texts("UploadId")[0]
    answer = await bob(
        "PUT", f"/mine/up?uploadId={upload}&partNumber=1",
        headers={"x-amz-copy-source": "private/key"},
    )  # fmt: skip
    assert (answer.status, answer.code) == (403, "AccessDenied")


async def test_a_tigris_client_decides_about_listing(client: Client) -> None:
    alice, nobody = client.as_("alice"), client.as_("nobody")
    headers = {"x-amz-acl": "public-read", "x-amz-acl-public-list-objects-enabled": "false"}
    await alice("PUT", "/bkt", headers=headers)
    await alice("PUT", "/bkt/key", b"x", headers={"x-amz-acl": "private"})
    assert (await nobody("GET", "/bkt/key")).status == 200  # objects have no ACLs there
    assert (await nobody("GET", "/bkt")).status == 403
    assert (await nobody("GET", "/bkt/none")).status == 403
    assert (await nobody("HEAD", "/bkt")).status == 403
    on = {"x-amz-acl": "public-read", "x-amz-acl-public-list-objects-enabled": "true"}
    await alice("PUT", "/bkt?acl", headers=on)
    assert (await nobody("GET", "/bkt")).status == 200
    assert (await nobody("GET", "/bkt/none")).status == 404
