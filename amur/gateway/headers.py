"""Object attributes on the wire: request headers to `Attributes`, records to response headers.

Values that aren't ASCII come back as RFC 2047 words, as from Amazon; ASCII ones (RFC 2047 words
among them) as they came. Nothing with a control character is taken in or given out.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import gmtime
from urllib.parse import unquote_plus

from amur import limits
from amur.gateway.checksums import checksum_headers
from amur.gateway.errors import S3Error
from amur.iam.acl import CANNED
from amur.meta.records import Checksum, ObjectRecord
from amur.objects.types import Attributes

HeaderList = list[tuple[str, str]]

REDIRECT = "x-amz-website-redirect-location"

STORED = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    REDIRECT,
)
"""Kept as they are and given back with the object; Content-Type apart."""

STORAGE_CLASSES = frozenset(
    {
        "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY",
        "GLACIER", "GLACIER_IR", "DEEP_ARCHIVE",
    }
)  # fmt: skip

OVERRIDES = {
    "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition",
    "response-content-encoding": "content-encoding",
    "response-content-language": "content-language",
    "response-content-type": "content-type",
    "response-expires": "expires",
}

_REFUSED = ("x-amz-grant-", "x-amz-object-lock-", "x-amz-server-side-encryption")
"""Of a form, that is: among headers they don't come this far."""

META = "x-amz-meta-"
_META_CHARS = len(META)
_token = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_control = re.compile("[\x00-\x08\x0a-\x1f\x7f]").search
_SYMBOLS = frozenset("+-=._:/@")  # in tags, beside letters, digits and spaces
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    "", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


# --- in ---


def read_attributes(headers: Mapping[str, str], owner: str = "") -> Attributes:
    """What the headers of PutObject, CopyObject or CreateMultipartUpload say of the object.

    Raises S3Error: InvalidArgument, InvalidRedirectLocation, InvalidStorageClass, InvalidTag,
    MetadataTooLarge, NotImplemented.
    """
    found = Attributes(owner=owner)
    content_type = headers.get("content-type")
    if content_type:
        found.content_type = checked("content-type", content_type)
    for name in STORED:
        value = headers.get(name)
        if value:
            found.headers[name] = checked(name, value)
    redirect = found.headers.get(REDIRECT)
    if redirect and not redirect.startswith(("/", "http://", "https://")):
        raise S3Error("InvalidRedirectLocation")
    encoding = found.headers.get("content-encoding")
    if encoding and "aws-chunked" in encoding:
        _strip_chunked(found.headers, encoding)
    for name, value in headers.items():
        if name.startswith("x-amz-"):
            if name.startswith(META):
                found.metadata[_meta_name(name)] = checked(name, value)
            elif name.startswith(_REFUSED):
                raise S3Error("NotImplemented", f"{name} is not implemented.")
    if found.metadata:
        _check_metadata_size(found.metadata)
    tagging = headers.get("x-amz-tagging")
    if tagging:
        found.tags = parse_tagging(tagging)
    found.acl = read_acl(headers)
    found.storage_class = read_storage_class(headers)
    return found


def _meta_name(name: str) -> str:
    # a name from a query or a form may hold what no header name does
    if not _token(name):
        raise S3Error("InvalidArgument", "The name of a metadata header is not valid.")
    return name[_META_CHARS:]


def checked(name: str, value: str) -> str:
    """The value, free of control characters. Raises InvalidArgument."""
    if value.isascii() and value.isprintable():
        return value
    if _control(value):
        raise S3Error("InvalidArgument", "A header holds a control character.", ArgumentName=name)
    return value


def _strip_chunked(headers: dict[str, str], encoding: str) -> None:
    codings = [coding.strip() for coding in encoding.split(",")]
    kept = ",".join(coding for coding in codings if coding != "aws-chunked")
    if kept:
        headers["content-encoding"] = kept
    else:
        del headers["content-encoding"]


def _check_metadata_size(metadata: dict[str, str]) -> None:
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > limits.USER_METADATA_BYTES_MAX:
        raise S3Error(
            "MetadataTooLarge",
            Size=str(size),
            MaxSizeAllowed=str(limits.USER_METADATA_BYTES_MAX),
        )


def read_acl(headers: Mapping[str, str]) -> str:
    """The canned ACL in x-amz-acl, "" without one. Raises InvalidArgument."""
    acl = headers.get("x-amz-acl")
    if not acl:
        return ""
    if acl not in CANNED:
        raise S3Error("InvalidArgument", ArgumentName="x-amz-acl", ArgumentValue=acl)
    return acl


def read_storage_class(headers: Mapping[str, str]) -> str:
    """x-amz-storage-class, "" without one. Raises InvalidStorageClass."""
    storage_class = headers.get("x-amz-storage-class")
    if not storage_class:
        return ""
    if storage_class not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)
    return storage_class


def parse_tagging(value: str) -> dict[str, str]:
    """x-amz-tagging: `k=v&k=v`, form-encoded. Raises InvalidArgument, InvalidTag."""
    tags: dict[str, str] = {}
    for piece in value.split("&"):
        if not piece:
            continue
        raw_name, _, raw_text = piece.partition("=")
        try:
            name = unquote_plus(raw_name, errors="strict")
            text = unquote_plus(raw_text, errors="strict")
        except UnicodeDecodeError:
            raise _bad_tagging() from None
        if name in tags:
            raise _bad_tagging()
        tags[name] = text
    check_tags(tags)
    return tags


def _bad_tagging() -> S3Error:
    return S3Error(
        "InvalidArgument",
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
        "parameters without tag name duplicates.",
        ArgumentName="x-amz-tagging",
    )


def check_tags(tags: Mapping[str, str], tags_max: int = limits.OBJECT_TAGS_MAX) -> None:
    """Amazon's rules for tags. Raises BadRequest for too many, InvalidTag."""
    if len(tags) > tags_max:
        raise S3Error("BadRequest", f"Object tags cannot be greater than {tags_max}")
    for name, value in tags.items():
        if not 1 <= len(name) <= limits.TAG_KEY_CHARS_MAX or not _is_tag_text(name):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=name)
        if len(value) > limits.TAG_VALUE_CHARS_MAX or not _is_tag_text(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", TagKey=name)
        if name.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester")


def _is_tag_text(text: str) -> bool:
    return all(each.isalnum() or each in _SYMBOLS or each.isspace() for each in text)


# --- out ---


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """Epoch seconds as HTTP prints them: Sun, 06 Nov 1994 08:49:37 GMT."""
    year, month, day, hour, minute, second, weekday, *_ = gmtime(seconds)
    date = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month]} {year:04}"
    return f"{date} {hour:02}:{minute:02}:{second:02} GMT"


def printed(value: str) -> str:
    """A stored value as a header value: ASCII as it is, else an RFC 2047 word."""
    return value if value.isascii() else f"=?UTF-8?B?{b64encode(value.encode()).decode()}?="


def object_headers(record: ObjectRecord, length: int) -> HeaderList:
    """The headers that GET and HEAD of an object share, but for its version id.

    `length` bytes of body follow.
    """
    found = [
        ("last-modified", http_date(record.version // 1_000_000_000)),
        ("etag", f'"{record.etag}"'),
        ("content-type", record.content_type),
        ("content-length", str(length)),
        ("accept-ranges", "bytes"),
    ]
    if not record.content_type.isascii():
        found[2] = ("content-type", printed(record.content_type))
    if record.headers:
        found += [(name, printed(value)) for name, value in record.headers.items()]
    if record.metadata:
        found += [
            (META + name, value if value.isascii() else printed(value))
            for name, value in record.metadata.items()
        ]
    if record.tags:
        found.append(("x-amz-tagging-count", str(len(record.tags))))
    if record.storage_class != "STANDARD":
        found.append(("x-amz-storage-class", record.storage_class))
    if record.acl:
        found.append(("x-amz-acl", record.acl))
    return found


def apply_overrides(headers: HeaderList, params: Mapping[str, str], *, is_signed: bool) -> None:
    """response-* parameters of a GET, in place. Raises InvalidRequest for anonymous callers."""
    for param, name in OVERRIDES.items():
        value = params.get(param)
        if value is None:
            continue
        if not is_signed:
            raise S3Error(
                "InvalidRequest",
                "Request specific response headers cannot be used for anonymous GET requests.",
            )
        value = printed(checked(param, value))
        headers[:] = [pair for pair in headers if pair[0] != name]
        headers.append((name, value))


def checksum_mode(headers: Mapping[str, str], checksums: Sequence[Checksum]) -> HeaderList:
    """The stored checksums, if the request asks for them."""
    if headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        return checksum_headers(checksums)
    return []
