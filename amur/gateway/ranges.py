"""The Range header (RFC 9110 section 14) as S3 reads it: one range of bytes, or none at all."""

from __future__ import annotations

from amur.gateway.errors import S3Error
from amur.objects.store import ByteRange

_DIGITS_MAX = 19  # positions above 10**19 are no position in any object


def _number(text: str) -> int | None:
    if len(text) <= _DIGITS_MAX and text.isascii() and text.isdigit():
        return int(text)
    return None


def parse_range(value: str) -> ByteRange | None:
    """The one range of a Range header; None (so: the whole object) when malformed or several."""
    unit, _, spec = value.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    left, dash, right = spec.strip().partition("-")
    if not dash:
        return None
    first, last = _number(left), _number(right)
    if (first is None and left) or (last is None and right):
        return None
    if first is None:
        return None if last is None else ByteRange(None, last)
    if last is not None and last < first:
        return None
    return ByteRange(first, last)


def parse_copy_range(value: str) -> ByteRange:
    """x-amz-copy-source-range: only `bytes=first-last`. Raises InvalidArgument."""
    found = parse_range(value) if value.startswith("bytes=") else None
    if found is None or found.first is None or found.last is None:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value,
        )
    return found


def content_range(start: int, end: int, size: int) -> str:
    """Content-Range of bytes [start, end) of an object of `size` bytes."""
    return f"bytes {start}-{end - 1}/{size}"
