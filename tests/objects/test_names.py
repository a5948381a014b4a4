from __future__ import annotations

import pytest

from amur.objects.errors import InvalidArgument, InvalidBucketName, KeyTooLong
from amur.objects.names import check_bucket_name, key_bytes, version_number


@pytest.mark.parametrize("name", ["abc", "a-b.c", "0ab", "a" * 63, "1.2.3", "a--b", "a.b-c9"])
def test_good_bucket_names(name: str) -> None:
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "ab", "a" * 64, "Abc", "a_b", "-abc", "abc-", ".abc", "abc.", "a..b", "1.2.3.4",
        "300.1.2.3", "xn--abc", "abc-s3alias", "aéb", "a b", "a/b", "a\x00b", "²ab",
    ],
)  # fmt: skip
def test_bad_bucket_names(name: str) -> None:
    with pytest.raises(InvalidBucketName):
        check_bucket_name(name)


def test_keys() -> None:
    assert key_bytes("é/\x00") == b"\xc3\xa9/\x00"
    assert len(key_bytes("é" * 512)) == 1024
    with pytest.raises(KeyTooLong):
        key_bytes("é" * 513)
    with pytest.raises(KeyTooLong):
        key_bytes("a" * 1025)
    for bad in ("", "\ud800", "a\udfff"):
        with pytest.raises(InvalidArgument):
            key_bytes(bad)


def test_version_ids() -> None:
    assert version_number("null") is None
    assert version_number("1700000000000000000") == 1_700_000_000_000_000_000
    for bad in ("", "0", "-1", "x", "1.5", "²", "٣", "1 ", "NULL", str(2**64), "9" * 30):
        with pytest.raises(InvalidArgument):
            version_number(bad)
