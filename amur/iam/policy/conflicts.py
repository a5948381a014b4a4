"""Clauses of one Condition that can't hold together, or not any more: for lint.py."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from ipaddress import ip_interface
from typing import NamedTuple

from amur.iam.policy import values
from amur.iam.policy.conditions import ConditionClause
from amur.iam.policy.operators import FOR_ALL
from amur.iam.policy.work import ADDRESS_UNITS, Work

_Place = tuple[int, int]  # version, address

_PARSE: dict[str, Callable[[str], int | Decimal | None]] = {
    "Date": values.instant,
    "Numeric": values.number,
}


class _Window(NamedTuple):
    """What a clause leaves: from `low` to `high`, the ends counted or not. None is no end."""

    low: int | Decimal | None
    has_low: bool
    high: int | Decimal | None
    has_high: bool


def _window(clause: ConditionClause) -> _Window | None:
    op = clause.usage.operator
    parse = _PARSE.get(op.family)
    if parse is None or op.is_negated or clause.usage.if_exists:
        return None
    if clause.usage.quantifier == FOR_ALL:
        return None
    known = [found for text in clause.values if (found := parse(text)) is not None]
    how = op.name.removeprefix(op.family)
    if how == "Equals":
        return _Window(min(known), True, max(known), True)
    if how.startswith("Less"):
        return _Window(None, False, max(known), how.endswith("Equals"))
    return _Window(min(known), how.endswith("Equals"), None, False)


def contradictions(clauses: Sequence[ConditionClause], work: Work) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) of keys whose clauses can't all hold. Raises TooMuch."""
    for key in dict.fromkeys(clause.key for clause in clauses):
        own = [clause for clause in clauses if clause.key == key]
        if any(_is_empty(_windows(own, family)) for family in _PARSE):
            yield key, "begins after it has ended: no value fits all clauses"
        elif _must_be_absent(own) and any(map(_needs_value, own)):
            yield key, "must be absent and have a value"
        elif _has_no_address(own, work):
            yield key, "every address that is named is excluded again"
        elif _is_true_and_false(own):
            yield key, "must be true and false"


def _windows(clauses: Sequence[ConditionClause], family: str) -> list[_Window]:
    """Those of one family: a time is a number of seconds to the other one."""
    own = [each for each in clauses if each.usage.operator.family == family]
    return [window for each in own if (window := _window(each)) is not None]


def _is_empty(windows: Sequence[_Window]) -> bool:
    """An end that is not counted is the narrower one of two at the same place."""
    lows = [(each.low, not each.has_low) for each in windows if each.low is not None]
    highs = [(each.high, each.has_high) for each in windows if each.high is not None]
    if not lows or not highs:
        return False
    (low, is_out), (high, has_high) = max(lows), min(highs)
    return low > high or (low == high and (is_out or not has_high))


def _must_be_absent(clauses: Sequence[ConditionClause]) -> bool:
    return any(
        each.usage.operator.family == "Null" and {values.truth(t) for t in each.values} == {True}
        for each in clauses
    )


def _needs_value(clause: ConditionClause) -> bool:
    usage = clause.usage
    if usage.operator.family == "Null":
        return {values.truth(text) for text in clause.values} == {False}
    return not (usage.operator.is_negated or usage.if_exists or usage.quantifier == FOR_ALL)


def _has_no_address(clauses: Sequence[ConditionClause], work: Work) -> bool:
    named = [each for each in clauses if each.usage.operator.name == "IpAddress"]
    outside = [each for each in clauses if each.usage.operator.name == "NotIpAddress"]
    if not named or not outside:
        return False
    work.spend(ADDRESS_UNITS * sum(len(each.values) for each in (*named, *outside)))
    excluded = _Ranges(text for each in outside for text in each.values)
    return any(
        not each.usage.if_exists and all(excluded.hold(text) for text in each.values)
        for each in named
    )


class _Ranges:
    """Networks as ranges of addresses in order, those that touch each other as one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ends: list[tuple[_Place, _Place]] = []
        known = [network for text in texts if (network := values.network(text)) is not None]
        for start, end in sorted(map(_range, known)):
            before = self._ends[-1] if self._ends else None
            if before is not None and start <= (before[1][0], before[1][1] + 1):
                self._ends[-1] = before[0], max(before[1], end)
            else:
                self._ends.append((start, end))
        self._starts = [start for start, _ in self._ends]

    def hold(self, text: str) -> bool:
        """Whether a whole network lies in one of them."""
        network = values.network(text)
        if network is None:
            return False
        start, end = _range(network)
        at = bisect_right(self._starts, start)
        return at > 0 and end <= self._ends[at - 1][1]


def _range(network: values.Network) -> tuple[_Place, _Place]:
    """The first and the last address."""
    bits = 32 if network.version == 4 else 128
    last = network.base | (~network.mask & ((1 << bits) - 1))
    return (network.version, network.base), (network.version, last)


def _is_true_and_false(clauses: Sequence[ConditionClause]) -> bool:
    wanted = [
        {values.truth(text) for text in each.values}
        for each in clauses
        if each.usage.operator.family == "Bool" and not each.usage.if_exists
    ]
    return bool(wanted) and not set.intersection(*wanted)


def latest(clauses: Sequence[ConditionClause]) -> int | None:
    """The time from which on the clauses can't hold any more: epoch nanoseconds, or None."""
    ends = [
        int(window.high)
        for clause in clauses
        if clause.usage.operator.family == "Date"
        and (window := _window(clause)) is not None
        and window.high is not None
    ]
    return min(ends, default=None)


def address_trouble(text: str) -> tuple[str, str] | None:
    """(why no request comes from there, or what else is odd; the remedy), or None."""
    given = ip_interface(text)
    network, first = given.network, given.network.network_address
    if given.ip != first:
        return f"has bits that its mask leaves out: it means {network}", f"write {network}"
    if network.prefixlen == 0:
        return "is every address", "leave the clause out"
    if first.is_multicast or first.is_unspecified or str(first) == "255.255.255.255":
        return "is no address that a request can come from", "write the callers' address"
    return None
