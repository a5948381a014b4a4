"""Policies, their versions, and which keys have them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from amur.gateway.iam.call import Call
from amur.gateway.iam.render import Answer
from amur.gateway.iam.views import policy_view, version_view
from amur.iam.model import IamError, Policy, PolicyVersion

UNDEFINED = "undefined"  # what Tigris' client sends for a description that was not given


async def _shown(call: Call, policy: Policy) -> dict[str, Any]:
    return policy_view(policy, await call.directory.policies.attachment_count(policy))


async def _the(call: Call) -> Policy:
    arn = call.params.required("PolicyArn")
    return await call.directory.policies.get(call.organization, arn)


def _description(call: Call) -> str | None:
    text = call.params.text("Description", UNDEFINED)
    return None if text == UNDEFINED else text


async def create(call: Call) -> Answer:
    params = call.params
    if params.text("Path", "/") not in ("", "/"):
        raise IamError("InvalidInput", "Policies have no path but /.")
    policy = await call.directory.policies.create(
        call.actor,
        params.required("PolicyName"),
        params.required("PolicyDocument"),
        description=_description(call) or "",
        tags=params.tags(),
    )
    return Answer({"Policy": policy_view(policy, 0)})


async def get(call: Call) -> Answer:
    return Answer({"Policy": await _shown(call, await _the(call))})


async def get_detailed(call: Call) -> Answer:
    """Tigris: with the document in force and the keys that have the policy."""
    policy = await _the(call)
    keys = await call.directory.policies.keys_of(call.organization, policy.arn)
    shown = policy_view(policy, len(keys)) | {
        "Document": policy.document,
        "Users": [{"UserId": key.id, "UserName": key.name} for key in keys],
    }
    return Answer({"PolicyDetailed": shown}, {"PolicyDetailed": shown})


async def list_policies(call: Call) -> Answer:
    """Amazon's own policies (Scope=AWS) and paths are not here. A page may be short."""
    params = call.params
    if params.text("Scope") == "AWS" or params.text("PathPrefix", "/") not in ("", "/"):
        return Answer({"Policies": [], "IsTruncated": False})
    page, after = await call.directory.policies.page(
        call.organization, after=params.text("Marker"), limit=params.page_size()
    )
    shown = [await _shown(call, each) for each in page]
    if params.flag("OnlyAttached"):
        shown = [each for each in shown if each["AttachmentCount"]]
    result: dict[str, Any] = {"Policies": shown, "IsTruncated": bool(after)}
    if after:
        result["Marker"] = after
    return Answer(result)


async def update(call: Call) -> Answer:
    """Tigris: a new document is a new version, in force at once."""
    params = call.params
    document = params.text("PolicyDocument") or None
    policy = await call.directory.policies.update(
        call.actor,
        params.required("PolicyArn"),
        document=document,
        description=_description(call),
    )
    return Answer({"Policy": await _shown(call, policy)})


async def delete(call: Call) -> Answer:
    await call.directory.policies.delete(call.actor, call.params.required("PolicyArn"))
    return Answer()


async def force_delete(call: Call) -> Answer:
    """Tigris: detached from every key first."""
    arn = call.params.required("PolicyArn")
    await call.directory.policies.delete(call.actor, arn, force=True)
    return Answer()


# --- versions ---


def _with_document(policy: Policy, version: PolicyVersion) -> Answer:
    """AWS encodes the document for XML; in JSON it stands as it is."""
    shown = version_view(policy, version)
    encoded = {"PolicyVersion": shown | {"Document": quote(version.document, safe="")}}
    plain = {"GetPolicyVersionResult": {"PolicyVersion": shown | {"Document": version.document}}}
    return Answer(encoded, plain)


async def create_version(call: Call) -> Answer:
    params = call.params
    policy, version = await call.directory.policies.create_version(
        call.actor,
        params.required("PolicyArn"),
        params.required("PolicyDocument"),
        is_default=params.flag("SetAsDefault"),
    )
    return Answer({"PolicyVersion": version_view(policy, version)})


async def get_version(call: Call) -> Answer:
    version_id = call.params.required("VersionId")
    policy = await _the(call)
    return _with_document(policy, policy.version(version_id))


async def list_versions(call: Call) -> Answer:
    policy = await _the(call)
    shown = [version_view(policy, each) for each in reversed(policy.versions)]
    return Answer({"Versions": shown, "IsTruncated": False})


async def set_default_version(call: Call) -> Answer:
    params = call.params
    arn, version_id = params.required("PolicyArn"), params.required("VersionId")
    await call.directory.policies.set_default_version(call.actor, arn, version_id)
    return Answer()


async def delete_version(call: Call) -> Answer:
    params = call.params
    arn, version_id = params.required("PolicyArn"), params.required("VersionId")
    await call.directory.policies.delete_version(call.actor, arn, version_id)
    return Answer()


# --- attachments ---


async def attach(call: Call) -> Answer:
    key_id, arn = call.params.required("UserName"), call.params.required("PolicyArn")
    await call.directory.keys.attach(call.actor, key_id, arn)
    return Answer()


async def detach(call: Call) -> Answer:
    key_id, arn = call.params.required("UserName"), call.params.required("PolicyArn")
    await call.directory.keys.detach(call.actor, key_id, arn)
    return Answer()


async def _of_key(call: Call) -> tuple[list[Policy], str]:
    """A page of them in the order of their names, which are the markers."""
    key_id = call.subject or call.params.required("UserName")
    if key_id == call.principal.key_id and not call.principal.parent and not call.principal.name:
        return [], ""  # of the settings: it has none
    found = await call.directory.keys.policies_of(call.organization, key_id)
    after, size = call.params.text("Marker"), call.params.page_size()
    found = [each for each in found if each.name > after]
    return found[:size], found[size - 1].name if len(found) > size else ""


async def list_attached(call: Call) -> Answer:
    policies, after = await _of_key(call)
    shown = [{"PolicyName": each.name, "PolicyArn": each.arn} for each in policies]
    result: dict[str, Any] = {"AttachedPolicies": shown, "IsTruncated": bool(after)}
    if after:
        result["Marker"] = after
    return Answer(result)


async def list_names(call: Call) -> Answer:
    """AWS lists inline policies here, Tigris the names of those attached: there are no others."""
    policies, after = await _of_key(call)
    names = [each.name for each in policies]
    result: dict[str, Any] = {"PolicyNames": names, "IsTruncated": bool(after)}
    if after:
        result["Marker"] = after
    return Answer(result)


async def list_entities(call: Call) -> Answer:
    """The keys that have a policy: as users, whose names are the keys' ids."""
    keys = await call.directory.policies.keys_of(
        call.organization, call.params.required("PolicyArn")
    )
    if call.params.text("EntityFilter", "User") != "User":
        keys = []
    users = [{"UserName": key.id, "UserId": key.id} for key in keys]
    groups_and_roles: dict[str, Any] = {"PolicyGroups": [], "PolicyRoles": []}
    return Answer({"PolicyUsers": users, "IsTruncated": False} | groups_and_roles)
