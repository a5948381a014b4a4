"""The decision: explicit Deny first, then an Allow, else nothing was said.

Works on what compiling.py made ready, and makes no objects on the way. An action that Amur does
not know is decided by the wildcards that mean it, like any other.
"""

from __future__ import annotations

from amur.iam.policy.compiling import (
    ALLOW,
    DENY,
    EXACT,
    NONE,
    PREFIX,
    Compiled,
    Decision,
    PrincipalFacts,
    Rules,
)
from amur.iam.policy.conditions import all_hold
from amur.iam.policy.contextkeys import Context

__all__ = ["ALLOW", "DENY", "NONE", "Decision", "decide"]

NOTHING = Decision(NONE, None)


def decide(
    compiled: Compiled,
    action: str,
    resource: str,
    context: Context,
    principal: PrincipalFacts | None = None,
) -> Decision:
    """What the policies say of `action` (as in the vocabulary) on `resource` (an ARN).

    `principal` matters to buckets' policies; None is the anonymous. The source is the first
    statement, in the order of policies and statements, that says it.
    """
    plan = compiled.plans.get(action) or compiled.plan(action)
    denials, other_denials, allowances, other_allowances = plan
    head = resource.partition("/")[0]
    rules = denials.get(head, other_denials)
    if rules:
        found = _first(rules, resource, context, principal, True)
        if found is not None:
            return found
    rules = allowances.get(head, other_allowances)
    if rules:
        found = _first(rules, resource, context, principal, False)
        if found is not None:
            return found
    return NOTHING


def _first(
    rules: Rules,
    resource: str,
    context: Context,
    principal: PrincipalFacts | None,
    is_deny: bool,
) -> Decision | None:
    for how, text, resources, principals, conditions, decision in rules:
        if how == EXACT:
            if resource != text:
                continue
        elif how == PREFIX:
            if not resource.startswith(text):
                continue
        elif resources is None or not resources.matches(resource, context):
            continue
        if principals is not None and (principal is None or principals.isdisjoint(principal.names)):
            continue
        if conditions and not all_hold(conditions, context, is_deny=is_deny):
            continue
        return decision
    return None
