"""The table of operations, and what is told to those who ask for others."""

from __future__ import annotations

from amur.gateway.iam import extras, keys, policies, simulate, sts, tags
from amur.gateway.iam.operation import (
    Need,
    Operation,
    by_access_key_id,
    by_key_id,
    by_request,
    by_source,
    by_user_name,
    of_bucket,
    of_caller,
    of_key,
    of_new_policy,
    of_policies,
    of_policy,
)
from amur.gateway.iam.owners import guard_key, guard_policy
from amur.iam.model import IamError

_C, _K, _S, _R, _A = Need.CALLER, Need.KEY, Need.SELF_OR_READ, Need.READ, Need.ADMIN

OPERATIONS: tuple[Operation, ...] = (
    # --- access keys ---
    Operation("CreateAccessKey", "iam:CreateAccessKey", _A, keys.create, of_key, by_user_name),
    Operation(
        "CreateAccessKeyWithBucketsRole", "iam:CreateAccessKey", _A,
        keys.create_with_roles,
    ),
    Operation("ListAccessKeys", "iam:ListAccessKeys", _S, keys.list_keys, of_key, by_key_id),
    Operation(
        "UpdateAccessKey", "iam:UpdateAccessKey", _A, keys.update, of_key, by_access_key_id,
        guard=guard_key,
    ),
    Operation(
        "UpdateAccessKeyWithBucketsRole", "iam:UpdateAccessKey", _A,
        keys.update_with_roles, of_key, by_request, is_ours=True, guard=guard_key,
    ),
    Operation(
        "RotateAccessKey", "iam:RotateAccessKey", _A, keys.rotate, of_key, by_access_key_id,
        is_ours=True, guard=guard_key,
    ),
    Operation(
        "DeleteAccessKey", "iam:DeleteAccessKey", _A, keys.delete, of_key, by_access_key_id,
        guard=guard_key,
    ),
    Operation(
        "GetAccessKeyLastUsed", "iam:GetAccessKeyLastUsed", _S, keys.last_used, of_key,
        by_access_key_id,
    ),
    Operation(
        "TagUser", "iam:TagUser", _A, tags.tag_key, of_key, by_user_name, guard=guard_key
    ),
    Operation(
        "UntagUser", "iam:UntagUser", _A, tags.untag_key, of_key, by_user_name, guard=guard_key
    ),
    Operation("ListUserTags", "iam:ListUserTags", _S, tags.list_key_tags, of_key, by_user_name),
    # --- policies ---
    Operation("CreatePolicy", "iam:CreatePolicy", _A, policies.create, of_new_policy),
    Operation(
        "UpdatePolicy", "iam:UpdatePolicy", _A, policies.update, of_policy, guard=guard_policy
    ),
    Operation("GetPolicy", "iam:GetPolicy", _R, policies.get, of_policy),
    Operation("GetPolicyDetailed", "iam:GetPolicy", _R, policies.get_detailed, of_policy),
    Operation("ListPolicies", "iam:ListPolicies", _R, policies.list_policies, of_policies),
    Operation("DeletePolicy", "iam:DeletePolicy", _A, policies.delete, of_policy),
    Operation(
        "ForceDeletePolicy", "iam:DeletePolicy", _A, policies.force_delete, of_policy,
        guard=guard_policy,
    ),
    Operation(
        "CreatePolicyVersion", "iam:CreatePolicyVersion", _A, policies.create_version, of_policy,
        guard=guard_policy,
    ),
    Operation("GetPolicyVersion", "iam:GetPolicyVersion", _R, policies.get_version, of_policy),
    Operation(
        "ListPolicyVersions", "iam:ListPolicyVersions", _R, policies.list_versions, of_policy
    ),
    Operation(
        "SetDefaultPolicyVersion", "iam:SetDefaultPolicyVersion", _A,
        policies.set_default_version, of_policy, guard=guard_policy,
    ),
    Operation(
        "DeletePolicyVersion", "iam:DeletePolicyVersion", _A, policies.delete_version, of_policy
    ),
    Operation("TagPolicy", "iam:TagPolicy", _A, tags.tag_policy, of_policy),
    Operation("UntagPolicy", "iam:UntagPolicy", _A, tags.untag_policy, of_policy),
    Operation("ListPolicyTags", "iam:ListPolicyTags", _R, tags.list_policy_tags, of_policy),
    # --- which keys have which policies ---
    Operation(
        "AttachUserPolicy", "iam:AttachUserPolicy", _A, policies.attach, of_key, by_user_name,
        guard=guard_key,
    ),
    Operation(
        "DetachUserPolicy", "iam:DetachUserPolicy", _A, policies.detach, of_key, by_user_name,
        guard=guard_key,
    ),
    Operation(
        "ListAttachedUserPolicies", "iam:ListAttachedUserPolicies", _S,
        policies.list_attached, of_key, by_user_name,
    ),
    Operation(
        "ListUserPolicies", "iam:ListUserPolicies", _S, policies.list_names, of_key, by_user_name
    ),
    Operation(
        "ListEntitiesForPolicy", "iam:ListEntitiesForPolicy", _R, policies.list_entities, of_policy
    ),
    # --- what would be decided ---
    Operation(
        "SimulatePrincipalPolicy", "iam:SimulatePrincipalPolicy", _S,
        simulate.principal_policy, of_key, by_source,
    ),
    Operation("SimulateCustomPolicy", "iam:SimulateCustomPolicy", _C, simulate.custom_policy),
    Operation(
        "LintPolicy", "iam:SimulateCustomPolicy", _C, extras.lint_policy, is_ours=True
    ),
    Operation(
        "GetPolicySchema", "iam:SimulateCustomPolicy", _C, extras.policy_schema, is_ours=True
    ),
    # --- the organization ---
    Operation("GetAccountSummary", "iam:GetAccountSummary", _R, keys.summary),
    Operation("ListAuditEvents", "iam:ListEvents", _R, extras.list_events, is_ours=True),
    Operation("ShareBucket", "iam:CreateShare", _A, extras.share, of_bucket, is_ours=True),
    Operation("UnshareBucket", "iam:DeleteShare", _A, extras.unshare, of_bucket, is_ours=True),
    Operation(
        "ListBucketShares", "iam:ListShares", _R, extras.list_shares, of_bucket, is_ours=True
    ),
    # --- temporary keys ---
    Operation("GetCallerIdentity", "sts:GetCallerIdentity", _C, sts.caller_identity, of_caller),
    Operation("GetSessionToken", "sts:GetSessionToken", _K, sts.session_token, of_caller),
    Operation("GetFederationToken", "sts:GetFederationToken", _K, sts.federation_token, of_caller),
)  # fmt: skip

BY_NAME = {operation.name: operation for operation in OPERATIONS}
assert len(BY_NAME) == len(OPERATIONS), "two operations of one name"

_NO_USERS = (
    "Amur has no users, only access keys: use CreateAccessKey, ListAccessKeys and DeleteAccessKey; "
    "where a UserName is asked for, give an access key id."
)
_NO_GROUPS = (
    "Amur has no groups: attach the policy to each access key (AttachUserPolicy with the key's id "
    "as UserName); ListEntitiesForPolicy tells which keys have it."
)
_NO_ROLES = (
    "Amur has no roles to assume: make an access key with CreateAccessKey and AttachUserPolicy, or "
    "a temporary one with GetFederationToken and a Policy."
)
_NO_INLINE = (
    "Amur has no policies inside of users: use CreatePolicy, and AttachUserPolicy with the access "
    "key's id as UserName."
)
_NO_OTHERS = "Amur has nothing of the kind: it has access keys and policies."

_INSTEAD = (
    ("Group", _NO_GROUPS),
    ("AssumeRole", _NO_ROLES),
    ("AssumeRoot", _NO_ROLES),
    ("InstanceProfile", _NO_ROLES),
    ("Role", _NO_ROLES),
    ("PutUserPolicy", _NO_INLINE),
    ("GetUserPolicy", _NO_INLINE),
    ("DeleteUserPolicy", _NO_INLINE),
    (
        "GetUser",
        "Amur has no users, only access keys: GetCallerIdentity tells whose key signs, "
        "ListAccessKeys with UserName=tid_... shows one.",
    ),
    ("PermissionsBoundary", "Amur has no permissions boundaries: write a Deny into a policy."),
    ("User", _NO_USERS),
    ("LoginProfile", "Amur has no passwords: use access keys."),
    ("ChangePassword", "Amur has no passwords: use access keys."),
    ("AccountPasswordPolicy", "Amur has no passwords: use access keys."),
    ("MFADevice", _NO_OTHERS),
    ("SAML", _NO_OTHERS),
    ("OpenIDConnect", _NO_OTHERS),
    ("ServerCertificate", _NO_OTHERS),
    ("SigningCertificate", _NO_OTHERS),
    ("SSHPublicKey", _NO_OTHERS),
    ("ServiceSpecificCredential", _NO_OTHERS),
    ("AccountAlias", _NO_OTHERS),
    ("GetAccountAuthorizationDetails", "Use ListAccessKeys, ListPolicies and GetPolicyVersion."),
    ("GetAccessKeyInfo", "Use ListAccessKeys with UserName=tid_..."),
    ("DecodeAuthorizationMessage", "Messages are not encoded: they say why."),
    (
        "AccessKey",
        "Tags of access keys: TagUser, UntagUser and ListUserTags with the key's id as UserName.",
    ),
)  # fmt: skip
"""By a part of the name, the first that fits: what to use instead. (Names of IAM and STS only.)"""


def find(name: str) -> Operation:
    """Raises IamError, which says what to use instead."""
    operation = BY_NAME.get(name)
    if operation is not None:
        return operation
    if not name:
        raise IamError("MissingAction", "The parameter Action is missing.")
    shown = name if name.isascii() and name.isalnum() and len(name) <= 128 else "That"
    for part, instead in _INSTEAD:
        if part in name and shown == name:
            raise IamError("NotImplemented", f"{shown} is not implemented. {instead}")
    raise IamError("InvalidAction", f"{shown} is no operation of the IAM or STS API here.")
