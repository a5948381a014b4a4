"""The actions that exist, against the gateway's table and the documentation of Tigris."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import amur.gateway
from amur.gateway.endpoints import ALL
from amur.iam.policy import contextkeys, vocabulary
from amur.iam.policy.vocabulary import BUCKET, BY_NAME, OBJECT, SERVICE

TIGRIS = """\
AbortMultipartUpload CreateBucket DeleteBucket DeleteObject DeleteObjectTagging
GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketOwnershipControls
GetBucketPolicyStatus GetBucketRequestPayment GetBucketTagging GetLifecycleConfiguration GetObject
GetObjectAcl GetObjectTagging ListAllMyBuckets ListBucket ListBucketMultipartUploads
ListMultipartUploadParts PutAccelerateConfiguration PutBucketAcl PutBucketCORS
PutLifecycleConfiguration PutBucketOwnershipControls PutBucketTagging PutObject PutObjectAcl
PutObjectTagging RestoreObject CompleteMultipartUpload
"""
"""tigris-facts 6.4, and what its example of a training job has beside."""

NOT_ASKED = {"s3:PutBucketPolicyStatus"}
"""What the table of endpoints makes by rule, though nobody can set it."""


@pytest.mark.parametrize("name", TIGRIS.split())
def test_all_of_tigris_actions_are_there(name: str) -> None:
    assert f"s3:{name}" in BY_NAME


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_asks_for_an_action_that_a_policy_can_name(endpoint: object) -> None:
    action, level = endpoint.action, endpoint.level  # type: ignore[attr-defined]
    if action in NOT_ASKED:
        return
    assert action in BY_NAME
    # a form's and a bundle's objects are named in the body
    of_bucket = {"PostObject", "BundleObjects", "DeleteObjects"}
    if endpoint.name not in of_bucket:  # type: ignore[attr-defined]
        assert BY_NAME[action].level == level


def test_every_action_that_the_gateway_names_exists() -> None:
    """Also those that are asked beside the endpoint's own, as of versions and of copies."""
    package = Path(amur.gateway.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py")]
    named = {name for text in texts for name in re.findall(r'"(s3:[A-Z][A-Za-z]+)"', text)}
    assert "s3:PutObject" in named
    actions = {name for name in named if contextkeys.find(name) is None}
    assert actions <= BY_NAME.keys()


def test_levels_and_keys_exist() -> None:
    names = {key.name for key in contextkeys.KEYS}
    for action in vocabulary.ACTIONS:
        assert action.level in (SERVICE, BUCKET, OBJECT)
        assert action.access in ("read", "list", "write", "permissions")
        assert action.keys <= names
        assert action.keys >= contextkeys.COMMON
        assert action.changes == (action.access in ("write", "permissions"))
    used = frozenset[str]().union(*(action.keys for action in vocabulary.ACTIONS))
    assert used == names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s3:GetObject", {"s3:GetObject"}),
        ("S3:GETOBJECT", {"s3:GetObject"}),
        ("s3:GetObjectVersion?*g", {"s3:GetObjectVersionTagging"}),
        ("s3:DeleteObject?", set()),
        ("s3:DeleteObjectV*", {"s3:DeleteObjectVersion", "s3:DeleteObjectVersionTagging"}),
        ("sts:*", {"sts:GetCallerIdentity", "sts:GetFederationToken", "sts:GetSessionToken"}),
        ("*", set(BY_NAME)),
        ("s3:Get", set()),
        ("", set()),
        ("*" * 129, set()),
    ],
)
def test_matching(pattern: str, names: set[str]) -> None:
    assert {action.name for action in vocabulary.matching(pattern)} == names


def test_remedies_name_actions_that_exist() -> None:
    for text in vocabulary._INSTEAD.values():
        for word in text.replace(",", " ").split():
            assert not word.startswith("s3:") or word in BY_NAME
    for wrong in vocabulary._INSTEAD:
        assert not vocabulary.matching(wrong), f"{wrong} exists"
    for alias, instead in vocabulary.ALIASES.items():
        assert {alias, instead} <= BY_NAME.keys()
        assert alias not in {endpoint.action for endpoint in ALL}


@pytest.mark.parametrize(
    ("name", "canonical", "lookup"),
    [
        ("AWS:sourceip", "aws:SourceIp", "aws:sourceip"),
        ("s3:existingobjecttag/MyTag", "s3:ExistingObjectTag/MyTag", "s3:existingobjecttag/MyTag"),
        ("aws:PrincipalTag/a/B", "aws:PrincipalTag/a/B", "aws:principaltag/a/B"),
    ],
)
def test_names_of_keys(name: str, canonical: str, lookup: str) -> None:
    assert contextkeys.find(name) is not None
    assert contextkeys.canonical(name) == canonical
    assert contextkeys.lookup(name) == lookup


@pytest.mark.parametrize("name", ["", "/", "aws:", "aws:SourceIp/", "s3:ExistingObjectTag/", "x"])
def test_no_names_of_keys(name: str) -> None:
    assert contextkeys.find(name) is None
