"""Policies made ready for decisions: what does not depend on the request is done once.

For each action that was asked for there is a plan: the rules of the statements that name it,
denials apart, and by what their resource has before its first slash (for S3: the bucket). One
look-up then leaves the few rules that can match, in the order of the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from amur.iam.policy import vocabulary
from amur.iam.policy.conditions import Condition
from amur.iam.policy.contextkeys import Context
from amur.iam.policy.patterns import Pattern, tokens
from amur.iam.policy.statements import EVERYBODY, Policy, Statement

ALLOW, DENY, NONE = "ALLOW", "DENY", "NONE"


@dataclass(frozen=True, slots=True)
class StatementName:
    """`index` counts from one, as in Problem."""

    policy: str
    index: int
    sid: str

    def __str__(self) -> str:
        sid = f" ({self.sid})" if self.sid else ""
        return f"{self.policy} Statement[{self.index}]{sid}"


class Decision(NamedTuple):
    """NONE is that nothing was said: whoever asks refuses, unless something else allows."""

    effect: str
    source: StatementName | None


class PrincipalFacts(NamedTuple):
    """By what names a bucket's policy can mean whoever asks: see `principal_facts`."""

    names: frozenset[str]


def principal_facts(organization: str, key_id: str) -> PrincipalFacts:
    """Of an access key. The anonymous have None."""
    arn = f"arn:aws:iam::{organization}"
    return PrincipalFacts(frozenset({key_id, f"{arn}:user/{key_id}", f"{arn}:root"}))


# how a rule compares the resource
EXACT, PREFIX, PATTERN, NOT = range(4)

Rule = tuple[
    int,  # how
    str,  # the text or prefix
    "Resources | None",  # asked for PATTERN and NOT
    "frozenset[str] | None",  # principals; None: no matter who
    tuple[Condition, ...],
    Decision,
]


class Resources:
    """A statement's Resource or NotResource, or one pattern of it."""

    __slots__ = ("_is_not", "_patterns", "_widen")

    def __init__(self, patterns: Iterable[Pattern], *, is_not: bool, is_deny: bool) -> None:
        """A variable without a value never grants and always refuses: it is anything in the
        Resource of a Deny and in the NotResource of an Allow, and nothing in the others."""
        self._patterns = tuple(patterns)
        self._is_not = is_not
        self._widen = is_deny is not is_not

    def matches(self, resource: str, context: Context) -> bool:
        for pattern in self._patterns:
            if pattern.matches(resource, context, widen=self._widen):
                return not self._is_not
        return self._is_not


class CompiledStatement:
    """A statement with its patterns and conditions made ready."""

    __slots__ = ("_actions", "conditions", "name", "patterns", "principals", "resources",
                 "statement")  # fmt: skip

    def __init__(self, policy: str, statement: Statement) -> None:
        self.statement = statement
        self.name = StatementName(policy, statement.index, statement.sid)
        self._actions = tuple(vocabulary.action_glob(text) for text in statement.actions)
        self.patterns = tuple(Pattern(tokens(text)) for text in statement.resources)
        self.resources = Resources(
            self.patterns, is_not=statement.is_not_resource, is_deny=statement.is_deny
        )
        self.conditions = tuple(Condition(clause) for clause in statement.conditions)
        meant = frozenset(statement.principals)
        self.principals = None if not meant or EVERYBODY in meant else meant

    def names_action(self, action: str) -> bool:
        lower = action.lower()
        named = any(glob.matches(lower) for glob in self._actions)
        return named is not self.statement.is_not_action

    def means(self, principal: PrincipalFacts | None) -> bool:
        if self.principals is None:
            return True
        return principal is not None and not self.principals.isdisjoint(principal.names)

    def rules(self) -> Iterable[tuple[str | None, Rule]]:
        """(what the resource must have before its first slash, or None; the rule)."""
        is_deny = self.statement.is_deny
        end = (self.principals, self.conditions, Decision(DENY if is_deny else ALLOW, self.name))
        if self.statement.is_not_resource:
            yield None, (NOT, "", self.resources, *end)
            return
        for pattern in self.patterns:
            glob = pattern.glob
            if glob is not None and glob.exact is not None:
                yield pattern.head, (EXACT, glob.exact, None, *end)
            elif glob is not None and glob.prefix is not None:
                yield pattern.head, (PREFIX, glob.prefix, None, *end)
            else:
                one = Resources((pattern,), is_not=False, is_deny=is_deny)
                yield pattern.head, (PATTERN, "", one, *end)


Rules = tuple[Rule, ...]
Plan = tuple[dict[str, Rules], Rules, dict[str, Rules], Rules]
"""Denials by head, denials of any head, allowances by head, allowances of any head."""


class Compiled:
    """Policies that are decided upon together, as those of one key. Immutable but for its memo."""

    __slots__ = ("plans", "statements")

    def __init__(self, policies: Iterable[tuple[str, Policy]]) -> None:
        """Pairs of a name, for the source of decisions, and a policy."""
        self.statements = tuple(
            CompiledStatement(name, statement)
            for name, policy in policies
            for statement in policy.statements
        )
        self.plans: dict[str, Plan] = {}

    def plan(self, action: str) -> Plan:
        """The plan of an action; kept when the action is a known one, so there are not many."""
        denials = [each for each in self.statements if each.statement.is_deny]
        allowances = [each for each in self.statements if not each.statement.is_deny]
        plan = (*_by_head(denials, action), *_by_head(allowances, action))
        if action in vocabulary.BY_NAME:
            self.plans[action] = plan
        return plan


def _by_head(
    statements: Iterable[CompiledStatement], action: str
) -> tuple[dict[str, Rules], Rules]:
    pairs = [
        pair
        for statement in statements
        if statement.names_action(action)
        for pair in statement.rules()
    ]
    heads = {head for head, _ in pairs if head is not None}
    by_head = {
        head: tuple(rule for where, rule in pairs if where is None or where == head)
        for head in heads
    }
    return by_head, tuple(rule for head, rule in pairs if head is None)
