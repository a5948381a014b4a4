"""The REST part: the organization, members, invitations and teams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur.iam.model import Actor, MemberRole, Status
from tests.support.iam_talk import ADMIN_ROLE, Api, ApiError, Caller

NAMESPACES, INVITATIONS, TEAMS = (
    "/tigris-iam/namespaces",
    "/tigris-iam/invitations",
    "/tigris-iam/teams",
)
GET_ORG = "/users/get-org?SkipNativeOrgCache=true"


async def get(api: Api, path: str, caller: Caller | None = None) -> Any:
    status, document = await api.rest(caller or api.acme, "GET", path)
    assert status == 200, document
    return document


async def do(api: Api, method: str, path: str, document: Any = None) -> Any:
    status, told = await api.rest(api.acme, method, path, document)
    assert (status, told["status"]) == (200, "success"), told
    return told["result"]


async def refused(api: Api, method: str, path: str, document: Any = None) -> tuple[int, str]:
    status, told = await api.rest(api.acme, method, path, document)
    assert told["status"] == "error"
    return status, told["code"]


async def member(api: Api, email: str = "a@example.com", role: str = "Owner") -> str:
    actor = Actor("acme", "somebody")
    return (await api.iam.directory.members.add(actor, email, MemberRole(role))).id


async def test_who_am_i(api: Api) -> None:
    assert await get(api, "/users/whoami") == {
        "UserId": api.acme.key_id, "NamespaceId": "acme",
    }  # fmt: skip
    owner = await member(api)
    key = await api.key("hers", member=owner)
    assert (await get(api, "/users/whoami", key))["UserId"] == owner
    session = await api.session(await api.key())
    assert (await get(api, "/users/whoami", session))["NamespaceId"] == "acme"


async def test_the_organization_with_members_and_invitations(api: Api) -> None:
    owner = await member(api)
    await do(
        api, "POST", INVITATIONS, {"invitations": [{"email": "B@example.com", "role": "member"}]}
    )
    found = await get(api, GET_ORG)
    assert (found["id"], found["name"], found["slug"]) == ("acme", "Acme", "acme")
    assert found["owner_user_id"] == owner
    (user,) = found["users"]
    assert (user["userId"], user["email"]) == (owner, "a@example.com")
    assert (user["role"], user["is_org_owner"]) == ("owner", True)
    (invitation,) = found["invitations"]
    assert (invitation["email"], invitation["role"]) == ("b@example.com", "member")
    assert (invitation["status"], invitation["namespace_id"]) == ("pending", "acme")
    await do(api, "DELETE", INVITATIONS, {"invitation_ids": [invitation["id"]]})
    assert (await get(api, GET_ORG))["invitations"] == []


async def test_only_invitations_are_taken_back(api: Api) -> None:
    owner = await member(api)
    asked = {"invitation_ids": [owner]}
    assert await refused(api, "DELETE", INVITATIONS, asked) == (404, "NoSuchEntity")
    assert len(await api.iam.directory.members.all("acme")) == 1


async def test_roles_change_and_members_leave_with_their_keys(api: Api) -> None:
    owner, leaving = await member(api), await member(api, "b@example.com", "Member")
    key = await api.key("theirs", member=leaving)
    await do(api, "PATCH", NAMESPACES, {"updated_user_roles": {leaving: "admin"}})
    assert (await api.iam.directory.members.get("acme", leaving)).role is MemberRole.ADMIN
    await do(api, "PATCH", NAMESPACES, {"updated_user_roles": {}, "removed_users": [leaving]})
    found = await api.iam.directory.keys.get("acme", key.key_id)
    assert found.status is Status.INACTIVE
    asked = {"removed_users": [owner]}
    assert await refused(api, "PATCH", NAMESPACES, asked) == (409, "DeleteConflict")
    asked_role = {"updated_user_roles": {owner: "emperor"}}
    assert await refused(api, "PATCH", NAMESPACES, asked_role) == (400, "ValidationError")


async def test_only_owners_change_owners(api: Api) -> None:
    first, second = await member(api), await member(api, "b@example.com")
    plain = await member(api, "c@example.com", "Member")
    admin = await member(api, "d@example.com", "Admin")
    owners_key = await api.key("owner's", member=first)
    others = [await api.key("key", roles=[ADMIN_ROLE]), await api.key("admin's", member=admin)]
    invitation = {"invitations": [{"email": "e@example.com", "role": "owner"}]}
    wanted = json.dumps({"name": "x", "member": first})
    for key in others:
        for method, path, document in (
            ("PATCH", NAMESPACES, {"updated_user_roles": {second: "member"}}),
            ("PATCH", NAMESPACES, {"updated_user_roles": {plain: "owner"}}),
            ("PATCH", NAMESPACES, {"removed_users": [plain, second]}),
            ("POST", INVITATIONS, invitation),
        ):
            status, told = await api.rest(key, method, path, document)
            assert (status, told["code"]) == (403, "AccessDenied")
        with pytest.raises(ApiError, match="owner's key only"):
            await api.ask(key, "CreateAccessKeyWithBucketsRole", Req=wanted)
        with pytest.raises(ApiError, match="owner's key only"):
            await api.ask(key, "RotateAccessKey", AccessKeyId=owners_key.key_id)
        status, _ = await api.rest(
            key, "PATCH", NAMESPACES, {"updated_user_roles": {plain: "admin"}}
        )
        assert status == 200
    assert len(await api.iam.directory.members.all("acme")) == 4
    asked = {"updated_user_roles": {second: "member"}}
    assert (await api.rest(owners_key, "PATCH", NAMESPACES, asked))[0] == 200
    assert (await api.rest(owners_key, "POST", INVITATIONS, invitation))[0] == 200
    assert await api.ask(owners_key, "RotateAccessKey", AccessKeyId=owners_key.key_id)
    assert await api.ask(owners_key, "CreateAccessKeyWithBucketsRole", Req=wanted)
    assert ("iam:UpdateMember", "Denied") in await api.events()


async def test_organizations_are_roots_to_make_and_to_list(api: Api) -> None:
    asked = {"id": "6f1f2b9e-0000-4000-8000-000000000000", "name": "New One"}
    status, told = await api.rest(api.root, "POST", NAMESPACES, asked)
    assert (status, told["result"]["namespace_id"]) == (200, asked["id"])
    every = (await get(api, NAMESPACES, api.root))["result"]["orgs"]
    assert [each["id"] for each in every] == [asked["id"], "acme", "other", "root"]
    assert every[0]["slug"] == "new-one"
    own = (await get(api, NAMESPACES))["result"]["orgs"]
    assert [each["id"] for each in own] == ["acme"]
    assert await refused(api, "POST", NAMESPACES, asked) == (403, "AccessDenied")
    status, told = await api.rest(api.root, "POST", NAMESPACES, asked)
    assert (status, told["code"]) == (409, "EntityAlreadyExists")
    made = await api.ask(api.root, "ListAccessKeys", OrganizationId=asked["id"])
    assert made["ListAccessKeysResult"]["AccessKeyMetadata"] == []


async def test_teams_come_change_and_go(api: Api) -> None:
    first, second = await member(api), await member(api, "b@example.com", "Member")
    asked = {"name": "ml", "description": "d", "members": [{"user_id": first}]}
    team_id = (await do(api, "POST", TEAMS, asked))["team_id"]
    await do(api, "PATCH", f"{TEAMS}/{team_id}", {"members": [{"user_id": second}]})
    (team,) = (await get(api, TEAMS))["result"]["teams"]
    assert (team["id"], team["name"], team["description"]) == (team_id, "ml", "d")
    assert team["members"] == [{"user_id": second}]
    assert team["updated_at"] >= team["created_at"]
    await do(api, "DELETE", f"{TEAMS}/{team_id}")
    assert (await get(api, TEAMS))["result"]["teams"] == []
    assert await refused(api, "DELETE", f"{TEAMS}/{team_id}") == (404, "NoSuchEntity")
    asked["members"] = [{"user_id": "usr_nobody"}]
    assert await refused(api, "POST", TEAMS, asked) == (404, "NoSuchEntity")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/users/whoami", 405), ("DELETE", TEAMS, 405), ("GET", f"{TEAMS}/x", 405),
        ("GET", "/", 405), ("PUT", "/", 405), ("GET", "/users", 404), ("GET", "/bucket/key", 404),
        ("PATCH", f"{TEAMS}/a/b", 404), ("POST", "//", 404), ("POST", "/tigris-iam/", 404),
    ],
)  # fmt: skip
async def test_other_paths_and_methods_are_not_there(
    api: Api, method: str, path: str, status: int
) -> None:
    for caller in (api.acme, Caller()):
        told = await api.send(caller, method, path)
        assert told.status == status


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"invitations":[{"email":"a@b.c"}]}', b"\xff"]
)
async def test_a_body_that_cant_be_read_is_refused(api: Api, body: bytes) -> None:
    told = await api.send(api.acme, "POST", INVITATIONS, body)
    assert (told.status, told.json["code"]) == (400, "ValidationError")


async def test_changes_at_once_are_bounded(api: Api) -> None:
    many = [{"email": f"a{n}@example.com", "role": "member"} for n in range(101)]
    assert await refused(api, "POST", INVITATIONS, {"invitations": many}) == (409, "LimitExceeded")
    assert await api.iam.directory.members.all("acme") == []


async def test_anothers_members_and_teams_are_not_there(api: Api) -> None:
    owner = await member(api)
    team_id = (await do(api, "POST", TEAMS, {"name": "ml"}))["team_id"]
    stranger = await api.key("admin", "other", roles=[ADMIN_ROLE])
    for method, path, document in (
        ("PATCH", NAMESPACES, {"removed_users": [owner]}),
        ("PATCH", NAMESPACES, {"updated_user_roles": {owner: "member"}}),
        ("DELETE", INVITATIONS, {"invitation_ids": [owner]}),
        ("PATCH", f"{TEAMS}/{team_id}", {"name": "mine"}),
        ("DELETE", f"{TEAMS}/{team_id}", None),
        ("POST", TEAMS, {"name": "x", "members": [{"user_id": owner}]}),
    ):
        status, told = await api.rest(stranger, method, path, document)
        assert (status, told["code"]) == (404, "NoSuchEntity")
