"""Organizations, their members and teams."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from amur.iam import paths
from amur.iam.events import record_change
from amur.iam.model import (
    ROOT_ORGANIZATION,
    Actor,
    IamError,
    Member,
    MemberRole,
    NoSuchEntity,
    Organization,
    Status,
    Team,
)
from amur.iam.names import check_description, check_key_name
from amur.meta.engine import prefix_end
from amur.meta.records import EntryRecord
from amur.objects.registry import Registry, Transaction

_ORGANIZATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_EMAIL = re.compile(r"[^@\s\0]{1,64}@[^@\s\0]{1,190}")
_SLUG_NOT = re.compile(r"[^a-z0-9]+")
MEMBERS_MAX = 1000  # of an organization
ORGANIZATIONS_MAX = 10_000
RESERVED = frozenset({ROOT_ORGANIZATION, "aws", "amur", "anonymous"})


class Members:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _now(self) -> int:
        return self._registry.core.clock.now_ns()

    # --- organizations ---
    async def create_organization(
        self, actor: Actor, name: str, organization_id: str = ""
    ) -> Organization:
        """Of a new id, or the one given. Ids are never used again."""
        check_key_name(name)
        org = organization_id or "org-" + secrets.token_hex(10)
        if not _ORGANIZATION_ID.fullmatch(org) or org.lower() in RESERVED:
            raise IamError("InvalidInput", "An organization's id is 3 to 63 letters, digits, . _ -")
        values = {"name": name, "created": self._now()}

        async def attempt(transaction: Transaction) -> Organization:
            path = paths.organization(org)
            if await transaction.exists(path):
                raise IamError("EntityAlreadyExists", f"An organization {org} exists already.")
            record = await transaction.create(path, values)
            await record_change(
                transaction, self._registry, actor, "iam:CreateOrganization", org, {"name": name}
            )
            return _organization_of(path, record)

        return await self._registry.transact(attempt)

    async def organization(self, organization_id: str) -> Organization:
        """Those of the settings are there without an entry."""
        record = await self._registry.get(paths.organization(organization_id))
        if record is None:
            name = organization_id.capitalize()
            return Organization(organization_id, name, _slug(organization_id))
        return _organization_of(paths.organization(organization_id), record)

    async def list_organizations(self) -> list[Organization]:
        """Those that were made, by id; `root` is always there."""
        start = paths.ORGANIZATIONS
        rows = await self._registry.scan(start, prefix_end(start), ORGANIZATIONS_MAX)
        made = [_organization_of(path, record) for path, record in rows]
        root = await self.organization(ROOT_ORGANIZATION)
        return [root, *(each for each in made if each.id != ROOT_ORGANIZATION)]

    # --- members ---
    async def add(
        self,
        actor: Actor,
        email: str,
        role: MemberRole,
        *,
        name: str = "",
        is_invited: bool = False,
    ) -> Member:
        """Raises EntityAlreadyExists for the e-mail address of a member."""
        email = email.strip().lower()
        if not _EMAIL.fullmatch(email):
            raise IamError("InvalidInput", f"{email!r} is not an e-mail address.")
        check_key_name(name or email)
        org = actor.organization
        path = paths.member("usr_" + secrets.token_hex(10))
        values: dict[str, Any] = {
            "organization": org,
            "email": email,
            "name": name or email,
            "role": role.value,
            "is_invited": is_invited,
            "created": self._now(),
        }

        named = paths.member_named(org, email)

        async def attempt(transaction: Transaction) -> Member:
            there = await _members(transaction, org)
            if len(there) >= MEMBERS_MAX:
                raise IamError("LimitExceeded", f"There are at most {MEMBERS_MAX} members.")
            for each in list(there)[:1]:
                transaction.touch(each)  # of two who add one, one has to look again
            if await transaction.find(named, 1):
                raise IamError("EntityAlreadyExists", f"{email} is a member already.")
            transaction.alone(named)
            record = await transaction.create(path, values, [paths.members_of(org), named])
            detail = {"email": email, "role": role.value, "is_invited": is_invited}
            await self._note(transaction, actor, "iam:InviteMember", path, detail)
            return member_of(path, record)

        return await self._registry.transact(attempt)

    async def all(self, organization: str) -> list[Member]:
        rows = await self._registry.find(paths.members_of(organization), limit=MEMBERS_MAX)
        return [member_of(path, record) for path, record in rows]

    async def get(self, organization: str, member_id: str) -> Member:
        path = _member_path(member_id)
        record = await self._registry.get(path)
        if record is None or record.values["organization"] != organization:
            raise _no_member(member_id)
        return member_of(path, record)

    async def set_role(self, actor: Actor, member_id: str, role: MemberRole) -> Member:
        """An organization keeps an owner: the last one stays one."""

        async def attempt(transaction: Transaction) -> Member:
            path, record = await _the_member(transaction, actor.organization, member_id)
            if role is not MemberRole.OWNER:
                await _check_not_last_owner(transaction, actor.organization, path)
            transaction.set(path, {"role": role.value, "is_invited": False})
            detail = {"role": role.value}
            await self._note(transaction, actor, "iam:UpdateMember", path, detail)
            return member_of(path, record)

        return await self._registry.transact(attempt)

    async def remove(self, actor: Actor, member_id: str) -> None:
        """The member's keys go with them: they are disabled in the same commit."""

        async def attempt(transaction: Transaction) -> None:
            path, record = await _the_member(transaction, actor.organization, member_id)
            await _check_not_last_owner(transaction, actor.organization, path)
            disabled = await _disable_keys(transaction, actor.organization, member_id)
            detail = {"email": record.values["email"], "disabled": disabled}
            transaction.remove(path)
            await self._note(transaction, actor, "iam:RemoveMember", path, detail)

        await self._registry.transact(attempt)

    # --- teams ---
    async def create_team(
        self, actor: Actor, name: str, description: str, members: Sequence[str]
    ) -> Team:
        check_key_name(name)
        check_description(description)
        path = paths.team("team_" + secrets.token_hex(10))
        now = self._now()
        values: dict[str, Any] = {
            "organization": actor.organization,
            "name": name,
            "description": description,
            "members": list(members),
            "created": now,
            "changed": now,
        }

        async def attempt(transaction: Transaction) -> Team:
            for each in members:
                await _the_member(transaction, actor.organization, each)
            index = [paths.teams_of(actor.organization)]
            record = await transaction.create(path, values, index)
            await self._note(transaction, actor, "iam:UpdateMember", path, {"name": name})
            return _team_of(path, record)

        return await self._registry.transact(attempt)

    async def list_teams(self, organization: str) -> list[Team]:
        rows = await self._registry.find(paths.teams_of(organization))
        return [_team_of(path, record) for path, record in rows]

    async def update_team(
        self,
        actor: Actor,
        team_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        members: Sequence[str] | None = None,
    ) -> Team:
        """Set what is not None."""
        fields: dict[str, Any] = {"changed": self._now()}
        if name is not None:
            check_key_name(name)
            fields["name"] = name
        if description is not None:
            check_description(description)
            fields["description"] = description
        if members is not None:
            fields["members"] = list(members)

        async def attempt(transaction: Transaction) -> Team:
            path, record = await _the_team(transaction, actor.organization, team_id)
            for each in members or ():
                await _the_member(transaction, actor.organization, each)
            transaction.set(path, fields)
            await self._note(transaction, actor, "iam:UpdateMember", path, fields)
            return _team_of(path, record)

        return await self._registry.transact(attempt)

    async def delete_team(self, actor: Actor, team_id: str) -> None:
        async def attempt(transaction: Transaction) -> None:
            path, _ = await _the_team(transaction, actor.organization, team_id)
            transaction.remove(path)
            await self._note(transaction, actor, "iam:UpdateMember", path, {})

        await self._registry.transact(attempt)

    async def _note(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        path: bytes,
        detail: Mapping[str, Any],
    ) -> None:
        resource = paths.parts(path)[0]
        await record_change(transaction, self._registry, actor, action, resource, detail)


def _organization_of(path: bytes, record: EntryRecord) -> Organization:
    values = record.values
    return Organization(
        paths.parts(path)[0], values["name"], _slug(values["name"]), values["created"]
    )


def _slug(name: str) -> str:
    return _SLUG_NOT.sub("-", name.lower()).strip("-")


def member_of(path: bytes, record: EntryRecord) -> Member:
    values = record.values
    return Member(
        paths.parts(path)[0],
        values["organization"],
        values["email"],
        values["name"],
        MemberRole(values["role"]),
        values["is_invited"],
        values["created"],
    )


def _team_of(path: bytes, record: EntryRecord) -> Team:
    values = record.values
    return Team(
        paths.parts(path)[0],
        values["organization"],
        values["name"],
        values["description"],
        tuple(values["members"]),
        values["created"],
        values["changed"],
    )


def _no_member(member_id: str) -> NoSuchEntity:
    return NoSuchEntity(f"The member {member_id} does not exist.")


def _member_path(member_id: str) -> bytes:
    if "\0" in member_id:
        raise _no_member(member_id)
    return paths.member(member_id)


async def _the_member(
    transaction: Transaction, organization: str, member_id: str
) -> tuple[bytes, EntryRecord]:
    path = _member_path(member_id)
    record = await transaction.get(path)
    if record is None or record.values["organization"] != organization:
        raise _no_member(member_id)
    return path, record


async def _the_team(
    transaction: Transaction, organization: str, team_id: str
) -> tuple[bytes, EntryRecord]:
    record = await transaction.get(paths.team(team_id)) if "\0" not in team_id else None
    if record is None or record.values["organization"] != organization:
        raise NoSuchEntity(f"The team {team_id} does not exist.")
    return paths.team(team_id), record


async def _members(transaction: Transaction, organization: str) -> dict[bytes, EntryRecord]:
    """By path, in order. Each was read before it was last looked who there is, so whoever is added
    after that, touching one of them, is not overlooked."""
    index = paths.members_of(organization)
    there = await transaction.find(index)
    while True:
        found = {path: await transaction.get(path) for path in there}
        before, there = there, await transaction.find(index)
        if there == before:
            return {path: record for path, record in found.items() if record is not None}


async def _check_not_last_owner(
    transaction: Transaction, organization: str, leaving: bytes
) -> None:
    """All members are read, and the one who leaves is changed: so two can't both leave because
    of each other."""
    found = await _members(transaction, organization)
    owners = [path for path, each in found.items() if each.values["role"] == MemberRole.OWNER.value]
    if owners == [leaving]:
        raise IamError("DeleteConflict", "An organization keeps its last owner.")


async def _disable_keys(transaction: Transaction, organization: str, member_id: str) -> int:
    """(Whoever makes a key for the member touches the member.)"""
    count = 0
    for path in await transaction.find(paths.keys_of(organization)):
        record = await transaction.get(path)
        if record is not None and record.values["member"] == member_id:
            transaction.set(path, {"status": Status.INACTIVE.value})
            count += 1
    return count
