"""Access keys: made, changed, rotated, deleted; which policies they have."""

from __future__ import annotations

import secrets
import string
from asyncio import sleep
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from amur.iam import paths
from amur.iam.events import record_change
from amur.iam.key_entries import attached_ids, key_of, no_key, share_of
from amur.iam.model import (
    NANOSECONDS,
    AccessKey,
    Actor,
    IamError,
    NoSuchEntity,
    Policy,
    RoleGrant,
    Share,
    Status,
    key_arn,
)
from amur.iam.names import (
    changed_tags,
    check_key_name,
    check_roles,
    check_share_role,
    check_tags,
)
from amur.iam.policy_entries import parsed_arn, policy_of, the_policy
from amur.iam.sealing import MasterKey, SealBroken
from amur.meta.engine import prefix_end
from amur.meta.records import EntryRecord
from amur.objects.errors import NoSuchBucket
from amur.objects.registry import Registry, Transaction

KEY_ID_PREFIX = "tid_"
SECRET_PREFIX = "tsec_"  # noqa: S105 - what secrets begin with
_ALPHABET = string.ascii_letters + string.digits
_ID_CHARS = 26  # 154 bits: never the same one twice
_SECRET_CHARS = 48

OVERLAP_SECONDS_MAX = 7 * 86_400  # how long an old secret may go on beside its successor
POLICIES_PER_KEY_MAX = 20  # AWS: 10 managed policies of a user, 20 on request
KEYS_PER_PAGE_MAX = 1000
LAST_USED_SECONDS = 900  # a use is noted this often: AWS's own figure is about an hour


class Keys:
    def __init__(self, registry: Registry, master: MasterKey) -> None:
        self._registry = registry
        self._master = master

    def _now(self) -> int:
        return self._registry.core.clock.now_ns()

    def _new_secret(self, key_id: str) -> tuple[str, bytes]:
        """In clear, to be shown once, and sealed."""
        secret = SECRET_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
        return secret, self._master.seal(secret.encode(), key_id)

    async def create(
        self,
        actor: Actor,
        name: str,
        *,
        roles: Sequence[RoleGrant] = (),
        policies: Sequence[str] = (),
        expires_ns: int = 0,
        member: str = "",
        tags: Mapping[str, str] | None = None,
        status: Status = Status.ACTIVE,
    ) -> tuple[AccessKey, str]:
        """A key of the actor's organization, and its secret, which nobody can be told again.

        `policies` are ARNs, attached in the same commit.
        """
        check_key_name(name)
        check_roles(roles)
        check_tags(tags or {})
        if len(policies) > POLICIES_PER_KEY_MAX:
            raise _too_many_policies()
        self._check_expiry(expires_ns)
        key_id = KEY_ID_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))
        secret, sealed = self._new_secret(key_id)
        org = actor.organization
        values: dict[str, Any] = {
            "organization": org,
            "name": name,
            "status": status.value,
            "creator": actor.key_id,
            "created": self._now(),
            "expires": expires_ns,
            "roles": [list(each) for each in roles],
            "member": member,
            "tags": dict(tags or {}),
            "secrets": [sealed, b"", 0],
        }

        async def attempt(transaction: Transaction) -> AccessKey:
            if member:
                await _hold_member(transaction, org, member)
            path = paths.key(key_id)
            record = await transaction.create(path, values, [paths.keys_of(org)])
            for arn in dict.fromkeys(policies):
                found = await the_policy(transaction, org, arn)
                await _attach(transaction, key_id, found)
            await record_change(
                transaction,
                self._registry,
                actor,
                "iam:CreateAccessKey",
                key_arn(org, key_id),
                {
                    "name": name,
                    "roles": values["roles"],
                    "policies": list(policies),
                    "expires": expires_ns,
                },
            )
            return key_of(path, record)

        return await self._registry.transact(attempt), secret

    def _check_expiry(self, expires_ns: int) -> None:
        if expires_ns and expires_ns <= self._now():
            raise IamError("InvalidInput", "The key would be expired already: name a later time.")

    async def get(self, organization: str | None, key_id: str) -> AccessKey:
        """`organization` None asks for that of anybody."""
        path = paths.key(key_id) if "\0" not in key_id else b"k"
        record = await self._registry.get(path)
        if record is None or organization not in (None, record.values["organization"]):
            raise no_key(key_id)
        return (await self._with_use([(path, record)]))[0]

    async def page(
        self, organization: str, *, after: str = "", limit: int = KEYS_PER_PAGE_MAX
    ) -> tuple[list[AccessKey], str]:
        """In the order of their ids, and `after` of the next page, "" at the end."""
        limit = max(1, min(limit, KEYS_PER_PAGE_MAX))
        index = paths.keys_of(organization)
        start = paths.key(after) if after else b""
        rows = await self._registry.find(index, after=start, limit=limit + 1)
        keys = await self._with_use(rows[:limit])
        return keys, keys[-1].id if len(rows) > limit else ""

    async def sealed_elsewhere(self) -> tuple[int, int]:
        """How many keys have a secret that this master key does not open, of how many."""
        start, end, lost, count = paths.key(""), prefix_end(paths.key("")), 0, 0
        while rows := await self._registry.scan(start, end, KEYS_PER_PAGE_MAX):
            for path, record in rows:
                key = key_of(path, record)
                try:
                    self._master.open(key.secret, key.id)
                except SealBroken:
                    lost += 1
            count += len(rows)
            start = rows[-1][0] + b"\0"
            await sleep(0)  # requests are served between
        return lost, count

    async def _with_use(self, rows: Sequence[tuple[bytes, EntryRecord]]) -> list[AccessKey]:
        regions = self._registry.core.topology.names
        ids = [paths.parts(path)[0] for path, _ in rows]
        used = await self._registry.get_many(
            [paths.used(key_id, region) for key_id in ids for region in regions]
        )
        wide = len(regions)
        return [
            key_of(path, record, used[at * wide : (at + 1) * wide])
            for at, (path, record) in enumerate(rows)
        ]

    async def update(
        self,
        actor: Actor,
        key_id: str,
        *,
        name: str | None = None,
        status: Status | None = None,
        roles: Sequence[RoleGrant] | None = None,
        expires_ns: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> AccessKey:
        """Set what is not None; `roles` and `tags` are replaced as a whole."""
        fields: dict[str, Any] = {}
        if name is not None:
            check_key_name(name)
            fields["name"] = name
        if status is not None:
            fields["status"] = status.value
        if roles is not None:
            check_roles(roles)
            fields["roles"] = [list(each) for each in roles]
        if expires_ns is not None:
            self._check_expiry(expires_ns)
            fields["expires"] = expires_ns
        if tags is not None:
            check_tags(tags)
            fields["tags"] = dict(tags)

        async def attempt(transaction: Transaction) -> AccessKey:
            path, record = await _the_key(transaction, actor.organization, key_id)
            transaction.set(path, fields)
            await self._note(transaction, actor, "iam:UpdateAccessKey", key_id, fields)
            return key_of(path, record)

        return await self._registry.transact(attempt)

    async def change_tags(
        self,
        actor: Actor,
        key_id: str,
        *,
        add: Mapping[str, str] | None = None,
        remove: Sequence[str] = (),
    ) -> None:
        async def attempt(transaction: Transaction) -> None:
            path, record = await _the_key(transaction, actor.organization, key_id)
            tags = changed_tags(record.values["tags"], add or {}, remove)
            transaction.set(path, {"tags": tags})
            await self._note(transaction, actor, "iam:TagUser", key_id, {"tags": tags})

        await self._registry.transact(attempt)

    async def rotate(self, actor: Actor, key_id: str, *, overlap_s: int = 0) -> str:
        """The new secret; the old one goes on for `overlap_s` seconds."""
        if not 0 <= overlap_s <= OVERLAP_SECONDS_MAX:
            raise IamError("InvalidInput", f"The overlap is 0 to {OVERLAP_SECONDS_MAX} seconds.")
        secret, sealed = self._new_secret(key_id)

        async def attempt(transaction: Transaction) -> None:
            path, record = await _the_key(transaction, actor.organization, key_id)
            until = self._now() + overlap_s * NANOSECONDS if overlap_s else 0
            previous = record.values["secrets"][0] if overlap_s else b""
            transaction.set(path, {"secrets": [sealed, previous, until]})
            detail = {"overlap_s": overlap_s}
            await self._note(transaction, actor, "iam:RotateAccessKey", key_id, detail)

        await self._registry.transact(attempt)
        return secret

    async def delete(self, actor: Actor, key_id: str) -> None:
        """With its attachments and shares; its id is never used again."""

        async def attempt(transaction: Transaction) -> None:
            path, record = await _the_key(transaction, actor.organization, key_id)
            transaction.remove(path)
            regions = self._registry.core.topology.names
            also = [paths.used(key_id, region) for region in regions]
            for index in (paths.attachments_of(key_id), paths.shares_with(key_id)):
                also += await transaction.find(index)
            for each in also:
                if await transaction.get(each) is not None:
                    transaction.remove(each)
            detail = {"name": record.values["name"]}
            await self._note(transaction, actor, "iam:DeleteAccessKey", key_id, detail)

        await self._registry.transact(attempt)

    async def attach(self, actor: Actor, key_id: str, arn: str) -> None:
        """Attaching what is attached is fine."""

        async def attempt(transaction: Transaction) -> None:
            path, _ = await _the_key(transaction, actor.organization, key_id)
            transaction.touch(path)
            policy = await the_policy(transaction, actor.organization, arn)
            others = {paths.parts(each)[1] for each in await _attached(transaction, key_id)}
            if len(others - {policy.id}) >= POLICIES_PER_KEY_MAX:
                raise _too_many_policies()
            await _attach(transaction, key_id, policy)
            detail = {"policy": policy.arn}
            await self._note(transaction, actor, "iam:AttachUserPolicy", key_id, detail)

        await self._registry.transact(attempt)

    async def detach(self, actor: Actor, key_id: str, arn: str) -> None:
        """By what the key has: also a policy that is no more, and all that two regions made under
        one name. Raises NoSuchEntity when it was not attached."""
        parsed_arn(actor.organization, arn)

        async def attempt(transaction: Transaction) -> None:
            await _the_key(transaction, actor.organization, key_id)
            meant = [
                path
                for path, record in (await _attached(transaction, key_id)).items()
                if record.values["arn"] == arn
            ]
            if not meant:
                raise NoSuchEntity(f"Policy {arn} is not attached to {key_id}.")
            for path in meant:
                transaction.set(path, {"is_attached": False})
            detail = {"policy": arn}
            await self._note(transaction, actor, "iam:DetachUserPolicy", key_id, detail)

        await self._registry.transact(attempt)

    async def policies_of(self, organization: str, key_id: str) -> list[Policy]:
        """Attached to a key, by name."""
        await self.get(organization, key_id)
        ids = await attached_ids(self._registry, key_id)
        return await self._policies(ids)

    async def policy_names(self, key_ids: Sequence[str]) -> dict[str, list[str]]:
        """Of the policies that are attached to each of some keys, in order; by key."""
        ids: dict[str, list[str]] = {}
        for key_id in key_ids:
            ids[key_id] = await attached_ids(self._registry, key_id)
            await sleep(0)  # requests are served between
        policies = await self._policies(sorted({each for found in ids.values() for each in found}))
        names = {policy.id: policy.name for policy in policies}
        return {
            key_id: sorted({names[each] for each in found if each in names})
            for key_id, found in ids.items()
        }

    async def _policies(self, ids: Sequence[str]) -> list[Policy]:
        """Those that are there, by name."""
        records = await self._registry.get_many([paths.policy(each) for each in ids])
        found = [policy_of(paths.policy(i), r) for i, r in zip(ids, records, strict=True) if r]
        return sorted(found, key=lambda policy: policy.name)

    async def share(self, actor: Actor, bucket: str, key_id: str, role: str) -> Share:
        """Give a key of another organization a role on a bucket of the actor's. What is shared is
        the bucket that there is now, not another one of that name."""
        check_share_role(role)
        org = actor.organization

        async def attempt(transaction: Transaction) -> Share:
            bucket_id = await self.own_bucket(org, bucket)
            record = await transaction.get(paths.key(key_id))
            if record is None:
                raise no_key(key_id)
            if record.values["organization"] == org:
                raise IamError("InvalidInput", "The key is of this organization: give it a role.")
            transaction.touch(paths.key(key_id))  # whoever deletes it deletes the share
            path = paths.share(bucket, key_id)
            values: dict[str, Any] = {
                "bucket_id": bucket_id,
                "organization": org,
                "role": role,
                "created": self._now(),
                "is_shared": True,
            }
            record = await transaction.get(path)
            if record is None:
                index = [paths.shares_with(key_id), paths.shares_of(bucket)]
                record = await transaction.create(path, values, index)
            else:
                transaction.set(path, values)
            detail = {"key": key_id, "role": role}
            resource = f"arn:aws:s3:::{bucket}"
            await record_change(
                transaction, self._registry, actor, "iam:CreateShare", resource, detail
            )
            return share_of(path, record)

        return await self._registry.transact(attempt)

    async def own_bucket(self, organization: str, name: str) -> bytes:
        """Its id. Raises NoSuchEntity: somebody else's is told from none by nobody."""
        with suppress(NoSuchBucket):
            record, _ = await self._registry.core.bucket(name)
            if record.owner == organization:
                return record.id
        raise NoSuchEntity(f"The bucket {name} is not one of the organization's.")

    async def unshare(self, actor: Actor, bucket: str, key_id: str) -> None:
        async def attempt(transaction: Transaction) -> None:
            path = paths.share(bucket, key_id)
            record = await transaction.get(path)
            is_there = record is not None and record.values["is_shared"]
            if (
                record is None
                or not is_there
                or record.values["organization"] != actor.organization
            ):
                raise NoSuchEntity(f"Bucket {bucket} is not shared with {key_id}.")
            transaction.set(path, {"is_shared": False})
            await record_change(
                transaction,
                self._registry,
                actor,
                "iam:DeleteShare",
                f"arn:aws:s3:::{bucket}",
                {"key": key_id},
            )

        await self._registry.transact(attempt)

    async def shares(self, *, bucket: str = "", key_id: str = "") -> list[Share]:
        """Of a bucket, or with a key; not those of buckets that are no more."""
        index = paths.shares_of(bucket) if bucket else paths.shares_with(key_id)
        rows = await self._registry.find(index)
        found = [share_of(path, record) for path, record in rows if record.values["is_shared"]]
        return [each for each in found if await self._is_there(each)]

    async def _is_there(self, share: Share) -> bool:
        try:
            record, _ = await self._registry.core.bucket(share.bucket)
        except NoSuchBucket:
            return False
        return record.id == share.bucket_id

    async def note_use(self, key_id: str, service: str) -> None:
        """That a key was used just now, in this region."""
        region = self._registry.core.region
        path = paths.used(key_id, region)
        values = {"at": self._now(), "service": service, "region": region}

        async def attempt(transaction: Transaction) -> None:
            if await transaction.get(paths.key(key_id)) is None:
                return  # it was deleted meanwhile, and this with it
            if await transaction.get(path) is not None:
                transaction.set(path, values)
            elif not await transaction.exists(path):
                await transaction.create(path, values)

        await self._registry.transact(attempt)

    async def _note(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        key_id: str,
        detail: Mapping[str, Any],
    ) -> None:
        resource = key_arn(actor.organization, key_id)
        await record_change(transaction, self._registry, actor, action, resource, detail)


def _too_many_policies() -> IamError:
    return IamError("LimitExceeded", f"A key has at most {POLICIES_PER_KEY_MAX} policies.")


async def _the_key(
    transaction: Transaction, organization: str, key_id: str
) -> tuple[bytes, EntryRecord]:
    if "\0" in key_id:
        raise no_key(key_id)
    path = paths.key(key_id)
    record = await transaction.get(path)
    if record is None or record.values["organization"] != organization:
        raise no_key(key_id)
    return path, record


async def _hold_member(transaction: Transaction, organization: str, member: str) -> None:
    """Whoever removes the member disables the key that is made. Raises NoSuchEntity."""
    record = await transaction.get(paths.member(member)) if "\0" not in member else None
    if record is None or record.values["organization"] != organization:
        raise NoSuchEntity(f"The member {member} does not exist.")
    transaction.touch(paths.member(member))


async def _attach(transaction: Transaction, key_id: str, policy: Policy) -> None:
    """To a key that was made or touched: nobody who deletes it, attaches to it, or deletes the
    policy does so without having seen this."""
    transaction.touch(paths.policy(policy.id))
    path = paths.attachment(key_id, policy.id)
    if await transaction.get(path) is not None:
        transaction.set(path, {"is_attached": True})
        return
    index = [paths.attachments_of(key_id), paths.attached_to(policy.id)]
    values = {"is_attached": True, "arn": policy.arn}
    await transaction.create(path, values, index)


async def _attached(transaction: Transaction, key_id: str) -> dict[bytes, EntryRecord]:
    """Attachments, by path."""
    found = {}
    for path in await transaction.find(paths.attachments_of(key_id)):
        record = await transaction.get(path)
        if record is not None and record.values["is_attached"]:
            found[path] = record
    return found
