"""Numbers, times, addresses and ARNs from text; None for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.iam.policy import values

BILLION = 1_000_000_000


@pytest.mark.parametrize("text", ["0", "-1", "+5", "1.5", "999999999999999999", "0.000001"])
def test_numbers(text: str) -> None:
    assert values.number(text) is not None
    assert values.number("1.50") == values.number("1.5")


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1e3", "nan", "inf", "0x10", "1_000", ".5", "5.", "\u0661", "1" * 19, "--1"],
)
def test_no_numbers(text: str) -> None:
    assert values.number(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00-0130", 5400),
        ("1970-01-01T00:01Z", 60),
        ("1970-01-01T00:00:01", 1),
        ("2025-07-01T00:00:00Z", 1751328000),
        ("1751328000", 1751328000),
        ("1969-12-31T23:59:59Z", -1),
        ("2024-02-29T00:00:00Z", 1709164800),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert values.instant(text) == seconds * BILLION


def test_fractions_of_a_second() -> None:
    assert values.instant("1970-01-01T00:00:00.5Z") == BILLION // 2
    assert values.instant("1970-01-01T00:00:00.000000001Z") == 1
    assert values.instant("0.25") == BILLION // 4


@pytest.mark.parametrize(
    "text",
    ["", "now", "2025-13-01", "2025-02-30", "2025-07-01T24:00:00Z", "2025-07-01T00:60Z",
     "2025-07-01 00:00:00", "2025-07-01T00:00:00z", "2025-07-01T00:00:00+25:00", "1e9",
     "0000-01-01", "\u0662025-07-01", "2025-07-01T00:00:00Z\n", "2025-07-01Z"],
)  # fmt: skip
def test_no_times(text: str) -> None:
    assert values.instant(text) is None


@given(st.datetimes())
def test_times_of_people_come_back(at: object) -> None:
    text = f"{at:%Y-%m-%dT%H:%M:%S}Z".rjust(20, "0")
    found = values.instant(text)
    assert found is not None
    assert values.iso(found).rjust(20, "0") == text


def test_a_time_that_no_calendar_has() -> None:
    assert "9999" in values.iso(10**30)


@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("203.0.113.0/24", "203.0.113.9", True),
        ("203.0.113.0/24", "203.0.114.1", False),
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7/24", "203.0.113.9", True),
        ("0.0.0.0/0", "203.0.113.7", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "203.0.113.7", False),
        ("2001:db8::/32", "2001:db8:1::1", True),
        ("2001:DB8::/32", "2001:0db8:0001::1", True),
        ("203.0.113.0/24", "::ffff:203.0.113.9", True),
        ("::ffff:203.0.113.0/120", "203.0.113.9", True),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("::ffff:0:0/96", "203.0.113.9", True),
    ],
)
def test_networks(text: str, address: str, expected: bool) -> None:
    network, known = values.network(text), values.address(address)
    assert network is not None
    assert known is not None
    assert network.holds(known) is expected


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.0/33", "10.0.0.256", "::/129", "host", "fe80::1%eth0", "10.*"]
)
def test_no_networks(text: str) -> None:
    assert values.network(text) is None


@pytest.mark.parametrize("text", ["", "10.0.0.0/8", "unix:", "10.0.0.1:80", "010.0.0.1"])
def test_no_addresses(text: str) -> None:
    assert values.address(text) is None


def test_truth_and_arns() -> None:
    assert (values.truth("True"), values.truth("FALSE"), values.truth("1")) == (True, False, None)
    assert values.arn_parts("arn:aws:s3:::b/k:l") == ["arn", "aws", "s3", "", "", "b/k:l"]
    assert values.arn_parts("arn:aws:s3") is None
    assert values.arn_parts("x:aws:s3:::b") is None
