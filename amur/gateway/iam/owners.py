"""Owners of an organization: an administrator who is none neither becomes one nor takes one away.

Beyond `authorize`, as it hangs on what is in the directory. Source: Tigris, "Organizations".
"""

from __future__ import annotations

from collections.abc import Iterable

from amur.gateway.iam.call import Call
from amur.iam.model import IamError, MemberRole


async def check_owners(call: Call, roles: Iterable[MemberRole], members: Iterable[str]) -> None:
    """Whether the caller may give these roles, and change or get the keys of these members: an
    owner's key may, the root key, and one of the settings (which has no name). Raises AccessDenied,
    NoSuchEntity."""
    principal, directory = call.principal, call.directory.members
    if principal.is_root or not principal.name:
        return
    if principal.member:
        asking = await directory.get(call.organization, principal.member)
        if asking.role is MemberRole.OWNER:
            return
    found = [await directory.get(call.organization, each) for each in members]
    if MemberRole.OWNER in roles or any(each.role is MemberRole.OWNER for each in found):
        why = "owners are made, changed, removed and given keys by an owner's key only"
        resource = f"arn:aws:iam::{call.organization}:*"
        call.ctx.note_refusal("iam:UpdateMember", resource, call.organization, why)
        raise IamError("AccessDenied", f"{principal.key_id} may not: {why}.")
