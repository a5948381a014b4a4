"""Simulations: AWS's shapes, the real decisions, and their reasons in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur.gateway.iam.simulate import POLICY_LEFT_OUT, SIMULATIONS_MAX
from amur.iam.model import Actor, RoleGrant
from amur.meta.records import BucketRecord
from tests.support.iam_talk import ADMIN_ROLE, READER, Api, ApiError, Caller, names

KEY = "arn:aws:s3:::data/in/a"


def statement(effect: str, action: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    made = {"Sid": effect + action[3:], "Effect": effect, "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


POLICY = document(
    statement("Allow", "s3:GetObject", "arn:aws:s3:::data/in/*"),
    statement("Deny", "s3:PutObject"),
    statement("Allow", "s3:ListBucket", IpAddress={"aws:SourceIp": "203.0.113.0/24"}),
)


async def simulated(api: Api, caller: Caller, key: Caller, **more: Any) -> list[dict[str, Any]]:
    asked = {"PolicySourceArn": f"arn:aws:iam::acme:user/{key.key_id}"} | more
    told = await api.aws(caller, "SimulatePrincipalPolicy", **asked)
    assert not told["IsTruncated"]
    found: list[dict[str, Any]] = told["EvaluationResults"]
    return found


async def explained(api: Api, caller: Caller, action: str, resource: str) -> dict[str, Any]:
    asked = {"PolicySourceArn": caller.key_id}
    asked |= {"ActionNames.member.1": action, "ResourceArns.member.1": resource}
    told = await api.ask(caller, "SimulatePrincipalPolicy", **asked)
    (found,) = told["SimulatePrincipalPolicyResult"]["EvaluationResults"]
    result: dict[str, Any] = found
    return result


async def test_decisions_of_a_key_in_amazons_shape(api: Api) -> None:
    await api.store.create_bucket("data", owner="acme")
    key = await api.key("mine", policies=[await api.policy("p", POLICY)])
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    found = await simulated(api, api.acme, key, ActionNames=actions, ResourceArns=[KEY])
    assert names(found, "EvalActionName") == actions
    assert names(found, "EvalResourceName") == [KEY] * 3
    assert names(found, "EvalDecision") == ["allowed", "explicitDeny", "implicitDeny"]
    source = [{"SourcePolicyId": "p", "SourcePolicyType": "IAM Policy"}]
    assert names(found, "MatchedStatements") == [source, source, []]


async def test_what_a_condition_asks_for_is_given_or_missing(api: Api) -> None:
    key = await api.key("mine", policies=[await api.policy("p", POLICY)])
    asked: dict[str, Any] = {
        "ActionNames": ["s3:ListBucket"],
        "ResourceArns": ["arn:aws:s3:::data"],
    }
    (found,) = await simulated(api, key, key, **asked)
    assert found["EvalDecision"] == "implicitDeny"
    assert found["MissingContextValues"] == ["aws:SourceIp"]
    for address, decision in (("203.0.113.9", "allowed"), ("192.0.2.7", "implicitDeny")):
        entry = {
            "ContextKeyName": "AWS:sourceip", "ContextKeyValues": [address],
            "ContextKeyType": "ip",
        }  # fmt: skip
        (found,) = await simulated(api, key, key, ContextEntries=[entry], **asked)
        assert found["EvalDecision"] == decision
        assert found["MissingContextValues"] == []


async def test_reasons_are_told_in_json(api: Api) -> None:
    key = await api.key("mine", policies=[await api.policy("p", POLICY)])
    allowed = await explained(api, key, "s3:GetObject", KEY)
    assert allowed["By"] == "policy: p Statement[1] (AllowGetObject)"
    denied = await explained(api, key, "s3:PutObject", KEY)
    assert denied["Explanation"][0] == "Denied by policy: p Statement[2] (DenyPutObject)"
    silent = await explained(api, key, "S3:getobject", "arn:aws:s3:::data/out/a")
    assert silent["EvalDecision"] == "implicitDeny"
    assert any(
        line.startswith("Needed: an Allow of s3:GetObject") for line in silent["Explanation"]
    )
    assert any("does not name the resource" in line for line in silent["Explanation"])


async def test_roles_shares_and_the_buckets_policy_take_part(api: Api) -> None:
    await api.store.create_bucket("data", owner="acme")
    await api.store.create_bucket("theirs", owner="other")
    editor = await api.key("editor", roles=[RoleGrant("data", "Editor")])
    admin = await api.key("admin", roles=[ADMIN_ROLE])
    assert (await explained(api, editor, "s3:PutObject", KEY))["By"] == "role Editor"
    assert (await explained(api, admin, "s3:PutObject", KEY))["EvalDecision"] == "allowed"
    assert (await explained(api, admin, "iam:CreatePolicy", "*"))["EvalDecision"] == "allowed"
    other = await explained(api, editor, "s3:PutObject", "arn:aws:s3:::theirs/a")
    assert other["EvalDecision"] == "implicitDeny"
    await api.iam.directory.keys.share(Actor("other", "x"), "theirs", editor.key_id, "ReadWrite")
    shared = await explained(api, editor, "s3:PutObject", "arn:aws:s3:::theirs/a")
    assert (shared["EvalDecision"], shared["By"]) == ("allowed", "shared as ReadWrite")


async def test_a_buckets_policy_takes_part_for_who_may_get_it(api: Api) -> None:
    """The others are told that it was left out, whether there is one or not."""
    denies = statement("Deny", "s3:GetObject", "arn:aws:s3:::data/*") | {"Principal": "*"}
    policy = document(denies | {"Sid": "Secret"})
    await api.store.create_bucket(
        BucketRecord(name="data", owner="acme", policy=policy, acl="public-read", public_list=True)
    )
    await api.store.create_bucket("bare", owner="acme")
    reader = await api.key("reader", roles=[RoleGrant("*", "ReadOnly")])
    gets = document(statement("Allow", "s3:GetBucketPolicy", "arn:aws:s3:::data"))
    getter = await api.key("getter", policies=[await api.policy("gets", gets)])
    admin = await api.key("admin", roles=[ADMIN_ROLE])
    asked = INPUT | ONE
    for caller, is_told in (
        (reader, False), (getter, True), (admin, True), (api.acme, True), (api.root, True),
        (await api.session(admin), True), (await api.session(admin, READER), False),
    ):  # fmt: skip
        more = {"OrganizationId": "acme"} if caller == api.root else {}
        for bucket in ("data", "bare"):
            told = await api.ask(
                caller, CUSTOM, **asked, **more,
                **{"ResourceArns.member.1": f"arn:aws:s3:::{bucket}/x"},
            )  # fmt: skip
            (found,) = told["SimulateCustomPolicyResult"]["EvaluationResults"]
            is_denied = is_told and bucket == "data"
            assert found["EvalDecision"] == ("explicitDeny" if is_denied else "allowed")
            assert ("Secret" in json.dumps(found)) is is_denied
            may_get = is_told and (bucket == "data" or caller is not getter)
            assert (POLICY_LEFT_OUT in found["Explanation"]) is not may_get
    assert "Denied" not in [decision for _, decision in await api.events()]


async def test_more_documents_are_as_if_they_were_attached(api: Api) -> None:
    admin = await api.key("admin", roles=[ADMIN_ROLE])
    asked: dict[str, Any] = {"ActionNames": ["s3:PutObject", "iam:CreatePolicy"]}
    plain = await simulated(api, api.acme, admin, **asked)
    assert names(plain, "EvalDecision") == ["allowed", "allowed"]
    narrowed = await simulated(api, api.acme, admin, PolicyInputList=[POLICY], **asked)
    assert names(narrowed, "EvalDecision") == ["explicitDeny", "implicitDeny"]
    settings = await simulated(api, api.acme, api.acme, PolicyInputList=[POLICY], **asked)
    assert names(settings, "EvalDecision") == ["explicitDeny", "implicitDeny"]
    assert (await api.iam.directory.keys.policies_of("acme", admin.key_id)) == []


async def test_documents_alone(api: Api) -> None:
    for caller in (api.acme, await api.key()):
        told = await api.aws(
            caller, "SimulateCustomPolicy", PolicyInputList=[READER, POLICY],
            ActionNames=["s3:GetObject", "s3:PutObject", "sts:GetSessionToken"],
        )  # fmt: skip
        found = names(told["EvaluationResults"], "EvalDecision")
        assert found == ["allowed", "explicitDeny", "allowed"]


async def test_a_simulation_is_not_recorded_as_a_refusal(api: Api) -> None:
    key = await api.key("mine")
    await explained(api, key, "s3:GetObject", KEY)
    assert ("s3:GetObject", "Denied") not in await api.events()


async def test_keys_of_others_are_not_there(api: Api) -> None:
    foreign = await api.key("theirs", "other")
    told = []
    for key_id in (foreign.key_id, "tid_nobody", api.other.key_id, api.root.key_id):
        with pytest.raises(ApiError) as refused:
            await api.ask(
                api.acme, "SimulatePrincipalPolicy", PolicySourceArn=key_id,
                **{"ActionNames.member.1": "s3:GetObject"},
            )  # fmt: skip
        told.append((refused.value.code, refused.value.message.replace(key_id, "KEY")))
    assert set(told) == {("NoSuchEntity", "The access key KEY does not exist.")}


PRINCIPAL, CUSTOM = "SimulatePrincipalPolicy", "SimulateCustomPolicy"
ONE = {"ActionNames.member.1": "s3:GetObject"}
INPUT = {"PolicyInputList.member.1": READER}


@pytest.mark.parametrize(
    ("action", "asked", "code"),
    [
        (CUSTOM, ONE, "ValidationError"),
        (CUSTOM, INPUT, "ValidationError"),
        (CUSTOM, ONE | {"PolicyInputList.member.1": "{}"}, "MalformedPolicyDocument"),
        (CUSTOM, INPUT | {"ActionNames.member.1": "s3:*"}, "InvalidInput"),
        (CUSTOM, INPUT | {"ActionNames.member.1": "s3:Nothing"}, "InvalidInput"),
        (CUSTOM, INPUT | ONE | {"ResourceArns.member.1": "x" * 2049}, "ValidationError"),
        (
            CUSTOM,
            INPUT | ONE | {"ContextEntries.member.1.ContextKeyName": "aws:Mood"},
            "InvalidInput",
        ),
        (PRINCIPAL, ONE, "ValidationError"),
        (PRINCIPAL, ONE | {"PolicySourceArn": "arn:aws:iam::other:user/x"}, "NoSuchEntity"),
        (PRINCIPAL, ONE | {"PolicySourceArn": "arn:aws:iam::acme:role/x"}, "NoSuchEntity"),
    ],
)  # fmt: skip
async def test_a_bad_simulation_is_refused(
    api: Api, action: str, asked: dict[str, str], code: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, action, **asked)
    assert refused.value.code == code


async def test_a_simulation_is_bounded(api: Api) -> None:
    asked = {f"ActionNames.member.{n}": "s3:GetObject" for n in range(1, 12)}
    asked |= {f"ResourceArns.member.{n}": "*" for n in range(1, 11)} | INPUT
    with pytest.raises(ApiError, match=f"At most {SIMULATIONS_MAX} "):
        await api.ask(api.acme, "SimulateCustomPolicy", **asked)
    del asked["ActionNames.member.11"]
    told = await api.ask(api.acme, "SimulateCustomPolicy", **asked)
    assert len(told["SimulateCustomPolicyResult"]["EvaluationResults"]) == SIMULATIONS_MAX
