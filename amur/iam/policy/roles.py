"""The roles that a key can have on a bucket, as sets of actions (decision 5).

They are Tigris' roles by name. What differs, and why:
- `ReadOnly` may read versions and their list, as who reads a bucket expects; it may not restore
  (that makes something), nor read ACLs, the policy or the other settings.
- `ReadWrite`, which Tigris does not document, is `ReadOnly` and the writing of objects. It can't
  delete versions: a leaked key must not be able to destroy history.
- `Editor` sets what the bucket has, but nothing that decides who may: neither the bucket's ACL,
  its policy, its public-access block nor its ownership controls (which turn object ACLs on).
  It keeps PutObjectAcl, which counts only where the bucket lets object ACLs count.
- `ExternalCollaborator`, for keys of other organizations, is `Editor` without everything that
  changes the bucket itself, legal hold and retention. Removing a setting is the same right as
  making it here, so Tigris' "Put, but not Delete" can't be told apart.
- Only `NamespaceAdmin` has rights over keys and policies, or may bypass a retention. It is the
  caller's to see that it is held with bucket `*` only, and that it is unrestricted when it is used.

An action without a bucket (s3:ListAllMyBuckets) counts only for a role on bucket `*`.
"""

from __future__ import annotations

from amur.iam.policy.vocabulary import ACTIONS, BUCKET, BY_NAME, PERMISSIONS

READ_ONLY = "ReadOnly"
READ_WRITE = "ReadWrite"
EDITOR = "Editor"
NAMESPACE_ADMIN = "NamespaceAdmin"
EXTERNAL_COLLABORATOR = "ExternalCollaborator"

ALL_BUCKETS = "*"


def _named(names: str) -> frozenset[str]:
    found = frozenset(f"s3:{name}" for name in names.split())
    assert found <= BY_NAME.keys(), found - BY_NAME.keys()
    return found


_READS = _named(
    "GetBucketLocation GetBucketPolicyStatus GetBucketTagging GetBucketVersioning GetObject"
    " GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectVersion"
    " GetObjectVersionAttributes GetObjectVersionTagging"
    " ListAllMyBuckets ListBucket ListBucketMultipartUploads ListBucketVersions"
)
_WRITES = _named(
    "AbortMultipartUpload CompleteMultipartUpload DeleteObject DeleteObjectTagging"
    " DeleteObjectVersionTagging PutObjectVersionTagging"
    " ListMultipartUploadParts PutObject PutObjectTagging RestoreObject"
)
_S3 = frozenset(action.name for action in ACTIONS if action.name.startswith("s3:"))
_NOT_EDITORS = frozenset(
    action.name for action in ACTIONS if action.access == PERMISSIONS
) - _named("PutObjectAcl PutObjectVersionAcl")
_EDITS = _S3 - _NOT_EDITORS
_BUCKETS_OWN = frozenset(
    action.name for action in ACTIONS if action.level == BUCKET and action.changes
)

ROLES: dict[str, frozenset[str]] = {
    READ_ONLY: _READS,
    READ_WRITE: _READS | _WRITES,
    EDITOR: _EDITS,
    NAMESPACE_ADMIN: frozenset(BY_NAME),
    EXTERNAL_COLLABORATOR: _EDITS
    - _BUCKETS_OWN
    - _named("ListAllMyBuckets PutObjectLegalHold PutObjectRetention"),
}
"""Role -> the actions that it gives."""

_NONE: frozenset[str] = frozenset()


def allows(role: str, action: str) -> bool:
    """Whether a role gives an action; an unknown role gives nothing."""
    return action in ROLES.get(role, _NONE)
