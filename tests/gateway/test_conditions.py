"""Conditional headers, as the many clients spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.gateway.conditions import (
    delete_conditions,
    etag_of,
    etags,
    parse_date,
    parse_size,
    read_conditions,
)
from amur.gateway.errors import S3Error
from amur.gateway.headers import http_date
from amur.objects.types import Conditions

NOVEMBER = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"abc"', ["abc"]),
        ("abc", ["abc"]),
        ('W/"abc"', ["abc"]),
        ('w/"abc"', ["abc"]),
        ("*", ["*"]),
        ('"*"', ["*"]),
        ('"a", "b-2",c', ["a", "b-2", "c"]),
        ('""', [""]),
        ("", [""]),
        ('"', ['"']),
    ],
)
def test_etags(value: str, expected: list[str]) -> None:
    assert etags(value) == expected


def test_one_etag() -> None:
    assert etag_of(' "a" ') == "a"


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 utc",
        "Sun, 06 Nov 1994 08:49:37 Z",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 November 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 09:49:37 +0100",
        "Sun, 06 Nov 1994 00:49:37 -0800",
        "Sun, 06 Nov 1994 01:49:37 MST",
        "Sun, 06 Nov 1994 08:49:37 ZONE",
        "1994-11-06T08:49:37Z",
        "1994-11-06T08:49:37.000Z",
        "1994-11-06T08:49:37",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
    ],
)
def test_dates(value: str) -> None:
    assert parse_date(value) == NOVEMBER


@pytest.mark.parametrize(
    "value",
    [
        "", "yesterday", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Nov 1994 25:00:00 GMT",
        "Sun,", ",", "0T", "9" * 60 + "T", "a" * 5000,
        "Sun Nov  6 08:49:37",
    ],
)  # fmt: skip
def test_no_dates(value: str) -> None:
    assert parse_date(value) is None


@given(st.integers(0, 4_102_444_800))
def test_dates_read_back(seconds: int) -> None:
    assert parse_date(http_date(seconds)) == seconds


@given(st.text(max_size=80))
def test_any_text_is_a_date_or_none(text: str) -> None:
    for value in (text, "Sun, " + text, "1" + text):
        found = parse_date(value)
        assert found is None or isinstance(found, int)


def test_no_conditions() -> None:
    assert read_conditions({"etag": "x"}) is None
    assert delete_conditions({}) is None


def test_read_conditions() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    headers = {
        "if-match": '"a"',
        "if-none-match": "*",
        "if-modified-since": date,
        "if-unmodified-since": date,
    }
    expected = Conditions(["a"], ["*"], NOVEMBER, NOVEMBER)
    assert read_conditions(headers) == expected
    source = {"x-amz-copy-source-" + name: value for name, value in headers.items()}
    assert read_conditions(source) is None
    assert read_conditions(source, "x-amz-copy-source-") == expected


def test_an_unreadable_date_is_no_condition() -> None:
    assert read_conditions({"if-modified-since": "soon"}) == Conditions()


def test_delete_conditions() -> None:
    found = delete_conditions(
        {
            "if-match": '"a"',
            "x-amz-if-match-size": " 12 ",
            "x-amz-if-match-last-modified-time": "Sun, 06 Nov 1994 08:49:37 GMT",
        }
    )
    assert found == Conditions(if_match=["a"], if_match_size=12, if_match_modified=NOVEMBER)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-if-match-size", "-1"),
        ("x-amz-if-match-size", "many"),
        ("x-amz-if-match-size", ""),
        ("x-amz-if-match-size", "9" * 5000),
        ("x-amz-if-match-last-modified-time", "soon"),
    ],
)
def test_an_unreadable_guard_never_deletes(name: str, value: str) -> None:
    with pytest.raises(S3Error) as caught:
        delete_conditions({name: value})
    assert caught.value.code == "InvalidArgument"


def test_sizes() -> None:
    assert parse_size("0") == 0
    assert parse_size("\u0661") is None
