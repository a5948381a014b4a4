"""Condition operators: their names, the values they take, and the tests they make.

A test gets one value of the request and answers whether it fits any of the policy's values:
True, False, or None when that can't be decided (it is no number, a variable has no value).
Negation, sets of values and absent keys are not its business: see conditions.py.
Rules: Amazon's reference "IAM JSON policy elements: Condition operators".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from amur import limits
from amur.iam.policy import values
from amur.iam.policy.contextkeys import Context
from amur.iam.policy.patterns import (
    TEXT,
    VARIABLE,
    Glob,
    Pattern,
    PatternInvalid,
    Token,
    joined,
    substituted,
    tokens,
)

Test = Callable[[str, Context], bool | None]
Exact = int | Decimal


class Operator(NamedTuple):
    """`positive` is the operator that it negates, or its own name."""

    name: str
    family: str
    positive: str

    @property
    def is_negated(self) -> bool:
        return self.name != self.positive


def _family(family: str, *pairs: str) -> list[Operator]:
    """Operators "Name" or "Name/NegatedName"."""
    found = []
    for pair in pairs:
        positive, _, negated = pair.partition("/")
        found.append(Operator(positive, family, positive))
        if negated:
            found.append(Operator(negated, family, positive))
    return found


def _ordered(family: str) -> list[Operator]:
    names = [f"{family}Equals/{family}NotEquals"]
    names += [f"{family}{how}" for how in _ORDER]
    return _family(family, *names)


_ORDER: dict[str, Callable[[Exact, Exact], bool]] = {
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}

OPERATORS = {
    each.name: each
    for each in (
        *_family(
            "String",
            "StringEquals/StringNotEquals",
            "StringEqualsIgnoreCase/StringNotEqualsIgnoreCase",
            "StringLike/StringNotLike",
        ),
        *_ordered("Numeric"),
        *_ordered("Date"),
        *_family("Bool", "Bool"),
        *_family("IpAddress", "IpAddress/NotIpAddress"),
        *_family("Arn", "ArnEquals/ArnNotEquals", "ArnLike/ArnNotLike"),
        *_family("Null", "Null"),
    )
}

FOR_ALL, FOR_ANY = "ForAllValues", "ForAnyValue"
IF_EXISTS = "IfExists"


class Usage(NamedTuple):
    """An operator as a document writes it: `ForAnyValue:StringLikeIfExists`."""

    operator: Operator
    quantifier: str = ""
    if_exists: bool = False

    @property
    def name(self) -> str:
        before = f"{self.quantifier}:" if self.quantifier else ""
        return f"{before}{self.operator.name}{IF_EXISTS if self.if_exists else ''}"


def usage(text: str) -> Usage | None:
    """An operator with its prefix and suffix; None when there is none of the name."""
    before, colon, name = text.rpartition(":")
    if colon and before not in (FOR_ALL, FOR_ANY):
        return None
    base = name.removesuffix(IF_EXISTS)
    found = OPERATORS.get(base)
    if found is None or (found.family == "Null" and (colon or base != name)):
        return None
    return Usage(found, before, base != name)


_EXPECTED: dict[str, tuple[Callable[[str], object | None], str, str]] = {
    "Numeric": (values.number, "is no number", "write digits, as 1000 or 1.2"),
    "Date": (values.instant, "is no time", "write it as 2025-07-01T00:00:00Z"),
    "Bool": (values.truth, "is neither true nor false", "write true or false"),
    "Null": (values.truth, "is neither true nor false", "true: the key is absent; false: present"),
    "IpAddress": (
        values.network,
        "is neither an IP address nor a CIDR block",
        "write it as 203.0.113.7 or 203.0.113.0/24",
    ),
}


def problem(op: Operator, text: str) -> tuple[str, str] | None:
    """(what is wrong with a policy's value, the remedy), or None."""
    if op.family in _EXPECTED:
        parse, message, remedy = _EXPECTED[op.family]
        return None if parse(text) is not None else (message, remedy)
    try:
        parts = tokens(text, wild=is_wild(op))
    except PatternInvalid as error:
        return str(error), error.remedy
    if op.family == "Arn" and _arn_components(parts) is None:
        return "is no ARN of six parts", "write it as arn:aws:iam::ORG:user/*"
    return None


def is_wild(op: Operator) -> bool:
    """Whether `*` and `?` are wildcards in its values."""
    return op.family == "Arn" or op.positive == "StringLike"


def build(op: Operator, texts: tuple[str, ...]) -> Test:
    """The test of a clause; its values were checked by `problem`."""
    name = op.positive
    if op.family == "String":
        if name == "StringLike":
            return _like(texts)
        return _equals(texts, fold=name == "StringEqualsIgnoreCase")
    if op.family == "Arn":
        return _arn(texts)
    if op.family == "IpAddress":
        return _ip(texts)
    if op.family == "Bool":
        return _equal_parsed(values.truth, texts)
    parse = values.number if op.family == "Numeric" else values.instant
    how = name.removeprefix(op.family)
    return _equal_parsed(parse, texts) if how == "Equals" else _compared(parse, _ORDER[how], texts)


def _equals(texts: tuple[str, ...], *, fold: bool) -> Test:
    wanted = [tokens(text, wild=False) for text in texts]
    fixed = frozenset(
        _folded("".join(part.text for part in parts), fold)
        for parts in wanted
        if all(part.kind == TEXT for part in parts)
    )
    open_ = [parts for parts in wanted if any(part.kind == VARIABLE for part in parts)]

    def test(value: str, context: Context) -> bool | None:
        value = _folded(value, fold)
        if value in fixed:
            return True
        undecided = False
        for parts in open_:
            known = joined(parts, context)
            if known is None:
                undecided = True
            elif _folded(known, fold) == value:
                return True
        return None if undecided else False

    return test


def _folded(text: str, fold: bool) -> str:
    return text.casefold() if fold else text


def _like(texts: tuple[str, ...]) -> Test:
    patterns = [Pattern(tokens(text)) for text in texts]
    globs = [each.glob for each in patterns if each.glob is not None]
    open_ = [each.parts for each in patterns if each.glob is None]

    def test(value: str, context: Context) -> bool | None:
        undecided = False
        for glob in globs:
            if glob.is_slow and len(value) > limits.POLICY_FLOATING_TEXT_CHARS_MAX:
                undecided = True
            elif glob.matches(value):
                return True
        for parts in open_:
            known = substituted(parts, context)
            if known is None:
                undecided = True
                continue
            glob = Glob(known)
            if glob.is_slow and len(value) > limits.POLICY_FLOATING_TEXT_CHARS_MAX:
                undecided = True
            elif glob.matches(value):
                return True
        return None if undecided else False

    return test


def _arn_components(parts: tuple[Token, ...]) -> list[list[Token]] | None:
    """A pattern of an ARN cut at its first five colons; None when it has fewer."""
    cut: list[list[Token]] = [[]]
    for part in parts:
        if part.kind != TEXT:
            cut[-1].append(part)
            continue
        pieces = part.text.split(":", values.ARN_PARTS - len(cut))
        for at, piece in enumerate(pieces):
            if at:
                cut.append([])
            if piece:
                cut[-1].append(Token(TEXT, piece))
    is_arn = len(cut) == values.ARN_PARTS and cut[0] == [Token(TEXT, "arn")]
    return cut if is_arn else None


def _arn(texts: tuple[str, ...]) -> Test:
    """Each of the six parts is compared by itself: a star never reaches over a colon."""
    wanted = []
    for text in texts:
        components = _arn_components(tokens(text))
        assert components is not None, text
        wanted.append([Pattern(tuple(each)) for each in components])

    def fits(patterns: list[Pattern], parts: list[str], context: Context) -> bool | None:
        undecided = False
        for pattern, part in zip(patterns, parts, strict=True):
            known = substituted(pattern.parts, context) if pattern.glob is None else None
            glob = Glob(known) if known is not None else pattern.glob
            if glob is None:
                undecided = True
            elif not glob.matches(part):
                return False
        return None if undecided else True

    def test(value: str, context: Context) -> bool | None:
        parts = values.arn_parts(value)
        if parts is None:
            return None
        return any_of(fits(patterns, parts, context) for patterns in wanted)

    return test


def _ip(texts: tuple[str, ...]) -> Test:
    networks = [found for text in texts if (found := values.network(text)) is not None]

    def test(value: str, context: Context) -> bool | None:
        address = values.address(value)
        if address is None:
            return None
        return any(network.holds(address) for network in networks)

    return test


def _equal_parsed(parse: Callable[[str], Exact | bool | None], texts: tuple[str, ...]) -> Test:
    wanted = frozenset(parse(text) for text in texts)

    def test(value: str, context: Context) -> bool | None:
        known = parse(value)
        return None if known is None else known in wanted

    return test


def _compared(
    parse: Callable[[str], Exact | None],
    holds: Callable[[Exact, Exact], bool],
    texts: tuple[str, ...],
) -> Test:
    """An order fits any of several values when it fits the easiest of them."""
    limits = [found for text in texts if (found := parse(text)) is not None]
    limit = max(limits) if holds in (operator.lt, operator.le) else min(limits)

    def test(value: str, context: Context) -> bool | None:
        known = parse(value)
        return None if known is None else holds(known, limit)

    return test


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """Of three-valued answers: True if one is, None if none is but one is undecided."""
    undecided = False
    for answer in answers:
        if answer:
            return True
        undecided = undecided or answer is None
    return None if undecided else False
