"""Owners of an organization: an administrator who is none neither becomes one nor takes one away.

Nor by their keys: one that is disabled, deleted, has a known secret or a policy that denies is no
owner's any more. Beyond rights, as it hangs on what is in the directory: `authorize` asks the
guards of the table of operations. Source: Tigris, "Organizations"; the keys are ours.
"""

from __future__ import annotations

from collections.abc import Iterable

from amur.gateway.iam.call import Call
from amur.iam.model import IamError, MemberRole, NoSuchEntity, key_arn

WHY = (
    "owners, their keys and the policies that these have are made, changed and removed by an "
    "owner's key only"
)


async def check_owners(call: Call, roles: Iterable[MemberRole], members: Iterable[str]) -> None:
    """Whether the caller may give these roles, change these members, and make keys for them: an
    owner's key may, the root key, and one of the settings (which has no name). Raises AccessDenied,
    NoSuchEntity."""
    if await _is_owners(call):
        return
    found = [await call.directory.members.get(call.organization, each) for each in members]
    if MemberRole.OWNER in roles or any(each.role is MemberRole.OWNER for each in found):
        raise _refused(call, "iam:UpdateMember", f"arn:aws:iam::{call.organization}:*")


async def guard_key(call: Call, action: str) -> None:
    """Of what changes the key that the call is about. Raises AccessDenied; of a key that is not
    there the handler tells."""
    if not call.subject or await _is_owners(call):
        return
    try:
        key = await call.directory.keys.get(call.organization, call.subject)
    except NoSuchEntity:
        return
    await _check_member(call, action, key.id, key.member)


async def guard_policy(call: Call, action: str) -> None:
    """Of what changes a policy for those who have it. As `guard_key`."""
    if await _is_owners(call):
        return
    try:
        arn = call.params.text("PolicyArn")
        keys = await call.directory.policies.keys_of(call.organization, arn)
    except IamError:
        return
    members = {key.member: key.id for key in keys}
    for member, key_id in members.items():
        await _check_member(call, action, key_id, member)


async def _check_member(call: Call, action: str, key_id: str, member: str) -> None:
    """`member` may be "", and may have left."""
    if not member:
        return
    try:
        found = await call.directory.members.get(call.organization, member)
    except NoSuchEntity:
        return
    if found.role is MemberRole.OWNER:
        raise _refused(call, action, key_arn(call.organization, key_id))


async def _is_owners(call: Call) -> bool:
    principal = call.principal
    if principal.is_root or not principal.name:
        return True
    if not principal.member:
        return False
    member = await call.directory.members.get(call.organization, principal.member)
    return member.role is MemberRole.OWNER


def _refused(call: Call, action: str, resource: str) -> IamError:
    call.ctx.note_refusal(action, resource, call.organization, WHY)
    return IamError("AccessDenied", f"{call.principal.key_id} may not {action}: {WHY}.")
