"""What is valid but hardly meant: too wide, never in force, shadowed, expired, public.

A finding is a hint for people: it says nothing about what is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from amur.iam.policy import conflicts, coverage, values, vocabulary
from amur.iam.policy.contextkeys import Key, find
from amur.iam.policy.coverage import Reach
from amur.iam.policy.operators import FOR_ALL
from amur.iam.policy.patterns import VARIABLE
from amur.iam.policy.problems import plain
from amur.iam.policy.statements import EVERYBODY, Kind, Policy, Statement
from amur.iam.policy.vocabulary import Action
from amur.iam.policy.work import ADDRESS_UNITS, TooMuch, Work

TOO_WIDE = "too-wide"
NEVER_MATCHES = "never-matches"
IMPOSSIBLE_ADDRESS = "impossible-address"
EXPIRED = "expired"
SHADOWED = "shadowed"
DUPLICATE = "duplicate"
PUBLIC = "public"
FORGEABLE = "forgeable"
ABSENT = "true-when-absent"
NOT_CHECKED = "not-checked"

CODES = (TOO_WIDE, NEVER_MATCHES, IMPOSSIBLE_ADDRESS, EXPIRED, SHADOWED, DUPLICATE, PUBLIC,
         FORGEABLE, ABSENT, NOT_CHECKED)  # fmt: skip

FINDINGS_MAX = 100  # told at once: nobody reads more


class Finding(NamedTuple):
    """`statement` as in Problem; `code` is one of CODES."""

    code: str
    statement: str
    member: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.statement}.{self.member}"
        return plain(f"{where}: {self.message}; {self.remedy} [{self.code}]")


def lint(
    policy: Policy,
    *,
    now_s: float,
    attached_to: Sequence[str] = (),
    beside: Sequence[tuple[str, Policy]] = (),
) -> list[Finding]:
    """Findings in the order of statements, up to FINDINGS_MAX. `now_s` are epoch seconds. What
    would take too long is not looked at, which is a finding, too.

    `attached_to` are the ids of the keys that hold the policy: said of one that has expired.
    `beside` are (name, policy) of what the same keys hold: their denials shadow, too.
    """
    found: list[Finding] = []
    work = Work()
    reaches = [Reach(each) for each in policy.statements]
    denials = [each for each in reaches if each.statement.is_deny]
    others = [each for _, other in beside for each in other.statements if each.is_deny]
    shadows = coverage.Shadows(denials + [Reach(each) for each in others], work)
    said: dict[object, Statement] = {}
    for reach in reaches:
        statement = reach.statement
        try:
            for check in _CHECKS:
                found.extend(check(reach, work))
            found.extend(_expired(statement, now_s, attached_to))
            found.extend(_shadowed(reach, shadows))
        except TooMuch:
            return [*found[: FINDINGS_MAX - 1], _not_checked(statement)]
        found.extend(_duplicate(statement, said))
        if policy.kind is Kind.BUCKET:
            found.extend(_public(statement))
        if len(found) >= FINDINGS_MAX:
            break
    return found[:FINDINGS_MAX]


def _finding(code: str, statement: Statement, member: str, message: str, remedy: str) -> Finding:
    return Finding(code, statement.label, member, message, remedy)


# --- too wide ---


def _too_wide(reach: Reach, _: Work) -> Iterator[Finding]:
    statement = reach.statement
    if statement.is_deny:
        return
    if statement.is_not_action:
        yield _finding(
            TOO_WIDE, statement, "NotAction",
            "allows every action but these, also those to come", "name what is to be allowed",
        )  # fmt: skip
    if statement.is_not_resource:
        yield _finding(
            TOO_WIDE, statement, "NotResource",
            "allows every resource but these, also those to come", "name what is to be allowed",
        )  # fmt: skip
    if statement.is_not_action or statement.is_not_resource:
        return
    if not any(coverage.is_everything(text) for text in statement.resources):
        return
    if "*" in statement.actions:
        message = "allows everything on everything"
    elif not coverage.EVERY_S3 & ~reach.actions:
        message = "allows every s3: action on every bucket"
    elif reach.actions & coverage.CHANGES:
        message = "allows changes of every bucket"
    else:
        return
    yield _finding(
        TOO_WIDE, statement, "Resource", message, "name the buckets, and the actions of the job"
    )


# --- never matches ---


def _wrong_level(reach: Reach, _: Work) -> Iterator[Finding]:
    """Bucket actions on objects' ARNs, and the other way; or nothing is left by a Not."""
    statement = reach.statement
    if not reach.actions:
        yield _finding(
            NEVER_MATCHES, statement, "NotAction", "leaves no action", "name fewer actions"
        )
    if statement.is_not_resource and "*" in statement.resources:
        yield _finding(
            NEVER_MATCHES, statement, "NotResource", "leaves no resource", 'remove the "*"'
        )
    if statement.is_not_resource or statement.is_not_action:
        return
    for text, meant in zip(statement.actions, reach.meant, strict=True):
        if meant & reach.asked:
            continue
        yield _finding(
            NEVER_MATCHES, statement, "Action",
            f"{text} is asked of none of the statement's resources",
            _level_remedy(coverage.first(meant)),
        )  # fmt: skip


def _level_remedy(first: Action) -> str:
    if not first.name.startswith("s3:") or first.level == vocabulary.SERVICE:
        return 'add the resource "*"'
    if first.level == vocabulary.BUCKET:
        return "add the bucket itself: arn:aws:s3:::BUCKET"
    return "add the bucket's objects: arn:aws:s3:::BUCKET/*"


def _no_such_bucket(reach: Reach, _: Work) -> Iterator[Finding]:
    statement = reach.statement
    for text in statement.resources:
        if coverage.has_impossible_bucket(text):
            yield _finding(
                NEVER_MATCHES, statement, "Resource",
                f"{text} has a name that no bucket can have",
                "bucket names are lower-case letters, digits, dots and hyphens",
            )  # fmt: skip


def _conflicting(reach: Reach, work: Work) -> Iterator[Finding]:
    statement = reach.statement
    for key, message in conflicts.contradictions(statement.conditions, work):
        yield _finding(
            NEVER_MATCHES, statement, f"Condition.{key}", message, "correct one of the clauses"
        )


def _addresses(reach: Reach, work: Work) -> Iterator[Finding]:
    statement = reach.statement
    for clause in statement.conditions:
        if clause.usage.operator.family != "IpAddress":
            continue
        for text in clause.values:
            work.spend(ADDRESS_UNITS)
            what = conflicts.address_trouble(text)
            if what is not None:
                yield _finding(
                    IMPOSSIBLE_ADDRESS, statement, f"Condition.{clause.usage.name}.{clause.key}",
                    f"{text} {what[0]}", what[1],
                )  # fmt: skip


def _expired(statement: Statement, now_s: float, attached_to: Sequence[str]) -> Iterator[Finding]:
    end = conflicts.latest(statement.conditions)
    if end is None or end > int(now_s) * 1_000_000_000:
        return
    held = f"; it is still attached to {', '.join(attached_to)}" if attached_to else ""
    verb = "denies" if statement.is_deny else "allows"
    yield _finding(
        EXPIRED, statement, "Condition",
        f"{verb} nothing any more since {values.iso(end)}{held}",
        "remove it, or set a later time",
    )  # fmt: skip


# --- other statements ---


def _shadowed(reach: Reach, shadows: coverage.Shadows) -> Iterator[Finding]:
    statement = reach.statement
    if statement.is_deny or statement.is_not_action or statement.is_not_resource:
        return
    hidden = shadows.hidden(reach)
    if hidden:
        yield _finding(
            SHADOWED, statement, "Action",
            f"a Deny refuses all that this allows: {', '.join(hidden)}",
            "narrow the Deny, or remove the Allow",
        )  # fmt: skip


def _not_checked(statement: Statement) -> Finding:
    return _finding(
        NOT_CHECKED, statement, "Resource",
        "this and the statements after it were not looked at, as that would take too long",
        "name fewer resources and addresses, or write several policies",
    )  # fmt: skip


def _duplicate(statement: Statement, said: dict[object, Statement]) -> Iterator[Finding]:
    """`said` are the statements before, by their meaning."""
    other = said.setdefault(_meaning(statement), statement)
    if other is not statement:
        yield _finding(
            DUPLICATE, statement, "Action", f"says the same as {other.label}", "remove one"
        )


def _meaning(statement: Statement) -> tuple[object, ...]:
    return (
        statement.effect,
        statement.is_not_action,
        frozenset(statement.actions),
        statement.is_not_resource,
        frozenset(statement.resources),
        frozenset((each.usage, each.key, frozenset(each.values)) for each in statement.conditions),
        frozenset(statement.principals),
    )


# --- who, and by what ---


def _public(statement: Statement) -> Iterator[Finding]:
    if not statement.is_deny and EVERYBODY in statement.principals and not statement.conditions:
        yield _finding(
            PUBLIC, statement, "Principal",
            "allows everybody, also without credentials",
            "name keys or organizations, or add a Condition such as IpAddress",
        )  # fmt: skip


def _forgeable(reach: Reach, _: Work) -> Iterator[Finding]:
    """What the caller writes into the request proves nothing."""
    statement = reach.statement
    if statement.is_deny:
        return
    for clause in statement.conditions:
        if clause.key in ("aws:UserAgent", "aws:Referer"):
            yield _finding(
                FORGEABLE, statement, f"Condition.{clause.usage.name}.{clause.key}",
                "is whatever the caller writes", "don't rely on it: use aws:SourceIp, or a key",
            )  # fmt: skip
    for resource in reach.resources:
        for part in resource.parts:
            key: Key | None = find(part.text) if part.kind == VARIABLE else None
            if key is not None and key.is_callers:
                yield _finding(
                    FORGEABLE, statement, "Resource",
                    f"{key.name} in {resource.text} is whatever the caller writes",
                    "use ${aws:username}",
                )  # fmt: skip


def _true_when_absent(reach: Reach, _: Work) -> Iterator[Finding]:
    statement = reach.statement
    if statement.is_deny:
        return
    present = {
        clause.key
        for clause in statement.conditions
        if clause.usage.operator.family == "Null"
        and {values.truth(text) for text in clause.values} == {False}
    }
    for clause in statement.conditions:
        if clause.usage.quantifier == FOR_ALL and clause.key not in present:
            yield _finding(
                ABSENT, statement, f"Condition.{clause.usage.name}.{clause.key}",
                "holds for requests without the key, too",
                f'add "Null": {{"{clause.key}": "false"}}',
            )  # fmt: skip


_CHECKS: tuple[Callable[[Reach, Work], Iterator[Finding]], ...] = (
    _too_wide,
    _wrong_level,
    _no_such_bucket,
    _conflicting,
    _addresses,
    _forgeable,
    _true_when_absent,
)
