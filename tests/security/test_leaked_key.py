"""A leaked training-job key: every endpoint and every operation is tried with it, on every bucket.

It may do its job, and that is all that any of it can do: nothing else is answered, and nothing of
what is stored has changed afterwards but what the job may write.
"""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

import pytest

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.gateway.endpoints import ALL, Endpoint
from amur.gateway.iam.operations import BY_NAME
from amur.gateway.iam.rest import iam_route
from amur.iam.policy import values
from amur.iam.policy.templates import TEMPLATES
from amur.iam.service import Iam
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.memory import MemoryEngine
from amur.objects.registry import EVENTS
from amur.objects.store import Store
from amur.objects.types import Attributes
from tests.gateway.conftest import Answer
from tests.support.iam import iam_of
from tests.support.managed import ACME, Key, Signing

ROOT = ("tid_root", "tsec_root_secret")
MINE = {"dataset": "acme", "models": "acme", "finetuned": "acme", "other": "acme", "theirs": "eve"}
READS = {"dataset", "models", "finetuned"}
MAY_READ = {
    "HeadBucket", "ListObjects", "ListObjectsV2", "GetObject", "HeadObject", "BundleObjects",
}  # fmt: skip
MAY_WRITE = {
    "PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
    "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts",
}  # fmt: skip
STORED = (keys.BUCKETS, keys.OBJECTS, keys.MARKERS, keys.VERSIONS, keys.UPLOADS, keys.ENTRIES)


class Leak:
    """The store, and who has found the key."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.store = Store(MemoryEngine(clock), MemoryDataStore(), clock)
        self.iam: Iam = iam_of(self.store, ROOT, [("AKIAACME", "secret of acme", "acme")])
        self.app = App(self.store, self.iam)
        self.key = Key("", "")
        self.upload_id = ""  # of an upload to its output

    async def prepare(self) -> None:
        for bucket, owner in MINE.items():
            await self.store.create_bucket(bucket, owner=owner)
            body = b"body of " + bucket.encode()
            await self.store.put(bucket, "key", body, Attributes(owner=owner))
        upload = await self.store.create_upload("finetuned", "key", Attributes(owner="acme"))
        self.upload_id = upload.id.hex()
        now = time.time_ns()
        policy = TEMPLATES["training-job"].build(
            datasets=["dataset"], models=["models"], output="finetuned",
            start=values.iso(now - 3600 * 10**9), end=values.iso(now + 3600 * 10**9),
        )  # fmt: skip
        made = await self.iam.directory.policies.create(ACME, "job", json.dumps(policy))
        key, secret = await self.iam.directory.keys.create(ACME, "job", policies=[made.arn])
        self.key = Key(key.id, secret)

    async def stored(self) -> dict[bytes, bytes]:
        """All that is kept, but events and what the job may write to."""
        output = (await self.store.bucket("finetuned")).id
        found: dict[bytes, bytes] = {}
        for table in STORED:
            for row in await self.store.core.engine.scan(table, prefix_end(table), 10_000):
                if row.key[1:9] != output and row.key[:2] != keys.ENTRIES + EVENTS:
                    found[row.key] = row.value
        return found


@pytest.fixture
async def leak() -> Leak:
    made = Leak()
    await made.prepare()
    return made


BODIES = {
    "DeleteObjects": b"<Delete><Object><Key>key</Key></Object>"
    b"<Object><Key>key</Key><VersionId>null</VersionId></Object></Delete>",
    "BundleObjects": b'{"keys":["key"]}',
    "PutBucketPolicy": b'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
    b'"Action":"s3:*","Resource":["arn:aws:s3:::BKT","arn:aws:s3:::BKT/*"]}]}',
    "PutBucketAcl": b"",
    "PutObject": b"written",
    "PutObjectTagging": b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet>"
    b"</Tagging>",
    "PutBucketVersioning": b"<VersioningConfiguration><Status>Enabled</Status>"
    b"</VersioningConfiguration>",
    "PutPublicAccessBlock": b"<PublicAccessBlockConfiguration/>",
}
HEADERS = {
    "BundleObjects": {"x-tigris-bundle-format": "tar"},
    "PutBucketAcl": {"x-amz-acl": "public-read-write"},
    "PutObjectAcl": {"x-amz-acl": "public-read"},
    "DeleteBucket": {"tigris-force-delete": "true"},
}


def target_of(endpoint: Endpoint, bucket: str, upload_id: str) -> str:
    path = {"service": "/", "bucket": f"/{bucket}", "object": f"/{bucket}/key"}[endpoint.level]
    query = endpoint.sub
    if endpoint.sub == "uploadId":
        query += f"={upload_id}&partNumber=1"
    elif endpoint.sub == "versionId":
        query += "=null"
    elif endpoint.sub == "list-type":
        query += "=2"
    return f"{path}?{query}" if query else path


def sources(endpoint: Endpoint) -> list[str]:
    return sorted(MINE) if "Copy" in endpoint.name else [""]


def may(endpoint: Endpoint, bucket: str, source: str) -> bool:
    if endpoint.name in MAY_READ:
        return bucket in READS
    allowed = endpoint.name in MAY_WRITE and bucket == "finetuned"
    return allowed and (not source or source in READS)


async def tried(leak: Leak, endpoint: Endpoint, bucket: str, source: str) -> Answer:
    call = Signing(leak.app, leak.key)
    headers = dict(HEADERS.get(endpoint.name, {}))
    if source:
        headers["x-amz-copy-source"] = f"{source}/key"
    body = BODIES.get(endpoint.name, b"").replace(b"BKT", bucket.encode())
    if endpoint.name in ("DeleteObjects", "PutObjectTagging"):
        from base64 import b64encode
        from hashlib import md5

        headers["content-md5"] = b64encode(md5(body).digest()).decode()
    target = target_of(endpoint, bucket, leak.upload_id)
    return await call(endpoint.method, target, body, headers)


S3 = [each for each in ALL if not each.is_iam and "header" in each.modes]


@pytest.mark.parametrize("endpoint", S3, ids=lambda endpoint: endpoint.name)
async def test_every_endpoint(leak: Leak, endpoint: Endpoint) -> None:
    before = await leak.stored()
    for bucket in MINE:
        for source in sources(endpoint):
            answer = await tried(leak, endpoint, bucket, source)
            where = (endpoint.name, bucket, source, answer.body)
            if may(endpoint, bucket, source):
                assert answer.status != 403, where
                continue
            assert b"body of" not in answer.body, where
            if endpoint.name == "DeleteObjects" and answer.status == 200:  # of many keys,
                codes = set(answer.texts("Error/Code"))  # each is answered by itself
                assert (codes, answer.texts("Deleted")) == ({"AccessDenied"}, []), where
            elif endpoint.name == "BundleObjects" and answer.status == 200:
                assert b'"reason":"AccessDenied"' in answer.body, where
            else:
                assert answer.status == 403, where
    assert await leak.stored() == before


async def test_a_bundle_brings_nothing_of_others(leak: Leak) -> None:
    call = Signing(leak.app, leak.key)
    body = b'{"keys":["key","../other/key","/other/key","key\\u0000"]}'
    answer = await call("POST", "/dataset?bundle", body, HEADERS["BundleObjects"])
    assert answer.status == 200
    assert b"body of dataset" in answer.body
    assert b"body of other" not in answer.body


PARAMETERS = {
    "UserName": "tid_x", "AccessKeyId": "tid_x", "PolicyName": "wide", "DurationSeconds": "900",
    "PolicyDocument": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*",'
    '"Resource":"*"}]}',
    "PolicyArn": "arn:aws:iam::acme:policy/job", "VersionId": "v1", "SetAsDefault": "true",
    "Status": "Active", "Bucket": "dataset", "KeyId": "tid_x", "Role": "ReadOnly",
    "PolicySourceArn": "arn:aws:iam::acme:user/tid_x", "ActionNames.member.1": "s3:GetObject",
    "PolicyInputList.member.1": '{"Version":"2012-10-17","Statement":[]}',
    "ExpiresAt": "never", "Name": "x", "Tags.member.1.Key": "a", "Tags.member.1.Value": "b",
    "TagKeys.member.1": "a",
    "Req": '{"name":"wide","id":"tid_x","buckets_role":[{"bucket":"*","role":"NamespaceAdmin"}]}',
}  # fmt: skip
OF_ITSELF = {
    "GetCallerIdentity", "GetSessionToken", "ListAccessKeys", "GetAccessKeyLastUsed",
    "ListUserPolicies", "ListAttachedUserPolicies", "ListUserTags",
    "GetPolicySchema", "LintPolicy",
}  # fmt: skip
"""What every key may: these change nothing, and tell of the key itself, or of what it brings."""


@pytest.mark.parametrize("name", sorted(BY_NAME))
async def test_every_operation_of_iam_and_sts(leak: Leak, name: str) -> None:
    before = await leak.stored()
    call = Signing(leak.app, leak.key)
    for named in ("tid_x", leak.key.id, "AKIAACME", "tid_root"):
        given = {each: value.replace("tid_x", named) for each, value in PARAMETERS.items()}
        body = urlencode({"Action": name, "Version": "2010-05-08"} | given).encode()
        for accept in ("application/json", "application/xml"):
            answer = await call(
                "POST", "/", body,
                {"content-type": "application/x-www-form-urlencoded", "accept": accept},
                service="iam",
            )  # fmt: skip
            text = answer.body.decode()
            assert "tsec_" not in text
            assert "must be signed" not in text, "refused for another reason"
            if answer.status == 200 and name == "GetFederationToken":
                continue  # narrower than the key itself: see test_its_sessions_are_no_wider
            if answer.status == 200:
                assert name in OF_ITSELF, text
                assert "AKIAACME" not in text.replace("maker", ""), text
    assert await leak.stored() == before


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/users/get-org", b""),
        ("GET", "/tigris-iam/namespaces", b""),
        ("POST", "/tigris-iam/namespaces", b'{"id":"x","name":"mine"}'),
        ("PATCH", "/tigris-iam/namespaces", b'{"updated_user_roles":{"u":"Owner"}}'),
        ("POST", "/tigris-iam/invitations", b'{"invitations":[{"email":"e@x.y","role":"Admin"}]}'),
        ("DELETE", "/tigris-iam/invitations", b'{"invitation_ids":["u"]}'),
        ("GET", "/tigris-iam/teams", b""),
        ("POST", "/tigris-iam/teams", b'{"name":"t","members":[]}'),
        ("PATCH", "/tigris-iam/teams/t", b'{"name":"t"}'),
        ("DELETE", "/tigris-iam/teams/t", b""),
    ],
)
async def test_every_path_of_the_iam_port(
    leak: Leak, method: str, target: str, body: bytes
) -> None:
    app = App(leak.store, leak.iam, route=iam_route)
    before = await leak.stored()
    answer = await Signing(app, leak.key)(
        method, target, body, {"content-type": "application/json", "accept": "application/json"}
    )
    if target == "/tigris-iam/namespaces" and method == "GET":
        assert answer.status in (200, 403)  # its own organization's name, at most
        assert b"eve" not in answer.body
    else:
        assert answer.status == 403, answer.body
    assert await leak.stored() == before


async def test_its_sessions_are_no_wider(leak: Leak) -> None:
    wide = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
    access = await leak.iam.find(leak.key.id)
    assert access is not None
    session = leak.iam.issue_session(access, seconds=900, policy=wide)
    call = Signing(leak.app, Key(session.access_key_id, session.secret, session.token))
    assert (await call("GET", "/dataset/key")).status == 200
    for method, target in (
        ("GET", "/other/key"), ("DELETE", "/dataset/key"), ("PUT", "/dataset/key"), ("GET", "/"),
        ("DELETE", "/finetuned/key"), ("GET", "/theirs/key"), ("PUT", "/new-bucket"),
    ):  # fmt: skip
        assert (await call(method, target)).status == 403, target


async def test_its_time_is_over(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Signing(leak.app, leak.key)
    assert (await call("GET", "/dataset/key")).status == 200
    for shift in (-3601, 3601):
        then = time.time_ns() + shift * 10**9
        monkeypatch.setattr(leak.app._clock, "now_ns", lambda then=then: then, raising=False)
        answer = await call("GET", "/dataset/key", now_s=then // 10**9)
        assert answer.code == "AccessDenied"


async def test_pages_of_our_own_tell_nothing(leak: Leak) -> None:
    """RustFS CVE-2026-40937, MinIO CVE-2023-28432: no page shows settings or the environment."""
    call = Signing(leak.app, leak.key)
    for path in ("/-/health", "/-/metrics", "/-/region", "/-/env", "/-/config", "/-/"):
        answer = await call("GET", path)
        assert b"secret" not in answer.body.lower()
