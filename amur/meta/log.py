"""Names of what was changed: the values of the replication log (table L), a few bytes each.

n bucket key            the null version of a key
v bucket version key    a version; version 0 is the one that the log entry's own commit made
b name                  a bucket's record or tombstone
e path                  an entry
"""

from __future__ import annotations

from typing import NamedTuple

from amur.meta.keys import BUCKET_ID_BYTES, ENTRIES_ID
from amur.meta.records import ObjectRecord

_NULL = b"n"
_VERSION = b"v"
_BUCKET = b"b"
_ENTRY = b"e"


class Changed(NamedTuple):
    """`bucket` is an id; of a bucket itself it is empty and `key` is the name; of an entry it is
    ENTRIES_ID and `key` the path.

    `version` is None of a null version.
    """

    bucket: bytes
    key: bytes
    version: int | None


def null_name(bucket_id: bytes, key: bytes) -> bytes:
    return _NULL + bucket_id + key


def version_name(bucket_id: bytes, key: bytes, version: int = 0) -> bytes:
    return _VERSION + bucket_id + version.to_bytes(8, "big") + key


def record_name(bucket_id: bytes, key: bytes, record: ObjectRecord) -> bytes:
    """The name of a record's version; to be stamped ones (version 0) get the commit's."""
    if record.is_null:
        return null_name(bucket_id, key)
    return version_name(bucket_id, key, record.version)


def bucket_name(name: str) -> bytes:
    return _BUCKET + name.encode()


def entry_name(path: bytes) -> bytes:
    return _ENTRY + path


def parse(value: bytes, log_version: int) -> Changed:
    """What a log value of the commit `log_version` names."""
    kind, at = value[:1], 1 + BUCKET_ID_BYTES
    if kind == _NULL:
        return Changed(value[1:at], value[at:], None)
    if kind == _VERSION:
        version = int.from_bytes(value[at : at + 8], "big") or log_version
        return Changed(value[1:at], value[at + 8 :], version)
    if kind == _ENTRY:
        return Changed(ENTRIES_ID, value[1:], None)
    assert kind == _BUCKET, "a log value of a kind that this Amur does not know"
    return Changed(b"", value[1:], None)
