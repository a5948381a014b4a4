"""What conditions of policies ask about a request. Values are found when they are asked for.

What the caller chooses (headers, parameters) is asked of the request alone; what the server knows
(time, address, principal, the object's tags) never is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from amur.gateway.request import Request
from amur.iam.access import Access
from amur.iam.model import key_arn
from amur.iam.principal import ANONYMOUS
from amur.meta.records import ObjectRecord

_EXISTING_TAG = "s3:existingobjecttag/"
_REQUEST_TAG = "s3:requestobjecttag/"
_PRINCIPAL_TAG = "aws:principaltag/"

Values = tuple[str, ...]


class NeedsRecord(Exception):
    """A condition asks for the object's tags, and the object was not read yet."""


class NeedsDocument(Exception):
    """A condition asks for tags that stand in the request's document, which was not read yet."""


class RequestContext:
    """Of one request. `record` is the object that the decision is about; UNREAD raises
    NeedsRecord when it matters."""

    __slots__ = ("_access", "_request", "_service", "is_read", "now_s", "record", "region",
                 "request_tags", "signed_s", "version_id")  # fmt: skip

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
        self.record: ObjectRecord | None = None
        self.is_read = False
        self.version_id: str | None = None  # of one key among many; None: the parameter
        self.request_tags: Mapping[str, str] | None = None  # of a document; None: the header

    def read(self, record: ObjectRecord | None) -> None:
        """The object is known now; None when there is none."""
        self.record, self.is_read = record, True

    def values(self, key: str) -> Values | None:
        """See policy/contextkeys.py."""
        find = _KEYS.get(key)
        if find is not None:
            value = find(self)
            return (value,) if value else None
        if key == "s3:prefix":  # a listing without one is of the empty one
            return (self._request.params.get("prefix", ""),)
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
        if self.request_tags is not None:
            return self.request_tags
        if "tagging" in self._request.params:
            raise NeedsDocument
        given = self._request.headers.get("x-amz-tagging", "")
        return dict(parse_qsl(given, keep_blank_values=True)) if given else {}

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


def _header(name: str) -> Callable[[RequestContext], str]:
    return lambda context: context.request.headers.get(name, "")


def _param(name: str) -> Callable[[RequestContext], str]:
    return lambda context: context.request.params.get(name, "")


def _current_time(context: RequestContext) -> str:
    return str(context.now_s)


def _version_id(context: RequestContext) -> str:
    if context.version_id is not None:
        return context.version_id
    return context.request.params.get("versionId", "")


def _age(context: RequestContext) -> str:
    return str(max(0, context.now_s - context.signed_s) * 1000) if context.signed_s else ""


_KEYS: dict[str, Callable[[RequestContext], str]] = {
    "aws:currenttime": _current_time,
    "aws:epochtime": _current_time,
    "aws:sourceip": lambda context: context.request.address,
    "aws:securetransport": lambda c: "true" if c.request.scheme == "https" else "false",
    "aws:useragent": _header("user-agent"),
    "aws:referer": _header("referer"),
    "aws:principalarn": lambda context: context.principal_arn if context.key_id else "",
    "aws:userid": lambda context: context.key_id,
    "aws:username": lambda context: context.key_id,
    "aws:principaltype": lambda context: "User" if context.key_id else "Anonymous",
    "aws:requestedregion": lambda context: context.region,
    "s3:authtype": lambda context: context.auth_type,
    "s3:signatureage": _age,
    "s3:signatureversion": lambda context: "AWS4-HMAC-SHA256" if context.signed_s else "",
    "s3:x-amz-content-sha256": _header("x-amz-content-sha256"),
    "s3:delimiter": _param("delimiter"),
    "s3:max-keys": lambda context: context.request.params.get("max-keys", "1000"),
    "s3:x-amz-acl": _header("x-amz-acl"),
    "s3:x-amz-copy-source": lambda c: c.request.headers.get("x-amz-copy-source", "").lstrip("/"),
    "s3:x-amz-storage-class": _header("x-amz-storage-class"),
    "s3:x-amz-metadata-directive": _header("x-amz-metadata-directive"),
    "s3:x-amz-server-side-encryption": _header("x-amz-server-side-encryption"),
    "s3:versionid": _version_id,
}
