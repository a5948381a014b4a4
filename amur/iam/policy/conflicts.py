"""Clauses of one Condition that can't hold together, or not any more: for lint.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from amur.iam.policy import values
from amur.iam.policy.conditions import ConditionClause
from amur.iam.policy.operators import FOR_ALL

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


def contradictions(clauses: Sequence[ConditionClause]) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) of keys whose clauses can't all hold."""
    for key in dict.fromkeys(clause.key for clause in clauses):
        own = [clause for clause in clauses if clause.key == key]
        if _is_empty([window for each in own if (window := _window(each)) is not None]):
            yield key, "begins after it has ended: no value fits all clauses"
        elif _must_be_absent(own) and any(map(_needs_value, own)):
            yield key, "must be absent and have a value"
        elif _has_no_address(own):
            yield key, "every address that is named is excluded again"
        elif _is_true_and_false(own):
            yield key, "must be true and false"


def _is_empty(windows: Sequence[_Window]) -> bool:
    for first in windows:
        for second in windows:
            if first.low is None or second.high is None:
                continue
            if first.low > second.high:
                return True
            if first.low == second.high and not (first.has_low and second.has_high):
                return True
    return False


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


def _has_no_address(clauses: Sequence[ConditionClause]) -> bool:
    named = [each for each in clauses if each.usage.operator.name == "IpAddress"]
    outside = [
        network
        for each in clauses
        if each.usage.operator.name == "NotIpAddress"
        for text in each.values
        if (network := values.network(text)) is not None
    ]
    return any(
        not each.usage.if_exists and all(_is_excluded(text, outside) for text in each.values)
        for each in named
    )


def _is_excluded(text: str, outside: Sequence[values.Network]) -> bool:
    inner = values.network(text)
    return inner is not None and any(
        each.holds((inner.version, inner.base)) and inner.mask & each.mask == each.mask
        for each in outside
    )


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
    if "/" in text and values.has_host_bits(text):
        network = ip_network(text, strict=False)
        return f"has bits that its mask leaves out: it means {network}", f"write {network}"
    network = ip_network(text, strict=False)
    if network.prefixlen == 0:
        return "is every address", "leave the clause out"
    first = ip_address(network.network_address)
    if first.is_multicast or first.is_unspecified or str(first) == "255.255.255.255":
        return "is no address that a request can come from", "write the callers' address"
    return None
