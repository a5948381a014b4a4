"""Every action that exists: what a policy may name, and what a request can be.

Only what some operation asks for: a Deny of an action that nothing asks for would deny nothing.
Names compare without case, as at Amazon.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from amur.iam.policy import contextkeys
from amur.iam.policy.patterns import Glob, tokens
from amur.iam.policy.problems import nearest

SERVICE, BUCKET, OBJECT = "service", "bucket", "object"
SERVICE_RESOURCE = "arn:aws:s3:::*"
"""The resource of s3:ListAllMyBuckets: every bucket. Only patterns that mean all match it."""

READ, LIST, WRITE, PERMISSIONS = "read", "list", "write", "permissions"


class Action(NamedTuple):
    """`level` is what its resource is; `keys` are the condition keys that it may have."""

    name: str
    level: str
    access: str
    keys: frozenset[str]

    @property
    def changes(self) -> bool:
        return self.access in (WRITE, PERMISSIONS)


def _s3(level: str, access: str, names: str, keys: str = "") -> Iterable[Action]:
    known = contextkeys.S3_COMMON | {f"s3:{key}" for key in keys.split()}
    return (Action(f"s3:{name}", level, access, known) for name in names.split())


def _other(service: str, access: str, names: str) -> Iterable[Action]:
    keys = contextkeys.COMMON
    return (Action(f"{service}:{name}", SERVICE, access, keys) for name in names.split())


_LISTING = "prefix delimiter"
_EXISTING = "ExistingObjectTag/ VersionId"
_TAGGED = "RequestObjectTag/ RequestObjectTagKeys"
_ACL = " ".join(["x-amz-acl", *(f"x-amz-grant-{right}" for right in contextkeys.GRANTS)])
_SSE = "x-amz-server-side-encryption"

_S3 = (
    *_s3(SERVICE, LIST, "ListAllMyBuckets"),
    *_s3(BUCKET, WRITE, "CreateBucket", f"{_ACL} LocationConstraint"),
    *_s3(BUCKET, WRITE, "DeleteBucket"),
    *_s3(BUCKET, LIST, "ListBucket ListBucketVersions", f"{_LISTING} max-keys"),
    *_s3(BUCKET, LIST, "ListBucketMultipartUploads", _LISTING),
    *_s3(
        BUCKET,
        READ,
        "GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging"
        " GetBucketNotification GetBucketObjectLockConfiguration GetBucketOwnershipControls"
        " GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock"
        " GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite"
        " GetEncryptionConfiguration GetLifecycleConfiguration GetReplicationConfiguration",
    ),
    *_s3(
        BUCKET,
        WRITE,
        "PutAccelerateConfiguration PutBucketCORS PutBucketLogging PutBucketNotification"
        " PutBucketObjectLockConfiguration PutBucketRequestPayment PutBucketTagging"
        " PutBucketVersioning PutBucketWebsite PutEncryptionConfiguration"
        " PutLifecycleConfiguration PutReplicationConfiguration",
    ),
    *_s3(BUCKET, PERMISSIONS, "PutBucketAcl", _ACL),
    *_s3(
        BUCKET,
        PERMISSIONS,
        "DeleteBucketPolicy PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock",
    ),
    *_s3(
        OBJECT,
        READ,
        "GetObject GetObjectVersion GetObjectAcl GetObjectAttributes GetObjectLegalHold"
        " GetObjectRetention GetObjectTagging GetObjectVersionAcl GetObjectVersionAttributes"
        " GetObjectVersionTagging",
        _EXISTING,
    ),
    *_s3(OBJECT, LIST, "ListMultipartUploadParts"),
    *_s3(
        OBJECT,
        WRITE,
        "PutObject",
        f"{_ACL} x-amz-copy-source x-amz-storage-class x-amz-metadata-directive {_TAGGED}"
        f" {_SSE} {_SSE}-aws-kms-key-id {_SSE}-customer-algorithm",
    ),
    *_s3(OBJECT, WRITE, "AbortMultipartUpload CompleteMultipartUpload DeleteObject"),
    *_s3(OBJECT, WRITE, "DeleteObjectVersion", "VersionId"),
    *_s3(OBJECT, WRITE, "PutObjectTagging PutObjectVersionTagging", f"{_EXISTING} {_TAGGED}"),
    *_s3(OBJECT, WRITE, "DeleteObjectTagging DeleteObjectVersionTagging RestoreObject", _EXISTING),
    *_s3(OBJECT, WRITE, "PutObjectLegalHold PutObjectRetention", _EXISTING),
    *_s3(OBJECT, PERMISSIONS, "PutObjectAcl PutObjectVersionAcl", f"{_EXISTING} {_ACL}"),
    *_s3(OBJECT, PERMISSIONS, "BypassGovernanceRetention", "VersionId"),
)

_IAM = (
    *_other(
        "iam",
        READ,
        "GetAccessKeyLastUsed GetAccountAuthorizationDetails GetAccountSummary GetPolicy"
        " GetPolicyVersion GetUser SimulateCustomPolicy SimulatePrincipalPolicy",
    ),
    *_other(
        "iam",
        LIST,
        "ListAccessKeys ListAttachedUserPolicies ListEntitiesForPolicy ListEvents ListMembers"
        " ListOrganizations ListPolicies ListPolicyTags ListPolicyVersions ListShares"
        " ListUserPolicies ListUserTags ListUsers",
    ),
    *_other(
        "iam",
        PERMISSIONS,
        "AttachUserPolicy CreateAccessKey CreateOrganization"
        " CreatePolicy CreatePolicyVersion CreateShare DeleteAccessKey DeletePolicy"
        " DeletePolicyVersion DeleteShare DetachUserPolicy InviteMember"
        " RemoveMember RotateAccessKey SetDefaultPolicyVersion TagPolicy TagUser UntagPolicy"
        " UntagUser UpdateAccessKey UpdateMember UpdatePolicy",
    ),
)
_STS = _other("sts", READ, "GetCallerIdentity GetFederationToken GetSessionToken")

ACTIONS: tuple[Action, ...] = (*_S3, *_IAM, *_STS)
BY_NAME = {action.name: action for action in ACTIONS}
assert len(BY_NAME) == len(ACTIONS), "two actions of one name"
_BY_LOWER = {action.name.lower(): action for action in ACTIONS}

PATTERN_CHARS_MAX = 128  # longer than any action; a wildcard is tried on all of them (ours)

ALIASES = {"s3:CompleteMultipartUpload": "s3:PutObject"}
"""Names that policies in the wild have, which no operation asks for: what asks instead.

An Allow of one is harmless. A Deny of one would deny nothing, so it is refused.
"""

_INSTEAD = {
    "s3:copyobject": "s3:GetObject of the source and s3:PutObject of the target",
    "s3:createmultipartupload": "s3:PutObject",
    "s3:deletebucketcors": "s3:PutBucketCORS",
    "s3:deletebucketlifecycle": "s3:PutLifecycleConfiguration",
    "s3:deletebuckettagging": "s3:PutBucketTagging",
    "s3:deleteobjects": "s3:DeleteObject",
    "s3:headbucket": "s3:ListBucket",
    "s3:headobject": "s3:GetObject",
    "s3:listbuckets": "s3:ListAllMyBuckets",
    "s3:listmultipartuploads": "s3:ListBucketMultipartUploads",
    "s3:listobjects": "s3:ListBucket",
    "s3:listobjectsv2": "s3:ListBucket",
    "s3:listobjectversions": "s3:ListBucketVersions",
    "s3:listparts": "s3:ListMultipartUploadParts",
    "s3:postobject": "s3:PutObject",
    "s3:uploadpart": "s3:PutObject",
    "s3:uploadpartcopy": "s3:GetObject of the source and s3:PutObject of the target",
}
"""Names of operations, or of Amazon's actions, that people take for actions here."""


def action_glob(pattern: str) -> Glob:
    """`s3:Get*` as a matcher of lower-case action names."""
    return Glob(tokens(pattern.lower(), variables=False))


def matching(pattern: str) -> tuple[Action, ...]:
    """The actions that a name or wildcard means; empty when there is none."""
    if len(pattern) > PATTERN_CHARS_MAX:
        return ()
    if "*" not in pattern and "?" not in pattern:
        found = _BY_LOWER.get(pattern.lower())
        return (found,) if found else ()
    glob = action_glob(pattern)
    return tuple(action for lower, action in _BY_LOWER.items() if glob.matches(lower))


def remedy(pattern: str) -> str:
    """What to write instead of an unknown action."""
    lower = pattern.lower()
    if lower in _INSTEAD:
        return f"use {_INSTEAD[lower]}"
    if ":" not in lower and any(name.endswith(f":{lower}") for name in _BY_LOWER):
        return f"write the service before it: s3:{pattern}"
    near = nearest(pattern, BY_NAME)
    if near is not None:
        return f"did you mean {near}?"
    return "use an action of s3:, iam: or sts: that Amur has"
