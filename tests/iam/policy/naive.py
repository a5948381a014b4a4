"""A second evaluator, written from Amazon's rules alone: slow, plain, sharing no code with ours.

Where Amazon says nothing it has our rule: what can't be decided never grants, always refuses.
"""

from __future__ import annotations

import datetime
import ipaddress
from fractions import Fraction
from typing import Any

Keys = dict[str, list[str]]
Pattern = list[tuple[str, str]]  # ("char", c), ("star", ""), ("mark", "")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def expand(text: str, keys: Keys, wild: bool, unknown: str) -> Pattern | None:
    """A pattern with variables replaced; of one without a value: `unknown` is "star" or "none"."""
    out: Pattern = []
    at = 0
    while at < len(text):
        if text[at : at + 2] == "${":
            end = text.index("}", at)
            inside = text[at + 2 : end]
            at = end + 1
            if inside in ("*", "?", "$"):
                out.append(("char", inside))
                continue
            name, comma, default = inside.partition(",")
            found = keys.get(lower_key(name.strip()))
            if found is not None and len(found) == 1:
                out += [("char", char) for char in found[0]]
            elif comma:
                out += [("char", char) for char in default.strip().strip("'")]
            elif unknown == "star":
                out.append(("star", ""))
            else:
                return None
        else:
            char = text[at]
            at += 1
            kind = {"*": "star", "?": "mark"}.get(char, "char") if wild else "char"
            out.append((kind, char))
    return out


def lower_key(name: str) -> str:
    head, slash, tag = name.partition("/")
    return head.lower() + slash + tag


def glob(pattern: Pattern, text: str) -> bool:
    """All positions of the text that the pattern can have reached, token by token."""
    reached = {0}
    for kind, char in pattern:
        if kind == "star":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        elif kind == "mark":
            reached = {at + 1 for at in reached if at < len(text)}
        else:
            reached = {at + 1 for at in reached if at < len(text) and text[at] == char}
    return len(text) in reached


def simple(pattern: str, text: str) -> bool:
    return glob(expand(pattern, {}, True, "none") or [], text)


def moment(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except ValueError:
        pass
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return Fraction(at.timestamp())


def numeric(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except ValueError:
        return None


def compare(how: str, one: Fraction, other: Fraction) -> bool:
    return {
        "Equals": one == other,
        "LessThan": one < other,
        "LessThanEquals": one <= other,
        "GreaterThan": one > other,
        "GreaterThanEquals": one >= other,
    }[how]


def fits(operator: str, seen: str, wanted: str, keys: Keys) -> bool | None:
    """One value of the request against one of the policy; None when it can't be told."""
    if operator.startswith("String"):
        pattern = expand(wanted, keys, operator == "StringLike", "none")
        if pattern is None:
            return None
        if operator == "StringEqualsIgnoreCase":
            return "".join(char for _, char in pattern).casefold() == seen.casefold()
        return glob(pattern, seen)
    if operator.startswith("Arn"):
        parts = seen.split(":", 5)
        if len(parts) < 6 or parts[0] != "arn":
            return None
        answers: list[bool | None] = []
        for one, pattern_text in zip(parts, split_arn(wanted), strict=True):
            pattern = expand(pattern_text, keys, True, "none")
            answers.append(None if pattern is None else glob(pattern, one))
        return False if False in answers else None if None in answers else True
    if operator == "Bool":
        if seen.lower() not in ("true", "false"):
            return None
        return seen.lower() == wanted.lower()
    if operator == "IpAddress":
        try:
            return ipaddress.ip_address(seen) in ipaddress.ip_network(wanted, strict=False)
        except ValueError:
            return None
    parse = numeric if operator.startswith("Numeric") else moment
    one_value, limit = parse(seen), parse(wanted)
    if one_value is None or limit is None:
        return None
    return compare(operator.removeprefix("Numeric").removeprefix("Date"), one_value, limit)


def split_arn(text: str) -> list[str]:
    """At the colons that are not inside a variable."""
    parts, depth, at = [""], 0, 0
    while at < len(text):
        if text[at : at + 2] == "${":
            depth = 1
        if text[at] == "}":
            depth = 0
        if text[at] == ":" and not depth and len(parts) < 6:
            parts.append("")
        else:
            parts[-1] += text[at]
        at += 1
    return parts


def either(answers: list[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


def every(answers: list[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def no(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def clause(operator: str, key: str, wanted: list[str], keys: Keys) -> bool | None:
    seen = keys.get(lower_key(key)) or []
    if operator == "Null":
        return (not seen and "true" in wanted) or (bool(seen) and "false" in wanted)
    quantifier, _, name = operator.rpartition(":")
    base = name.removesuffix("IfExists")
    negated = "Not" in base
    base = base.replace("Not", "")
    if not seen:
        if name.endswith("IfExists") or quantifier == "ForAllValues":
            return True
        return negated and quantifier != "ForAnyValue"
    matched = [either([fits(base, value, each, keys) for each in wanted]) for value in seen]
    if quantifier == "ForAllValues":
        return every([no(each) if negated else each for each in matched])
    if quantifier == "ForAnyValue":
        return either([no(each) if negated else each for each in matched])
    return no(either(matched)) if negated else either(matched)


def applies(
    statement: dict[str, Any], action: str, resource: str, keys: Keys, names: set[str]
) -> bool:
    deny = statement["Effect"] == "Deny"
    if "Principal" in statement:
        principals = statement["Principal"]
        listed = ["*"] if principals == "*" else as_list(principals["AWS"])
        if "*" not in listed and not names & set(listed):
            return False
    for member, text in (("Action", action.lower()), ("Resource", resource)):
        negative = f"Not{member}" in statement
        patterns = as_list(statement[f"Not{member}" if negative else member])
        wide = deny != negative  # what an unknown variable must be, to be safe
        found = False
        for each in patterns:
            low = each.lower() if member == "Action" else each
            pattern = expand(low, keys, True, "star" if wide else "none")
            found = found or (pattern is not None and glob(pattern, text))
        if found == negative:
            return False
    for operator, tests in statement.get("Condition", {}).items():
        for key, wanted in tests.items():
            answer = clause(operator, key, [str(each) for each in as_list(wanted)], keys)
            if answer is False or (answer is None and not deny):
                return False
    return True


def evaluate(
    documents: list[dict[str, Any]],
    action: str,
    resource: str,
    keys: Keys,
    names: set[str] | None = None,
) -> tuple[str, list[tuple[int, int]]]:
    """The effect, and (document, statement) of all that say it, from zero and from one."""
    for effect in ("Deny", "Allow"):
        found = [
            (number, index)
            for number, document in enumerate(documents)
            for index, statement in enumerate(as_list(document["Statement"]), 1)
            if statement["Effect"] == effect
            and applies(statement, action, resource, keys, names or set())
        ]
        if found:
            return effect.upper(), found
    return "NONE", []
