"""Every S3 endpoint: how a request is recognised, what right it needs, who answers it.

A request is told apart by method, level (service, bucket, object), one sub-resource parameter
and, for a few, a header. A feature that Amur does not have is refused (501) before anything is
done: unknown `X-Tigris-*` headers, the sub-resources and headers listed at the end. The GET of a
setting that nobody can have made answers as Amazon does when nothing is configured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers import (
    acl,
    attributes,
    bucket_config,
    bucket_policy,
    buckets,
    bundle,
    copy,
    cors,
    delete,
    get,
    listing,
    multipart,
    post_form,
    put,
    service,
    tagging,
    unconfigured,
)
from amur.gateway.iam.query import answer_query
from amur.gateway.request import Request
from amur.iam.acl import Need

Handler = Callable[[Context], Awaitable[Response]]


ANY = frozenset({"anonymous", "header", "presigned"})
"""How callers may prove who they are: the kinds of `sigv4.Authentication`."""
UPLOAD = ANY | {"chunked"}
"""... and the body may be aws-chunked."""
FORM = frozenset({"anonymous", "form"})
"""... by a signed policy among the fields of a form: the handler calls `authorize_form`."""
SIGNED = frozenset({"anonymous", "header"})
"""... by a header; the handler tells the anonymous what is missing."""

S3_SERVICES = frozenset({"s3"})
"""Services of a signature's scope."""
IAM_SERVICES = frozenset({"iam", "sts", "s3"})
"""... AWS's tools name the API's own, Tigris' name s3. The handler authorises (`gateway/iam/`)."""


class Endpoint:
    """One operation of S3. `action` is the IAM action, `need` the right that ACLs can give."""

    __slots__ = (
        "action", "handler", "headers", "is_iam", "level", "method", "modes", "name", "need",
        "services", "sub",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        route: str,
        action: str,
        need: Need,
        handler: Handler,
        *,
        modes: frozenset[str] = ANY,
        headers: str = "",
        services: frozenset[str] = S3_SERVICES,
    ) -> None:
        """`route` is "METHOD level[?sub-resource]"; `headers` the Tigris headers it knows."""
        method, level = route.split(" ")
        level, _, sub = level.partition("?")
        assert level in ("service", "bucket", "object"), f"{name}: no such level"
        known = ("s3:", "amur:", "iam:", "sts:")
        assert action.startswith(known), f"{name}: an endpoint needs an IAM action"
        assert modes, f"{name}: nobody could use it"
        self.name = name
        self.method = method
        self.level = level
        self.sub = sub
        self.action = action
        self.need = need
        self.handler = handler
        self.modes = modes
        self.headers = frozenset(headers.split())
        self.services = services
        self.is_iam = services is IAM_SERVICES
        """Its handler authorises, and its failures are told by `gateway/iam/failures.py`."""

    def __repr__(self) -> str:
        return f"<Endpoint {self.name}>"


_A, _B = Need.ACCOUNT, Need.BUCKET_OWNER
_L, _W, _R, _O = Need.LIST, Need.WRITE, Need.READ, Need.OBJECT_OWNER
_FORCE = "tigris-force-delete x-tigris-force-delete"
_REGIONS = "x-tigris-regions"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("ListBuckets", "GET service", "s3:ListAllMyBuckets", _A, service.list_buckets),
    # --- buckets ---
    Endpoint(
        "CreateBucket", "PUT bucket", "s3:CreateBucket", _A, buckets.create_bucket,
        headers="x-tigris-enable-object-acl x-tigris-regions",
    ),
    Endpoint("HeadBucket", "HEAD bucket", "s3:ListBucket", _L, buckets.head_bucket),
    Endpoint(
        "DeleteBucket", "DELETE bucket", "s3:DeleteBucket", _B, buckets.delete_bucket,
        headers=_FORCE,
    ),
    Endpoint(
        "GetBucketLocation", "GET bucket?location", "s3:GetBucketLocation", _B,
        buckets.get_bucket_location,
    ),
    Endpoint("GetBucketAcl", "GET bucket?acl", "s3:GetBucketAcl", _B, bucket_config.get_acl),
    Endpoint("PutBucketAcl", "PUT bucket?acl", "s3:PutBucketAcl", _B, bucket_config.put_acl),
    Endpoint(
        "GetBucketTagging", "GET bucket?tagging", "s3:GetBucketTagging", _B,
        bucket_config.get_tagging,
    ),
    Endpoint(
        "PutBucketTagging", "PUT bucket?tagging", "s3:PutBucketTagging", _B,
        bucket_config.put_tagging,
    ),
    Endpoint(
        "DeleteBucketTagging", "DELETE bucket?tagging", "s3:PutBucketTagging", _B,
        bucket_config.delete_tagging,
    ),
    Endpoint("GetBucketCors", "GET bucket?cors", "s3:GetBucketCORS", _B, cors.get_cors),
    Endpoint("PutBucketCors", "PUT bucket?cors", "s3:PutBucketCORS", _B, cors.put_cors),
    Endpoint("DeleteBucketCors", "DELETE bucket?cors", "s3:PutBucketCORS", _B, cors.delete_cors),
    Endpoint(
        "GetBucketOwnershipControls", "GET bucket?ownershipControls",
        "s3:GetBucketOwnershipControls", _B, bucket_config.get_ownership,
    ),
    Endpoint(
        "PutBucketOwnershipControls", "PUT bucket?ownershipControls",
        "s3:PutBucketOwnershipControls", _B, bucket_config.put_ownership,
    ),
    Endpoint(
        "DeleteBucketOwnershipControls", "DELETE bucket?ownershipControls",
        "s3:PutBucketOwnershipControls", _B, bucket_config.delete_ownership,
    ),
    Endpoint(
        "GetBucketVersioning", "GET bucket?versioning", "s3:GetBucketVersioning", _B,
        bucket_config.get_versioning,
    ),
    Endpoint(
        "PutBucketVersioning", "PUT bucket?versioning", "s3:PutBucketVersioning", _B,
        bucket_config.put_versioning,
    ),
    Endpoint(
        "GetBucketAccelerateConfiguration", "GET bucket?accelerate",
        "s3:GetAccelerateConfiguration", _B, bucket_config.get_accelerate,
    ),
    Endpoint(
        "PutBucketAccelerateConfiguration", "PUT bucket?accelerate",
        "s3:PutAccelerateConfiguration", _B, bucket_config.put_accelerate,
    ),
    Endpoint(
        "GetBucketPolicy", "GET bucket?policy", "s3:GetBucketPolicy", _B,
        bucket_policy.get_policy,
    ),
    Endpoint(
        "PutBucketPolicy", "PUT bucket?policy", "s3:PutBucketPolicy", _B,
        bucket_policy.put_policy,
    ),
    Endpoint(
        "DeleteBucketPolicy", "DELETE bucket?policy", "s3:DeleteBucketPolicy", _B,
        bucket_policy.delete_policy,
    ),
    Endpoint(
        "GetBucketPolicyStatus", "GET bucket?policyStatus", "s3:GetBucketPolicyStatus", _B,
        bucket_policy.get_policy_status,
    ),
    Endpoint(
        "GetPublicAccessBlock", "GET bucket?publicAccessBlock", "s3:GetBucketPublicAccessBlock",
        _B, bucket_policy.get_public_access_block,
    ),
    Endpoint(
        "PutPublicAccessBlock", "PUT bucket?publicAccessBlock", "s3:PutBucketPublicAccessBlock",
        _B, bucket_policy.put_public_access_block,
    ),
    Endpoint(
        "DeletePublicAccessBlock", "DELETE bucket?publicAccessBlock",
        "s3:PutBucketPublicAccessBlock", _B, bucket_policy.delete_public_access_block,
    ),
    # --- listing ---
    Endpoint(
        "ListObjects", "GET bucket", "s3:ListBucket", _L, listing.list_objects,
        headers="x-tigris-prefetch",
    ),
    Endpoint(
        "ListObjectsV2", "GET bucket?list-type", "s3:ListBucket", _L, listing.list_objects_v2,
        headers="x-tigris-prefetch x-tigris-list-metadata",
    ),
    Endpoint(
        "ListObjectVersions", "GET bucket?versions", "s3:ListBucketVersions", _L,
        listing.list_object_versions,
    ),
    Endpoint(
        "ListMultipartUploads", "GET bucket?uploads", "s3:ListBucketMultipartUploads", _L,
        multipart.list_uploads,
    ),
    # --- objects ---
    Endpoint(
        "GetObject", "GET object", "s3:GetObject", _R, get.get_object, headers=_REGIONS
    ),
    Endpoint(
        "BundleObjects", "POST bucket?bundle", "s3:GetObject", _R, bundle.bundle_objects,
        headers="x-tigris-bundle-format x-tigris-bundle-on-error x-tigris-bundle-compression",
    ),
    Endpoint(
        "HeadObject", "HEAD object", "s3:GetObject", _R, get.head_object, headers=_REGIONS
    ),
    Endpoint(
        "GetObjectVersion", "GET object?versionId", "s3:GetObjectVersion", _R, get.get_object,
        headers=_REGIONS,
    ),
    Endpoint(
        "HeadObjectVersion", "HEAD object?versionId", "s3:GetObjectVersion", _R, get.head_object,
        headers=_REGIONS,
    ),
    Endpoint(
        "GetObjectAttributes", "GET object?attributes", "s3:GetObjectAttributes", _O,
        attributes.get_object_attributes,
    ),
    Endpoint(
        "PutObject", "PUT object", "s3:PutObject", _W, put.put_object, modes=UPLOAD,
        headers=_REGIONS,
    ),
    Endpoint(
        "PostObject", "POST bucket", "s3:PutObject", _W, post_form.post_object, modes=FORM
    ),
    Endpoint(
        "CopyObject", "PUT object", "s3:PutObject", _W, copy.copy_object,
        headers="x-tigris-rename x-tigris-regions",
    ),
    Endpoint("DeleteObject", "DELETE object", "s3:DeleteObject", _W, delete.delete_object),
    Endpoint(
        "DeleteObjectVersion", "DELETE object?versionId", "s3:DeleteObjectVersion", _B,
        delete.delete_object,
    ),
    Endpoint("DeleteObjects", "POST bucket?delete", "s3:DeleteObject", _W, delete.delete_objects),
    Endpoint("GetObjectAcl", "GET object?acl", "s3:GetObjectAcl", _O, acl.get_object_acl),
    Endpoint("PutObjectAcl", "PUT object?acl", "s3:PutObjectAcl", _O, acl.put_object_acl),
    Endpoint(
        "GetObjectTagging", "GET object?tagging", "s3:GetObjectTagging", _O,
        tagging.get_object_tagging,
    ),
    Endpoint(
        "PutObjectTagging", "PUT object?tagging", "s3:PutObjectTagging", _O,
        tagging.put_object_tagging,
    ),
    Endpoint(
        "DeleteObjectTagging", "DELETE object?tagging", "s3:DeleteObjectTagging", _O,
        tagging.delete_object_tagging,
    ),
    # --- multipart ---
    Endpoint(
        "CreateMultipartUpload", "POST object?uploads", "s3:PutObject", _W,
        multipart.create_upload, headers=_REGIONS,
    ),
    Endpoint(
        "UploadPart", "PUT object?uploadId", "s3:PutObject", _W, multipart.upload_part,
        modes=UPLOAD,
    ),
    Endpoint(
        "UploadPartCopy", "PUT object?uploadId", "s3:PutObject", _W, multipart.upload_part_copy
    ),
    Endpoint(
        "CompleteMultipartUpload", "POST object?uploadId", "s3:PutObject", _W,
        multipart.complete_upload,
    ),
    Endpoint(
        "AbortMultipartUpload", "DELETE object?uploadId", "s3:AbortMultipartUpload", _W,
        multipart.abort_upload,
    ),
    Endpoint(
        "ListParts", "GET object?uploadId", "s3:ListMultipartUploadParts", _W,
        multipart.list_parts,
    ),
    # --- access keys, policies, temporary keys ---
    Endpoint(
        "IamQuery", "POST service", "sts:GetCallerIdentity", _A, answer_query,  # and many others
        modes=SIGNED, headers="x-tigris-namespace", services=IAM_SERVICES,
    ),
)  # fmt: skip


def _setting(level: str, sub: str, action: str, handler: Handler) -> Iterator[Endpoint]:
    """Reading and removing a setting that nobody can have made."""
    need = _B if level == "bucket" else _O
    name = action[0].upper() + action[1:]
    yield Endpoint(f"Get{name}", f"GET {level}?{sub}", f"s3:Get{action}", need, handler)
    if level == "bucket":
        yield Endpoint(f"Delete{name}", f"DELETE {level}?{sub}", f"s3:Put{action}", need, handler)


UNCONFIGURED: tuple[Endpoint, ...] = tuple(
    endpoint
    for level, sub, action in (
        ("bucket", "encryption", "EncryptionConfiguration"),
        ("bucket", "lifecycle", "LifecycleConfiguration"),
        ("bucket", "logging", "BucketLogging"),
        ("bucket", "notification", "BucketNotification"),
        ("bucket", "object-lock", "BucketObjectLockConfiguration"),
        ("bucket", "replication", "ReplicationConfiguration"),
        ("bucket", "requestPayment", "BucketRequestPayment"),
        ("bucket", "website", "BucketWebsite"),
        ("object", "legal-hold", "ObjectLegalHold"),
        ("object", "retention", "ObjectRetention"),
    )
    for endpoint in _setting(level, sub, action, unconfigured.answer)
)

ALL = (*ENDPOINTS, *UNCONFIGURED)
BY_NAME = {endpoint.name: endpoint for endpoint in ALL}
assert len(BY_NAME) == len(ALL), "two endpoints of one name"
IAM_QUERY = BY_NAME["IamQuery"]

_OF_COPY_SOURCE = {"PutObject": BY_NAME["CopyObject"], "UploadPart": BY_NAME["UploadPartCopy"]}
"""What an endpoint becomes by the header x-amz-copy-source."""

_ROUTES: dict[tuple[str, str, str], Endpoint] = {}
for _endpoint in ALL:
    _ROUTES.setdefault((_endpoint.method, _endpoint.level, _endpoint.sub), _endpoint)

_WITH_VERSION = frozenset({"versionId", "acl", "attributes", "tagging", "legal-hold", "retention"})
"""Sub-resources of an object of which a version may be named."""

# --- what is refused: Amazon's and Tigris' features that are not here (yet) ---

_SUBS_REFUSED = frozenset(
    {
        "abac", "analytics", "append", "func", "intelligent-tiering", "inventory",
        "metadata", "metadataConfiguration", "metadataTable", "metrics", "renameObject", "restore",
        "select", "session", "torrent", "Action", "Detailed", "IncludeForkInfo",
        "IncludeOwnerInfo", "IncludeRegionsInfo", "IncludeStats", "IncludeTypeInfo",
        "IncludeVisibility", "OnlyDeleted", "OnlyForked", "OwnedBy",
    }
)  # fmt: skip
_SUBS = _SUBS_REFUSED | {endpoint.sub for endpoint in ALL if endpoint.sub}

_HEADERS_REFUSED = frozenset(
    {
        "x-amz-bucket-object-lock-enabled", "x-amz-copy-source-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-algorithm",
        "x-amz-copy-source-server-side-encryption-customer-key-md5", "x-amz-grant-full-control",
        "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write", "x-amz-grant-write-acp",
        "x-amz-mfa", "x-amz-object-lock-legal-hold", "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date", "x-amz-rename-source",
        "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-bucket-key-enabled", "x-amz-server-side-encryption-context",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-md5", "x-amz-write-offset-bytes",
    }
)  # fmt: skip
"""Encryption among them: nothing is encrypted at rest, so nothing may say that it were."""

_HARMLESS = frozenset({"x-tigris-cas", "x-tigris-consistent"})
"""Strong consistency is what one region always has; of several, `elsewhere.py` finds the one."""


def route(request: Request) -> Endpoint:
    """The endpoint that the request asks for. Raises S3Error when there is none."""
    params = request.params
    level = "object" if request.key else "bucket" if request.bucket else "service"
    is_query = level == "service" and request.method == "POST" and "func" not in params
    sub = _sub_resource(params) if params and not is_query else ""  # a query's are IAM's own
    endpoint = _ROUTES.get((request.method, level, sub))
    if endpoint is None:
        raise _no_endpoint(request, level, sub)
    if "versionId" in params and request.key and endpoint.sub not in _WITH_VERSION:
        raise S3Error("InvalidArgument", "This operation does not accept a version-id.")
    headers = request.headers
    if "x-amz-copy-source" in headers and endpoint.name in _OF_COPY_SOURCE:
        endpoint = _OF_COPY_SOURCE[endpoint.name]
    if request.has_tigris:
        _check_tigris(endpoint, headers)
    if not _HEADERS_REFUSED.isdisjoint(headers):
        _check_refused(headers)
    if level == "service" and request.wants_json and not is_query:
        raise S3Error("NotImplemented", "Listing buckets in JSON is not implemented.")
    return endpoint


def _sub_resource(params: dict[str, str]) -> str:
    """The one parameter that decides; versionId only when it stands alone."""
    found = ""
    for name in params:
        if name not in _SUBS:
            continue
        if name == "versionId" and not params[name]:
            raise S3Error("InvalidArgument", "Version id cannot be the empty string")
        if not found or found == "versionId":
            found = name
        elif name != "versionId":
            raise S3Error(
                "InvalidArgument",
                f"Conflicting query string parameters: {found}, {name}",
                ArgumentName="ResourceType",
                ArgumentValue=found,
            )
    return found


def _no_endpoint(request: Request, level: str, sub: str) -> S3Error:
    if sub in _SUBS_REFUSED or request.method == "PATCH":
        return S3Error("NotImplemented", **({"Resource-Type": sub} if sub else {}))
    if sub == "versionId":
        return S3Error("InvalidArgument", "This operation does not accept a version-id.")
    if request.method == "PUT" and _ROUTES.get(("GET", level, sub)) in UNCONFIGURED:
        return S3Error("NotImplemented", f"Setting {sub} is not implemented.")
    error = S3Error("MethodNotAllowed", Method=request.method, ResourceType=level.upper())
    allowed = sorted({m for m, where, s in _ROUTES if where == level and s == sub} | {"OPTIONS"})
    error.headers.append(("allow", ", ".join(allowed)))
    return error


def _check_tigris(endpoint: Endpoint, headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if name.startswith(("x-tigris-", "tigris-")):
            if name in endpoint.headers or name in _HARMLESS or value == "false":
                continue
            raise S3Error("NotImplemented", f"{name} of {endpoint.name} is not implemented.")


def _check_refused(headers: dict[str, str]) -> None:
    for name in _HEADERS_REFUSED.intersection(headers):
        if name == "x-amz-bucket-object-lock-enabled" and headers[name].lower() == "false":
            continue
        raise S3Error("NotImplemented", f"{name} is not implemented.")
