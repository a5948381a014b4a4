"""Temporary keys and GetCallerIdentity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.iam_talk import ADMIN_ROLE, READER, Api, ApiError, Caller

HOUR = 3600


def caller(told: dict[str, Any]) -> Caller:
    credentials = told["Credentials"]
    return Caller(
        credentials["AccessKeyId"], credentials["SessionToken"], credentials["SecretAccessKey"]
    )


async def test_who_am_i(api: Api) -> None:
    key = await api.key()
    for who in (api.root, api.acme, key):
        owner = "root" if who is api.root else "acme"
        told = await api.aws(who, "GetCallerIdentity")
        assert (told["Account"], told["UserId"]) == (owner, who.key_id)
        assert told["Arn"] == f"arn:aws:iam::{owner}:user/{who.key_id}"


@pytest.mark.parametrize(("asked", "seconds"), [({}, 12 * HOUR), ({"DurationSeconds": 900}, 900)])
async def test_a_session_token_is_its_parent_for_a_while(
    api: Api, asked: dict[str, int], seconds: int
) -> None:
    key = await api.key(policies=[await api.policy()])
    before = datetime.now(UTC)
    told = await api.aws(key, "GetSessionToken", **asked)
    until = told["Credentials"]["Expiration"] - timedelta(seconds=seconds)
    assert before - timedelta(seconds=2) < until < datetime.now(UTC) + timedelta(seconds=2)
    session = caller(told)
    assert session.key_id != key.key_id
    identity = await api.aws(session, "GetCallerIdentity")
    assert identity["Arn"] == f"arn:aws:iam::acme:user/{key.key_id}"
    access = await api.iam.find(session.key_id, session.token)
    assert access is not None
    assert access.principal.parent == key.key_id
    assert access.secrets_at(0) == (session.secret,)
    assert access.session is None


async def test_a_federation_token_is_narrowed_by_its_policy(api: Api) -> None:
    admin = await api.key(roles=[ADMIN_ROLE])
    told = await api.aws(admin, "GetFederationToken", Name="job-7", Policy=READER)
    user = told["FederatedUser"]
    assert user["FederatedUserId"] == "acme:job-7"
    assert user["Arn"] == "arn:aws:sts::acme:federated-user/job-7"
    assert 0 < told["PackedPolicySize"] < 100
    session = caller(told)
    identity = await api.aws(session, "GetCallerIdentity")
    assert identity["Arn"] == user["Arn"]
    assert identity["UserId"] == f"{admin.key_id}:job-7"
    access = await api.iam.find(session.key_id, session.token)
    assert access is not None
    assert access.session is not None
    with pytest.raises(ApiError) as refused:
        await api.aws(session, "ListAccessKeys")
    assert refused.value.code == "AccessDenied"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Policy": READER}, "ValidationError"),
        ({"Name": "x y", "Policy": READER}, "ValidationError"),
        ({"Name": "job"}, "ValidationError"),
        ({"Name": "job", "Policy": "{}"}, "MalformedPolicyDocument"),
        ({"Name": "job", "Policy": "[" * 3000}, "PackedPolicyTooLarge"),
        (
            {"Name": "job", "PolicyArns.member.1.arn": "arn:aws:iam::acme:policy/p"},
            "ValidationError",
        ),
        ({"Name": "job", "Policy": READER, "DurationSeconds": "1"}, "ValidationError"),
        ({"Name": "job", "Policy": READER, "DurationSeconds": "9999999"}, "ValidationError"),
    ],
)
async def test_a_bad_federation_is_refused(api: Api, asked: dict[str, str], code: str) -> None:
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, "GetFederationToken", **asked)
    assert (refused.value.status, refused.value.code) == (400, code)


async def test_there_are_no_devices(api: Api) -> None:
    with pytest.raises(ApiError, match="multi-factor"):
        await api.aws(api.acme, "GetSessionToken", SerialNumber="123456789", TokenCode="123456")


@pytest.mark.parametrize("operation", ["GetSessionToken", "GetFederationToken"])
async def test_a_session_makes_no_sessions(api: Api, operation: str) -> None:
    asked = {"Name": "job", "Policy": READER}
    for parent in (api.root, api.acme, await api.key(roles=[ADMIN_ROLE])):
        session = await api.session(parent)
        with pytest.raises(ApiError) as refused:
            await api.ask(session, operation, **asked)
        assert (refused.value.status, refused.value.code) == (403, "AccessDenied")
        assert "session" in refused.value.message


async def test_assuming_roles_is_refused_with_what_to_do_instead(api: Api) -> None:
    with pytest.raises(ApiError, match="GetFederationToken") as refused:
        await api.aws(
            api.acme, "AssumeRole", RoleArn="arn:aws:iam::acme:role/r", RoleSessionName="me"
        )
    assert (refused.value.status, refused.value.code) == (501, "NotImplemented")
