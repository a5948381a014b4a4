"""Every row of the routing table, what clients send (tigris-facts 12.1), what is refused."""

from __future__ import annotations

import inspect

import pytest

from amur.gateway import endpoints
from amur.gateway.endpoints import ALL, BY_NAME, Endpoint, route
from amur.gateway.errors import S3Error
from amur.gateway.request import Request
from amur.iam.acl import Need

PATHS = {"service": "/", "bucket": "/b", "object": "/b/k"}


def routed(method: str, target: str, **headers: str) -> str:
    path, _, query = target.partition("?")
    pairs = [("host", "h"), *((n.replace("_", "-"), v) for n, v in headers.items())]
    request = Request(method, path, query, pairs)
    request.parse()
    return route(request).name


def refusal(method: str, target: str, **headers: str) -> str:
    with pytest.raises(S3Error) as caught:
        routed(method, target, **headers)
    return caught.value.code


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_can_be_reached(endpoint: Endpoint) -> None:
    query = ""
    if endpoint.sub:
        value = {"list-type": "=2", "uploadId": "=u", "versionId": "=v"}.get(endpoint.sub, "")
        query = f"?{endpoint.sub}{value}"
    headers = {"x_amz_copy_source": "a/b"} if "Copy" in endpoint.name else {}
    assert routed(endpoint.method, PATHS[endpoint.level] + query, **headers) == endpoint.name


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_is_complete(endpoint: Endpoint) -> None:
    assert endpoint.action.startswith(("iam:", "sts:") if endpoint.is_iam else "s3:")
    assert isinstance(endpoint.need, Need)
    assert inspect.iscoroutinefunction(endpoint.handler)
    assert endpoint.modes in (
        endpoints.ANY,
        endpoints.UPLOAD,
        endpoints.FORM,
        endpoints.SIGNED,
    )


def test_an_endpoint_without_action_does_not_start() -> None:
    handler = BY_NAME["GetObject"].handler
    for action in ("", "GetObject"):
        with pytest.raises(AssertionError):
            Endpoint("X", "GET object", action, Need.READ, handler)
    with pytest.raises(AssertionError):
        Endpoint("X", "GET objekt", "s3:X", Need.READ, handler)
    with pytest.raises(AssertionError):
        Endpoint("X", "GET object", "s3:X", Need.READ, handler, modes=frozenset())


CLIENT_HABITS = [
    # trailing slash after the bucket, bare and valued sub-resources, x-id
    ("GET", "/?x-id=ListBuckets", "ListBuckets"),
    ("PUT", "/b/", "CreateBucket"),
    ("DELETE", "/b/", "DeleteBucket"),
    ("HEAD", "/b/", "HeadBucket"),
    ("GET", "/b/?list-type=2&prefix=x", "ListObjectsV2"),
    ("GET", "/b?prefix=x&delimiter=/", "ListObjects"),
    ("GET", "/b?versions=", "ListObjectVersions"),
    ("GET", "/b?versions", "ListObjectVersions"),
    ("GET", "/b/?acl=", "GetBucketAcl"),
    ("POST", "/b/?delete=", "DeleteObjects"),
    ("POST", "/b?delete&x-id=DeleteObjects", "DeleteObjects"),
    ("POST", "/b", "PostObject"),
    ("POST", "/b/", "PostObject"),
    ("GET", "/b/k?x-id=GetObject", "GetObject"),
    ("GET", "/b/k?partNumber=3", "GetObject"),
    ("GET", "/b/k?response-content-type=text/plain", "GetObject"),
    ("GET", "/b/k?uploadId=u&max-parts=5", "ListParts"),
    ("PUT", "/b/k?partNumber=3&uploadId=u", "UploadPart"),
    ("PUT", "/b/k?uploadId=u&partNumber=3", "UploadPart"),
    ("GET", "/b/k?versionId=1&acl", "GetObjectAcl"),
    ("GET", "/b/k?tagging&versionId=1", "GetObjectTagging"),
    ("DELETE", "/b/k?versionId=1", "DeleteObjectVersion"),
    ("GET", "/b/k?versionId=null", "GetObjectVersion"),
    ("GET", "/b/k?attributes&versionId=1", "GetObjectAttributes"),
    ("GET", "/b/acl", "GetObject"),
    ("GET", "/b?unheard-of=1", "ListObjects"),
]


@pytest.mark.parametrize(("method", "target", "name"), CLIENT_HABITS)
def test_client_habits(method: str, target: str, name: str) -> None:
    assert routed(method, target) == name


def test_headers_decide() -> None:
    assert routed("PUT", "/b/k", x_amz_copy_source="a/b") == "CopyObject"
    assert routed("PUT", "/b/k", x_amz_copy_source="") == "CopyObject"
    assert routed("PUT", "/b/k?uploadId=u&partNumber=1", x_amz_copy_source="a/b") == (
        "UploadPartCopy"
    )
    assert routed("PUT", "/b/k", x_amz_copy_source="b/o", x_tigris_rename="true") == "CopyObject"
    assert routed("DELETE", "/b", x_tigris_force_delete="true") == "DeleteBucket"
    assert routed("DELETE", "/b", tigris_force_delete="true") == "DeleteBucket"
    assert routed("GET", "/b?acl", x_amz_copy_source="a/b") == "GetBucketAcl"


REFUSED = [
    # PUT /bucket is five operations, DELETE three, GET / four
    ("PUT", "/b", {"x_tigris_snapshot": "true; name=x"}),
    ("PUT", "/b", {"x_tigris_fork_source_bucket": "a"}),
    ("PUT", "/b", {"x_tigris_merge_source_bucket": "a"}),
    ("PUT", "/b", {"x_tigris_rebase": "true"}),
    ("PUT", "/b", {"x_tigris_enable_snapshot": "true"}),
    ("PUT", "/b", {"x_tigris_soft_delete": "7"}),
    ("DELETE", "/b", {"x_tigris_regions": "fra"}),
    ("GET", "/b", {"x_tigris_regions": "fra"}),
    ("DELETE", "/b/k", {"x_tigris_regions": "fra"}),
    ("DELETE", "/b", {"x_tigris_snapshot_version": "1751631910140685342"}),
    ("GET", "/", {"x_tigris_snapshot": "b"}),
    ("GET", "/", {"x_tigris_fork": "b", "accept": "application/json"}),
    ("GET", "/", {"accept": "application/json"}),
    ("GET", "/?OnlyDeleted=true", {}),
    # readings that would be wrong if the header were not there
    ("GET", "/b/k", {"x_tigris_snapshot_version": "1751631910140685342"}),
    ("GET", "/b?list-type=2", {"x_tigris_snapshot_version": "1"}),
    ("GET", "/b?list-type=2", {"x_tigris_query": "WHERE key = 1"}),
    ("GET", "/b?list-type=2", {"x_tigris_soft_delete": "true"}),
    ("DELETE", "/b/k?versionId=1", {"x_tigris_soft_delete": "true"}),
    ("PUT", "/b/k", {"x_tigris_rename": "true"}),
    ("GET", "/b/k", {"x_tigris_rename": "true"}),
    ("GET", "/b/k", {"x_tigris_unheard_of": "1"}),
    ("GET", "/b/k", {"tigris_unheard_of": "1"}),
    ("DELETE", "/b/k", {"x_tigris_force_delete": "true"}),
    # sub-resources
    ("POST", "/b?restore", {}),
    ("POST", "/b/k?restore=", {}),
    ("POST", "/?func=presign", {}),
    ("GET", "/b?metadata&with-size=true", {}),
    ("PATCH", "/b", {}),
    ("PUT", "/b?lifecycle", {}),
    ("PUT", "/b?encryption", {}),
    ("PUT", "/b?object-lock", {}),
    ("PUT", "/b?website", {}),
    ("PUT", "/b?replication", {}),
    ("PUT", "/b?notification", {}),
    ("PUT", "/b?logging", {}),
    ("PUT", "/b?requestPayment", {}),
    ("GET", "/b?inventory&id=1", {}),
    ("PUT", "/b/k?retention", {}),
    ("PUT", "/b/k?legal-hold", {}),
    ("POST", "/b/k?select&select-type=2", {}),
    ("GET", "/b/k?torrent", {}),
    ("PUT", "/b/k?renameObject", {"x_amz_rename_source": "/b/o"}),
    # features by header
    ("PUT", "/b/k", {"x_amz_server_side_encryption": "AES256"}),
    ("PUT", "/b/k", {"x_amz_server_side_encryption": "aws:kms"}),
    ("GET", "/b/k", {"x_amz_server_side_encryption_customer_algorithm": "AES256"}),
    ("PUT", "/b", {"x_amz_bucket_object_lock_enabled": "true"}),
    ("PUT", "/b/k", {"x_amz_object_lock_mode": "GOVERNANCE"}),
    ("PUT", "/b/k", {"x_amz_grant_read": "id=1"}),
    ("PUT", "/b/k", {"x_amz_write_offset_bytes": "3"}),
    ("DELETE", "/b/k?versionId=1", {"x_amz_mfa": "a 1"}),
]


@pytest.mark.parametrize(("method", "target", "headers"), REFUSED)
def test_what_is_not_built_is_refused(method: str, target: str, headers: dict[str, str]) -> None:
    assert refusal(method, target, **headers) == "NotImplemented"


@pytest.mark.parametrize("name", ["x_tigris_consistent", "x_tigris_cas"])
@pytest.mark.parametrize("target", ["/b/k", "/b", "/b?list-type=2"])
def test_what_holds_in_one_region_is_harmless(target: str, name: str) -> None:
    assert routed("GET", target, **{name: "true"})


def test_false_asks_for_nothing() -> None:
    assert routed("PUT", "/b", x_tigris_enable_snapshot="false") == "CreateBucket"
    assert routed("PUT", "/b", x_amz_bucket_object_lock_enabled="false") == "CreateBucket"
    assert routed("GET", "/b?list-type=2", x_tigris_prefetch="true") == "ListObjectsV2"


def test_hoisted_headers_are_looked_at_too() -> None:
    signed = "X-Amz-Algorithm=A&X-Amz-Signature=S&"
    assert refusal("GET", f"/b/k?{signed}X-Tigris-Snapshot-Version=1") == "NotImplemented"
    assert refusal("PUT", f"/b/k?{signed}x-amz-server-side-encryption=AES256") == "NotImplemented"
    assert routed("PUT", f"/b/k?{signed}x-amz-copy-source=a/b") == "CopyObject"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/b/k"),
        ("PUT", "/"),
        ("DELETE", "/"),
        ("HEAD", "/"),
        ("GET", "/b?delete"),
        ("PUT", "/b?uploads"),
        ("DELETE", "/b/k?acl"),
        ("TRACE", "/b/k"),
        ("BREW", "/b"),
        ("get", "/b"),
    ],
)
def test_wrong_method(method: str, target: str) -> None:
    with pytest.raises(S3Error) as caught:
        routed(method, target)
    assert caught.value.code == "MethodNotAllowed"
    allowed = dict(caught.value.headers)["allow"].split(", ")
    assert method not in allowed
    assert "OPTIONS" in allowed


@pytest.mark.parametrize(
    "target", ["/b?acl&cors", "/b/k?uploads&tagging", "/b?versions&uploads", "/b/k?acl&uploadId=1"]
)
def test_two_sub_resources_conflict(target: str) -> None:
    assert refusal("GET", target) == "InvalidArgument"


def test_version_ids() -> None:
    assert refusal("GET", "/b/k?versionId=") == "InvalidArgument"
    assert refusal("PUT", "/b/k?versionId=1") == "InvalidArgument"
