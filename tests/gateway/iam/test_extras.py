"""Audit, shares, and the linter."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.iam_talk import READER, Api, ApiError, names

# --- the audit ---


async def test_changes_and_refusals_are_listed_newest_first(api: Api) -> None:
    key = await api.key("mine")
    with pytest.raises(ApiError):
        await api.ask(key, "CreatePolicy", PolicyName="p", PolicyDocument=READER)
    await api.iam.flush()
    await api.ask(api.acme, "CreatePolicy", PolicyName="p", PolicyDocument=READER)
    await api.key("foreign", "other")
    told = await api.ask(api.acme, "ListAuditEvents")
    shown = [(each["Action"], each["Decision"], each["AccessKeyId"]) for each in told["Events"]]
    assert shown == [
        ("iam:CreatePolicy", "Allowed", api.acme.key_id),
        ("iam:CreatePolicy", "Denied", key.key_id),
        ("iam:CreateAccessKey", "Allowed", "somebody"),
    ]
    assert told["Before"] == ""
    newest = told["Events"][0]
    assert newest["Resource"] == "arn:aws:iam::acme:policy/p"
    assert (newest["SourceIp"], newest["Region"]) == ("192.0.2.7", "fra")
    assert newest["RequestId"].startswith("request-")
    assert newest["Detail"]["document"] == READER


async def test_events_are_filtered_and_paged(api: Api) -> None:
    first, second = await api.key("first"), await api.key("second")
    for key in (first, second, first):
        await api.ask(api.acme, "UpdateAccessKey", AccessKeyId=key.key_id, Name=f"n{key.key_id}")
    found: list[dict[str, Any]] = []
    before = ""
    for _ in range(5):
        told = await api.ask(api.acme, "ListAuditEvents", Limit="2", Before=before)
        found += told["Events"]
        before = told["Before"]
        if not before:
            break
    assert len(found) == 5
    assert len({each["Id"] for each in found}) == 5

    async def listed(**asked: str) -> list[str]:
        told = await api.ask(api.acme, "ListAuditEvents", **asked)
        return names(told["Events"], "Action")

    assert await listed(Key=first.key_id) == ["iam:UpdateAccessKey"] * 2 + ["iam:CreateAccessKey"]
    assert await listed(ActionName="iam:createaccesskey") == ["iam:CreateAccessKey"] * 2
    assert await listed(ActionName="iam:Update*", Key=second.key_id) == ["iam:UpdateAccessKey"]
    assert await listed(Decision="denied") == []
    assert await listed(Since="2222-01-01T00:00:00Z") == []
    assert len(await listed(Since="2020-01-01T00:00:00Z")) == 5
    with pytest.raises(ApiError, match="Before is no event's id"):
        await listed(Before="xyz")


async def test_root_sees_the_events_of_all(api: Api) -> None:
    await api.key("one")
    await api.key("two", "other")
    told = await api.ask(api.root, "ListAuditEvents", AllOrganizations="true")
    assert sorted(names(told["Events"], "OrganizationId")) == ["acme", "other"]
    assert (await api.ask(api.root, "ListAuditEvents"))["Events"] == []
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, "ListAuditEvents", AllOrganizations="true")
    assert refused.value.code == "AccessDenied"


# --- shares ---


async def test_a_bucket_is_shared_with_a_foreign_key(api: Api) -> None:
    await api.store.create_bucket("datasets", owner="acme")
    friend = await api.key("friend", "other")
    share = {"Bucket": "datasets", "AccessKeyId": friend.key_id}
    told = await api.ask(api.acme, "ShareBucket", Role="ReadOnly", **share)
    assert told["Share"] | {"CreateDate": ""} == share | {
        "OrganizationId": "acme", "Role": "ReadOnly", "CreateDate": "",
    }  # fmt: skip
    access = await api.iam.find(friend.key_id)
    assert access is not None
    bucket = await api.store.bucket("datasets")
    assert dict(access.shares) == {"datasets": (bucket.id, "ReadOnly")}
    ours = await api.ask(api.acme, "ListBucketShares", Bucket="datasets")
    theirs = await api.ask(api.other, "ListBucketShares", AccessKeyId=friend.key_id)
    assert ours["Shares"] == theirs["Shares"] == [told["Share"]]
    await api.ask(api.acme, "UnshareBucket", **share)
    assert (await api.ask(api.acme, "ListBucketShares", Bucket="datasets"))["Shares"] == []
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, "UnshareBucket", **share)
    assert refused.value.code == "NoSuchEntity"


@pytest.mark.parametrize("action", ["ShareBucket", "ListBucketShares", "UnshareBucket"])
async def test_only_own_buckets_are_shared(api: Api, action: str) -> None:
    """Nobody is told whether another's bucket exists."""
    await api.store.create_bucket("theirs", owner="other")
    friend = await api.key("friend", "other")
    told = []
    for bucket in ("theirs", "nothing"):
        with pytest.raises(ApiError) as refused:
            await api.ask(
                api.acme, action, Bucket=bucket, AccessKeyId=friend.key_id, Role="ReadOnly"
            )
        told.append((refused.value.status, refused.value.message.replace(bucket, "BUCKET")))
    assert told[0] == told[1]
    assert told[0][0] == 404


async def test_shares_have_a_role_and_go_to_others(api: Api) -> None:
    await api.store.create_bucket("datasets", owner="acme")
    own, friend = await api.key("own"), await api.key("friend", "other")
    for key, role, code in (
        (own, "ReadOnly", "InvalidInput"), (friend, "NamespaceAdmin", "InvalidInput"),
        (friend, "", "ValidationError"),
    ):  # fmt: skip
        with pytest.raises(ApiError) as refused:
            await api.ask(
                api.acme, "ShareBucket", Bucket="datasets", AccessKeyId=key.key_id, Role=role
            )
        assert refused.value.code == code


# --- documents ---


async def test_a_policy_is_checked_and_linted(api: Api) -> None:
    good = await api.ask(api.acme, "LintPolicy", PolicyDocument=READER)
    assert (good["IsValid"], good["Problems"]) == (True, [])
    bad = await api.ask(
        api.acme, "LintPolicy", PolicyDocument=READER.replace("GetObject", "GetObjekt")
    )
    assert not bad["IsValid"]
    assert bad["Problems"][0]["Statement"] == "Statement[1]"
    assert bad["Problems"][0]["Member"] == "Action"
    assert "s3:GetObject" in bad["Problems"][0]["Remedy"]
    wide = await api.ask(api.acme, "LintPolicy", PolicyDocument=READER.replace("s3:GetObject", "*"))
    assert wide["IsValid"]
    assert "too-wide" in names(wide["Findings"], "Code")
    with pytest.raises(ApiError, match="Kind is one of"):
        await api.ask(api.acme, "LintPolicy", PolicyDocument=READER, Kind="trust")


@pytest.mark.parametrize("kind", ["identity", "bucket", "session"])
async def test_the_schema_is_for_editors(api: Api, kind: str) -> None:
    schema = await api.ask(api.acme, "GetPolicySchema", Kind=kind)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "Statement" in schema["properties"]
