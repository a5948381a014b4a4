"""Keys, policies and members as AWS and Tigris show them. No secret is ever in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amur.gateway.iam.render import iso
from amur.iam.model import AccessKey, Event, Policy, PolicyVersion, Share, Status

_STATUS = {Status.ACTIVE: "Active", Status.INACTIVE: "Inactive"}


def key_metadata(key: AccessKey) -> dict[str, Any]:
    """AWS's AccessKeyMetadata; the user name is the key's own."""
    return {
        "UserName": key.name,
        "AccessKeyId": key.id,
        "Status": _STATUS[key.status],
        "CreateDate": iso(key.created_ns),
    }


def key_with_secret(key: AccessKey, secret: str) -> dict[str, Any]:
    """The one time that it is shown."""
    return {
        "UserName": key.name,
        "AccessKeyId": key.id,
        "Status": _STATUS[key.status],
        "SecretAccessKey": secret,
        "CreateDate": iso(key.created_ns),
    }


def key_detailed(key: AccessKey, policies: Sequence[str] | None) -> dict[str, Any]:
    """Tigris' `?Detailed`, and what we know beyond it. `policies` None are not to be told."""
    return {
        "access_key_id": key.id,
        "username": key.name,
        "created_at": iso(key.created_ns),
        "status": key.status.value,
        "namespace_id": key.organization,
        "creator": key.creator,
        "human_creator": key.member,
        "buckets_role": [{"bucket": bucket, "role": role} for bucket, role in key.roles],
        "expires_at": iso(key.expires_ns) if key.expires_ns else "",
        "last_used_at": iso(key.last_used_ns) if key.last_used_ns else "",
        "tags": key.tags,
    } | ({} if policies is None else {"policies": policies})


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def policy_view(policy: Policy, attachments: int) -> dict[str, Any]:
    """AWS's Policy."""
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": "/",
        "DefaultVersionId": policy.default,
        "AttachmentCount": attachments,
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": True,
        "Description": policy.description,
        "CreateDate": iso(policy.created_ns),
        "UpdateDate": iso(policy.changed_ns),
        "Tags": tag_list(policy.tags),
    }


def version_view(policy: Policy, version: PolicyVersion) -> dict[str, Any]:
    """AWS's PolicyVersion, without the document."""
    return {
        "VersionId": version.id,
        "IsDefaultVersion": version.id == policy.default,
        "CreateDate": iso(version.created_ns),
    }


def event_view(event: Event) -> dict[str, Any]:
    return {
        "Id": event.id,
        "Time": iso(event.time_ns),
        "OrganizationId": event.organization,
        "AccessKeyId": event.key_id,
        "Action": event.action,
        "Resource": event.resource,
        "Decision": event.decision,
        "Reason": event.reason,
        "SourceIp": event.address,
        "Region": event.region,
        "RequestId": event.request_id,
        "Times": event.times,
        "Detail": event.detail,
    }


def share_view(share: Share) -> dict[str, Any]:
    return {
        "Bucket": share.bucket,
        "OrganizationId": share.organization,
        "AccessKeyId": share.key_id,
        "Role": share.role,
        "CreateDate": iso(share.created_ns),
    }
