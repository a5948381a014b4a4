"""What the caller of one request may do in one bucket: policies, roles and ACLs together.

`check` is asked of each action and key before anything is read or written. What hangs on the
object itself (its ACL, its tags) is decided when the store has found it, by `permit`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from amur.gateway.errors import S3Error
from amur.gateway.policy_context import NeedsDocument, NeedsRecord, RequestContext
from amur.iam.access import Access, parsed
from amur.iam.acl import Need, grants_read, grants_write
from amur.iam.deciding import (
    ADMINISTRATOR,
    BucketFacts,
    Verdict,
    may_have_acl,
    verdict_on_bucket,
)
from amur.iam.policy.compiling import Compiled
from amur.iam.policy.document import Kind, PolicyInvalid
from amur.iam.policy.public import is_public
from amur.iam.policy.statements import DENY, EVERYBODY, Policy, Statement
from amur.objects.types import BucketRecord, ObjectRecord, Permit

ARN = "arn:aws:s3:::"
IGNORE_ACLS, RESTRICT_POLICY, BLOCK_ACLS, BLOCK_POLICY = (
    "IgnorePublicAcls", "RestrictPublicBuckets", "BlockPublicAcls", "BlockPublicPolicy",
)  # fmt: skip
"""The members of a public-access block."""

_POLICIES_COMPILED_MAX = 256  # of up to 20 KB
_BUCKETS_KEPT_MAX = 10_000

Note = Callable[[str, str, str, str], None]
"""Called with action, resource, organization of the bucket, reason of each refusal."""


class Rights:
    """`bucket` is the record as it is now; `access` None is the anonymous."""

    __slots__ = ("_access", "_facts", "_note", "bucket", "context")

    def __init__(
        self, access: Access | None, bucket: BucketRecord, context: RequestContext, note: Note
    ) -> None:
        self._access = access
        self.context = context
        self._note = note
        self.bucket = bucket
        self._facts = facts_of(bucket)

    def about(self, context: RequestContext) -> Rights:
        """The same, of another object."""
        return Rights(self._access, self.bucket, context, self._note)

    # --- what is decided without the object ---
    def check(self, action: str, key: str, need: Need) -> None:
        """Raise S3Error AccessDenied unless `action` is allowed. Raises NeedsRecord when that hangs
        on the object, which is then to be told by `context.read`."""
        resource = self._resource(key)
        verdict = self._verdict(action, resource)
        if verdict.is_allowed or self._acl_allows(verdict, need, None):
            return
        raise self._refused(action, resource, verdict)

    @property
    def hangs_on_key(self) -> bool:
        """Whether the answer may differ from key to key of this bucket."""
        access = self._access
        if self._facts.policy is not None:
            return True
        return access is not None and (access.policies is not None or access.session is not None)

    # --- what is decided with it ---
    def permit(self, action: str, need: Need) -> Permit | None:
        """For the store's reads of any key; None when nothing can be refused."""
        access = self._access
        if access is not None and not self.hangs_on_key and not access.has_lost_policy:
            verdict = self._verdict(action, self._resource("*"))
            if verdict.is_allowed and self._sees_missing(""):
                return None

        def permit(key: str, record: ObjectRecord | None) -> None:
            self.check_found(action, key, need, None if _is_absent(record) else record)

        return permit

    def permit_key(self, action: str, key: str, need: Need) -> Permit | None:
        """As `permit`, for one key: refuses at once what no object could change."""
        resource = self._resource(key)
        try:
            verdict = self._verdict(action, resource)
        except (NeedsRecord, NeedsDocument):
            return self.permit(action, need)
        if verdict.is_allowed and self.context.is_complete:
            return None if verdict is ADMINISTRATOR else self._permit_found
        if verdict.is_allowed:  # so far: asked again when the document was read
            return self.permit(action, need)
        if not may_have_acl(self._access, verdict) or need in (Need.BUCKET_OWNER, Need.ACCOUNT):
            raise self._refused(action, resource, verdict)
        return self.permit(action, need)

    def check_found(self, action: str, key: str, need: Need, record: ObjectRecord | None) -> None:
        """Raise AccessDenied unless the object, or its absence, may be told."""
        resource = self._resource(key)
        self.context.read(record)
        verdict = self._verdict(action, resource)
        if record is None:
            if verdict.is_explicit or not self._sees_missing(key):
                raise self._refused(action, resource, verdict)
        elif not (verdict.is_allowed or self._acl_allows(verdict, need, record)):
            raise self._refused(action, resource, verdict)

    def _permit_found(self, key: str, record: ObjectRecord | None) -> None:
        """Of who may read the key, but perhaps not know what keys there are."""
        if _is_absent(record) and not self._sees_missing(key):
            raise S3Error("AccessDenied")

    def _sees_missing(self, key: str) -> bool:
        """A missing key is 404 to who could list it, to others 403."""
        listing = self.about(self.context.listing_of(key))
        verdict = listing._verdict("s3:ListBucket", self._resource(""))
        return verdict.is_allowed or self._acl_allows(verdict, Need.LIST, None)

    # --- how ---
    def _resource(self, key: str) -> str:
        return f"{ARN}{self.bucket.name}/{key}" if key else ARN + self.bucket.name

    def _verdict(self, action: str, resource: str) -> Verdict:
        return verdict_on_bucket(self._access, self._facts, action, resource, self.context)

    def _acl_allows(self, verdict: Verdict, need: Need, record: ObjectRecord | None) -> bool:
        if not may_have_acl(self._access, verdict):
            return False
        bucket, access = self.bucket, self._access
        anonymous = access is None
        if need in (Need.READ, Need.OBJECT_OWNER) and record is not None:
            is_writers = (
                access is not None
                and access.principal.is_admin
                and access.principal.owner == owner_of(bucket, record)
            )
            return is_writers or (
                need is Need.READ
                and not self._acls_ignored()
                and grants_read(object_acl(bucket, record), anonymous=anonymous)
            )
        if self._acls_ignored():
            return False
        if need is Need.LIST:
            return bucket.public_list and grants_read(bucket.acl, anonymous=anonymous)
        return need is Need.WRITE and grants_write(bucket.acl)

    def _acls_ignored(self) -> bool:
        return IGNORE_ACLS in self.bucket.public_block

    def _refused(self, action: str, resource: str, verdict: Verdict) -> S3Error:
        self._note(action, resource, self.bucket.owner, str(verdict))
        access = self._access
        if access is None or access.principal.owner != self.bucket.owner:
            return S3Error("AccessDenied")
        who = access.principal.parent or access.principal.key_id
        return S3Error("AccessDenied", f"{who} may not {action} on {resource}: {verdict}.")


def is_unrestricted(access: Access | None, bucket: BucketRecord) -> bool:
    """Whether the caller may everything in the bucket: an administrator of its organization, and
    nowhere is there a policy that could say otherwise."""
    return (
        access is not None
        and access.principal.is_admin
        and access.principal.owner == bucket.owner
        and not bucket.policy
        and access.policies is None
        and access.session is None
        and not access.has_lost_policy
    )


def owner_of(bucket: BucketRecord, record: ObjectRecord) -> str:
    """Whose an object is: its writer's, unless the bucket's owner has all that is in it."""
    is_buckets = bucket.ownership == "BucketOwnerEnforced" or not record.owner
    return bucket.owner if is_buckets else record.owner


def object_acl(bucket: BucketRecord, record: ObjectRecord) -> str:
    """The ACL that counts for an object."""
    return record.acl if record.acl and bucket.object_acl else bucket.acl


@lru_cache(maxsize=_POLICIES_COMPILED_MAX)
def compiled_policy(document: str, bucket: str) -> Compiled:
    """Of a bucket's policy. One that can't be understood (a newer Amur's) refuses everything."""
    try:
        return Compiled([(bucket, parsed(document, Kind.BUCKET))])
    except PolicyInvalid:
        everything = (ARN + bucket, f"{ARN}{bucket}/*")
        statement = Statement(1, "NotUnderstood", DENY, ("*",), everything, (), (EVERYBODY,))
        return Compiled([(bucket, Policy(Kind.BUCKET, (statement,)))])


_facts: dict[str, tuple[BucketRecord, BucketFacts]] = {}
"""Of records as the store keeps them in memory: one that has changed is another one."""


def facts_of(bucket: BucketRecord) -> BucketFacts:
    """What is decided by."""
    known = _facts.get(bucket.name)
    if known is not None and known[0] is bucket:
        return known[1]
    if len(_facts) >= _BUCKETS_KEPT_MAX:
        _facts.clear()
    facts = BucketFacts(
        bucket.name,
        bucket.owner,
        bucket.id,
        compiled_policy(bucket.policy, bucket.name) if bucket.policy else None,
        RESTRICT_POLICY in bucket.public_block and _has_public_policy(bucket),
    )
    _facts[bucket.name] = bucket, facts
    return facts


def _has_public_policy(bucket: BucketRecord) -> bool:
    try:
        return bool(bucket.policy) and is_public(parsed(bucket.policy, Kind.BUCKET))
    except PolicyInvalid:
        return True


def _is_absent(record: ObjectRecord | None) -> bool:
    """Of a listing only heads are here: its objects are no markers."""
    return record is None or getattr(record, "is_marker", False)
