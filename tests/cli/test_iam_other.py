"""`amur iam`: members, organizations, shares, simulation, temporary keys."""

from __future__ import annotations

import json
import secrets
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from amur.serve.testing import ServedAmur
from tests.cli.test_access_keys import exported

READ = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
}


@pytest.fixture
def name() -> str:
    return f"n-{secrets.token_hex(5)}"


@pytest.fixture
def organization(cli: Any) -> str:
    org = f"org-{secrets.token_hex(5)}"
    cli("iam", "organizations", "create", "Blue", "--id", org)
    return org


def made(cli: Any, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("access-keys", "create", *arguments, "--json").stdout)
    return found


def by(key: dict[str, Any]) -> tuple[str, ...]:
    return ("--access-key", key["id"], "--access-secret", key["secret"])


def items(cli: Any, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli(*arguments, "--json").stdout)["items"]
    return found


# --- users ---


def test_users(cli: Any, name: str, bucket: str) -> None:
    email = f"{name}@example.com"
    added = json.loads(cli("iam", "users", "add", email, "--json").stdout)
    assert added["role"] == "member"
    (row,) = [each for each in items(cli, "iam", "users", "list") if each["email"] == email]
    assert (row["id"], row["role"]) == (added["id"], "member")
    assert "admin now" in cli("iam", "users", "set-role", email, "Admin").stdout
    key = made(cli, name, "--member", email)
    cli("access-keys", "list", *by(key))  # it has the member's rights
    assert "as its member" in cli("access-keys", "list").stdout
    cli("iam", "users", "update-role", added["id"], "--role", "member")
    cli("access-keys", "create", "mine", *by(key), code=1)
    cli("iam", "users", "remove", email)
    assert email not in cli("iam", "users", "list").stdout
    assert "access key" in cli("access-keys", "list", *by(key), code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "nobody"), "is not an e-mail address"),
        (("add", "a@example.com", "--role", "boss"), "'boss' is not a role"),
        (("set-role", "nobody@example.com"), "'' is not a role"),
        (("set-role", "nobody@example.com", "admin"), "there is no member nobody@example.com"),
        (("remove", "usr_nobody"), "there is no member usr_nobody"),
    ],
)
def test_users_refuse(cli: Any, arguments: tuple[str, ...], said: str) -> None:
    assert said in cli("iam", "users", *arguments, code=1).stderr


def test_users_need_the_iam_port(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMUR_IAM_ENDPOINT")
    done = cli("iam", "users", "list", code=1)
    assert "set AMUR_IAM_ENDPOINT" in done.stderr
    monkeypatch.setenv("AMUR_IAM_ENDPOINT", "nonsense")
    assert "is not a URL" in cli("iam", "users", "list", code=1).stderr


# --- organizations ---


def test_organizations_are_apart(cli: Any, organization: str, name: str) -> None:
    assert organization in [each["id"] for each in items(cli, "iam", "orgs", "list")]
    key = made(cli, name, "--admin", "--organization", organization)
    own = items(cli, "access-keys", "list", *by(key))
    assert [each["organization"] for each in own] == [organization]
    by_root = items(cli, "access-keys", "list", "--organization", organization)
    for each in (*own, *by_root):
        each.pop("last_used")  # that was noted a moment ago, or a moment later
    assert own == by_root
    assert name not in [each["name"] for each in items(cli, "access-keys", "list")]
    create = ("iam", "policies", "create", name, "--document", json.dumps(READ))
    assert f":{organization}:policy/" in cli(*create, *by(key)).stdout
    cli("iam", "policies", "get", name, code=1)
    cli("iam", "policies", "get", name, "--organization", organization)
    assert [each["id"] for each in items(cli, "orgs", "list", *by(key))] == [organization]
    done = cli("access-keys", "list", "--organization", "root", *by(key), code=1)
    assert "another organization" in done.stderr
    assert "root key" in cli("orgs", "create", "Mine", *by(key), code=1).stderr


def test_an_organization_twice(cli: Any, organization: str) -> None:
    done = cli("orgs", "create", "Blue", "--id", organization, code=1)
    assert "exists already" in done.stderr
    done = cli("access-keys", "list", "--organization", "org-nobody", code=1)
    assert "does not exist" in done.stderr


# --- shares ---


def test_shares(cli: Any, bucket: str, organization: str, name: str) -> None:
    key = made(cli, name, "--admin", "--organization", organization)
    cli("ls", bucket, *by(key), code=1)
    cli("iam", "shares", "add", bucket, key["id"], "--role", "Editor")
    cli("ls", bucket, *by(key))
    (share,) = items(cli, "iam", "shares", "list", bucket)
    assert (share["key"], share["role"]) == (key["id"], "Editor")
    assert items(cli, "iam", "shares", "list", "--key", key["id"], *by(key)) == [share]
    assert key["id"] in cli("iam", "shares", "list", f"t3://{bucket}").stdout
    cli("iam", "shares", "remove", bucket, key["id"])
    cli("ls", bucket, *by(key), code=1)
    assert "no shares" in cli("iam", "shares", "list", bucket).stderr
    remove = cli("iam", "shares", "remove", bucket, key["id"], code=1)
    assert "is not shared with" in remove.stderr


def test_shares_refuse(cli: Any, bucket: str, name: str) -> None:
    own = made(cli, name)["id"]
    assert "of this organization" in cli("iam", "shares", "add", bucket, own, code=1).stderr
    add = ("iam", "shares", "add", bucket, "tid_x", "--role", "Boss")
    assert "'Boss' is not a role" in cli(*add, code=1).stderr
    assert "give a bucket, or --key" in cli("iam", "shares", "list", code=1).stderr
    assert "not one of the" in cli("iam", "shares", "list", "no-such-bucket", code=1).stderr


# --- simulate ---


def test_simulate_by_role(cli: Any, bucket: str, name: str) -> None:
    made(cli, name, "--bucket", bucket, "--role", "ReadOnly")
    simulate = ("iam", "simulate", "--key", name)
    out = cli(*simulate, "s3:GetObject", f"arn:aws:s3:::{bucket}/a").stdout
    assert out == f"ALLOWED s3:GetObject on arn:aws:s3:::{bucket}/a: role ReadOnly\n"
    assert out == cli(*simulate, "GetObject", f"t3://{bucket}/a").stdout
    out = cli(*simulate, "PutObject", f"{bucket}/a", code=1).stdout
    assert out.startswith(f"DENIED s3:PutObject on arn:aws:s3:::{bucket}/a: no role or policy")
    cli("access-keys", "expire", name, "2030-01-01")
    get = (*simulate, "GetObject", f"{bucket}/a")
    cli(*get, "--at", "2029-12-31")
    assert "expires" in cli(*get, "--at", "2030-01-02", code=1).stdout
    cli("access-keys", "disable", name)
    assert cli(*get, code=1).stdout.startswith("DENIED s3:GetObject")


def test_simulate_by_policy(cli: Any, bucket: str, name: str) -> None:
    cli("access-keys", "create", name, "--template", "read-only", "--bucket", bucket,
        "--end", "2030-01-01T00:00:00Z")  # fmt: skip
    cli("access-keys", "expire", name, "never")
    simulate = ("iam", "simulate", "--key", name, "GetObject", f"{bucket}/a")
    found = json.loads(cli(*simulate, "--json").stdout)
    assert (found["allowed"], found["decision"]) == (True, "allowed")
    assert found["statements"] == [name]
    assert "Statement[1] (Read)" in found["by"]
    found = json.loads(cli(*simulate, "--at", "2031-01-01", "--json", code=1).stdout)
    assert (found["allowed"], found["decision"]) == (False, "implicitDeny")
    assert "DateLessThan" in "".join(found["explanation"])
    deny = {**READ, "Statement": [{**READ["Statement"][0], "Effect": "Deny"}]}
    denied = cli(*simulate, "--document", json.dumps(deny), "--json", code=1).stdout
    assert json.loads(denied)["decision"] == "explicitDeny"


def test_simulate_a_document(cli: Any) -> None:
    there = {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}
    policy = {**READ, "Statement": [{**READ["Statement"][0], "Condition": there}]}
    simulate = ("iam", "simulate", "GetObject", "box/a", "--document", json.dumps(policy))
    cli(*simulate, "--context", "aws:SourceIp=10.1.2.3")
    cli(*simulate, "--context", "aws:SourceIp=192.0.2.1", code=1)
    out = cli(*simulate, code=1).stdout
    assert "not known here: aws:SourceIp" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("GetObject", "b/a"), "give --key, or --document"),
        (("GetObject", "b/a", "--key", "no-such-key"), "there is no access key no-such-key"),
        (("s3:Nonsense", "b/a", "--document", json.dumps(READ)), "s3:Nonsense"),
        (("GetObject", "b/a", "--document", json.dumps(READ), "--at", "x"), "is no time"),
        (("GetObject", "b/a", "--document", json.dumps(READ), "--context", "x"), "NAME=VALUE"),
        (("GetObject", "b/a", "--document", "no-such-file"), "No such file"),
    ],
)
def test_simulate_errors_are_not_denials(cli: Any, arguments: tuple[str, ...], said: str) -> None:
    done = cli("iam", "simulate", *arguments, code=2)
    assert said in done.stderr
    assert done.stdout == ""


# --- temporary ---


def test_temporary(
    cli: Any, s3: Any, bucket: str, store: ServedAmur, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    done = cli("iam", "temporary", "--policy", json.dumps(READ), "--expires", "15m")
    found = exported(done.stdout)
    assert found["AWS_SECRET_ACCESS_KEY"] not in done.stderr
    client = boto3.client(
        "s3", endpoint_url=store.endpoint, region_name="auto",
        aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=found["AWS_SESSION_TOKEN"],
    )  # fmt: skip
    try:
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=bucket, Key="b")
    finally:
        client.close()
    for variable, value in found.items():
        monkeypatch.setenv(variable, value)
    assert "a session can't make sessions" in cli("iam", "temporary", code=1).stderr


def test_temporary_with_all_rights_but_administering(
    cli: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(cli("iam", "temporary", "--expires", "2h", "--json").stdout)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", found["id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found["secret"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", found["session_token"])
    cli("ls", bucket)
    assert "may not iam:" in cli("access-keys", "create", "mine", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--expires", "100d"), "DurationSeconds is"),
        (("--expires", "soon"), "is no span"),
        (("--policy", "{}"), "Statement"),
        (("--policy", json.dumps(READ), "--name", "!"), "Name is 2 to 32"),
    ],
)
def test_temporary_refuses(cli: Any, arguments: tuple[str, ...], said: str) -> None:
    done = cli("iam", "temporary", *arguments, code=1)
    assert said in done.stderr
    assert done.stdout == ""
