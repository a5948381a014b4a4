"""The key layout: every table of the metadata, so that byte order is list order.

First byte: the table. Bucket ids are 8 bytes, file, upload and manifest ids 16, versions 8
(inverted where newest comes first), part numbers 2, offsets 8: fixed widths need no separator.
An object key that something follows is escaped (NUL becomes NUL 0xff) and ended by NUL NUL,
which keeps the order of the raw bytes.

    B name                           bucket record
    O bucket key                     newest version of a key, when it is an object
    D bucket key                     newest version of a key, when it is a delete marker
    V bucket esc(key) ~version       older versions and markers
    U bucket esc(key) upload         multipart upload in progress
    P upload number                  part of an upload in progress
    M manifest offset                part of a completed object, by its first byte's offset
    R file offset owner-key          reference: the record at owner-key uses these bytes;
                                     a manifest is referenced as (manifest id, 0)
    G ~version n                     garbage: what lost its reference in that commit
    X ~version n                     doomed: nothing referred to it any more at that commit
    L version n                      replication log: the name of what was changed there
    T bucket esc(key) 0              tombstone of the null version: those up to its version are dead
    T bucket esc(key) 1 version      tombstone of a version
    Z name                           tombstone of a bucket
    C bucket esc(key) version n      pulled chunk n of a large body
    W bucket esc(key) version        wanted: a body that this region shall have
    K queue ~version n               kept: bytes pulled from another region, as they may go again
    A bucket esc(key) version        accesses: how often and when a version was read here
    Q key                            quarantine: a record given up as lost, from where it stood
    N bucket esc(key) version        promise: a body that is kept until its home says otherwise
    I path                           entry: of organizations, access keys, policies and the like
    J index path                     index: the entry at the path says that it is found here
    S name                           singletons: store identity, job states, format

Exactly one of O and D exists for a key that has any version; both are named in the expectations
of a commit that changes which version is newest.
"""

from __future__ import annotations

from amur.meta.stamping import VERSION_MAX, inverted_bytes, version_bytes

BUCKETS = b"B"
OBJECTS = b"O"
MARKERS = b"D"
VERSIONS = b"V"
UPLOADS = b"U"
PARTS = b"P"
MANIFESTS = b"M"
REFERENCES = b"R"
GARBAGE = b"G"
DOOMED = b"X"
LOG = b"L"
TOMBSTONES = b"T"
BUCKET_TOMBSTONES = b"Z"
CHUNKS = b"C"
WANTED = b"W"
PROMISES = b"N"
KEPT = b"K"
ACCESSES = b"A"
ENTRIES = b"I"
ENTRY_INDEX = b"J"
SINGLETONS = b"S"
QUARANTINE = b"Q"

BUCKET_ID_BYTES = 8
ENTRIES_ID = b"\xff" * BUCKET_ID_BYTES
"""Stands for a bucket's id where entries are told of among versions (log, items, digests)."""
ID_BYTES = 16
OBJECT_PREFIX_BYTES = 1 + BUCKET_ID_BYTES
_END = b"\x00\x00"


def escaped(key: bytes) -> bytes:
    """The key with its terminator, in the same order as the raw key."""
    return key.replace(b"\x00", b"\x00\xff") + _END


def escaped_prefix(prefix: bytes) -> bytes:
    """What every escaped key that begins with `prefix` begins with."""
    return prefix.replace(b"\x00", b"\x00\xff")


def unescaped(data: bytes) -> tuple[bytes, bytes]:
    """Split what `escaped` began: the raw key and what follows the terminator."""
    at = data.index(0)
    while data[at + 1] == 0xFF:
        at = data.index(0, at + 2)
    return data[:at].replace(b"\x00\xff", b"\x00"), data[at + 2 :]


def bucket_key(name: str) -> bytes:
    return BUCKETS + name.encode()


def object_key(bucket_id: bytes, key: bytes) -> bytes:
    return OBJECTS + bucket_id + key


def marker_key(bucket_id: bytes, key: bytes) -> bytes:
    return MARKERS + bucket_id + key


def versions_prefix(bucket_id: bytes, key: bytes) -> bytes:
    return VERSIONS + bucket_id + escaped(key)


def version_key(bucket_id: bytes, key: bytes, version: int) -> bytes:
    return versions_prefix(bucket_id, key) + inverted_bytes(version)


def split_version(key: bytes) -> tuple[bytes, int]:
    """Bucket id and raw key, and the version, of a key in V."""
    raw, version = unescaped(key[OBJECT_PREFIX_BYTES:])
    return key[1:OBJECT_PREFIX_BYTES] + raw, VERSION_MAX - int.from_bytes(version, "big")


def owner_name(at: bytes) -> tuple[bytes, bytes]:
    """Bucket id and raw key of a key in O, D or V."""
    if at.startswith(VERSIONS):
        return at[1:OBJECT_PREFIX_BYTES], unescaped(at[OBJECT_PREFIX_BYTES:])[0]
    return at[1:OBJECT_PREFIX_BYTES], at[OBJECT_PREFIX_BYTES:]


def upload_key(bucket_id: bytes, key: bytes, upload_id: bytes) -> bytes:
    return UPLOADS + bucket_id + escaped(key) + upload_id


def part_key(upload_id: bytes, number: int) -> bytes:
    return PARTS + upload_id + number.to_bytes(2, "big")


def manifest_key(manifest_id: bytes, offset: int) -> bytes:
    return MANIFESTS + manifest_id + offset.to_bytes(8, "big")


def reference_prefix(file_id: bytes, offset: int) -> bytes:
    return REFERENCES + file_id + offset.to_bytes(8, "big")


def reference_key(file_id: bytes, offset: int, owner: bytes) -> bytes:
    return reference_prefix(file_id, offset) + owner


def split_reference(key: bytes) -> tuple[bytes, int, bytes]:
    """File (or manifest) id, offset and owner key of a reference."""
    return key[1:17], int.from_bytes(key[17:25], "big"), key[25:]


def garbage_key(sequence: int) -> bytes:
    """To be stamped at `GARBAGE_STAMP`; `sequence` tells apart entries of one commit."""
    return GARBAGE + bytes(8) + sequence.to_bytes(2, "big")


def doomed_key(sequence: int) -> bytes:
    """As `garbage_key`."""
    return DOOMED + bytes(8) + sequence.to_bytes(2, "big")


GARBAGE_STAMP = 1


def log_key(version: int, sequence: int) -> bytes:
    return LOG + version_bytes(version) + sequence.to_bytes(2, "big")


def singleton_key(name: str) -> bytes:
    return SINGLETONS + name.encode()


def entry_key(path: bytes) -> bytes:
    return ENTRIES + path


def entry_index_prefix(index: bytes) -> bytes:
    """What the places of an index value begin with; values are escaped, so none is in another."""
    return ENTRY_INDEX + escaped(index)


def entry_index_key(index: bytes, path: bytes) -> bytes:
    return entry_index_prefix(index) + path


def tombstone_key(bucket_id: bytes, key: bytes, version: int | None) -> bytes:
    """Of a version; of the null version with None."""
    base = TOMBSTONES + bucket_id + escaped(key)
    return base + b"\x00" if version is None else base + b"\x01" + version_bytes(version)


def split_tombstone(at: bytes) -> tuple[bytes, bytes, int | None]:
    """Bucket id, raw key, and the version (None: the null version) of a key in T."""
    raw, rest = unescaped(at[OBJECT_PREFIX_BYTES:])
    version = int.from_bytes(rest[1:], "big") if rest[:1] == b"\x01" else None
    return at[1:OBJECT_PREFIX_BYTES], raw, version


def bucket_tombstone_key(name: str) -> bytes:
    return BUCKET_TOMBSTONES + name.encode()


def chunks_prefix(bucket_id: bytes, key: bytes, version: int) -> bytes:
    return CHUNKS + bucket_id + escaped(key) + version_bytes(version)


def chunk_key(bucket_id: bytes, key: bytes, version: int, number: int) -> bytes:
    return chunks_prefix(bucket_id, key, version) + number.to_bytes(4, "big")


def split_chunk(at: bytes) -> tuple[bytes, bytes, int, int]:
    """Bucket id, raw key, version and chunk number of a key in C."""
    raw, rest = unescaped(at[OBJECT_PREFIX_BYTES:])
    return (
        at[1:OBJECT_PREFIX_BYTES],
        raw,
        int.from_bytes(rest[:8], "big"),
        int.from_bytes(rest[8:], "big"),
    )


def wanted_key(bucket_id: bytes, key: bytes, version: int) -> bytes:
    return WANTED + bucket_id + escaped(key) + version_bytes(version)


def split_named(at: bytes) -> tuple[bytes, bytes, int]:
    """Bucket id, raw key and version of a key in W, A or N."""
    raw, rest = unescaped(at[OBJECT_PREFIX_BYTES:])
    return at[1:OBJECT_PREFIX_BYTES], raw, int.from_bytes(rest, "big")


def kept_key(queue: bytes, sequence: int) -> bytes:
    """To be stamped at `KEPT_STAMP`; `queue` is one byte, `sequence` as of `garbage_key`."""
    return KEPT + queue + bytes(8) + sequence.to_bytes(2, "big")


KEPT_STAMP = 2


def kept_version(at: bytes) -> int:
    """Version of the commit that put a key in K."""
    return VERSION_MAX - int.from_bytes(at[KEPT_STAMP : KEPT_STAMP + 8], "big")


def access_key(bucket_id: bytes, key: bytes, version: int) -> bytes:
    return ACCESSES + bucket_id + escaped(key) + version_bytes(version)


def promise_key(bucket_id: bytes, key: bytes, version: int) -> bytes:
    return PROMISES + bucket_id + escaped(key) + version_bytes(version)
