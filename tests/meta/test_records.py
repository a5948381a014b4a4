"""The record format: what was written once stays readable, what is damaged is refused."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.meta import records
from amur.meta.records import (
    VERSION_STAMP,
    BucketRecord,
    Checksum,
    CorsRule,
    Extent,
    GarbageRecord,
    ObjectRecord,
    PartRecord,
    RecordDamaged,
    TombstoneRecord,
    UploadRecord,
    decode,
    encode,
    inline_body,
)

KINDS = [ObjectRecord, BucketRecord, UploadRecord, PartRecord, GarbageRecord, TombstoneRecord]

FULL = ObjectRecord(
    version=1_700_000_000_000_000_007,
    size=5,
    etag="d41d8cd98f00b204e9800998ecf8427e-3",
    content_type="text/plain",
    headers={"cache-control": "no-store"},
    metadata={"a": "é"},
    tags={"k": "v"},
    acl="public-read",
    owner="o",
    storage_class="GLACIER",
    checksums=[Checksum("CRC64NVME", "AAAAAAAAAAA=", "COMPOSITE")],
    is_marker=True,
    is_null=False,
    region="fra",
    regions="fra,sjc",
    placement=["fra"],
    extents=[Extent(bytes(16), 2**40, 2**33)],
    manifest=bytes(range(16)),
    part_count=3,
    is_inline=True,
    holdings={"fra": 6},
    home="sjc",
    home_epoch=1,
    tags_at=1_700_000_000_000_000_008,
    acl_at=1_700_000_000_000_000_009,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{k: values(v) for k, v in get_type_hints(kind).items()})
    arguments = get_args(kind)
    if get_origin(kind) is list:
        return st.lists(values(arguments[0]), max_size=3)
    if get_origin(kind) is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if arguments:
        return st.one_of(*map(values, arguments))
    return st.integers(0, 2**63) if kind is int else st.from_type(kind)


@given(st.one_of(*map(values, KINDS)), st.binary(max_size=50))
def test_records_come_back_as_they_were(record: Any, inline: bytes) -> None:
    stored = encode(record, inline)
    assert decode(stored, type(record)) == record
    assert decode(memoryview(stored), type(record)) == record
    assert inline_body(stored) == inline


def test_every_field_of_an_object_is_stored() -> None:
    default = ObjectRecord()
    for field in ObjectRecord.__struct_fields__:
        assert getattr(FULL, field) != getattr(default, field), field
    assert decode(encode(FULL, b"hello"), ObjectRecord) == FULL


def test_a_stamp_in_the_stored_form_is_the_version() -> None:
    stored = bytearray(encode(ObjectRecord(size=1), b"x"))
    stored[VERSION_STAMP : VERSION_STAMP + 8] = (77).to_bytes(8, "big")
    assert decode(bytes(stored), ObjectRecord).version == 77


def fields_of(record: Any) -> list[Any]:
    fields: list[Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(record))
    return fields


@pytest.mark.parametrize("kind", KINDS)
def test_shorter_records_of_older_releases_decode(kind: type[Any]) -> None:
    """A field that a record was written without has its default."""
    fields = fields_of(kind())
    for length in range(len(fields)):
        head = msgspec.msgpack.encode(fields[:length])
        stored = b"\x01" + bytes(8) + len(head).to_bytes(4, "big") + head
        assert decode(stored, kind) == kind()


def test_longer_records_of_newer_releases_decode() -> None:
    head = msgspec.msgpack.encode([*fields_of(GarbageRecord()), "new"])
    stored = b"\x01" + bytes(8) + len(head).to_bytes(4, "big") + head
    assert decode(stored, GarbageRecord) == GarbageRecord()


FIRST_RELEASE = bytes.fromhex("0117979cfe362a00070000001493cf17979cfe362a00079193c401660203c4016d")
"""A garbage record as the first release stored it: fixed bytes, never to be changed."""


def test_a_record_of_the_first_release_decodes() -> None:
    record = decode(FIRST_RELEASE, GarbageRecord)
    assert record == GarbageRecord(1_700_000_000_000_000_007, [Extent(b"f", 2, 3)], b"m")


@pytest.mark.parametrize("number", [0, 2, 255])
def test_an_unknown_format_is_refused_by_name(number: int) -> None:
    stored = bytes([number]) + encode(FULL)[1:]
    with pytest.raises(RecordDamaged, match=f"format {number}, this Amur reads {records.FORMAT}"):
        decode(stored, ObjectRecord)


def test_damage_is_refused_or_decodes_but_never_anything_else() -> None:
    stored = encode(FULL)
    for length in range(13, len(stored)):
        with pytest.raises(RecordDamaged):
            decode(stored[:length], ObjectRecord)
    for at in range(len(stored)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(stored)
            changed[at] ^= flip
            try:
                decode(bytes(changed), ObjectRecord)
            except RecordDamaged:
                continue


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(RecordDamaged):
        decode(encode(BucketRecord(id=b"12345678", name="n")), ObjectRecord)


def test_version_ids_and_times() -> None:
    assert FULL.version_id() == "1700000000000000007"
    assert ObjectRecord(version=5).version_id() == "null"
    assert FULL.modified_s() == 1_700_000_000


def test_cors_rules_of_a_bucket_come_back() -> None:
    rule = CorsRule("id", ["https://*.example"], ["GET"], ["*"], ["etag"], 30)
    bucket = BucketRecord(id=b"12345678", name="b", cors=[rule])
    assert decode(encode(bucket), BucketRecord) == bucket
