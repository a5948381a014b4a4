"""Who may call what: every operation by every kind of caller, against sets written down here."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from amur.gateway.iam.operations import OPERATIONS
from amur.gateway.iam.rest import ROUTES
from amur.iam.model import RoleGrant
from amur.iam.policy import vocabulary
from tests.support.iam_talk import ADMIN_ROLE, Api, ApiError, Caller


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ANYBODY = words(
    "GetCallerIdentity SimulateCustomPolicy LintPolicy GetPolicySchema WhoAmI ListOrganizations"
)
MAKES_SESSIONS = words("GetSessionToken GetFederationToken")
OF_ONESELF = words(
    "ListAccessKeys GetAccessKeyLastUsed ListUserTags ListAttachedUserPolicies ListUserPolicies"
    " SimulatePrincipalPolicy"
)
READS = words(
    "GetPolicy GetPolicyDetailed ListPolicies GetPolicyVersion ListPolicyVersions ListPolicyTags"
    " ListEntitiesForPolicy GetAccountSummary ListAuditEvents ListBucketShares GetOrganization"
    " ListTeams"
)
CHANGES = words(
    "CreateAccessKey CreateAccessKeyWithBucketsRole UpdateAccessKey UpdateAccessKeyWithBucketsRole"
    " RotateAccessKey DeleteAccessKey TagUser UntagUser CreatePolicy UpdatePolicy DeletePolicy"
    " ForceDeletePolicy CreatePolicyVersion SetDefaultPolicyVersion DeletePolicyVersion TagPolicy"
    " UntagPolicy AttachUserPolicy DetachUserPolicy ShareBucket UnshareBucket ChangeMembers"
    " InviteMembers RevokeInvitations CreateTeam UpdateTeam DeleteTeam"
)
ROOTS = frozenset({"CreateOrganization"})
ALL = ANYBODY | MAKES_SESSIONS | OF_ONESELF | READS | CHANGES | ROOTS

ALLOW_READING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["iam:Get*", "iam:List*"], "Resource": "*"}],
    }
)
ALLOW_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)
DENY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": ["iam:*", "sts:*"], "Resource": "*"}],
    }
)
FAR = 4_000_000_000 * 10**9

MAY: dict[str, frozenset[str]] = {
    "root": ALL,
    "root's session": ALL - MAKES_SESSIONS - CHANGES - ROOTS,
    "settings": ALL - ROOTS,
    "administrator": ALL - ROOTS,
    "administrator that expires": ALL - ROOTS - CHANGES,
    "administrator with a policy": ALL - ROOTS - CHANGES,
    "administrator who is denied": frozenset(),
    "administrator's session": ANYBODY | OF_ONESELF | READS,
    "administrator's narrowed session": ANYBODY,
    "plain": ANYBODY | MAKES_SESSIONS | OF_ONESELF,
    "plain with everything allowed": ANYBODY | MAKES_SESSIONS | OF_ONESELF | READS,
    "editor": ANYBODY | MAKES_SESSIONS | OF_ONESELF,
    "plain session": ANYBODY,
    "reader": ANYBODY | MAKES_SESSIONS | OF_ONESELF | READS,
    "plain who is denied": frozenset(),
    "anonymous": frozenset(),
}


async def made(api: Api, kind: str) -> Caller:
    if kind == "anonymous":
        return Caller()
    if kind == "root":
        return api.root
    if kind == "settings":
        return api.acme
    if kind == "root's session":
        return await api.session(api.root)
    more: dict[str, Any] = {}
    if kind.startswith("administrator"):
        more["roles"] = [ADMIN_ROLE]
    elif kind == "editor":
        more["roles"] = [RoleGrant("*", "Editor")]
    if "expires" in kind:
        more["expires_ns"] = FAR
    if "denied" in kind:
        more["policies"] = [await api.policy("deny", DENY)]
    elif kind == "administrator with a policy" or "everything" in kind:
        more["policies"] = [await api.policy("all", ALLOW_ALL)]
    elif kind == "reader":
        more["policies"] = [await api.policy("reading", ALLOW_READING)]
    key = await api.key(kind, **more)
    if "session" in kind:
        narrowed = json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
            }
        )
        return await api.session(key, narrowed if "narrowed" in kind else "")
    return key


async def asked(api: Api, caller: Caller, name: str) -> tuple[int, str]:
    """Status and code of a request with all that a parameter may be."""
    route = next((each for each in ROUTES if each.operation.name == name), None)
    if route is not None:
        path = route.path.replace("*", "team_none")
        told = await api.send(
            caller, route.method, path, b"{", {"content-type": "application/json"}
        )
        return told.status, "" if told.status == 200 else told.json["code"]
    arn = f"arn:aws:iam::acme:user/{caller.key_id}"
    parameters = {"PolicySourceArn": arn} if name == "SimulatePrincipalPolicy" else {}
    try:
        await api.ask(caller, name, **parameters)
    except ApiError as error:
        return error.status, error.code
    return 200, ""


def test_every_operation_is_in_one_set() -> None:
    sets = (ANYBODY, MAKES_SESSIONS, OF_ONESELF, READS, CHANGES, ROOTS)
    names = [each.name for each in OPERATIONS] + [each.operation.name for each in ROUTES]
    assert sorted(names) == sorted(ALL)
    assert sum(map(len, sets)) == len(ALL)


@pytest.mark.parametrize("kind", MAY)
async def test_who_may_call_what(api: Api, kind: str) -> None:
    """Who may gets as far as the parameters, which are missing; who may not never does."""
    caller = await made(api, kind)
    wrong = []
    for name in sorted(ALL):
        status, code = await asked(api, caller, name)
        assert status != 500, name
        refused = code in ("AccessDenied", "MissingAuthenticationToken")
        if refused == (name in MAY[kind]):
            wrong.append((name, status, code))
        if refused:
            expected = "MissingAuthenticationToken" if kind == "anonymous" else "AccessDenied"
            assert (status, code) == (403, expected)
    assert not wrong


NAMED_BY = {
    "ListAccessKeys": "UserName",
    "GetAccessKeyLastUsed": "AccessKeyId",
    "ListUserTags": "UserName",
    "ListAttachedUserPolicies": "UserName",
    "ListUserPolicies": "UserName",
}


@pytest.mark.parametrize("name", NAMED_BY)
async def test_a_plain_key_asks_of_itself_only(api: Api, name: str) -> None:
    """Whatever of the two keys is named by which parameter."""
    policy = await api.policy("the-others")
    key = await api.key("mine")
    another = await api.key("the-others", tags={"a": "the-others"}, policies=[policy])
    with pytest.raises(ApiError) as refused:
        await api.ask(key, name, **{NAMED_BY[name]: another.key_id})
    assert (refused.value.status, refused.value.code) == (403, "AccessDenied")
    await api.ask(key, name, **{NAMED_BY[name]: key.key_id})
    for named in product((key.key_id, another.key_id, ""), repeat=3):
        mixed = dict(zip(("UserName", "AccessKeyId", "KeyId"), named, strict=True))
        try:
            told = json.dumps(await api.ask(key, name, **mixed))
        except ApiError as error:
            told = error.message.replace(another.key_id, "")
        assert another.key_id not in told
        assert "the-others" not in told


async def test_a_simulation_is_of_oneself_only(api: Api) -> None:
    key, another = await api.key("mine"), await api.key("yours")
    for arn in (f"arn:aws:iam::acme:user/{another.key_id}", another.key_id):
        with pytest.raises(ApiError) as refused:
            await api.ask(key, "SimulatePrincipalPolicy", PolicySourceArn=arn)
        assert (refused.value.status, refused.value.code) == (403, "AccessDenied")


async def test_an_allow_of_one_resource_is_of_no_other(api: Api) -> None:
    """What is authorised is what is answered, for keys and policies."""
    key, allowed = await api.key("mine"), await api.key("allowed", tags={"a": "allowed"})
    hidden = await api.key("hidden", tags={"a": "hidden"})
    shown_arn = await api.policy("shown-one")
    await api.policy("hidden-one")
    resources = [f"arn:aws:iam::acme:user/{allowed.key_id}", shown_arn]
    document = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": resources}],
        }
    ).replace('"iam:*"', '["iam:List*", "iam:Get*"]')
    own = await api.policy("own", document)
    await api.aws(api.acme, "AttachUserPolicy", UserName=key.key_id, PolicyArn=own)
    tags = await api.ask(key, "ListUserTags", UserName=allowed.key_id)
    assert tags["ListUserTagsResult"]["Tags"] == [{"Key": "a", "Value": "allowed"}]
    assert await api.ask(key, "GetPolicyDetailed", PolicyArn=shown_arn)
    for name in sorted(OF_ONESELF | READS):
        if name not in {each.name for each in OPERATIONS}:
            continue
        for keys in ((allowed, hidden), (hidden, allowed)):
            mixed = {
                "UserName": keys[0].key_id, "AccessKeyId": keys[1].key_id,
                "KeyId": keys[1].key_id, "PolicyArn": shown_arn, "PolicyName": "hidden-one",
            }  # fmt: skip
            try:
                told = json.dumps(await api.ask(key, name, **mixed))
            except ApiError:
                continue
            assert "hidden" not in told, name


def test_actions_are_in_the_vocabulary_by_what_they_do() -> None:
    every = [*OPERATIONS, *(each.operation for each in ROUTES)]
    for operation in every:
        action = vocabulary.BY_NAME[operation.action]
        assert action.changes == (operation.name in CHANGES | ROOTS), operation.name


async def test_a_refusal_is_recorded_with_its_reason(api: Api) -> None:
    key = await api.key("mine")
    for _ in range(3):
        with pytest.raises(ApiError):
            await api.ask(key, "ListPolicies")
    await api.iam.flush()
    (event, _), _ = await api.iam.directory.events("acme")
    assert (event.key_id, event.action, event.decision) == (
        key.key_id, "iam:ListPolicies", "Denied"
    )  # fmt: skip
    assert event.resource == "arn:aws:iam::acme:policy/*"
    assert (event.address, event.times) == ("192.0.2.7", 3)
    assert event.reason


async def test_a_deny_may_ask_about_objects(api: Api) -> None:
    """Conditions on tags of objects and requests: there are none of either."""
    document = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Deny",
                    "Action": "s3:*",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}},
                },
                {"Effect": "Allow", "Action": ["iam:List*", "s3:*"], "Resource": "*"},
            ],
        }
    )
    key = await api.key("mine", policies=[await api.policy("p", document)])
    assert (await api.ask(key, "ListPolicies&tagging"))["ListPoliciesResult"]["Policies"]


async def test_root_acts_in_an_organization_by_header_or_parameter(api: Api) -> None:
    made = await api.ask(
        api.root, "CreateAccessKey", {"x-tigris-namespace": "acme"}, UserName="by root"
    )
    key_id = made["CreateAccessKeyResult"]["AccessKey"]["AccessKeyId"]
    key = await api.iam.directory.keys.get("acme", key_id)
    assert key.creator == api.root.key_id
    told = await api.ask(api.root, "ListAccessKeys", OrganizationId="acme")
    shown = told["ListAccessKeysResult"]["AccessKeyMetadata"]
    assert [each["AccessKeyId"] for each in shown] == [key_id]
    assert await api.events("acme") == [("iam:CreateAccessKey", "Allowed")]
    with pytest.raises(ApiError) as refused:
        await api.ask(api.root, "ListAccessKeys", OrganizationId="nobody")
    assert refused.value.code == "NoSuchEntity"
    with pytest.raises(ApiError, match="differ"):
        await api.ask(
            api.root, "ListAccessKeys", {"x-tigris-namespace": "other"}, OrganizationId="acme"
        )


async def test_others_name_their_own_organization_or_none(api: Api) -> None:
    admin = await api.key(roles=[ADMIN_ROLE])
    for caller in (api.acme, admin):
        await api.ask(caller, "ListAccessKeys", {"x-tigris-namespace": "acme"})
        for named in ("other", "root", "nobody"):
            with pytest.raises(ApiError) as refused:
                await api.ask(caller, "ListAccessKeys", {"x-tigris-namespace": named})
            assert (refused.value.status, refused.value.code) == (403, "AccessDenied")
            with pytest.raises(ApiError) as refused:
                await api.ask(caller, "CreateAccessKey", OrganizationId=named)
            assert refused.value.code == "AccessDenied"
    assert (await api.events())[0] == ("iam:CreateAccessKey", "Denied")
