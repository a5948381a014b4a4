"""Why a decision is what it is, statement by statement, and what would be needed.

Looks at every statement in turn, not at the plans of compiling.py: what decides and what explains
are two ways to the same answer, and tests hold them together.
"""

from __future__ import annotations

from dataclasses import dataclass

from amur.iam.policy import vocabulary
from amur.iam.policy.compiling import (
    ALLOW,
    DENY,
    NONE,
    Compiled,
    CompiledStatement,
    Decision,
    PrincipalFacts,
    StatementName,
)
from amur.iam.policy.conditions import ConditionClause
from amur.iam.policy.contextkeys import Context
from amur.iam.policy.problems import plain

HINTS_MAX = 5  # near misses that are told


@dataclass(frozen=True, slots=True)
class ConditionReport:
    """`holds` is None for what can't be decided; `seen` is None when the request has no such key.

    `counts` is whether the statement takes it as fulfilled."""

    clause: ConditionClause
    seen: tuple[str, ...] | None
    holds: bool | None
    counts: bool

    def __str__(self) -> str:
        has = "nothing" if not self.seen else ", ".join(self.seen)
        how = {True: "holds", False: "does not hold", None: "can't be decided"}[self.holds]
        return plain(f"{self.clause} {how} (the request has {has})")


@dataclass(frozen=True, slots=True)
class StatementReport:
    """Each part by itself, also when an earlier one has failed."""

    name: StatementName
    effect: str
    action: bool
    resource: bool
    principal: bool
    conditions: tuple[ConditionReport, ...]

    @property
    def applies(self) -> bool:
        parts = self.action and self.resource and self.principal
        return parts and all(each.counts for each in self.conditions)

    @property
    def why(self) -> str:
        """One line: that it applies, or all that keeps it from doing so."""
        failed = [
            text
            for ok, text in (
                (self.action, "does not name the action"),
                (self.resource, "does not name the resource"),
                (self.principal, "is not for this principal"),
            )
            if not ok
        ]
        failed += [str(each) for each in self.conditions if not each.counts]
        return f"{self.effect} applies" if not failed else "; ".join(failed)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`needed` are lines about what would allow it, when nothing does."""

    decision: Decision
    statements: tuple[StatementReport, ...]
    needed: tuple[str, ...]


def explain(
    compiled: Compiled,
    action: str,
    resource: str,
    context: Context,
    principal: PrincipalFacts | None = None,
) -> Explanation:
    """The same answer as `evaluate.decide`, with its reasons."""
    reports = tuple(
        _report(each, action, resource, context, principal) for each in compiled.statements
    )
    decision = Decision(NONE, None)
    for wanted, effect in (("Deny", DENY), ("Allow", ALLOW)):
        first = next((each for each in reports if each.applies and each.effect == wanted), None)
        if first is not None:
            decision = Decision(effect, first.name)
            break
    return Explanation(decision, reports, _needed(decision, reports, action, resource))


def _report(
    compiled: CompiledStatement,
    action: str,
    resource: str,
    context: Context,
    principal: PrincipalFacts | None,
) -> StatementReport:
    conditions = []
    for condition in compiled.conditions:
        holds = condition.evaluate(context)
        counts = compiled.statement.is_deny if holds is None else holds
        seen = context.values(condition.lookup) or None
        conditions.append(ConditionReport(condition.clause, seen, holds, counts))
    return StatementReport(
        name=compiled.name,
        effect=compiled.statement.effect,
        action=compiled.names_action(action),
        resource=compiled.resources.matches(resource, context),
        principal=compiled.means(principal),
        conditions=tuple(conditions),
    )


def _needed(
    decision: Decision, reports: tuple[StatementReport, ...], action: str, resource: str
) -> tuple[str, ...]:
    if decision.effect == ALLOW:
        return ()
    if decision.effect == DENY:
        return tuple(
            f"{each.name} must not apply: a Deny is never outweighed"
            for each in reports
            if each.applies and each.effect == "Deny"
        )[:HINTS_MAX]
    lines = [f"an Allow of {action} on {resource}"]
    known = vocabulary.BY_NAME.get(action)
    if known is None:
        lines.append(f"{action} is no action: {vocabulary.remedy(action)}")
    elif action.startswith("s3:") and resource.startswith("arn:aws:s3:::"):
        has_key = "/" in resource
        if known.level == vocabulary.BUCKET and has_key:
            lines.append(f"{action} is asked of the bucket: {resource.partition('/')[0]}")
        elif known.level == vocabulary.OBJECT and not has_key:
            lines.append(f"{action} is asked of an object: {resource}/KEY")
    lines.extend(_near_misses(reports))
    return tuple(map(plain, lines))


def _near_misses(reports: tuple[StatementReport, ...]) -> list[str]:
    """Allowances that only one thing keeps from applying."""
    found = []
    for each in reports:
        failed = [condition for condition in each.conditions if not condition.counts]
        missing = (not each.action, not each.resource, not each.principal, bool(failed))
        if each.effect == "Allow" and sum(missing) == 1:
            found.append(f"{each.name} would allow it, but {_but(each, failed)}")
    return found[:HINTS_MAX]


def _but(report: StatementReport, failed: list[ConditionReport]) -> str:
    return "; ".join(map(str, failed)) if failed else f"it {report.why}"
