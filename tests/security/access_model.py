"""Who may do what, once more: a model made from decision 5 and from the tables of roles, by the
names of operations. It knows nothing of the product's code, actions or policies' syntax.

    root -> explicit Deny -> session -> own rights -> what the bucket gives
"""

from __future__ import annotations

from dataclasses import dataclass, field

READS = {
    "GetObject", "HeadObject", "BundleObjects", "GetObjectTagging", "GetObjectAttributes",
    "GetObjectVersion", "HeadObjectVersion", "GetObjectLegalHold", "GetObjectRetention",
    "HeadBucket", "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads",
    "GetBucketLocation", "GetBucketTagging", "GetBucketVersioning", "GetBucketPolicyStatus",
}  # fmt: skip
WRITES = {
    "PutObject", "PostObject", "CopyObject", "DeleteObject", "DeleteObjects",
    "PutObjectTagging", "DeleteObjectTagging", "CreateMultipartUpload", "UploadPart",
    "UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts",
}  # fmt: skip
DECIDES_WHO_MAY = {
    "PutBucketAcl", "PutBucketPolicy", "DeleteBucketPolicy", "PutPublicAccessBlock",
    "DeletePublicAccessBlock", "PutBucketOwnershipControls", "DeleteBucketOwnershipControls",
}  # fmt: skip
OF_THE_BUCKET = {  # changes of the bucket itself
    "DeleteBucket", "CreateBucket", "PutBucketTagging", "DeleteBucketTagging", "PutBucketCors",
    "DeleteBucketCors", "PutBucketVersioning", "PutBucketAccelerateConfiguration",
    "DeleteEncryptionConfiguration", "DeleteLifecycleConfiguration", "DeleteBucketLogging",
    "DeleteBucketNotification", "DeleteBucketObjectLockConfiguration",
    "DeleteReplicationConfiguration", "DeleteBucketRequestPayment", "DeleteBucketWebsite",
}  # fmt: skip
LISTS = {
    "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "HeadBucket",
}  # fmt: skip
OF_NO_BUCKET = {"ListBuckets", "CreateBucket"}
ACL_READS = {
    "GetObject", "HeadObject", "GetObjectVersion", "HeadObjectVersion", "BundleObjects",
}  # fmt: skip
ACL_WRITES = WRITES - {"PutObjectTagging", "DeleteObjectTagging"}


@dataclass(frozen=True)
class Rule:
    """A statement: `operations` None are all of them."""

    allows: bool
    operations: frozenset[str] | None = None
    bucket: str | None = None  # None: any

    def covers(self, operation: str, bucket: str) -> bool:
        named = self.operations is None or operation in self.operations
        return named and self.bucket in (None, bucket)


@dataclass(frozen=True)
class Caller:
    """`organization` "" is nobody."""

    organization: str = ""
    is_root: bool = False
    is_admin: bool = False
    roles: dict[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    has_lost_policy: bool = False
    session: tuple[Rule, ...] | None = None
    share: str = ""  # role on the bucket, given by its organization


@dataclass(frozen=True)
class Bucket:
    name: str
    owner: str
    acl: str = "private"
    rules: tuple[Rule, ...] = ()  # of its policy, for everybody
    ignores_acls: bool = False
    restricts_policy: bool = False


def role_gives(role: str, operation: str) -> bool:
    if role == "ReadOnly":
        return operation in READS
    if role == "ReadWrite":
        return operation in READS | WRITES
    if role == "Editor":
        return operation not in DECIDES_WHO_MAY
    if role == "ExternalCollaborator":
        return operation not in DECIDES_WHO_MAY | OF_THE_BUCKET | {"ListBuckets"}
    return False


def may(operation: str, caller: Caller, bucket: Bucket) -> bool:
    if caller.is_root:
        return True
    if caller.has_lost_policy:
        return False
    name = bucket.name if operation != "ListBuckets" else ""  # which is of no bucket
    if operation in OF_NO_BUCKET and not caller.organization:
        return False
    if _denied(caller.rules, operation, name):
        return False
    if operation not in OF_NO_BUCKET and _denied(bucket.rules, operation, name):
        return False
    if caller.session is not None:
        if _denied(caller.session, operation, name):
            return False
        if not _allowed(caller.session, operation, name):
            return False
    if operation == "ListBuckets":
        # who has a role somewhere sees those buckets
        seen = bool(caller.roles or caller.share) and caller.session is None
        return caller.is_admin or seen or _allowed(caller.rules, operation, name)
    is_own = caller.organization == bucket.owner or operation == "CreateBucket"
    if is_own and _own(operation, caller, name):
        return True
    if operation == "CreateBucket":
        return False
    return _granted(operation, caller, bucket)


def _own(operation: str, caller: Caller, name: str) -> bool:
    if caller.is_admin:
        return True
    role = caller.roles.get(name) or caller.roles.get("*") or ""
    return role_gives(role, operation) or _allowed(caller.rules, operation, name)


def _granted(operation: str, caller: Caller, bucket: Bucket) -> bool:
    is_stranger = caller.organization != bucket.owner
    if is_stranger and role_gives(caller.share, operation):
        return True
    if _allowed(bucket.rules, operation, bucket.name) and not (
        is_stranger and bucket.restricts_policy
    ):
        return True
    if bucket.ignores_acls:
        return False
    if bucket.acl == "public-read-write":
        return operation in LISTS | ACL_READS | ACL_WRITES
    return bucket.acl == "public-read" and operation in LISTS | ACL_READS


def _denied(rules: tuple[Rule, ...], operation: str, bucket: str) -> bool:
    return any(not rule.allows and rule.covers(operation, bucket) for rule in rules)


def _allowed(rules: tuple[Rule, ...], operation: str, bucket: str) -> bool:
    return any(rule.allows and rule.covers(operation, bucket) for rule in rules)
