"""The table, unknown operations, and failures in each flavour."""

from __future__ import annotations

import json
from urllib.parse import urlencode
from xml.etree import ElementTree

import botocore.session
import pytest

from amur.gateway.errors import S3Error
from amur.gateway.iam.failures import STATUSES, told
from amur.gateway.iam.operations import BY_NAME, OPERATIONS
from amur.iam.model import IamError
from amur.objects.errors import NoSuchBucket, Overloaded
from tests.support.iam_talk import Api, ApiError, Caller

OURS = frozenset(
    {
        "CreateAccessKeyWithBucketsRole", "UpdateAccessKeyWithBucketsRole", "RotateAccessKey",
        "UpdatePolicy", "ForceDeletePolicy", "GetPolicyDetailed", "LintPolicy", "GetPolicySchema",
        "ListAuditEvents", "ShareBucket", "UnshareBucket", "ListBucketShares",
    }
)  # fmt: skip


def amazons(service: str) -> list[str]:
    model = botocore.session.get_session().get_service_model(service)
    return list(model.operation_names)


def test_operations_have_amazons_names_and_services() -> None:
    known = {name: service for service in ("iam", "sts") for name in amazons(service)}
    for operation in OPERATIONS:
        if operation.name not in OURS:
            assert known[operation.name] == operation.service


@pytest.mark.parametrize("service", ["iam", "sts"])
async def test_amazons_other_operations_are_refused_clearly(api: Api, service: str) -> None:
    """Either by what to use instead, or as unknown: never silently, never by a failure of ours."""
    for name in amazons(service):
        if name in BY_NAME:
            continue
        with pytest.raises(ApiError) as refused:
            await api.ask(api.acme, name)
        assert (refused.value.status, refused.value.code) in (
            (501, "NotImplemented"), (400, "InvalidAction"),
        )  # fmt: skip
        assert name in refused.value.message


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("CreateUser", "CreateAccessKey"), ("DeleteUser", "DeleteAccessKey"),
        ("ListUsers", "ListAccessKeys"), ("UpdateUser", "CreateAccessKey"),
        ("GetUser", "GetCallerIdentity"), ("CreateGroup", "AttachUserPolicy"),
        ("AddUserToGroup", "AttachUserPolicy"), ("AttachGroupPolicy", "AttachUserPolicy"),
        ("CreateRole", "GetFederationToken"), ("AttachRolePolicy", "GetFederationToken"),
        ("AssumeRole", "GetFederationToken"),
        ("AssumeRoleWithWebIdentity", "GetFederationToken"),
        ("AssumeRoleWithSAML", "GetFederationToken"), ("PutUserPolicy", "AttachUserPolicy"),
        ("GetUserPolicy", "CreatePolicy"), ("CreateLoginProfile", "access keys"),
        ("TagAccessKey", "TagUser"), ("PutUserPermissionsBoundary", "Deny"),
    ],
)  # fmt: skip
async def test_what_is_not_there_says_what_to_use_instead(
    api: Api, name: str, instead: str
) -> None:
    with pytest.raises(ApiError, match=instead) as refused:
        await api.ask(api.acme, name)
    assert (refused.value.status, refused.value.code) == (501, "NotImplemented")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("DoSomething", "InvalidAction"), ("", "MissingAction"),
        ("listaccesskeys", "InvalidAction"), ("User<b>", "InvalidAction"),
    ],
)  # fmt: skip
async def test_unknown_operations_are_invalid(api: Api, name: str, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        await api.ask(api.acme, name)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert "<b>" not in refused.value.message


async def test_json_is_given_to_who_accepts_json_only(api: Api) -> None:
    for accept, kind in (
        ("application/json", "application/json"), ("*/*", "text/xml"), ("", "text/xml"),
        ("application/xml", "text/xml"),
    ):  # fmt: skip
        for target in ("/?Action=GetCallerIdentity", "/?Action=CreateUser"):
            answer = await api.send(api.acme, "POST", target, headers={"accept": accept})
            assert answer.headers["content-type"] == kind
    ours = await api.send(api.acme, "POST", "/?Action=ListAuditEvents")
    assert ours.headers["content-type"] == "application/json"


async def test_the_documents_of_failures(api: Api) -> None:
    nobody = Caller()
    told = await api.send(nobody, "POST", "/?Action=ListAccessKeys")
    root = ElementTree.fromstring(told.body)
    spaces = {"a": "https://iam.amazonaws.com/doc/2010-05-08/"}
    assert told.status == 403
    assert root.tag.endswith("}ErrorResponse")
    assert root.findtext("a:Error/a:Code", namespaces=spaces) == "MissingAuthenticationToken"
    assert root.findtext("a:Error/a:Type", namespaces=spaces) == "Sender"
    assert root.findtext("a:RequestId", namespaces=spaces) == "request-1"
    told = await api.send(nobody, "POST", "/", b"Action=X", {"accept": "application/json"})
    assert told.json["Code"] == "MissingAuthenticationToken"
    assert told.json["Message"]
    status, document = await api.rest(nobody, "GET", "/users/whoami")
    assert (status, document["status"]) == (403, "error")
    assert document["message"]


async def test_answers_are_in_their_services_namespace(api: Api) -> None:
    for action, space in (
        ("GetCallerIdentity", "https://sts.amazonaws.com/doc/2011-06-15/"),
        ("GetAccountSummary", "https://iam.amazonaws.com/doc/2010-05-08/"),
    ):
        told = await api.send(api.acme, "POST", f"/?Action={action}")
        root = ElementTree.fromstring(told.body)
        assert root.tag == f"{{{space}}}{action}Response"
        assert root.find(f"{{{space}}}{action}Result") is not None
        assert told.headers["cache-control"] == "no-store"


async def test_text_is_escaped(api: Api) -> None:
    made = await api.aws(api.acme, "CreateAccessKey", UserName="</UserName><&\"'é>")
    assert made["AccessKey"]["UserName"] == "</UserName><&\"'é>"


async def test_a_body_is_bounded(api: Api) -> None:
    body = b"Action=GetCallerIdentity&x=" + b"y" * 300_000
    told = await api.send(api.acme, "POST", "/", body, {"accept": "application/json"})
    assert (told.status, told.json["Code"]) == (400, "EntityTooLarge")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (IamError("NoSuchEntity", "x"), 404, "NoSuchEntity"),
        (IamError("InvalidInput", "x"), 400, "InvalidInput"),
        (S3Error("InvalidAccessKeyId"), 403, "InvalidClientTokenId"),
        (S3Error("InvalidToken"), 403, "InvalidClientTokenId"),
        (S3Error("SignatureDoesNotMatch"), 403, "SignatureDoesNotMatch"),
        (S3Error("SlowDown"), 503, "SlowDown"),
        (S3Error("InternalError", "a secret"), 500, "InternalFailure"),
        (NoSuchBucket(), 404, "NoSuchBucket"),
        (Overloaded(), 503, "SlowDown"),
        (ValueError("a secret"), 500, "InternalFailure"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_each_failure_has_status_and_code(error: Exception, status: int, code: str) -> None:
    found = told(error)
    assert found[:2] == (status, code)
    assert "a secret" not in found[2]


def test_codes_have_a_status_of_their_own() -> None:
    assert all(400 <= status < 600 for status in STATUSES.values())
    assert json.dumps(sorted(STATUSES)) == json.dumps(list(STATUSES))


PARAMETERS = (
    "UserName", "AccessKeyId", "KeyId", "PolicyArn", "PolicyName", "PolicyDocument", "VersionId",
    "Marker", "Description", "Req", "Status", "Name", "ExpiresAt", "Tags.member.1.Key",
    "Tags.member.1.Value", "TagKeys.member.1", "ActionNames.member.1", "ResourceArns.member.1",
    "PolicyInputList.member.1", "PolicySourceArn", "ContextEntries.member.1.ContextKeyName",
    "Bucket", "Role", "Since", "Before", "Key", "ActionName", "Decision", "Kind", "Policy",
    "DurationSeconds", "MaxItems", "Limit", "EntityFilter", "Scope", "PathPrefix",
)  # fmt: skip
HOSTILE = (
    "\0", "a\0b", "tid_\0", "arn:aws:iam::acme:policy/a\0b", "arn:aws:iam::acme:policy/", "\ufffd",
    "9" * 400, "-1", "x" * 5000, "é" * 300, "{}", "[]", "null", '{"id":"a\0b","buckets_role":[]}',
    '{"id":"a\\u0000b","buckets_role":[]}', '{"name":"a","member":"\\u0000"}', "\r\n", "]]>",
    '{"name":"\\ud800"}', "[" * 3000, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "%", "..",
    '{"name":"a","policies":["arn:aws:iam::acme:policy/\\u0000"]}', "NaN", "1e999", "0x10",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(BY_NAME))
async def test_hostile_values_are_never_a_failure_of_ours(api: Api, name: str) -> None:
    await api.store.create_bucket("datasets", owner="acme")
    key, arn = await api.key(), await api.policy()
    good = {"UserName": key.key_id, "AccessKeyId": key.key_id, "PolicyArn": arn,
            "Bucket": "datasets", "Role": "ReadOnly", "ActionNames.member.1": "s3:GetObject",
            "PolicySourceArn": key.key_id}  # fmt: skip
    failures = []
    for value in HOSTILE:
        asked = [dict.fromkeys(PARAMETERS, value)]
        asked += [good | {parameter: value} for parameter in PARAMETERS]
        asked += [{parameter: value} for parameter in PARAMETERS]
        for params in asked:
            body = urlencode({"Action": name} | params).encode()
            told = await api.send(api.acme, "POST", "/", body)
            if told.status >= 500:
                failures.append((params, told.body))
    assert not failures
