"""One clause of a Condition: an operator, a key, values; and whether a request fulfils it.

| key | plain positive | plain negated | IfExists | ForAllValues | ForAnyValue | Null |
|---|---|---|---|---|---|---|
| absent | no | yes | yes | yes | no (IfExists: yes) | its "true" |
| one value | fits any | fits none | as without | as plain | as plain | its "false" |
| several | one fits any | none fits any | as without | each fulfils | one fulfils | its "false" |

Several clauses must all hold. A clause that can't be decided (None) counts against the caller:
it is not fulfilled in an Allow, and it is in a Deny.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amur.iam.policy import operators, values
from amur.iam.policy.contextkeys import Context, lookup
from amur.iam.policy.operators import FOR_ALL, FOR_ANY, Usage


@dataclass(frozen=True, slots=True)
class ConditionClause:
    """As a document has it; the key in its documented spelling."""

    usage: Usage
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.values[:3]) + (", ..." if len(self.values) > 3 else "")
        return f"{self.usage.name} {self.key}: {shown}"


class Condition:
    """A clause made ready. `evaluate` gives True, False, or None for what can't be decided."""

    __slots__ = ("_negated", "_quantifier", "_test", "_when_absent", "_when_present", "clause",
                 "lookup")  # fmt: skip

    def __init__(self, clause: ConditionClause) -> None:
        usage = clause.usage
        self.clause = clause
        self.lookup = lookup(clause.key)
        self._quantifier = usage.quantifier
        self._negated = usage.operator.is_negated
        self._when_present: bool | None = None
        if usage.operator.family == "Null":
            wanted = {values.truth(text) for text in clause.values}
            self._when_absent, self._when_present = True in wanted, False in wanted
            self._test: operators.Test | None = None
            return
        self._test = operators.build(usage.operator, clause.values)
        if usage.if_exists or usage.quantifier == FOR_ALL:
            self._when_absent = True
        else:
            self._when_absent = self._negated and usage.quantifier != FOR_ANY

    def evaluate(self, context: Context) -> bool | None:
        seen = context.values(self.lookup)
        if not seen:
            return self._when_absent
        test = self._test
        if test is None:
            return self._when_present
        if len(seen) == 1:
            answer = test(seen[0], context)
            return answer if not self._negated or answer is None else not answer
        answers = (test(value, context) for value in seen)
        if not self._quantifier:
            return _turned(operators.any_of(answers), self._negated)
        each = (_turned(answer, self._negated) for answer in answers)
        if self._quantifier == FOR_ANY:
            return operators.any_of(each)
        return _all_of(each)


def _turned(answer: bool | None, negated: bool) -> bool | None:
    return answer if not negated or answer is None else not answer


def _all_of(answers: Iterable[bool | None]) -> bool | None:
    undecided = False
    for answer in answers:
        if answer is False:
            return False
        undecided = undecided or answer is None
    return None if undecided else True


def all_hold(conditions: tuple[Condition, ...], context: Context, *, is_deny: bool) -> bool:
    """Whether a statement's conditions are fulfilled; the undecided by the rule above."""
    for condition in conditions:
        answer = condition.evaluate(context)
        if not answer and (answer is False or not is_deny):
            return False
    return True
