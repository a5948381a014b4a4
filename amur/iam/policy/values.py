"""Text of policies and requests as numbers, times, addresses and ARNs. None for what is none."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:(Z)|([+-])(\d\d):?(\d\d))?)?",
    re.ASCII,
)
_EPOCH = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
_BILLION = 1_000_000_000
_CACHED = 1024  # addresses and times of recent requests and of all policies

ARN_PARTS = 6  # arn:partition:service:region:account:resource


def number(text: str) -> int | Decimal | None:
    """Digits with an optional sign and fraction; up to 18 digits on each side."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


@lru_cache(_CACHED)
def instant(text: str) -> int | None:
    """Nanoseconds since 1970 of an ISO 8601 time, of a date, or of epoch seconds.

    A time without a zone is UTC, as is a date, which means its first moment.
    """
    if _DECIMAL.fullmatch(text):
        return int(Decimal(text) * _BILLION)
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, hour, minute, second, fraction, _, sign, zone_h, zone_m = found.groups()
    h, m, s = int(hour or 0), int(minute or 0), int(second or 0)
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH
    except ValueError:
        return None
    off_h, off_m = int(zone_h or 0), int(zone_m or 0)
    if h > 23 or m > 59 or s > 60 or off_h > 23 or off_m > 59:
        return None
    offset = (off_h * 3600 + off_m * 60) * (-1 if sign == "-" else 1)
    seconds = days * _DAY_S + h * 3600 + m * 60 + s - offset
    return seconds * _BILLION + int((fraction or "").ljust(9, "0"))


def iso(at_ns: int) -> str:
    """A time for people: `2025-07-01T00:00:00Z`."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)
    except OverflowError:
        return "a time beyond the year 9999"
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def truth(text: str) -> bool | None:
    lower = text.lower()
    return True if lower == "true" else False if lower == "false" else None


class Network(NamedTuple):
    """Addresses of one version whose bits under `mask` are `base`."""

    version: int
    base: int
    mask: int

    def holds(self, address: tuple[int, int]) -> bool:
        return address[0] == self.version and address[1] & self.mask == self.base


@lru_cache(_CACHED)
def address(text: str) -> tuple[int, int] | None:
    """(4 or 6, the address as a number); an IPv4 address in IPv6 clothes is IPv4."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return 4, int(found.ipv4_mapped)
        return 6, int(found)
    return 4, int(found)


def network(text: str) -> Network | None:
    """An address or CIDR block; bits beyond the mask are left out of account."""
    if "%" in text:
        return None
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        return None
    base, mask = int(found.network_address), int(found.netmask)
    if found.version == 6 and found.prefixlen >= 96 and base >> 32 == 0xFFFF:
        return Network(4, base & 0xFFFF_FFFF, mask & 0xFFFF_FFFF)
    return Network(found.version, base, mask)


def has_host_bits(text: str) -> bool:
    """Of a CIDR block such as 10.1.2.3/8, which means 10.0.0.0/8."""
    try:
        ip_network(text)
    except ValueError:
        return True
    return False


def arn_parts(text: str) -> list[str] | None:
    """The six parts of an ARN; the last may have more colons."""
    parts = text.split(":", ARN_PARTS - 1)
    return parts if len(parts) == ARN_PARTS and parts[0] == "arn" else None
