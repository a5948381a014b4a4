"""Policies, versions, attachments and tags through the API."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.iam_talk import ADMIN_ROLE, READER, Api, ApiError, names

WRITER = READER.replace("GetObject", "PutObject")


async def created(api: Api, name: str = "reader", **more: Any) -> dict[str, Any]:
    made = await api.aws(api.acme, "CreatePolicy", PolicyName=name, PolicyDocument=READER, **more)
    policy: dict[str, Any] = made["Policy"]
    return policy


async def test_a_policy_is_made_read_and_deleted(api: Api) -> None:
    tags = [{"Key": "team", "Value": "ml"}]
    policy = await created(api, Description="reads", Tags=tags, Path="/")
    assert policy["Arn"] == "arn:aws:iam::acme:policy/reader"
    assert (policy["DefaultVersionId"], policy["Path"]) == ("v1", "/")
    assert (policy["AttachmentCount"], policy["IsAttachable"]) == (0, True)
    read = (await api.aws(api.acme, "GetPolicy", PolicyArn=policy["Arn"]))["Policy"]
    assert read == policy
    assert (read["Description"], read["Tags"]) == ("reads", tags)
    await api.aws(api.acme, "DeletePolicy", PolicyArn=policy["Arn"])
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "GetPolicy", PolicyArn=policy["Arn"])
    assert (refused.value.status, refused.value.code) == (404, "NoSuchEntity")


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"PolicyDocument": "{}"}, 400, "MalformedPolicyDocument"),
        ({"PolicyName": "a/b"}, 400, "InvalidInput"),
        ({"Path": "/team/"}, 400, "InvalidInput"),
        ({"PolicyDocument": ""}, 400, "ValidationError"),
        ({"PolicyName": "READER"}, 409, "EntityAlreadyExists"),
    ],
)
async def test_what_can_be_no_policy_is_refused(
    api: Api, more: dict[str, str], status: int, code: str
) -> None:
    await created(api)
    wanted = {"PolicyName": "x", "PolicyDocument": READER} | more
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, "CreatePolicy", **wanted)
    assert (refused.value.status, refused.value.code) == (status, code)


async def test_a_bad_document_is_told_by_statement_member_and_remedy(api: Api) -> None:
    bad = READER.replace("s3:GetObject", "s3:GetObjekt")
    with pytest.raises(ApiError, match=r"Statement\[1\].Action.*did you mean s3:GetObject"):
        await api.aws(api.acme, "CreatePolicy", PolicyName="x", PolicyDocument=bad)


async def test_versions_come_and_go(api: Api) -> None:
    arn = (await created(api))["Arn"]
    second = await api.aws(
        api.acme, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=WRITER, SetAsDefault=False
    )
    assert second["PolicyVersion"]["VersionId"] == "v2"
    assert not second["PolicyVersion"]["IsDefaultVersion"]
    await api.aws(api.acme, "SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v2")
    listed = await api.aws(api.acme, "ListPolicyVersions", PolicyArn=arn)
    shown = [(each["VersionId"], each["IsDefaultVersion"]) for each in listed["Versions"]]
    assert shown == [("v2", True), ("v1", False)]
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "DeletePolicyVersion", PolicyArn=arn, VersionId="v2")
    assert (refused.value.status, refused.value.code) == (409, "DeleteConflict")
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "DeletePolicy", PolicyArn=arn)
    assert refused.value.code == "DeleteConflict"
    await api.aws(api.acme, "DeletePolicyVersion", PolicyArn=arn, VersionId="v1")
    third = await api.aws(
        api.acme, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=READER, SetAsDefault=True
    )
    assert third["PolicyVersion"]["VersionId"] == "v3"
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "GetPolicyVersion", PolicyArn=arn, VersionId="v1")
    assert refused.value.code == "NoSuchEntity"


async def test_a_sixth_version_needs_room(api: Api) -> None:
    arn = (await created(api))["Arn"]
    for _ in range(4):
        await api.aws(api.acme, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=WRITER)
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=WRITER)
    assert (refused.value.status, refused.value.code) == (409, "LimitExceeded")


async def test_a_document_is_url_encoded_in_xml_and_plain_in_json(api: Api) -> None:
    arn = (await created(api))["Arn"]
    told = await api.aws(api.acme, "GetPolicyVersion", PolicyArn=arn, VersionId="v1")
    encoded = told["PolicyVersion"]["Document"]
    assert '"' not in encoded
    assert unquote(encoded) == READER
    plain = await api.ask(api.acme, "GetPolicyVersion", PolicyArn=arn, VersionId="v1")
    assert plain["GetPolicyVersionResult"]["PolicyVersion"]["Document"] == READER


async def test_the_question_nobody_else_answers(api: Api) -> None:
    """Which keys hold this policy, and which policies this key."""
    arn, unused = (await created(api))["Arn"], (await created(api, "unused"))["Arn"]
    first, second = await api.key("first"), await api.key("second")
    for key in (first, second, second):  # attaching twice is fine
        await api.aws(api.acme, "AttachUserPolicy", UserName=key.key_id, PolicyArn=arn)
    found = await api.aws(api.acme, "ListEntitiesForPolicy", PolicyArn=arn)
    ids = sorted([first.key_id, second.key_id])
    assert sorted(names(found["PolicyUsers"], "UserName")) == ids
    assert (found["PolicyGroups"], found["PolicyRoles"]) == ([], [])
    roles = await api.aws(api.acme, "ListEntitiesForPolicy", PolicyArn=arn, EntityFilter="Role")
    assert roles["PolicyUsers"] == []
    listed = await api.aws(api.acme, "ListAttachedUserPolicies", UserName=first.key_id)
    assert listed["AttachedPolicies"] == [{"PolicyName": "reader", "PolicyArn": arn}]
    only = await api.aws(api.acme, "ListPolicies", OnlyAttached=True)
    assert [(each["Arn"], each["AttachmentCount"]) for each in only["Policies"]] == [(arn, 2)]
    await api.aws(api.acme, "DetachUserPolicy", UserName=first.key_id, PolicyArn=arn)
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "DetachUserPolicy", UserName=first.key_id, PolicyArn=arn)
    assert refused.value.code == "NoSuchEntity"
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "DeletePolicy", PolicyArn=arn)
    assert refused.value.code == "DeleteConflict"
    assert unused in names((await api.aws(api.acme, "ListPolicies"))["Policies"], "Arn")


async def test_policies_are_listed_in_pages(api: Api) -> None:
    arns = {(await created(api, f"p{n}"))["Arn"] for n in range(5)}
    found: list[str] = []
    marker: dict[str, str] = {}
    while True:
        page = await api.aws(api.acme, "ListPolicies", MaxItems=2, Scope="Local", **marker)
        found += names(page["Policies"], "Arn")
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert len(found) == 5
    assert set(found) == arns
    for nothing in ({"Scope": "AWS"}, {"PathPrefix": "/team/"}):
        assert (await api.aws(api.acme, "ListPolicies", **nothing))["Policies"] == []
    for everything in ({"Scope": "All"}, {"PathPrefix": "/"}):
        assert len((await api.aws(api.acme, "ListPolicies", **everything))["Policies"]) == 5


async def test_a_keys_policies_are_listed_in_pages(api: Api) -> None:
    key = await api.key()
    for name in "cab":
        arn = (await created(api, f"p{name}"))["Arn"]
        await api.aws(api.acme, "AttachUserPolicy", UserName=key.key_id, PolicyArn=arn)
    first = await api.ask(api.acme, "ListUserPolicies", UserName=key.key_id, MaxItems="2")
    result = first["ListUserPoliciesResult"]
    assert (result["PolicyNames"], result["IsTruncated"]) == (["pa", "pb"], True)
    rest = await api.ask(api.acme, "ListUserPolicies", UserName=key.key_id, Marker=result["Marker"])
    assert rest["ListUserPoliciesResult"] == {"PolicyNames": ["pc"], "IsTruncated": False}
    mine = await api.aws(key, "ListUserPolicies", UserName=key.key_id)
    assert mine["PolicyNames"] == ["pa", "pb", "pc"]
    settings = await api.aws(api.acme, "ListUserPolicies", UserName=api.acme.key_id)
    assert settings["PolicyNames"] == []


async def test_the_flavour_of_tigris(api: Api) -> None:
    told = await api.ask(
        api.acme, "CreatePolicy", PolicyName="p", Description="d", ReqUUID="u",
        PolicyDocument=READER,
    )  # fmt: skip
    policy = told["CreatePolicyResult"]["Policy"]
    assert set(policy) >= {
        "Arn", "AttachmentCount", "CreateDate", "DefaultVersionId", "Description", "IsAttachable",
        "Path", "PermissionsBoundaryUsageCount", "PolicyId", "PolicyName", "Tags", "UpdateDate",
    }  # fmt: skip
    key = await api.key("ci")
    await api.ask(api.acme, "AttachUserPolicy", PolicyArn=policy["Arn"], UserName=key.key_id)
    told = await api.ask(
        api.acme, "UpdatePolicy", PolicyArn=policy["Arn"], Description="undefined",
        PolicyDocument=WRITER,
    )  # fmt: skip
    updated = told["UpdatePolicyResult"]["Policy"]
    assert (updated["Description"], updated["DefaultVersionId"]) == ("d", "v2")
    detailed = (await api.ask(api.acme, "GetPolicyDetailed", PolicyArn=policy["Arn"]))[
        "PolicyDetailed"
    ]
    assert json.loads(detailed["Document"]) == json.loads(WRITER)
    assert detailed["Users"] == [{"UserId": key.key_id, "UserName": "ci"}]
    listed = (await api.ask(api.acme, "ListPolicies", MaxItems="1000"))["ListPoliciesResult"]
    assert names(listed["Policies"], "Arn") == [policy["Arn"]]
    assert not listed["IsTruncated"]
    await api.ask(api.acme, "ForceDeletePolicy", PolicyArn=policy["Arn"])
    mine = await api.ask(api.acme, "ListUserPolicies", UserName=key.key_id)
    assert mine["ListUserPoliciesResult"]["PolicyNames"] == []


async def test_policies_have_tags(api: Api) -> None:
    arn = (await created(api, Tags=[{"Key": "a", "Value": "1"}]))["Arn"]
    tags = [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]
    await api.aws(api.acme, "TagPolicy", PolicyArn=arn, Tags=tags)
    assert (await api.aws(api.acme, "ListPolicyTags", PolicyArn=arn))["Tags"] == tags
    await api.aws(api.acme, "UntagPolicy", PolicyArn=arn, TagKeys=["b"])
    assert (await api.aws(api.acme, "ListPolicyTags", PolicyArn=arn))["Tags"] == tags[:1]


OF_A_POLICY = (
    "GetPolicy", "GetPolicyDetailed", "GetPolicyVersion", "ListPolicyVersions", "UpdatePolicy",
    "DeletePolicy", "ForceDeletePolicy", "CreatePolicyVersion", "SetDefaultPolicyVersion",
    "DeletePolicyVersion", "TagPolicy", "UntagPolicy", "ListPolicyTags", "ListEntitiesForPolicy",
    "AttachUserPolicy", "DetachUserPolicy",
)  # fmt: skip


@pytest.mark.parametrize("action", OF_A_POLICY)
async def test_anothers_policy_is_as_if_it_did_not_exist(api: Api, action: str) -> None:
    arn = (await created(api))["Arn"]
    key = await api.key("theirs", "other")
    stranger = await api.key("admin", "other", roles=[ADMIN_ROLE])
    told = []
    for each in (arn, arn.replace("reader", "nobody")):
        with pytest.raises(ApiError) as refused:
            await api.ask(
                stranger, action, PolicyArn=each, UserName=key.key_id, VersionId="v1",
                PolicyDocument=READER,
            )  # fmt: skip
        told.append((refused.value.status, refused.value.message.replace(each, "ARN")))
    assert told[0] == told[1]
    assert told[0][0] == 404
    assert (await api.iam.directory.policies.get("acme", arn)).document == READER
