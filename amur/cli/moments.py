"""Times as people write them: 12h, 7d, now, or 2026-12-01T00:00:00Z."""

from __future__ import annotations

import re
from datetime import datetime

from amur.cli.output import moment
from amur.cli.remote import Problem
from amur.clock import SystemClock
from amur.iam.policy import values

_BILLION = 1_000_000_000
_SPAN = re.compile(r"(\d{1,7})([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_BOTH = "write a span as 12h or 7d, or a time as 2026-12-01T00:00:00Z"


def seconds(text: str) -> int:
    """Of a span. Raises Problem."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Problem(f"{text!r} is no span: write it as 30m, 12h or 7d")
    return int(found[1]) * _UNITS[found[2]]


def time_of(text: str, *, ago: bool = False) -> str:
    """ISO 8601 in UTC, of a time or of a span from now (`ago`: before now). Without an offset it is
    UTC. Raises Problem."""
    now_ns = SystemClock().now_ns()
    if text == "now":
        return values.iso(now_ns)
    if _SPAN.fullmatch(text):
        span = seconds(text) * _BILLION
        return values.iso(now_ns - span if ago else now_ns + span)
    at = None if text.isdigit() else values.instant(text)
    if at is None:
        raise Problem(f"{text!r} is no time: {_BOTH}")
    return values.iso(at)


def before(text: str, span_s: int) -> str:
    """So long before a time that the server has told, in the same form."""
    return values.iso((values.instant(text) or 0) - span_s * _BILLION)


def is_past(text: str) -> bool:
    """Of a time that the server has told."""
    return (values.instant(text) or 0) <= SystemClock().now_ns()


def shown(text: str) -> str:
    """A time that the server has told, in the time of the place; "-" of none."""
    return moment(datetime.fromisoformat(text)) if text else "-"
