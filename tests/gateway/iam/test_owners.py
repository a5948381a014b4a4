"""Owners' keys, and the policies that these have: changed by owners, whoever administers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur.gateway.iam.operation import Need
from amur.gateway.iam.operations import OPERATIONS
from amur.gateway.iam.owners import guard_key, guard_policy
from amur.iam.model import Actor, MemberRole
from tests.support.iam_talk import ADMIN_ROLE, READER, Api, ApiError, Caller

ACME = Actor("acme", "somebody")
DENY = READER.replace("Allow", "Deny")
ARN = "arn:aws:iam::acme:policy/"

OF_KEYS: list[tuple[str, dict[str, str]]] = [
    ("UpdateAccessKey", {"AccessKeyId": "KEY", "Status": "Inactive"}),
    ("UpdateAccessKey", {"AccessKeyId": "KEY", "ExpiresAt": "2200-01-01"}),
    ("UpdateAccessKeyWithBucketsRole", {"Req": json.dumps({"id": "KEY", "buckets_role": []})}),
    ("RotateAccessKey", {"AccessKeyId": "KEY"}),
    ("DeleteAccessKey", {"AccessKeyId": "KEY"}),
    ("TagUser", {"UserName": "KEY", "Tags.member.1.Key": "a"}),
    ("UntagUser", {"UserName": "KEY", "TagKeys.member.1": "a"}),
    ("AttachUserPolicy", {"UserName": "KEY", "PolicyArn": f"{ARN}denies"}),
    ("DetachUserPolicy", {"UserName": "KEY", "PolicyArn": f"{ARN}held"}),
]
OF_POLICIES: list[tuple[str, dict[str, str]]] = [
    ("UpdatePolicy", {"PolicyDocument": DENY}),
    ("CreatePolicyVersion", {"PolicyDocument": DENY, "SetAsDefault": "true"}),
    ("SetDefaultPolicyVersion", {"VersionId": "v1"}),
    ("ForceDeletePolicy", {}),
]
HARMLESS = {
    "CreateAccessKey", "CreateAccessKeyWithBucketsRole",  # asks for the member that it is given
    "CreatePolicy", "TagPolicy", "UntagPolicy",
    "DeletePolicy", "DeletePolicyVersion",  # of what nobody has, and is not in force
    "ShareBucket", "UnshareBucket",
}  # fmt: skip


class Scene:
    def __init__(self, api: Api) -> None:
        self.api = api

    async def fill(self) -> None:
        api, members = self.api, self.api.iam.directory.members
        self.member = await members.add(ACME, "owner@example.com", MemberRole.OWNER)
        admin = await members.add(ACME, "admin@example.com", MemberRole.ADMIN)
        second = await members.add(ACME, "second@example.com", MemberRole.OWNER)
        await api.policy("denies", DENY)
        held = await api.policy("held")
        self.owners = await api.key("owner's", member=self.member.id, policies=[held])
        self.admin = await api.key("admin's", member=admin.id)
        self.plain = await api.key("nobody's", roles=[ADMIN_ROLE])
        self.second = await api.key("second's", member=second.id)

    async def code(self, caller: Caller, action: str, asked: dict[str, str], key: str) -> str:
        given = {name: value.replace("KEY", key) for name, value in asked.items()}
        try:
            await self.api.ask(caller, action, **given)
        except ApiError as error:
            is_other = error.code == "AccessDenied" and "owner's key only" not in error.message
            return "of another reason" if is_other else error.code
        return ""


@pytest.fixture
async def scene(api: Api) -> Scene:
    made = Scene(api)
    await made.fill()
    return made


def test_every_change_has_its_guard() -> None:
    """Of those that administrators make."""
    changes = [each for each in OPERATIONS if each.need is Need.ADMIN]
    guards: dict[str, Any] = {each.name: each.guard for each in changes}
    expected: dict[str, Any] = {name: guard_key for name, _ in OF_KEYS}
    expected |= {name: guard_policy for name, _ in OF_POLICIES}
    assert guards == expected | dict.fromkeys(HARMLESS)


@pytest.mark.parametrize(("action", "asked"), OF_KEYS)
async def test_an_owners_key_is_changed_by_owners(
    scene: Scene, action: str, asked: dict[str, str]
) -> None:
    key_id = scene.owners.key_id
    for caller in (scene.admin, scene.plain):
        assert await scene.code(caller, action, asked, key_id) == "AccessDenied"
    name = next(each.action for each in OPERATIONS if each.name == action)
    assert (await scene.api.events())[0] == (name, "Denied")
    assert await scene.code(scene.second, action, asked, key_id) == ""


@pytest.mark.parametrize(("action", "asked"), OF_KEYS)
async def test_root_and_the_settings_keys_may_too(
    scene: Scene, action: str, asked: dict[str, str]
) -> None:
    assert await scene.code(scene.api.acme, action, asked, scene.owners.key_id) == ""
    again = await scene.api.key("again", member=scene.member.id, policies=[f"{ARN}held"])
    given = asked | {"OrganizationId": "acme"}
    assert await scene.code(scene.api.root, action, given, again.key_id) == ""


@pytest.mark.parametrize(("action", "asked"), OF_KEYS)
async def test_others_keys_are_changed_by_any_administrator(
    scene: Scene, action: str, asked: dict[str, str]
) -> None:
    """Also of a member who has left, and one that is not there is not a refusal."""
    held = f"{ARN}held"
    members = scene.api.iam.directory.members
    leaving = await members.add(ACME, "x@example.com", MemberRole.OWNER)
    left = await scene.api.key("left", member=leaving.id, policies=[held])
    await members.remove(ACME, leaving.id)
    own = await scene.api.key("own", policies=[held])
    for key in (left, own):
        assert await scene.code(scene.admin, action, asked, key.key_id) == ""
    assert await scene.code(scene.admin, action, asked, "tid_nobody") == "NoSuchEntity"


@pytest.mark.parametrize(("action", "asked"), OF_POLICIES)
async def test_what_an_owners_key_has_is_changed_by_owners(
    scene: Scene, action: str, asked: dict[str, str]
) -> None:
    held, free = asked | {"PolicyArn": f"{ARN}held"}, asked | {"PolicyArn": f"{ARN}denies"}
    for caller in (scene.admin, scene.plain):
        assert await scene.code(caller, action, held, "") == "AccessDenied"
        assert await scene.code(caller, "TagPolicy", held | {"Tags.member.1.Key": "a"}, "") == ""
    assert await scene.code(scene.admin, action, free, "") == ""
    nothing = asked | {"PolicyArn": f"{ARN}nothing"}
    assert await scene.code(scene.admin, action, nothing, "") == "NoSuchEntity"
    assert await scene.code(scene.second, action, held, "") == ""


@pytest.mark.parametrize("request_", ["", "{", "[]", '{"id": 1}', '{"buckets_role": []}'])
async def test_a_request_that_names_no_key_is_told_what_is_wrong(
    scene: Scene, request_: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await scene.api.ask(scene.admin, "UpdateAccessKeyWithBucketsRole", Req=request_)
    assert refused.value.code == "ValidationError"
