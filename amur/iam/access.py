"""What one access key may, ready to be asked: read from the directory once, kept until it changes.

See decision 5, "How a worker knows".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from amur.iam import paths
from amur.iam.key_entries import attached_ids, key_of, share_of
from amur.iam.model import AccessKey, MemberRole, Policy, Status
from amur.iam.names import ADMIN, EVERY_BUCKET
from amur.iam.policy.compiling import Compiled, PrincipalFacts, principal_facts
from amur.iam.policy.document import Kind, PolicyInvalid, parse
from amur.iam.policy.document import Policy as Document
from amur.iam.policy_entries import policy_of
from amur.iam.principal import Principal
from amur.iam.sealing import MasterKey, SealBroken
from amur.objects.registry import Registry

DOCUMENTS_PARSED_MAX = 512  # kept by their text, which many keys share; up to 40 KB each


class SecretUntil(NamedTuple):
    secret: str
    until_ns: int = 0  # 0: for ever

    def __repr__(self) -> str:
        return "<secret>"


class Access(NamedTuple):
    """`problem` says why the key can't be used, "" when it can. `expires_ns` 0 is never."""

    principal: Principal
    secrets: tuple[SecretUntil, ...]
    expires_ns: int = 0
    problem: str = ""
    roles: Mapping[str, str] = {}
    policies: Compiled | None = None
    has_lost_policy: bool = False  # attached, and not to be found: nothing may be allowed
    shares: Mapping[str, tuple[bytes, str]] = {}  # bucket: its id then, role
    session: Compiled | None = None  # a session's own policy
    facts: PrincipalFacts | None = None  # its names in buckets' policies
    tags: Mapping[str, str] = {}

    @property
    def weight(self) -> int:
        """Of what it takes in memory: its statements, and one."""
        compiled = (self.policies, self.session)
        return 1 + sum(len(each.statements) for each in compiled if each is not None)

    def secrets_at(self, now_ns: int) -> tuple[str, ...]:
        """Those that sign now; none when the key is unusable for ever."""
        if len(self.secrets) == 1 and not self.secrets[0].until_ns:  # of nearly all
            return (self.secrets[0].secret,)
        return tuple(
            each.secret for each in self.secrets if not each.until_ns or each.until_ns > now_ns
        )

    def role_on(self, bucket: str) -> str:
        return self.roles.get(bucket) or self.roles.get(EVERY_BUCKET) or ""


def of_settings(owner: str, key_id: str, secret: str, *, is_root: bool = False) -> Access:
    """The root key, or one of the settings: an administrator that nothing restricts."""
    principal = Principal(owner, key_id, is_root, is_admin=True, may_administer=True)
    return Access(principal, (SecretUntil(secret),), facts=principal_facts(owner, key_id))


async def load_access(registry: Registry, master: MasterKey, key_id: str) -> Access | None:
    """None of a key that is not there. Raises StoreError."""
    path = paths.key(key_id)
    record = await registry.get(path)
    if record is None:
        return None
    key = key_of(path, record)
    ids = await attached_ids(registry, key_id)
    found = await registry.get_many([paths.policy(each) for each in ids])
    attached = [policy_of(paths.policy(i), r) for i, r in zip(ids, found, strict=True) if r]
    compiled, is_broken = _compiled(attached)
    shared = [
        share_of(at, each)
        for at, each in await registry.find(paths.shares_with(key_id))
        if each.values["is_shared"]
    ]
    role = await _member_role(registry, key)
    opened, problem = _opened(master, key)
    if role is None:
        problem = problem or "The member whose key it is has left."
    if key.status is not Status.ACTIVE:
        problem = problem or "The access key is inactive."
    is_admin = _is_admin(key, role)
    restricted = bool(ids) or bool(key.expires_ns)
    return Access(
        principal=Principal(
            key.organization,
            key_id,
            is_admin=is_admin,
            may_administer=is_admin and not restricted,
            name=key.name,
            member=key.member,
        ),
        secrets=opened,
        expires_ns=key.expires_ns,
        problem=problem,
        roles=dict(key.roles),
        policies=compiled if ids else None,
        has_lost_policy=is_broken or len(attached) != len(ids),
        shares={share.bucket: (share.bucket_id, share.role) for share in shared},
        facts=principal_facts(key.organization, key_id),
        tags=key.tags,
    )


def _opened(master: MasterKey, key: AccessKey) -> tuple[tuple[SecretUntil, ...], str]:
    try:
        secrets = [SecretUntil(master.open(key.secret, key.id).decode())]
    except SealBroken:
        return (), "The secret is sealed under another master key than this server's."
    if key.previous_secret:
        with suppress(SealBroken):  # its master key may be gone before it has run out
            previous = master.open(key.previous_secret, key.id).decode()
            secrets.append(SecretUntil(previous, key.previous_until_ns))
    return tuple(secrets), ""


async def _member_role(registry: Registry, key: AccessKey) -> str | None:
    """ "" of a key that is nobody's, None when the member is no more."""
    if not key.member:
        return ""
    record = await registry.get(paths.member(key.member))
    if record is None or record.values["organization"] != key.organization:
        return None
    role: str = record.values["role"]
    return role


def _is_admin(key: AccessKey, member_role: str | None) -> bool:
    by_role = any(grant == (EVERY_BUCKET, ADMIN) for grant in key.roles)
    return by_role or member_role in (MemberRole.OWNER.value, MemberRole.ADMIN.value)


@lru_cache(maxsize=DOCUMENTS_PARSED_MAX)
def parsed(document: str, kind: Kind) -> Document:
    """Raises PolicyInvalid."""
    return parse(document, kind)


def _compiled(policies: Sequence[Policy]) -> tuple[Compiled, bool]:
    """And whether one of them can't be understood (by this Amur: a newer one may have made it)."""
    named = []
    is_broken = False
    for policy in policies:
        try:
            named.append((policy.name, parsed(policy.document, Kind.IDENTITY)))
        except PolicyInvalid:
            is_broken = True
    return Compiled(named), is_broken
