"""Range headers: what is a range, what is ignored, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.gateway.errors import S3Error
from amur.gateway.ranges import content_range, parse_copy_range, parse_range
from amur.objects.types import ByteRange


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-4", ByteRange(0, 4)),
        ("bytes=7-", ByteRange(7, None)),
        ("bytes=-3", ByteRange(None, 3)),
        ("bytes=-0", ByteRange(None, 0)),
        ("Bytes = 1-2", ByteRange(1, 2)),
        ("bytes=5-5", ByteRange(5, 5)),
        ("bytes=9999999999999999999-", ByteRange(9_999_999_999_999_999_999, None)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("", None),
        ("bytes=0-1,4-5", None),
        ("bytes=a-b", None),
        ("bytes=1-b", None),
        ("bytes=--1", None),
        ("bytes=+1-2", None),
        ("bytes=1_0-20", None),
        ("bytes=\u0661-\u0662", None),
        ("items=0-4", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_parse_range(value: str, expected: ByteRange | None) -> None:
    assert parse_range(value) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_none(text: str) -> None:
    for value in (text, "bytes=" + text):
        found = parse_range(value)
        if found is not None and found.first is not None and found.last is not None:
            assert 0 <= found.first <= found.last


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_ranges_read_back(first: int, length: int) -> None:
    last = first + length
    assert parse_range(f"bytes={first}-{last}") == ByteRange(first, last)
    assert parse_copy_range(f"bytes={first}-{last}") == ByteRange(first, last)


@pytest.mark.parametrize(
    "value",
    ["bytes=0-", "bytes=-5", "0-5", "bytes 0-5", "bytes=5-4", "bytes=0-1,2-3", "bytes=0-x", ""],
)
def test_a_copy_range_is_strict(value: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_copy_range(value)
    assert caught.value.code == "InvalidArgument"


def test_content_range() -> None:
    assert content_range(2, 6, 10) == "bytes 2-5/10"
