"""What a copy reads from, as the header x-amz-copy-source says it."""

from __future__ import annotations

from urllib.parse import unquote

from amur.gateway.errors import S3Error

Source = tuple[str, str, str]


def parse_copy_source(value: str) -> Source:
    """x-amz-copy-source: [/]bucket/key[?versionId=id], percent-encoded, as its three parts.

    Decoded once, here; what comes out is what is authorised and what is read. A `+` is a plus.
    Raises InvalidArgument.
    """
    path, _, version_id = value.partition("?versionId=")
    try:
        bucket, _, key = unquote(path, errors="strict").removeprefix("/").partition("/")
        version_id = unquote(version_id, errors="strict")
    except UnicodeDecodeError:
        raise _bad_source(value, "The copy source is not UTF-8.") from None
    if not bucket or not key or "\0" in bucket or "\0" in key:
        raise _bad_source(
            value, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        )
    if "?versionId=" in value and not version_id:
        raise _bad_source(value, "Version id cannot be the empty string")
    return bucket, key, version_id


def _bad_source(value: str, message: str) -> S3Error:
    return S3Error(
        "InvalidArgument", message, ArgumentName="x-amz-copy-source", ArgumentValue=value
    )
