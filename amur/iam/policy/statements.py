"""What a policy is once it was read: frozen values, every name in its documented spelling."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from amur.iam.policy.conditions import ConditionClause

VERSION = "2012-10-17"
ALLOW, DENY = "Allow", "Deny"
SID_CHARS_MAX = 128
EVERYBODY = "*"


class Kind(Enum):
    """Where a policy stands: attached to keys, on a bucket, or inside a temporary key."""

    IDENTITY = "identity"
    BUCKET = "bucket"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Statement:
    """`index` counts from one. `principals` is empty but in a bucket's policy."""

    index: int
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[ConditionClause, ...] = ()
    principals: tuple[str, ...] = ()
    is_not_action: bool = False
    is_not_resource: bool = False

    @property
    def is_deny(self) -> bool:
        return self.effect == DENY

    @property
    def label(self) -> str:
        return label(self.index, self.sid)


@dataclass(frozen=True, slots=True)
class Policy:
    """A document that was read without a problem."""

    kind: Kind
    statements: tuple[Statement, ...]
    id: str = ""


def label(index: int, sid: str) -> str:
    return f"Statement[{index}] ({sid})" if sid else f"Statement[{index}]"
