"""What may be the name of a bucket and the key of an object."""

from __future__ import annotations

import ipaddress

from amur.limits import BUCKET_NAME_BYTES_MAX, KEY_BYTES_MAX
from amur.objects.errors import InvalidArgument, InvalidBucketName, KeyTooLong

BUCKET_NAME_BYTES_MIN = 3

_EDGE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_INNER = _EDGE | frozenset(".-")


def check_bucket_name(name: str) -> None:
    """Amazon's rules for new buckets (tigris-facts 4.8). Raises InvalidBucketName."""
    good = (
        BUCKET_NAME_BYTES_MIN <= len(name) <= BUCKET_NAME_BYTES_MAX
        and _INNER.issuperset(name)
        and name[0] in _EDGE
        and name[-1] in _EDGE
        and ".." not in name
        and not name.startswith("xn--")
        and not name.endswith("-s3alias")
        and not _is_address(name)
    )
    if not good:
        raise InvalidBucketName("The specified bucket is not valid.", BucketName=name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        # "300.1.2.3" is not an address, but Amazon refuses whatever is formatted as one
        parts = name.split(".")
        return len(parts) == 4 and all(part.isdigit() for part in parts)
    return True


def key_bytes(key: str) -> bytes:
    """The key in UTF-8. Raises KeyTooLong, and InvalidArgument when empty or not encodable."""
    raw = text_bytes(key)
    if len(raw) > KEY_BYTES_MAX:
        raise KeyTooLong(MaxSizeAllowed=str(KEY_BYTES_MAX), Size=str(len(raw)))
    if not raw:
        raise InvalidArgument("An object key must not be empty")
    return raw


def text_bytes(text: str) -> bytes:
    """UTF-8 of a key, prefix, marker or delimiter of any length."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("Not encodable in UTF-8") from None


def version_number(version_id: str) -> int | None:
    """A version id as number; None for "null". Raises InvalidArgument for anything else."""
    if version_id == "null":
        return None
    if version_id.isascii() and version_id.isdigit() and len(version_id) <= 20:
        number = int(version_id)
        if 0 < number < 2**64:
            return number
    raise InvalidArgument("Invalid version id specified", ArgumentValue=version_id)
