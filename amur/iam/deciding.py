"""Who may what, in the order of decision 5: roles, policies, shares, what a bucket grants. Pure.

root -> explicit Deny -> session -> the key's own rights -> what the bucket gives
"""

from __future__ import annotations

from typing import NamedTuple

from amur.iam.access import Access
from amur.iam.policy import vocabulary
from amur.iam.policy.compiling import ALLOW, DENY, Compiled, Decision, StatementName
from amur.iam.policy.contextkeys import Context
from amur.iam.policy.evaluate import decide
from amur.iam.policy.roles import allows

BUCKET_POLICY = "bucket policy"


class Verdict(NamedTuple):
    """`by` says what decided; `source` the statement, when it was one."""

    is_allowed: bool
    by: str
    source: StatementName | None = None

    @property
    def is_explicit(self) -> bool:
        """A Deny that was written down, not the absence of a right."""
        return not self.is_allowed and self.source is not None

    def __str__(self) -> str:
        return f"{self.by}: {self.source}" if self.source else self.by


class BucketFacts(NamedTuple):
    """What of a bucket matters. `id` is this one's, whatever had its name before; b"" of one that
    is only thought of. `policy` None is none."""

    name: str
    owner: str
    id: bytes = b""
    policy: Compiled | None = None
    is_open_refused: bool = False  # its policy's grants to others count for nothing


ROOT = Verdict(True, "root key")
ADMINISTRATOR = Verdict(True, "administrator of the organization")
NO_RIGHT = Verdict(False, "no role or policy allows it")
NOT_GRANTED = Verdict(False, "the bucket belongs to another organization and grants nothing")
LOST_POLICY = Verdict(False, "a policy attached to the key can't be found: nothing is allowed")
SESSION_SILENT = Verdict(False, "the session's policy does not allow it")
ANONYMOUS_GRANTED_NOTHING = Verdict(False, "the bucket grants nothing to everybody")
ACL = Verdict(True, "access control list")


def verdict_on_bucket(
    access: Access | None, bucket: BucketFacts, action: str, resource: str, context: Context
) -> Verdict:
    """Without ACLs, which are asked when this refuses and `is_explicit` does not hold: see
    `may_have_acl`. `access` None is the anonymous."""
    if access is None:
        return _granted(None, bucket, action, resource, context)
    principal = access.principal
    if principal.is_root:
        return ROOT
    narrowed = _narrowed(access, action, resource, context)
    if narrowed is not None:
        return narrowed
    decision = _of(access.policies, action, resource, context)
    if decision is not None and decision.effect == DENY:
        return Verdict(False, "policy", decision.source)
    if bucket.policy is not None:
        told = decide(bucket.policy, action, resource, context, access.facts)
        if told.effect == DENY:
            return Verdict(False, BUCKET_POLICY, told.source)
    if principal.owner == bucket.owner:
        own = _own(access, bucket.name, action, decision)
        if own is not NO_RIGHT:
            return own
    return _granted(access, bucket, action, resource, context)


def verdict_elsewhere(access: Access, action: str, resource: str, context: Context) -> Verdict:
    """Of what is in no bucket (listing buckets, creating one, reading the directory). Changing the
    directory is for who may administer: see `may_administer`."""
    if access.principal.is_root:
        return ROOT
    narrowed = _narrowed(access, action, resource, context)
    if narrowed is not None:
        return narrowed
    decision = _of(access.policies, action, resource, context)
    if decision is not None and decision.effect == DENY:
        return Verdict(False, "policy", decision.source)
    bucket = resource.removeprefix("arn:aws:s3:::") if action.startswith("s3:") else ""
    if action.startswith("iam:") and _changes(action):
        return ADMINISTRATOR if access.principal.may_administer else NO_RIGHT
    return _own(access, bucket, action, decision)


def _narrowed(access: Access, action: str, resource: str, context: Context) -> Verdict | None:
    """What refuses whatever else may allow."""
    if access.has_lost_policy:
        return LOST_POLICY
    if access.session is not None:
        decision = decide(access.session, action, resource, context)
        if decision.effect == DENY:
            return Verdict(False, "session policy", decision.source)
        if decision.effect != ALLOW:
            return SESSION_SILENT
    return None


def _changes(action: str) -> bool:
    known = vocabulary.BY_NAME.get(action)
    return known is None or known.changes


def _of(policies: Compiled | None, action: str, resource: str, context: Context) -> Decision | None:
    return None if policies is None else decide(policies, action, resource, context)


def _own(access: Access, bucket: str, action: str, decision: Decision | None) -> Verdict:
    """The key's rights in its own organization."""
    if access.principal.is_admin:
        return ADMINISTRATOR
    if access.roles:
        role = access.role_on(bucket)
        if role and allows(role, action):
            return _BY_ROLE[role]
    if decision is not None and decision.effect == ALLOW:
        return Verdict(True, "policy", decision.source)
    return NO_RIGHT


def _granted(
    access: Access | None, bucket: BucketFacts, action: str, resource: str, context: Context
) -> Verdict:
    """What the bucket gives."""
    is_stranger = access is None or access.principal.owner != bucket.owner
    if access is not None and access.shares and is_stranger:
        shared = access.shares.get(bucket.name)
        # another bucket may have that name now
        if shared is not None and shared[0] == bucket.id and allows(shared[1], action):
            return _BY_SHARE[shared[1]]
    if bucket.policy is not None and not (is_stranger and bucket.is_open_refused):
        facts = access.facts if access is not None else None
        decision = decide(bucket.policy, action, resource, context, facts)
        if decision.effect == DENY:
            return Verdict(False, BUCKET_POLICY, decision.source)
        if decision.effect == ALLOW:
            return Verdict(True, BUCKET_POLICY, decision.source)
    if access is None:
        return ANONYMOUS_GRANTED_NOTHING
    return NOT_GRANTED if is_stranger else NO_RIGHT


_ROLES = ("ReadOnly", "ReadWrite", "Editor", "NamespaceAdmin", "ExternalCollaborator")
_BY_ROLE = {role: Verdict(True, f"role {role}") for role in _ROLES}
_BY_SHARE = {role: Verdict(True, f"shared as {role}") for role in _ROLES}


def may_have_acl(access: Access | None, verdict: Verdict) -> bool:
    """Whether an ACL may allow it all the same: not against a Deny, nor beyond a session."""
    if verdict.is_allowed or verdict.is_explicit:
        return False
    return verdict is not LOST_POLICY and verdict is not SESSION_SILENT
