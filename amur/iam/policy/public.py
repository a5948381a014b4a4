"""Whether a bucket's policy leaves it public.

Rule: Amazon's "The meaning of public": it allows something to everybody, and no condition binds
that to fixed values of what a caller can't choose.
"""

from __future__ import annotations

from amur.iam.policy import values
from amur.iam.policy.conditions import ConditionClause
from amur.iam.policy.operators import FOR_ALL
from amur.iam.policy.statements import EVERYBODY, Policy

_BINDING = frozenset({"aws:SourceIp", "aws:PrincipalArn", "aws:userid", "aws:username"})
_OPERATORS = frozenset(
    {"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike", "IpAddress"}
)
_PREFIX_BITS_MIN = {4: 8, 6: 32}  # Amazon: a wider network is as good as everybody


def is_public(policy: Policy) -> bool:
    """Of a policy that was read."""
    return any(
        not statement.is_deny
        and EVERYBODY in statement.principals
        and not any(_binds(clause) for clause in statement.conditions)
        for statement in policy.statements
    )


def _binds(clause: ConditionClause) -> bool:
    usage = clause.usage
    if clause.key not in _BINDING or usage.operator.name not in _OPERATORS:
        return False
    if usage.if_exists or usage.quantifier == FOR_ALL:  # fulfilled by whoever has no value
        return False
    is_fixed = _is_narrow if clause.key == "aws:SourceIp" else _is_one
    return all(is_fixed(each) for each in clause.values)


def _is_narrow(text: str) -> bool:
    network = values.network(text)
    return network is not None and network.mask.bit_count() >= _PREFIX_BITS_MIN[network.version]


def _is_one(text: str) -> bool:
    """No wildcard, and no variable."""
    return not {"*", "?", "$"}.intersection(text)
