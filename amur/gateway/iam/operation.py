"""What an operation is: its name, the right that it needs, what it is about, who answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import NamedTuple

import msgspec

from amur.gateway.iam.call import Call, Handler
from amur.iam.model import key_arn, policy_arn


class Need(Enum):
    """What right an operation asks for. An explicit Deny of its action refuses in every case."""

    CALLER = "any caller with a valid signature"
    KEY = "... whose key is not a session's"
    SELF_OR_READ = "a key for what is its own, else READ"
    READ = "administrators, and whom a role or policy allows the action"
    ADMIN = "administrators whom nothing restricts"
    ROOT = "the root key"


Subject = Callable[[Call], str]
"""Id of the key that a call is about, "" of all or none. It becomes `Call.subject`, which is what
handlers ask: whoever may see one key must not get another by a second parameter."""
Resource = Callable[[Call], str]
"""ARN of what a call is about."""
Guard = Callable[[Call, str], Awaitable[None]]
"""Beyond rights: raises AccessDenied for what this caller may not do to this subject. The text is
the action. See owners.py."""


def no_subject(_: Call) -> str:
    return ""


def by_access_key_id(call: Call) -> str:
    return call.params.text("AccessKeyId")


def by_user_name(call: Call) -> str:
    """AWS says UserName where a key's id stands here."""
    return call.params.text("UserName")


def by_key_id(call: Call) -> str:
    """Tigris' name for it in listings, else AWS's."""
    return call.params.text("KeyId") or call.params.text("UserName")


class _Named(msgspec.Struct):
    id: str = ""


def by_request(call: Call) -> str:
    """Of the document `Req`; the handler tells what is wrong with it."""
    try:
        return msgspec.json.decode(call.params.text("Req"), type=_Named).id
    except (msgspec.DecodeError, UnicodeEncodeError):
        return ""


def by_source(call: Call) -> str:
    """Of a simulation: the key of PolicySourceArn."""
    return call.params.text("PolicySourceArn").rpartition("/")[2]


def of_organization(call: Call) -> str:
    return f"arn:aws:iam::{call.organization}:*"


def of_key(call: Call) -> str:
    return key_arn(call.organization, call.subject or "*")


def of_caller(call: Call) -> str:
    return key_arn(call.principal.owner, call.principal.parent or call.principal.key_id)


def of_policy(call: Call) -> str:
    return call.params.text("PolicyArn") or of_policies(call)


def of_new_policy(call: Call) -> str:
    return policy_arn(call.organization, call.params.text("PolicyName") or "*")


def of_policies(call: Call) -> str:
    return policy_arn(call.organization, "*")


def of_bucket(call: Call) -> str:
    return f"arn:aws:s3:::{call.params.text('Bucket') or '*'}"


class Operation(NamedTuple):
    """`is_ours` are answered in JSON only, whatever the client accepts."""

    name: str
    action: str
    need: Need
    handler: Handler
    resource: Resource = of_organization
    subject: Subject = no_subject
    is_ours: bool = False
    guard: Guard | None = None

    @property
    def service(self) -> str:
        return self.action.partition(":")[0]
