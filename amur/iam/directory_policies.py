"""Policies: made, given new versions, deleted; which keys have them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from amur.iam import paths
from amur.iam.events import record_change
from amur.iam.key_entries import key_of
from amur.iam.model import (
    AccessKey,
    Actor,
    IamError,
    NoSuchEntity,
    Policy,
    PolicyVersion,
    policy_arn,
)
from amur.iam.names import changed_tags, check_description, check_policy_name, check_tags
from amur.iam.policy.document import Kind, PolicyInvalid, parse
from amur.iam.policy_entries import find_policy, policy_of, the_policy
from amur.objects.registry import Registry, Transaction

VERSIONS_MAX = 5  # AWS
POLICIES_PER_PAGE_MAX = 1000
_ID_BYTES = 13


def check_document(document: str) -> None:
    """Raises IamError MalformedPolicyDocument with all that is wrong."""
    try:
        parse(document, Kind.IDENTITY)
    except PolicyInvalid as error:
        raise IamError("MalformedPolicyDocument", str(error)) from None


class Policies:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _now(self) -> int:
        return self._registry.core.clock.now_ns()

    async def create(
        self,
        actor: Actor,
        name: str,
        document: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Policy:
        """Raises EntityAlreadyExists when the name is taken, whatever its case: nobody shall have
        to tell two names by it."""
        check_policy_name(name)
        check_description(description)
        check_tags(tags or {})
        check_document(document)
        org, now = actor.organization, self._now()
        path = paths.policy("ANPA" + secrets.token_hex(_ID_BYTES).upper())
        named = paths.policy_named(org, name)
        values: dict[str, Any] = {
            "organization": org,
            "name": name,
            "description": description,
            "created": now,
            "versions": ["v1", 2, [["v1", document, now]]],
            "tags": dict(tags or {}),
        }

        async def attempt(transaction: Transaction) -> Policy:
            if await transaction.find(named, 1):
                raise IamError("EntityAlreadyExists", f"A policy named {name} exists already.")
            transaction.alone(named)
            record = await transaction.create(path, values, [paths.policies_of(org), named])
            await self._note(transaction, actor, "iam:CreatePolicy", name, {"document": document})
            return policy_of(path, record)

        return await self._registry.transact(attempt)

    async def get(self, organization: str, arn: str) -> Policy:
        return await find_policy(self._registry, organization, arn)

    async def page(
        self, organization: str, *, after: str = "", limit: int = POLICIES_PER_PAGE_MAX
    ) -> tuple[list[Policy], str]:
        """In the order of their ids, and `after` of the next page, "" at the end."""
        limit = max(1, min(limit, POLICIES_PER_PAGE_MAX))
        start = paths.policy(after) if after else b""
        index = paths.policies_of(organization)
        rows = await self._registry.find(index, after=start, limit=limit + 1)
        page = [policy_of(path, record) for path, record in rows[:limit]]
        return page, page[-1].id if len(rows) > limit else ""

    async def update(
        self, actor: Actor, arn: str, *, document: str | None = None, description: str | None = None
    ) -> Policy:
        """A new document is a new version, in force at once; the oldest other one makes room."""
        if document is not None:
            check_document(document)
        if description is not None:
            check_description(description)

        async def attempt(transaction: Transaction) -> Policy:
            policy, path = await self._the(transaction, actor, arn)
            if description is not None:
                transaction.set(path, {"description": description})
            if document is not None:
                number = await _next_number(transaction, path)
                default, kept = policy.default, list(policy.versions)
                if document != policy.document:
                    default = f"v{number}"
                    made = PolicyVersion(default, document, self._now())
                    kept = [*kept[-(VERSIONS_MAX - 1) :], made]
                    number += 1
                _set_versions(transaction, path, default, number, kept)  # said last, if not new
            detail = {"document": document, "description": description}
            await self._note(transaction, actor, "iam:UpdatePolicy", policy.name, detail)
            return await _reread(transaction, path)

        return await self._registry.transact(attempt)

    async def create_version(
        self, actor: Actor, arn: str, document: str, *, is_default: bool
    ) -> tuple[Policy, PolicyVersion]:
        """Raises LimitExceeded at VERSIONS_MAX: one must be deleted before."""
        check_document(document)

        async def attempt(transaction: Transaction) -> tuple[Policy, PolicyVersion]:
            policy, path = await self._the(transaction, actor, arn)
            if len(policy.versions) >= VERSIONS_MAX:
                raise IamError(
                    "LimitExceeded",
                    f"A policy has at most {VERSIONS_MAX} versions: delete one first.",
                )
            number = await _next_number(transaction, path)
            version = PolicyVersion(f"v{number}", document, self._now())
            default = version.id if is_default else policy.default
            _set_versions(transaction, path, default, number + 1, [*policy.versions, version])
            detail = {"document": document, "version": version.id, "is_default": is_default}
            await self._note(transaction, actor, "iam:CreatePolicyVersion", policy.name, detail)
            return await _reread(transaction, path), version

        return await self._registry.transact(attempt)

    async def delete_version(self, actor: Actor, arn: str, version_id: str) -> None:
        """Raises DeleteConflict for the one in force."""

        async def attempt(transaction: Transaction) -> None:
            policy, path = await self._the(transaction, actor, arn)
            policy.version(version_id)
            if version_id == policy.default:
                raise IamError("DeleteConflict", "The version in force can't be deleted.")
            number = await _next_number(transaction, path)
            kept = [each for each in policy.versions if each.id != version_id]
            _set_versions(transaction, path, policy.default, number, kept)
            detail = {"version": version_id}
            await self._note(transaction, actor, "iam:DeletePolicyVersion", policy.name, detail)

        await self._registry.transact(attempt)

    async def set_default_version(self, actor: Actor, arn: str, version_id: str) -> None:
        async def attempt(transaction: Transaction) -> None:
            policy, path = await self._the(transaction, actor, arn)
            policy.version(version_id)
            number = await _next_number(transaction, path)
            _set_versions(transaction, path, version_id, number, policy.versions)
            detail = {"version": version_id}
            await self._note(transaction, actor, "iam:SetDefaultPolicyVersion", policy.name, detail)

        await self._registry.transact(attempt)

    async def change_tags(
        self,
        actor: Actor,
        arn: str,
        *,
        add: Mapping[str, str] | None = None,
        remove: Sequence[str] = (),
    ) -> None:
        async def attempt(transaction: Transaction) -> None:
            policy, path = await self._the(transaction, actor, arn)
            tags = changed_tags(policy.tags, add or {}, remove)
            transaction.set(path, {"tags": tags})
            await self._note(transaction, actor, "iam:TagPolicy", policy.name, {"tags": tags})

        await self._registry.transact(attempt)

    async def delete(self, actor: Actor, arn: str, *, force: bool = False) -> None:
        """Raises DeleteConflict while keys have it, or it has other versions; `force` detaches."""

        async def attempt(transaction: Transaction) -> None:
            policy, path = await self._the(transaction, actor, arn)
            holders = 0  # (whoever attaches it touches the policy)
            for each in await transaction.find(paths.attached_to(policy.id)):
                record = await transaction.get(each)
                if record is not None and record.values["is_attached"]:
                    holders += 1
                if force and record is not None:
                    transaction.remove(each)
            if not force and holders:
                raise IamError("DeleteConflict", f"{holders} access keys have this policy.")
            if not force and len(policy.versions) > 1:
                raise IamError("DeleteConflict", "Delete the versions that are not in force first.")
            transaction.remove(path)
            detail = {"detached": holders}
            await self._note(transaction, actor, "iam:DeletePolicy", policy.name, detail)

        await self._registry.transact(attempt)

    async def keys_of(self, organization: str, arn: str) -> list[AccessKey]:
        """The keys that have this policy: the question that others don't answer."""
        policy = await self.get(organization, arn)
        rows = await self._registry.find(paths.attached_to(policy.id))
        ids = [paths.parts(path)[0] for path, record in rows if record.values["is_attached"]]
        records = await self._registry.get_many([paths.key(each) for each in ids])
        return [key_of(paths.key(i), r) for i, r in zip(ids, records, strict=True) if r is not None]

    async def attachment_count(self, policy: Policy) -> int:
        rows = await self._registry.find(paths.attached_to(policy.id))
        return sum(bool(record.values["is_attached"]) for _, record in rows)

    async def _the(self, transaction: Transaction, actor: Actor, arn: str) -> tuple[Policy, bytes]:
        policy = await the_policy(transaction, actor.organization, arn)
        return policy, paths.policy(policy.id)

    async def _note(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        name: str,
        detail: Mapping[str, Any],
    ) -> None:
        resource = policy_arn(actor.organization, name)
        await record_change(transaction, self._registry, actor, action, resource, detail)


def _set_versions(
    transaction: Transaction,
    path: bytes,
    default: str,
    number: int,
    versions: Sequence[PolicyVersion],
) -> None:
    """All in one field, so that two regions never mix the versions of one with the other's."""
    rows = [list(each) for each in versions]
    assert any(each.id == default for each in versions), "the default version is one of them"
    transaction.set(path, {"versions": [default, number, rows]})


async def _next_number(transaction: Transaction, path: bytes) -> int:
    record = await transaction.get(path)
    assert record is not None
    number: int = record.values["versions"][1]
    return number


async def _reread(transaction: Transaction, path: bytes) -> Policy:
    record = await transaction.get(path)
    if record is None:
        raise NoSuchEntity("The policy was deleted.")
    return policy_of(path, record)
