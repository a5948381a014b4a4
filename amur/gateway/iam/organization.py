"""The REST part: the organization, its members, invitations and teams, in Tigris' JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from amur.gateway.iam.call import Call
from amur.gateway.iam.owners import check_owners
from amur.gateway.iam.params import parse_document
from amur.gateway.iam.render import Answer, iso
from amur.iam.model import IamError, Member, MemberRole, NoSuchEntity, Organization, Team

_ROLES = {role.value.lower(): role for role in MemberRole}
NO_END = "9999-12-31T23:59:59Z"  # of invitations: they are valid until they are taken back
AT_ONCE_MAX = 100  # changes of one request, each a commit of its own


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    id: str = ""


class MemberChanges(msgspec.Struct, forbid_unknown_fields=True):
    updated_user_roles: dict[str, str] = {}
    removed_users: list[str] = []


class Invitation(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    role: str


class Invitations(msgspec.Struct, forbid_unknown_fields=True):
    invitations: list[Invitation]


class RevokedInvitations(msgspec.Struct, forbid_unknown_fields=True):
    invitation_ids: list[str]


class TeamMember(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str


class NewTeam(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str = ""
    members: list[TeamMember] = []


class TeamChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    description: str | None = None
    members: list[TeamMember] | None = None


def _success(message: str, **result: Any) -> Answer:
    return Answer(document={"status": "success", "message": message, "result": result})


def _role(text: str) -> MemberRole:
    found = _ROLES.get(text.lower())
    if found is None:
        raise IamError("ValidationError", f"{text!r} is not a role: {', '.join(_ROLES)}.")
    return found


def _bounded(count: int) -> None:
    if count > AT_ONCE_MAX:
        raise IamError("LimitExceeded", f"At most {AT_ONCE_MAX} changes in one request.")


async def whoami(call: Call) -> Answer:
    principal = call.principal
    user = principal.member or principal.parent or principal.key_id
    return Answer(document={"UserId": user, "NamespaceId": call.organization})


# --- organizations ---


async def get_organization(call: Call) -> Answer:
    members = await call.directory.members.all(call.organization)
    found = await call.directory.members.organization(call.organization)
    owner = next((each.id for each in members if each.role is MemberRole.OWNER), "")
    return Answer(
        document=_organization(found)
        | {
            "description": "",
            "owner_user_id": owner,
            "notification_emails": [],
            "users": [_member(each) for each in members if not each.is_invited],
            "invitations": [_invitation(each) for each in members if each.is_invited],
            "billing": {},
            "mfa_settings": {},
            "quota": {"limit_bytes": 0},
        }
    )


def _organization(found: Organization) -> dict[str, Any]:
    return {"id": found.id, "name": found.name, "slug": found.slug}


def _member(member: Member) -> dict[str, Any]:
    return {
        "email": member.email,
        "userId": member.id,
        "user_name": member.name,
        "profile_picture_url": "",
        "role": member.role.value.lower(),
        "is_org_owner": member.role is MemberRole.OWNER,
        "agreed_to_tos": True,
    }


def _invitation(member: Member) -> dict[str, Any]:
    return {
        "id": member.id,
        "email": member.email,
        "role": member.role.value.lower(),
        "status": "pending",
        "namespace_id": member.organization,
        "created_by_user_id": "",
        "valid_until": NO_END,
    }


async def list_organizations(call: Call) -> Answer:
    """Root sees all of them, others their own."""
    members = call.directory.members
    if call.principal.is_root:
        names = sorted(await call.iam.organizations())
        found = [await members.organization(each) for each in names]
    else:
        found = [await members.organization(call.organization)]
    return _success("", orgs=[_organization(each) for each in found])


async def create_organization(call: Call) -> Answer:
    wanted = parse_document(call.body, NewOrganization, "The body")
    actor = call.actor._replace(organization=call.principal.owner)
    made = await call.directory.members.create_organization(actor, wanted.name, wanted.id)
    return _success("The organization was made.", namespace_id=made.id)


# --- members ---


async def change_members(call: Call) -> Answer:
    wanted = parse_document(call.body, MemberChanges, "The body")
    _bounded(len(wanted.updated_user_roles) + len(wanted.removed_users))
    members = call.directory.members
    roles = {each: _role(role) for each, role in wanted.updated_user_roles.items()}
    await check_owners(call, roles.values(), [*roles, *wanted.removed_users])
    for member_id, role in roles.items():
        await members.set_role(call.actor, member_id, role)
    for member_id in wanted.removed_users:
        await members.remove(call.actor, member_id)
    return _success("The members were changed.")


async def invite(call: Call) -> Answer:
    wanted = parse_document(call.body, Invitations, "The body").invitations
    _bounded(len(wanted))
    roles = [_role(each.role) for each in wanted]
    await check_owners(call, roles, ())
    made = []
    for each, role in zip(wanted, roles, strict=True):
        member = await call.directory.members.add(call.actor, each.email, role, is_invited=True)
        made.append(member.id)
    return _success("They were invited.", invitation_ids=made)


async def revoke_invitations(call: Call) -> Answer:
    wanted = parse_document(call.body, RevokedInvitations, "The body").invitation_ids
    _bounded(len(wanted))
    members = call.directory.members
    for each in wanted:
        if not (await members.get(call.organization, each)).is_invited:
            raise NoSuchEntity(f"The invitation {each} does not exist.")
    await check_owners(call, (), wanted)
    for each in wanted:
        await members.remove(call.actor, each)
    return _success("The invitations were taken back.")


# --- teams ---


async def list_teams(call: Call) -> Answer:
    found = await call.directory.members.list_teams(call.organization)
    return _success("", teams=[_team(each) for each in found])


def _team(team: Team) -> dict[str, Any]:
    return {
        "id": team.id,
        "name": team.name,
        "description": team.description,
        "members": [{"user_id": each} for each in team.members],
        "created_at": iso(team.created_ns),
        "updated_at": iso(team.changed_ns),
    }


async def create_team(call: Call) -> Answer:
    wanted = parse_document(call.body, NewTeam, "The body")
    ids = [each.user_id for each in wanted.members]
    team = await call.directory.members.create_team(
        call.actor, wanted.name, wanted.description, ids
    )
    return _success("The team was made.", team_id=team.id)


def _team_id(call: Call) -> str:
    return call.ctx.request.path.rpartition("/")[2]


async def update_team(call: Call) -> Answer:
    wanted = parse_document(call.body, TeamChanges, "The body")
    ids = None if wanted.members is None else [each.user_id for each in wanted.members]
    team = await call.directory.members.update_team(
        call.actor, _team_id(call), name=wanted.name, description=wanted.description, members=ids
    )
    return _success("The team was changed.", team_id=team.id)


async def delete_team(call: Call) -> Answer:
    await call.directory.members.delete_team(call.actor, _team_id(call))
    return _success("The team is no more.", team_id=_team_id(call))
