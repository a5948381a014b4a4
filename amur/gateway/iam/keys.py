"""Access keys: made, listed, changed, rotated, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from amur.gateway.iam.authorize import may_read
from amur.gateway.iam.call import Call
from amur.gateway.iam.owners import check_owners
from amur.gateway.iam.params import parse_time
from amur.gateway.iam.render import Answer, Entries, iso
from amur.gateway.iam.views import key_detailed, key_metadata, key_with_secret
from amur.iam.directory_keys import OVERLAP_SECONDS_MAX, POLICIES_PER_KEY_MAX
from amur.iam.directory_policies import VERSIONS_MAX
from amur.iam.model import AccessKey, IamError, NoSuchEntity, RoleGrant, Status
from amur.limits import POLICY_CHARS_MAX

_STATUSES = {"active": Status.ACTIVE, "inactive": Status.INACTIVE}
NEVER = "never"  # an expiry that is taken away


class BucketRole(msgspec.Struct, forbid_unknown_fields=True):
    bucket: str
    role: str


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """`Req` of CreateAccessKeyWithBucketsRole; what follows `buckets_role` is ours."""

    name: str
    req_uuid: str = ""
    buckets_role: list[BucketRole] = []
    expires_at: str = ""
    policies: list[str] = []
    member: str = ""
    tags: dict[str, str] = {}
    status: str = "active"


class NewRoles(msgspec.Struct, forbid_unknown_fields=True):
    """`Req` of UpdateAccessKeyWithBucketsRole: a full replacement."""

    id: str
    buckets_role: list[BucketRole]
    req_uuid: str = ""


def _status(text: str) -> Status:
    found = _STATUSES.get(text.lower())
    if found is None:
        raise IamError("ValidationError", "A status is Active or Inactive.")
    return found


def _grants(roles: list[BucketRole]) -> list[RoleGrant]:
    return [RoleGrant(each.bucket, each.role) for each in roles]


async def create(call: Call) -> Answer:
    """UserName is the new key's name; without one it is the caller's."""
    name = call.params.text("UserName") or call.principal.name or call.principal.key_id
    tags = call.params.tags()
    key, secret = await call.directory.keys.create(call.actor, name, tags=tags)
    return Answer({"AccessKey": key_with_secret(key, secret)})


async def create_with_roles(call: Call) -> Answer:
    wanted = call.params.document("Req", NewKey)
    status = _status(wanted.status)
    expires_ns = parse_time("expires_at", wanted.expires_at) if wanted.expires_at else 0
    if wanted.member:
        await check_owners(call, (), [wanted.member])
    keys = call.directory.keys
    key, secret = await keys.create(
        call.actor,
        wanted.name,
        roles=_grants(wanted.buckets_role),
        policies=wanted.policies,
        expires_ns=expires_ns,
        member=wanted.member,
        tags=wanted.tags,
        status=status,
    )
    result = {"AccessKey": key_with_secret(key, secret)}
    return Answer(result, {"CreateAccessKeyResult": result})


async def update_with_roles(call: Call) -> Answer:
    wanted = call.params.document("Req", NewRoles)
    await call.directory.keys.update(call.actor, wanted.id, roles=_grants(wanted.buckets_role))
    return _success("update", "The key's roles were replaced.")


async def update(call: Call) -> Answer:
    """AWS's Status; Name and ExpiresAt ("never" takes it away) are ours."""
    params = call.params
    key_id = params.required("AccessKeyId")
    status = _status(params.required("Status")) if "Status" in params else None
    name = params.required("Name") if "Name" in params else None
    expires_ns = None
    if "ExpiresAt" in params:
        text = params.required("ExpiresAt")
        expires_ns = 0 if text == NEVER else parse_time("ExpiresAt", text)
    if status is None and name is None and expires_ns is None:
        raise IamError("ValidationError", "Give a Status, Name or ExpiresAt.")
    await call.directory.keys.update(
        call.actor, key_id, status=status, name=name, expires_ns=expires_ns
    )
    return Answer()


async def rotate(call: Call) -> Answer:
    key_id = call.params.required("AccessKeyId")
    overlap_s = call.params.number("OverlapSeconds", 0, 0, OVERLAP_SECONDS_MAX)
    secret = await call.directory.keys.rotate(call.actor, key_id, overlap_s=overlap_s)
    answer = _success("rotate", "The key has a new secret.")
    answer.document["rotate_access_key_result"] = {"id": key_id, "new_secret": secret}
    return answer


def _success(operation: str, message: str) -> Answer:
    return Answer(document={"status": "success", "message": message, "operation": operation})


async def delete(call: Call) -> Answer:
    await call.directory.keys.delete(call.actor, call.params.required("AccessKeyId"))
    return Answer()


async def list_keys(call: Call) -> Answer:
    """In JSON with `Detailed`, Tigris' rows. UserName is a key's id, or the name of some."""
    params = call.params
    keys, after = await _found(call)
    metadata = [key_metadata(key) for key in keys]
    result: dict[str, Any] = {"AccessKeyMetadata": metadata, "IsTruncated": bool(after)}
    if after:
        result["Marker"] = after
    if "Detailed" not in params:
        return Answer(result)
    names = await _policy_names(call, keys)
    rows = [key_detailed(key, names.get(key.id)) for key in keys]
    return Answer(result, {"IsTruncated": bool(after), "Marker": after, "Keys": rows})


async def _policy_names(call: Call, keys: Sequence[AccessKey]) -> dict[str, list[str]]:
    """By key, of those of which the caller may be told."""
    told = [key.id for key in keys if may_read(call, "iam:ListAttachedUserPolicies", key.id)]
    return await call.directory.keys.policy_names(told)


async def _found(call: Call) -> tuple[list[AccessKey], str]:
    named = call.subject
    if not named:
        params = call.params
        return await call.directory.keys.page(
            call.organization, after=params.text("Marker"), limit=params.page_size()
        )
    try:
        return [await own_or_known(call, named)], ""
    except NoSuchEntity:
        if "Detailed" in call.params:
            return [], ""
        found = await _of_name(call, named)
        if not found:
            raise
        return found, ""


async def _of_name(call: Call, name: str) -> list[AccessKey]:
    """AWS's tools make a key for a user name and list that user's keys by it."""
    found: list[AccessKey] = []
    after = ""
    while True:
        page, after = await call.directory.keys.page(call.organization, after=after)
        found += [key for key in page if key.name == name]
        if not after:
            return found


async def own_or_known(call: Call, key_id: str) -> AccessKey:
    """The caller's own key may be of the settings, which the directory does not hold."""
    try:
        return await call.directory.keys.get(call.organization, key_id)
    except NoSuchEntity:
        principal = call.principal
        if key_id != principal.key_id or principal.parent or principal.owner != call.organization:
            raise
        roles = (RoleGrant("*", "NamespaceAdmin"),) if principal.is_admin else ()
        name = principal.name or key_id
        return AccessKey(
            key_id, principal.owner, name, Status.ACTIVE, "", 0, 0, roles, "", {}, b"", b"", 0
        )  # fmt: skip


async def last_used(call: Call) -> Answer:
    key = await own_or_known(call, call.subject or call.params.required("AccessKeyId"))
    used = {
        "LastUsedDate": iso(key.last_used_ns) if key.last_used_ns else None,
        "ServiceName": key.last_used_service or "N/A",
        "Region": key.last_used_region or "N/A",
    }
    return Answer({"UserName": key.name, "AccessKeyLastUsed": used})


async def summary(call: Call) -> Answer:
    """Of an organization: keys stand where AWS has users."""
    keys = policies = 0
    after = ""
    while True:
        page, after = await call.directory.keys.page(call.organization, after=after)
        keys += len(page)
        if not after:
            break
    versions = 0
    while True:
        rows, after = await call.directory.policies.page(call.organization, after=after)
        policies += len(rows)
        versions += sum(len(each.versions) for each in rows)
        if not after:
            break
    found = {
        "Users": keys,
        "Groups": 0,
        "Roles": 0,
        "Policies": policies,
        "PolicyVersionsInUse": versions,
        "PolicySizeQuota": POLICY_CHARS_MAX,
        "VersionsPerPolicyQuota": VERSIONS_MAX,
        "AttachedPoliciesPerUserQuota": POLICIES_PER_KEY_MAX,
    }
    return Answer({"SummaryMap": Entries(found)})
