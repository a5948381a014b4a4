"""What conditions of policies ask about a request. Values are found when they are asked for.

What the caller chooses (headers, parameters) is asked of the request alone; what the server knows
(time, address, principal, the object's tags) never is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from amur.gateway.copysource import parse_copy_source
from amur.gateway.request import Request
from amur.iam.access import Access
from amur.iam.model import key_arn
from amur.iam.principal import ANONYMOUS
from amur.meta.records import ObjectRecord

_EXISTING_TAG = "s3:existingobjecttag/"
_REQUEST_TAG = "s3:requestobjecttag/"
_PRINCIPAL_TAG = "aws:principaltag/"

Values = tuple[str, ...]

STORES = frozenset({"s3:PutObject", "s3:PutObjectAcl", "s3:PutBucketAcl", "s3:CreateBucket"})
"""Actions of endpoints to which headers that say something of what is stored mean something."""

COPIES = frozenset({"CopyObject", "UploadPartCopy"})
"""Endpoints to which headers of copies mean something."""

TOLD_BY_DOCUMENT = {
    "PutObjectTagging": "tags", "PutObjectAcl": "acl", "PutBucketAcl": "acl",
    "CreateBucket": "location",
}  # fmt: skip
"""Endpoints whose body says what conditions ask for: their handlers ask again when it was read."""

TLS_LEAST = "1.2"
"""What every TLS connection here has at the least: older versions are not spoken."""


class NeedsRecord(Exception):
    """A condition asks for the object's tags, and the object was not read yet."""


class NeedsDocument(Exception):
    """A condition asks for tags that stand in the request's document, which was not read yet."""


class RequestContext:
    """Of one request and one object that it is about.

    `headers` and `tags` are those of what is stored, and none where nothing is; of a form its
    fields; of a copy those that say how to copy count, too (`is_copy`). `listing` are the
    parameters of a listing; other requests have none of them, whatever their URL says. A value that
    is None when it is asked for raises NeedsRecord or NeedsDocument.
    """

    __slots__ = ("_access", "_request", "acl", "headers", "is_copy", "is_read", "listing",
                 "location", "now_s", "record", "region", "signed_s", "tags",
                 "version_id")  # fmt: skip

    def __init__(
        self,
        request: Request,
        access: Access | None,
        now_s: int,
        signed_s: int = 0,
        region: str = "",
    ) -> None:
        """`signed_s` is when the request was signed, epoch seconds; 0 when it was not."""
        self._request = request
        self._access = access
        self.now_s = now_s
        self.signed_s = signed_s
        self.region = region
        self.headers: Mapping[str, str] = {}
        self.is_copy = False
        self.tags: Mapping[str, str] | None = None
        self.listing: Mapping[str, str] = {}
        self.location: str | None = ""  # of a bucket that is made
        self.acl: str | None = ""  # that a document spells out; "" for that of the headers
        self.version_id = ""  # of the object; "" for the newest
        self.record: ObjectRecord | None = None
        self.is_read = False

    def await_document(self, endpoint: str) -> None:
        """What the body of a request to one of TOLD_BY_DOCUMENT will say is not known yet."""
        what = TOLD_BY_DOCUMENT[endpoint]
        if what == "tags":
            self.tags = None
        elif what == "location":
            self.location = None
        elif not self.headers.get("x-amz-acl"):  # else there may be no document
            self.acl = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing waits for a document."""
        return self.tags is not None and self.acl is not None

    def listing_of(self, prefix: str) -> RequestContext:
        """As if the caller listed that prefix."""
        request = self._request
        made = RequestContext(request, self._access, self.now_s, self.signed_s, self.region)
        made.listing, made.is_read, made.tags = {"prefix": prefix}, True, {}
        return made

    def read(self, record: ObjectRecord | None) -> None:
        """The object is known now; None when there is none."""
        self.record, self.is_read = record, True

    def values(self, key: str) -> Values | None:
        """See policy/contextkeys.py."""
        find = _KEYS.get(key)
        if find is not None:
            value = find(self)
            return (value,) if value else None
        if key == "s3:prefix":
            return _one(self.listing.get("prefix"))
        if key.startswith(_EXISTING_TAG):
            if not self.is_read:
                raise NeedsRecord
            tags = self.record.tags if self.record is not None else {}
            return _one(tags.get(key[len(_EXISTING_TAG) :]))
        if key.startswith(_REQUEST_TAG):
            return _one(self._tags().get(key[len(_REQUEST_TAG) :]))
        if key == "s3:requestobjecttagkeys":
            return tuple(self._tags()) or None
        if key.startswith(_PRINCIPAL_TAG) and self._access is not None:
            return _one(self._access.tags.get(key[len(_PRINCIPAL_TAG) :]))
        return None

    def _tags(self) -> Mapping[str, str]:
        if self.tags is None:
            raise NeedsDocument
        return self.tags

    @property
    def request(self) -> Request:
        return self._request

    @property
    def principal_arn(self) -> str:
        principal = self._access.principal if self._access is not None else ANONYMOUS
        return key_arn(principal.owner, principal.parent or principal.key_id)

    @property
    def key_id(self) -> str:
        principal = self._access.principal if self._access is not None else ANONYMOUS
        return principal.parent or principal.key_id

    @property
    def auth_type(self) -> str:
        if not self.signed_s:
            return ""
        request = self._request
        if "X-Amz-Signature" in request.params:
            return "REST-QUERY-STRING"
        return "REST-HEADER" if "authorization" in request.headers else "POST"


def _one(value: str | None) -> Values | None:
    return None if value is None else (value,)


def tags_of_header(headers: Mapping[str, str]) -> dict[str, str]:
    """What x-amz-tagging says."""
    given = headers.get("x-amz-tagging", "")
    return dict(parse_qsl(given, keep_blank_values=True)) if given else {}


def _sent(name: str) -> Callable[[RequestContext], str]:
    """A header of the HTTP request itself."""
    return lambda context: context.request.headers.get(name, "")


def _header(name: str) -> Callable[[RequestContext], str]:
    """A header that says something of what is stored."""
    return lambda context: context.headers.get(name, "")


def _copy_source(context: RequestContext) -> str:
    """Decoded, as it is read. Raises S3Error for what is none."""
    given = context.headers.get("x-amz-copy-source")
    if given is None or not context.is_copy:  # a form's field, say: nothing is copied
        return ""
    bucket, key, version_id = parse_copy_source(given)
    return f"{bucket}/{key}" + (f"?versionId={version_id}" if version_id else "")


def _directive(context: RequestContext) -> str:
    return context.headers.get("x-amz-metadata-directive", "") if context.is_copy else ""


def _acl(context: RequestContext) -> str:
    if context.acl is None:
        raise NeedsDocument
    return context.acl or context.headers.get("x-amz-acl", "")


def _location(context: RequestContext) -> str:
    if context.location is None:
        raise NeedsDocument
    return context.location


def _current_time(context: RequestContext) -> str:
    return str(context.now_s)


def _age(context: RequestContext) -> str:
    return str(max(0, context.now_s - context.signed_s) * 1000) if context.signed_s else ""


_REFUSED = (
    "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write",
    "x-amz-grant-write-acp", "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
)  # fmt: skip
"""Headers that the handlers refuse. Policies may ask of them all the same, as at Amazon."""

_KEYS: dict[str, Callable[[RequestContext], str]] = {
    "aws:currenttime": _current_time,
    "aws:epochtime": _current_time,
    "aws:sourceip": lambda context: context.request.address,
    "aws:securetransport": lambda c: "true" if c.request.scheme == "https" else "false",
    "aws:useragent": _sent("user-agent"),
    "aws:referer": _sent("referer"),
    "aws:principalarn": lambda context: context.principal_arn if context.key_id else "",
    "aws:userid": lambda context: context.key_id,
    "aws:username": lambda context: context.key_id,
    "aws:principaltype": lambda context: "User" if context.key_id else "Anonymous",
    "aws:requestedregion": lambda context: context.region,
    "s3:authtype": lambda context: context.auth_type,
    "s3:signatureage": _age,
    "s3:signatureversion": lambda context: "AWS4-HMAC-SHA256" if context.signed_s else "",
    "s3:tlsversion": lambda context: TLS_LEAST if context.request.scheme == "https" else "",
    "s3:x-amz-content-sha256": _sent("x-amz-content-sha256"),
    "s3:delimiter": lambda context: context.listing.get("delimiter", ""),
    "s3:max-keys": lambda context: context.listing.get("max-keys", ""),
    "s3:locationconstraint": _location,
    "s3:x-amz-acl": _acl,
    "s3:x-amz-copy-source": _copy_source,
    "s3:x-amz-storage-class": _header("x-amz-storage-class"),
    "s3:x-amz-metadata-directive": _directive,
    "s3:x-amz-server-side-encryption": _header("x-amz-server-side-encryption"),
    **{f"s3:{name}": _header(name) for name in _REFUSED},
    "s3:versionid": lambda context: context.version_id,
}
