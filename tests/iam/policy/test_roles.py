"""The roles: each a part of the next, and what separates them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from amur.iam.policy.roles import ROLES, allows
from amur.iam.policy.vocabulary import ACTIONS, BUCKET, BY_NAME

ORDER = ("ReadOnly", "ReadWrite", "Editor", "NamespaceAdmin")

TABLE = [  # action, and the first role that has it
    ("s3:GetObject", "ReadOnly"),
    ("s3:GetObjectVersion", "ReadOnly"),
    ("s3:GetObjectTagging", "ReadOnly"),
    ("s3:GetObjectVersionTagging", "ReadOnly"),
    ("s3:GetObjectVersionAttributes", "ReadOnly"),
    ("s3:GetObjectVersionAcl", "Editor"),
    ("s3:PutObjectVersionAcl", "Editor"),
    ("s3:PutObjectVersionTagging", "ReadWrite"),
    ("s3:ListBucket", "ReadOnly"),
    ("s3:ListBucketVersions", "ReadOnly"),
    ("s3:ListBucketMultipartUploads", "ReadOnly"),
    ("s3:GetBucketLocation", "ReadOnly"),
    ("s3:GetBucketTagging", "ReadOnly"),
    ("s3:ListAllMyBuckets", "ReadOnly"),
    ("s3:PutObject", "ReadWrite"),
    ("s3:DeleteObject", "ReadWrite"),
    ("s3:AbortMultipartUpload", "ReadWrite"),
    ("s3:ListMultipartUploadParts", "ReadWrite"),
    ("s3:PutObjectTagging", "ReadWrite"),
    ("s3:RestoreObject", "ReadWrite"),
    ("s3:DeleteObjectVersion", "Editor"),
    ("s3:CreateBucket", "Editor"),
    ("s3:DeleteBucket", "Editor"),
    ("s3:PutBucketCORS", "Editor"),
    ("s3:PutLifecycleConfiguration", "Editor"),
    ("s3:PutBucketVersioning", "Editor"),
    ("s3:PutObjectAcl", "Editor"),
    ("s3:GetBucketAcl", "Editor"),
    ("s3:GetBucketPolicy", "Editor"),
    ("s3:PutObjectRetention", "Editor"),
    ("s3:PutBucketAcl", "NamespaceAdmin"),
    ("s3:PutBucketPolicy", "NamespaceAdmin"),
    ("s3:DeleteBucketPolicy", "NamespaceAdmin"),
    ("s3:PutBucketPublicAccessBlock", "NamespaceAdmin"),
    ("s3:PutBucketOwnershipControls", "NamespaceAdmin"),
    ("s3:BypassGovernanceRetention", "NamespaceAdmin"),
    ("iam:CreateAccessKey", "NamespaceAdmin"),
    ("iam:ListAccessKeys", "NamespaceAdmin"),
    ("sts:GetSessionToken", "NamespaceAdmin"),
]


@pytest.mark.parametrize(("action", "first"), TABLE)
def test_who_has_it_first(action: str, first: str) -> None:
    assert action in BY_NAME
    for role in ORDER:
        assert allows(role, action) is (ORDER.index(role) >= ORDER.index(first))


def test_each_is_a_part_of_the_next() -> None:
    for less, more in pairwise(ORDER):
        assert ROLES[less] < ROLES[more]
    assert ROLES["NamespaceAdmin"] == BY_NAME.keys()
    assert ROLES["ReadWrite"] < ROLES["ExternalCollaborator"] | {"s3:ListAllMyBuckets"}
    assert ROLES["ExternalCollaborator"] < ROLES["Editor"]


def test_readers_change_nothing_and_strangers_change_no_bucket() -> None:
    for action in ACTIONS:
        if action.changes:
            assert not allows("ReadOnly", action.name)
        if action.changes and action.level == BUCKET:
            assert not allows("ExternalCollaborator", action.name)
            assert not allows("ReadWrite", action.name)
    for name in ("s3:ListAllMyBuckets", "s3:PutObjectLegalHold", "s3:PutObjectRetention"):
        assert not allows("ExternalCollaborator", name)
    assert allows("ExternalCollaborator", "s3:PutObject")
    assert allows("ExternalCollaborator", "s3:GetBucketCORS")


@pytest.mark.parametrize("role", ["", "readonly", "Admin", "Owner"])
def test_an_unknown_role_gives_nothing(role: str) -> None:
    assert not any(allows(role, action.name) for action in ACTIONS)


def test_an_unknown_action_is_given_by_no_role() -> None:
    assert not any(allows(role, name) for role in ROLES for name in ("", "*", "s3:*", "amur:X"))
