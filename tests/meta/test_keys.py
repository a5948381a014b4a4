"""The key layout keeps the order of what it encodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.limits import KEY_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.stamping import VERSION_MAX

BUCKET = bytes(range(8))
raw_keys = st.lists(
    st.sampled_from([b"\x00", b"\x01", b"\xff", b"a", b"\x00\xff"]), max_size=8
).map(b"".join) | st.binary(max_size=40)
versions = st.integers(0, VERSION_MAX)


@given(raw_keys, raw_keys)
def test_escaping_keeps_the_order(one: bytes, other: bytes) -> None:
    assert (keys.escaped(one) < keys.escaped(other)) == (one < other)


@given(raw_keys, raw_keys, st.binary(max_size=20), st.binary(max_size=20))
def test_what_follows_never_matters_before_the_key(
    one: bytes, other: bytes, left: bytes, right: bytes
) -> None:
    if one != other:
        assert (keys.escaped(one) + left < keys.escaped(other) + right) == (one < other)


@given(raw_keys, st.binary(max_size=20))
def test_unescaping_is_the_inverse(key: bytes, rest: bytes) -> None:
    assert keys.unescaped(keys.escaped(key) + rest) == (key, rest)


@given(raw_keys, raw_keys)
def test_object_and_marker_keys_sort_as_the_keys_do(one: bytes, other: bytes) -> None:
    for layout in (keys.object_key, keys.marker_key):
        assert (layout(BUCKET, one) < layout(BUCKET, other)) == (one < other)


@given(raw_keys, raw_keys, versions, versions)
def test_versions_sort_by_key_and_then_newest_first(
    one: bytes, other: bytes, first: int, second: int
) -> None:
    left, right = keys.version_key(BUCKET, one, first), keys.version_key(BUCKET, other, second)
    assert (left < right) == ((one, -first) < (other, -second))
    assert left.startswith(keys.versions_prefix(BUCKET, one))
    if one != other:
        assert not left.startswith(keys.versions_prefix(BUCKET, other))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), st.binary(max_size=60))
def test_a_reference_splits_into_its_parts(file: bytes, offset: int, owner: bytes) -> None:
    assert keys.split_reference(keys.reference_key(file, offset, owner)) == (file, offset, owner)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_offsets_numbers_and_log_sort_by_value(one: int, other: int) -> None:
    assert (keys.manifest_key(bytes(16), one) < keys.manifest_key(bytes(16), other)) == (
        one < other
    )
    assert (keys.log_key(one, 5) < keys.log_key(other, 3)) == (one < other)
    low, high = sorted((one & 0xFFFF, other & 0xFFFF))
    assert keys.part_key(bytes(16), low) <= keys.part_key(bytes(16), high)
    assert keys.garbage_key(low) <= keys.garbage_key(high)


def test_tables_do_not_overlap() -> None:
    named = {name: value for name, value in vars(keys).items() if name.isupper()}
    assert len(named.pop("ENTRIES_ID")) == keys.BUCKET_ID_BYTES  # no table
    tables = [value for name, value in named.items() if name[0] != "_"]
    prefixes = [value for value in tables if isinstance(value, bytes)]
    assert len(prefixes) == len(set(prefixes)) >= 11
    assert {len(prefix) for prefix in prefixes} == {1}


def test_the_longest_keys_fit_the_engine() -> None:
    worst = bytes(KEY_BYTES_MAX)  # every NUL is escaped to two bytes
    upload = keys.upload_key(BUCKET, worst, bytes(16))
    assert len(keys.reference_key(bytes(16), 0, upload)) <= 2200


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"\x00", b"\x01"), (b"a\xfe\xff\xff", b"a\xff")],
)
def test_prefix_end_is_the_least_key_behind_the_prefix(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end
    assert prefix + b"\xff" * 9 < end
