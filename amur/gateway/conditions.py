"""Conditional headers: request headers in, `Conditions` out.

ETags come with or without quotes, weak or strong; dates in the three forms of RFC 9110 section
5.6.7 and with a zone name instead of GMT. A date that can't be read is no condition, as in S3.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz

from amur.gateway.errors import S3Error
from amur.objects.types import Conditions

_DATE_CHARS_MAX = 64
_ZONES = frozenset(("UTC", "Z", "GMT", "UT"))
_MONTHS = {name.lower(): at for at, name in enumerate(calendar.month_abbr) if name}
_SIZE_DIGITS_MAX = 19


def etag_of(text: str) -> str:
    """One ETag without its quotes and weakness; `*` for a star, quoted or not."""
    text = text.strip()
    if text[:2] in ("W/", "w/"):
        text = text[2:]
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        text = text[1:-1]
    return text


def etags(value: str) -> list[str]:
    """The list of ETags in If-Match or If-None-Match."""
    return [etag_of(piece) for piece in value.split(",")]


def parse_date(value: str) -> int | None:
    """An HTTP date (or an ISO 8601 one) as epoch seconds; None when it is none."""
    value = value.strip()
    if not value or len(value) > _DATE_CHARS_MAX:
        return None
    if value[0].isdigit() and "T" in value:
        return _iso_date(value)
    fields = value.split()
    if len(fields) > 1 and "-" in fields[1]:  # RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        fields[1:2] = fields[1].split("-")
    try:
        return _rfc_date(fields)
    except (ValueError, IndexError, KeyError, OverflowError, StopIteration):
        return None


def _iso_date(value: str) -> int | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _rfc_date(fields: list[str]) -> int | None:
    if not fields[0].endswith(","):  # asctime: Sun Nov  6 08:49:37 1994 [zone]
        _, month, day, clock, *rest = fields
        year = next(text for text in reversed(rest) if text.isdigit())
        zone = "GMT"
    else:
        _, day, month, year, clock, *rest = fields
        zone = rest[0] if rest else "GMT"
    if zone.upper() in _ZONES:
        hour, minute, second = (int(part) for part in clock.split(":"))
        at = _MONTHS[month[:3].lower()]
        # a leap second is the one before it
        moment = datetime(_full_year(year), at, int(day), hour, minute, min(second, 59), tzinfo=UTC)
        return int(moment.timestamp())
    other = parsedate_tz(f"Mon, {day} {month[:3]} {_full_year(year)} {clock} {zone}")
    return int(mktime_tz(other)) if other else None


def _full_year(text: str) -> int:
    """RFC 850 has two digits: RFC 9110 reads them as the nearest century (70 begins the 1900s)."""
    year = int(text)
    if len(text) == 2:
        year += 1900 if year >= 70 else 2000
    return year


def read_conditions(headers: Mapping[str, str], prefix: str = "") -> Conditions | None:
    """If-Match and its three kin, or None when there is none of them.

    `prefix` is `x-amz-copy-source-` for the source of a copy.
    """
    get = headers.get
    match = get(prefix + "if-match")
    none_match = get(prefix + "if-none-match")
    modified = get(prefix + "if-modified-since")
    unmodified = get(prefix + "if-unmodified-since")
    if match is none_match is modified is unmodified is None:
        return None
    return Conditions(
        if_match=None if match is None else etags(match),
        if_none_match=None if none_match is None else etags(none_match),
        if_modified_since=None if modified is None else parse_date(modified),
        if_unmodified_since=None if unmodified is None else parse_date(unmodified),
    )


def parse_if_range(value: str) -> str | int:
    """A strong ETag, or a date in epoch seconds; "" for what can vouch for no range."""
    value = value.strip()
    if value.startswith('"'):
        return etag_of(value)
    if value[:2] in ("W/", "w/"):
        return ""
    moment = parse_date(value)
    return value if moment is None else moment


def delete_conditions(headers: Mapping[str, str]) -> Conditions | None:
    """The usual ones and S3's x-amz-if-match-size and x-amz-if-match-last-modified-time."""
    conditions = read_conditions(headers)
    size = headers.get("x-amz-if-match-size")
    modified = headers.get("x-amz-if-match-last-modified-time")
    if size is None and modified is None:
        return conditions
    conditions = conditions or Conditions()
    conditions.if_match_size = None if size is None else parse_size(size)
    conditions.if_match_modified = None if modified is None else parse_date(modified)
    if (size is None) != (conditions.if_match_size is None):
        raise _unreadable("x-amz-if-match-size", size or "")
    if (modified is None) != (conditions.if_match_modified is None):
        raise _unreadable("x-amz-if-match-last-modified-time", modified or "")
    return conditions


def _unreadable(name: str, value: str) -> S3Error:
    # passing over a condition that guards a delete would delete
    return S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=value)


def parse_size(text: str) -> int | None:
    """A size to match, in bytes; None when it is no number."""
    text = text.strip()
    if len(text) <= _SIZE_DIGITS_MAX and text.isascii() and text.isdigit():
        return int(text)
    return None
