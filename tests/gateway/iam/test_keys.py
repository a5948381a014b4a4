"""Access keys through the API."""

from __future__ import annotations

import json
import logging
from asyncio import gather
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from amur.iam.model import RoleGrant, Status
from tests.support.iam_talk import ADMIN_ROLE, ROOT, Api, ApiError, names


async def test_a_key_is_made_for_a_name_and_its_secret_is_shown_once(api: Api) -> None:
    made = (await api.aws(api.acme, "CreateAccessKey", UserName="training"))["AccessKey"]
    assert made["UserName"] == "training"
    assert made["Status"] == "Active"
    assert made["AccessKeyId"].startswith("tid_")
    access = await api.iam.find(made["AccessKeyId"])
    assert access is not None
    assert access.secrets_at(0) == (made["SecretAccessKey"],)
    assert access.principal.owner == "acme"
    assert not access.roles
    for action in ("ListAccessKeys", "ListAccessKeys&Detailed", "ListAuditEvents"):
        told = (await api.send(api.acme, "POST", f"/?Action={action}")).body.decode()
        assert made["AccessKeyId"] in told
        assert made["SecretAccessKey"] not in told


async def test_without_a_user_name_the_key_has_the_callers(api: Api) -> None:
    admin = await api.key("alice's", roles=[ADMIN_ROLE])
    made = (await api.aws(admin, "CreateAccessKey"))["AccessKey"]
    assert made["UserName"] == "alice's"
    key = await api.iam.directory.keys.get("acme", made["AccessKeyId"])
    assert key.creator == admin.key_id
    assert key.roles == ()
    settings = (await api.aws(api.acme, "CreateAccessKey"))["AccessKey"]
    assert settings["UserName"] == api.acme.key_id


async def test_a_key_is_made_with_everything_at_once(api: Api) -> None:
    arn = await api.policy()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=6)
    wanted = {
        "req_uuid": "4d4d", "name": "job", "buckets_role": [{"bucket": "b1b", "role": "ReadOnly"}],
        "expires_at": until.isoformat(), "policies": [arn], "tags": {"team": "ml"},
        "status": "inactive",
    }  # fmt: skip
    told = await api.ask(api.acme, "CreateAccessKeyWithBucketsRole", Req=json.dumps(wanted))
    made = told["CreateAccessKeyResult"]["AccessKey"]
    assert made["Status"] == "Inactive"
    assert made["UserName"] == "job"
    assert made["SecretAccessKey"].startswith("tsec_")
    key = await api.iam.directory.keys.get("acme", made["AccessKeyId"])
    assert key.roles == (RoleGrant("b1b", "ReadOnly"),)
    assert key.expires_ns == int(until.timestamp()) * 10**9
    assert key.tags == {"team": "ml"}
    assert key.status is Status.INACTIVE
    assert names(await attached(api, key.id), "PolicyArn") == [arn]


async def attached(api: Api, key_id: str) -> list[dict[str, Any]]:
    told = await api.aws(api.acme, "ListAttachedUserPolicies", UserName=key_id)
    found: list[dict[str, Any]] = told["AttachedPolicies"]
    return found


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"name": "x", "expires": "2030-01-01"}, "ValidationError"),  # misspelled: never forgotten
        ({"name": "x", "buckets_role": [{"bucket": "b"}]}, "ValidationError"),
        ({"name": "x", "buckets_role": [{"bucket": "b", "role": "Owner"}]}, "InvalidInput"),
        (
            {"name": "x", "buckets_role": [{"bucket": "b", "role": "NamespaceAdmin"}]},
            "InvalidInput",
        ),
        ({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, "InvalidInput"),
        ({"name": "x", "status": "sleeping"}, "ValidationError"),
        ({"name": "x", "policies": ["arn:aws:iam::other:policy/p"]}, "NoSuchEntity"),
        ({"name": "x", "member": "usr_nobody"}, "NoSuchEntity"),
        ({"name": ""}, "InvalidInput"),
        ({}, "ValidationError"),
        ([], "ValidationError"),
    ],
)
async def test_a_bad_request_makes_no_key(api: Api, wanted: Any, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, "CreateAccessKeyWithBucketsRole", Req=json.dumps(wanted))
    assert refused.value.code == code
    assert (await api.iam.directory.keys.page("acme"))[0] == []


async def test_roles_are_replaced_as_a_whole(api: Api) -> None:
    key = await api.key(roles=[RoleGrant("old", "Editor")])
    for roles in ([{"bucket": "new", "role": "ReadOnly"}], []):
        wanted = json.dumps({"id": key.key_id, "buckets_role": roles})
        told = await api.ask(api.acme, "UpdateAccessKeyWithBucketsRole", Req=wanted)
        assert told["status"] == "success"
        found = await api.iam.directory.keys.get("acme", key.key_id)
        assert [each._asdict() for each in found.roles] == roles


async def test_keys_are_listed_in_pages_in_both_flavours(api: Api) -> None:
    made = sorted([(await api.key(f"key {n}")).key_id for n in range(5)])
    await api.key("foreign", "other")
    found: list[str] = []
    marker: dict[str, str] = {}
    while True:
        page = await api.aws(api.acme, "ListAccessKeys", MaxItems=2, **marker)
        found += names(page["AccessKeyMetadata"], "AccessKeyId")
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert found == made
    first = await api.ask(api.acme, "ListAccessKeys", Detailed="", MaxItems="3")
    assert names(first["Keys"], "access_key_id") == made[:3]
    rest = await api.ask(api.acme, "ListAccessKeys", Detailed="", Marker=first["Marker"])
    assert names(rest["Keys"], "access_key_id") == made[3:]
    assert (rest["IsTruncated"], rest["Marker"]) == (False, "")


async def test_a_detailed_key_has_the_members_that_tigris_clients_read(api: Api) -> None:
    key = await api.key("ci", roles=[RoleGrant("b1b", "Editor")])
    told = await api.send(
        api.acme, "POST", "/?Detailed", f"Action=ListAccessKeys&KeyId={key.key_id}".encode(),
        {"accept": "application/json"},
    )  # fmt: skip
    (row,) = told.json["Keys"]
    assert row["username"] == "ci"
    assert row["status"] == "active"
    assert row["namespace_id"] == "acme"
    assert row["creator"] == "somebody"
    assert row["buckets_role"] == [{"bucket": "b1b", "role": "Editor"}]
    assert datetime.fromisoformat(row["created_at"]).tzinfo is not None
    unknown = await api.ask(api.acme, "ListAccessKeys", Detailed="", KeyId="tid_unknown")
    assert unknown["Keys"] == []


async def test_a_user_name_is_an_id_or_the_name_of_some_keys(api: Api) -> None:
    first, second = await api.key("ci"), await api.key("ci")
    await api.key("other name")
    found = await api.aws(api.acme, "ListAccessKeys", UserName="ci")
    assert sorted(names(found["AccessKeyMetadata"], "AccessKeyId")) == sorted(
        [first.key_id, second.key_id]
    )
    found = await api.aws(api.acme, "ListAccessKeys", UserName=first.key_id)
    assert names(found["AccessKeyMetadata"], "AccessKeyId") == [first.key_id]
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "ListAccessKeys", UserName="nobody")
    assert (refused.value.status, refused.value.code) == (404, "NoSuchEntity")


async def test_a_key_without_rights_sees_itself_only(api: Api) -> None:
    key, another = await api.key("mine"), await api.key("yours")
    for named in ({}, {"UserName": key.key_id}):
        found = await api.aws(key, "ListAccessKeys", **named)
        assert names(found["AccessKeyMetadata"], "AccessKeyId") == [key.key_id]
    with pytest.raises(ApiError) as refused:
        await api.aws(key, "ListAccessKeys", UserName=another.key_id)
    assert refused.value.code == "AccessDenied"


async def test_a_key_of_the_settings_sees_itself(api: Api) -> None:
    for caller, name in ((api.acme, api.acme.key_id), (api.root, ROOT[0])):
        found = await api.aws(caller, "ListAccessKeys", UserName=name)
        assert names(found["AccessKeyMetadata"], "AccessKeyId") == [name]
        used = await api.aws(caller, "GetAccessKeyLastUsed", AccessKeyId=name)
        assert used["AccessKeyLastUsed"]["ServiceName"] == "N/A"


async def test_status_name_and_expiry_are_changed(api: Api) -> None:
    key = await api.key("before")
    await api.aws(api.acme, "UpdateAccessKey", AccessKeyId=key.key_id, Status="Inactive")
    access = await api.iam.find(key.key_id)
    assert access is not None
    assert access.problem
    until = "2099-01-01T00:00:00Z"
    await api.ask(
        api.acme, "UpdateAccessKey", AccessKeyId=key.key_id, Name="after", ExpiresAt=until
    )
    found = await api.iam.directory.keys.get("acme", key.key_id)
    assert (found.name, found.expires_ns) == ("after", 4070908800 * 10**9)
    assert found.status is Status.INACTIVE
    await api.ask(api.acme, "UpdateAccessKey", AccessKeyId=key.key_id, ExpiresAt="never")
    assert (await api.iam.directory.keys.get("acme", key.key_id)).expires_ns == 0
    with pytest.raises(ApiError, match="Give a Status"):
        await api.ask(api.acme, "UpdateAccessKey", AccessKeyId=key.key_id)
    with pytest.raises(ApiError, match="Active or Inactive"):
        await api.ask(api.acme, "UpdateAccessKey", AccessKeyId=key.key_id, Status="Paused")


async def test_a_secret_is_rotated_with_and_without_an_overlap(api: Api) -> None:
    key = await api.key()
    told = await api.ask(api.acme, "RotateAccessKey", AccessKeyId=key.key_id, OverlapSeconds="3600")
    new = told["rotate_access_key_result"]["new_secret"]
    assert (told["status"], told["rotate_access_key_result"]["id"]) == ("success", key.key_id)
    access = await api.iam.find(key.key_id)
    assert access is not None
    assert access.secrets_at(api.store.core.clock.now_ns()) == (new, key.secret)
    told = await api.ask(api.acme, "RotateAccessKey", AccessKeyId=key.key_id)
    newest = told["rotate_access_key_result"]["new_secret"]
    access = await api.iam.find(key.key_id)
    assert access is not None
    assert access.secrets_at(api.store.core.clock.now_ns()) == (newest,)
    with pytest.raises(ApiError, match="OverlapSeconds is 0 to 604800"):
        await api.ask(api.acme, "RotateAccessKey", AccessKeyId=key.key_id, OverlapSeconds="604801")


async def test_a_deleted_key_is_unknown_at_once(api: Api) -> None:
    key = await api.key()
    await api.aws(api.acme, "DeleteAccessKey", AccessKeyId=key.key_id, UserName="whatever")
    assert await api.iam.find(key.key_id) is None
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "DeleteAccessKey", AccessKeyId=key.key_id)
    assert refused.value.code == "NoSuchEntity"


async def test_last_use_and_tags(api: Api) -> None:
    key = await api.key("x", tags={"a": "1"})
    used = await api.aws(api.acme, "GetAccessKeyLastUsed", AccessKeyId=key.key_id)
    assert used["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    await api.iam.directory.keys.note_use(key.key_id, "s3")
    used = await api.aws(api.acme, "GetAccessKeyLastUsed", AccessKeyId=key.key_id)
    assert used["UserName"] == "x"
    assert used["AccessKeyLastUsed"]["ServiceName"] == "s3"
    assert used["AccessKeyLastUsed"]["Region"] == "fra"
    assert used["AccessKeyLastUsed"]["LastUsedDate"] >= datetime(2020, 1, 1, tzinfo=UTC)
    tags = [{"Key": "b", "Value": "2"}, {"Key": "c", "Value": ""}]
    await api.aws(api.acme, "TagUser", UserName=key.key_id, Tags=tags)
    await api.aws(api.acme, "UntagUser", UserName=key.key_id, TagKeys=["a", "nothing"])
    found = await api.aws(api.acme, "ListUserTags", UserName=key.key_id)
    assert found["Tags"] == tags


async def test_tags_that_are_given_at_once_are_all_there() -> None:
    api = Api(Random(7))
    key = await api.key()
    asked = [{"Tags.member.1.Key": f"t{n}", "Tags.member.1.Value": "x"} for n in range(5)]
    await gather(*(api.ask(api.acme, "TagUser", UserName=key.key_id, **each) for each in asked))
    found = await api.aws(api.acme, "ListUserTags", UserName=key.key_id)
    assert names(found["Tags"], "Key") == [f"t{n}" for n in range(5)]
    many = [{"Key": f"m{n}", "Value": ""} for n in range(46)]
    with pytest.raises(ApiError) as refused:
        await api.aws(api.acme, "TagUser", UserName=key.key_id, Tags=many)
    assert refused.value.code == "LimitExceeded"


FOREIGN = (
    ("ListAccessKeys", "UserName"), ("UpdateAccessKey", "AccessKeyId"),
    ("DeleteAccessKey", "AccessKeyId"), ("RotateAccessKey", "AccessKeyId"),
    ("GetAccessKeyLastUsed", "AccessKeyId"), ("TagUser", "UserName"), ("UntagUser", "UserName"),
    ("ListUserTags", "UserName"), ("ListAttachedUserPolicies", "UserName"),
    ("ListUserPolicies", "UserName"), ("AttachUserPolicy", "UserName"),
    ("DetachUserPolicy", "UserName"), ("ListBucketShares", "AccessKeyId"),
)  # fmt: skip


@pytest.mark.parametrize(("action", "parameter"), FOREIGN)
async def test_anothers_key_is_as_if_it_did_not_exist(
    api: Api, action: str, parameter: str
) -> None:
    arn = await api.policy()
    foreign = await api.key("theirs", "other", tags={"a": "1"})
    for organization in (api.acme, await api.key(roles=[ADMIN_ROLE])):
        told = []
        for key_id in (foreign.key_id, "tid_" + "0" * 26):
            more = {"PolicyArn": arn, "Status": "Inactive", parameter: key_id}
            with pytest.raises(ApiError) as refused:
                await api.ask(organization, action, **more)
            told.append((refused.value.status, refused.value.message.replace(key_id, "KEY")))
        assert told[0] == told[1]
        assert told[0][0] == 404
    assert (await api.iam.directory.keys.get("other", foreign.key_id)).status is Status.ACTIVE


async def test_secrets_are_neither_logged_nor_told_in_errors(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await api.key()
    with pytest.raises(ApiError) as refused:
        await api.ask(
            api.acme, "CreateAccessKeyWithBucketsRole",
            Req=json.dumps({"name": "x", "secret": key.secret, "status": 3}),
        )  # fmt: skip
    assert key.secret not in str(refused.value)
    await api.ask(api.acme, "RotateAccessKey", AccessKeyId=key.key_id)
    assert "tsec_" not in caplog.text


async def test_the_account_is_summed_up(api: Api) -> None:
    await api.key()
    await api.policy()
    found = (await api.aws(api.acme, "GetAccountSummary"))["SummaryMap"]
    assert (found["Users"], found["Policies"], found["Groups"]) == (1, 1, 0)
    assert found["VersionsPerPolicyQuota"] == 5


async def test_rows_tell_the_policies_of_each_key(api: Api) -> None:
    one, two = await api.policy("one"), await api.policy("two")
    both = await api.key("both", policies=[two, one])
    none = await api.key("none")
    told = await api.ask(api.acme, "ListAccessKeys", Detailed="")
    shown = {row["access_key_id"]: row["policies"] for row in told["Keys"]}
    assert shown == {both.key_id: ["one", "two"], none.key_id: []}
    (own,) = (await api.ask(api.acme, "ListAccessKeys", Detailed="", KeyId=api.acme.key_id))["Keys"]
    assert own["policies"] == []


async def test_rows_tell_no_policies_to_who_may_not_list_them(api: Api) -> None:
    """Who may list keys may not have to know what they may."""
    held = await api.policy("held")
    seen, hidden = await api.key("seen", policies=[held]), await api.key("hidden", policies=[held])
    users = "arn:aws:iam::acme:user"
    statements = [
        {"Effect": "Allow", "Action": "iam:ListAccessKeys", "Resource": "*"},
        {"Effect": "Allow", "Action": "iam:ListAttachedUserPolicies", "Resource": f"{users}/*"},
        {
            "Effect": "Deny", "Action": "iam:ListAttachedUserPolicies",
            "Resource": f"{users}/{hidden.key_id}",
        },
    ]  # fmt: skip
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    lists = json.dumps({"Version": "2012-10-17", "Statement": statements[:1]})
    reader = await api.key("reader", policies=[await api.policy("reads", text)])
    lister = await api.key("lister", policies=[await api.policy("lists", lists)])
    told = await api.ask(reader, "ListAccessKeys", Detailed="")
    shown = {row["access_key_id"]: row.get("policies") for row in told["Keys"]}
    assert shown[seen.key_id] == ["held"]
    assert shown[hidden.key_id] is None
    told = await api.ask(lister, "ListAccessKeys", Detailed="")
    shown = {row["access_key_id"]: row.get("policies") for row in told["Keys"]}
    assert shown.pop(lister.key_id) == ["lists"]  # its own
    assert set(shown.values()) == {None}
