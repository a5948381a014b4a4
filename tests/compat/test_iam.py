"""IAM and STS with Amazon's and Tigris' tools, on the S3 port and on the IAM port."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from amur.serve.testing import ServedAmur, free_port

HERE = Path(__file__).parent
AWS = str(HERE.parents[1] / ".venv/aws/bin/aws")


def document(action: str | list[str], *resources: str) -> str:
    statement = {"Sid": "All", "Effect": "Allow", "Action": action, "Resource": list(resources)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def iam_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    address = f"127.0.0.1:{free_port()}"
    directory = tmp_path_factory.mktemp("iam") / "data"
    with ServedAmur(directory, environment={"AMUR_IAM_LISTEN": address}) as served:
        served.iam_endpoint = f"http://{address}"  # type: ignore[attr-defined]
        yield served
        assert "Traceback" not in served.output(), served.output()
        assert "tsec_" not in served.output().replace(served.secret, "")


@pytest.fixture(params=["the S3 port", "the IAM port"])
def endpoint(iam_server: ServedAmur, request: pytest.FixtureRequest) -> str:
    if request.param == "the S3 port":
        return iam_server.endpoint
    found: str = iam_server.iam_endpoint  # type: ignore[attr-defined]
    return found


class Clients:
    """boto3 with one key; closed at the end of the test."""

    def __init__(self, endpoint: str, s3_endpoint: str) -> None:
        self._endpoint, self._s3_endpoint = endpoint, s3_endpoint
        self._made: list[Any] = []

    def __call__(self, service: str, key_id: str, secret: str, token: str | None = None) -> Any:
        client = boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self._s3_endpoint if service == "s3" else self._endpoint,
            region_name="us-east-1",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
        )
        self._made.append(client)
        return client

    def close(self) -> None:
        for client in self._made:
            client.close()


@pytest.fixture
def clients(iam_server: ServedAmur, endpoint: str) -> Iterator[Clients]:
    made = Clients(endpoint, iam_server.endpoint)
    yield made
    made.close()


@pytest.fixture
def iam(iam_server: ServedAmur, clients: Clients) -> Any:
    return clients("iam", iam_server.key_id, iam_server.secret)


def code(error: Any) -> str:
    found: str = error.value.response["Error"]["Code"]
    return found


def test_boto3_keys_and_policies(iam: Any, iam_server: ServedAmur, clients: Clients) -> None:
    root_s3 = clients("s3", iam_server.key_id, iam_server.secret)
    bucket = f"job-{uuid4()}"
    root_s3.create_bucket(Bucket=bucket)
    root_s3.put_object(Bucket=bucket, Key="a", Body=b"data")

    key = iam.create_access_key(UserName="job")["AccessKey"]
    s3 = clients("s3", key["AccessKeyId"], key["SecretAccessKey"])
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="a")
    assert code(refused) == "AccessDenied"

    text = document("s3:GetObject", f"arn:aws:s3:::{bucket}/*")
    name = f"reads-{bucket}"
    policy = iam.create_policy(PolicyName=name, PolicyDocument=text, Description="reads")["Policy"]
    arn = policy["Arn"]
    assert arn == f"arn:aws:iam::root:policy/{name}"
    iam.attach_user_policy(UserName=key["AccessKeyId"], PolicyArn=arn)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"data"
    users = iam.list_entities_for_policy(PolicyArn=arn)["PolicyUsers"]
    assert [each["UserName"] for each in users] == [key["AccessKeyId"]]
    attached = iam.list_attached_user_policies(UserName=key["AccessKeyId"])["AttachedPolicies"]
    assert attached == [{"PolicyName": name, "PolicyArn": arn}]

    read = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert read["Document"] == json.loads(text)
    told = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::root:user/{key['AccessKeyId']}",
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=[f"arn:aws:s3:::{bucket}/a"],
    )["EvaluationResults"]
    assert [each["EvalDecision"] for each in told] == ["allowed", "implicitDeny"]
    denies = text.replace("Allow", "Deny")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=denies, SetAsDefault=True)
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="a")
    assert code(refused) == "AccessDenied"
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"data"
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_policy(PolicyArn=arn)

    iam.update_access_key(AccessKeyId=key["AccessKeyId"], Status="Inactive")
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="a")
    assert code(refused) == "InvalidAccessKeyId"
    iam.detach_user_policy(UserName=key["AccessKeyId"], PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_access_key(UserName="job", AccessKeyId=key["AccessKeyId"])
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])


def test_boto3_paginators_tags_and_errors(iam: Any) -> None:
    made = [iam.create_access_key(UserName="many")["AccessKey"]["AccessKeyId"] for _ in range(3)]
    pages = iam.get_paginator("list_access_keys").paginate(PaginationConfig={"PageSize": 2})
    listed = [row["AccessKeyId"] for page in pages for row in page["AccessKeyMetadata"]]
    assert set(made) <= set(listed)
    assert len(set(listed)) == len(listed)
    iam.tag_user(UserName=made[0], Tags=[{"Key": "team", "Value": "a b&c"}])
    assert iam.list_user_tags(UserName=made[0])["Tags"] == [{"Key": "team", "Value": "a b&c"}]
    iam.untag_user(UserName=made[0], TagKeys=["team"])
    assert iam.list_user_tags(UserName=made[0])["Tags"] == []
    for key_id in made:
        iam.delete_access_key(AccessKeyId=key_id)
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.create_policy(PolicyName="bad", PolicyDocument='{"Version": "2008-10-17"}')
    with pytest.raises(ClientError, match="CreateAccessKey") as refused:
        iam.create_user(UserName="somebody")
    assert code(refused) == "NotImplemented"


def test_boto3_sessions(iam_server: ServedAmur, clients: Clients) -> None:
    root = iam_server.key_id, iam_server.secret
    bucket = f"session-{uuid4()}"
    s3 = clients("s3", *root)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"data")
    sts = clients("sts", *root)
    assert sts.get_caller_identity()["Account"] == "root"
    told = sts.get_federation_token(
        Name="job-7", Policy=document("s3:GetObject", f"arn:aws:s3:::{bucket}/in/*")
    )
    found = told["Credentials"]
    session = found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]
    narrowed = clients("s3", *session)
    assert narrowed.get_object(Bucket=bucket, Key="in/a")["Body"].read() == b"data"
    with pytest.raises(ClientError) as refused:
        narrowed.put_object(Bucket=bucket, Key="in/b", Body=b"")
    assert code(refused) == "AccessDenied"
    own = clients("sts", *session)
    assert own.get_caller_identity()["Arn"] == "arn:aws:sts::root:federated-user/job-7"
    with pytest.raises(ClientError) as refused:
        own.get_session_token()
    assert code(refused) == "AccessDenied"
    with pytest.raises(ClientError) as refused:
        clients("iam", *session).list_access_keys()
    assert code(refused) == "AccessDenied"
    forged = clients("sts", session[0], session[1], session[2][:-4] + "AAAA")
    with pytest.raises(ClientError) as refused:
        forged.get_caller_identity()
    assert code(refused) == "InvalidClientTokenId"
    with pytest.raises(ClientError, match="GetFederationToken"):
        sts.assume_role(RoleArn="arn:aws:iam::root:role/any", RoleSessionName="me")


def test_who_is_not_known_gets_amazons_codes(iam_server: ServedAmur, clients: Clients) -> None:
    for key, expected in (
        (("tid_" + "0" * 26, "x"), "InvalidClientTokenId"),
        ((iam_server.key_id, "wrong"), "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError) as refused:
            clients("sts", *key).get_caller_identity()
        assert code(refused) == expected


def test_aws_cli(iam_server: ServedAmur, endpoint: str, run: Any, tmp_path: Path) -> None:
    environment = iam_server.client_environment() | {
        "AWS_ENDPOINT_URL": endpoint, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip

    def aws(line: str, *more: str, check: bool = True) -> Any:
        done = run(AWS, *line.split(), *more, environment=environment, check=check)
        if not check:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    assert aws("sts get-caller-identity")["UserId"] == iam_server.key_id
    key = aws("iam create-access-key --user-name from-the-cli")["AccessKey"]["AccessKeyId"]
    listed = aws("iam list-access-keys --user-name", key)["AccessKeyMetadata"]
    assert [each["UserName"] for each in listed] == ["from-the-cli"]
    path = tmp_path / "policy.json"
    path.write_text(document(["s3:GetObject", "s3:ListBucket"], "*"))
    name = f"cli-{key[4:]}"
    arn = aws(f"iam create-policy --policy-name {name} --policy-document", f"file://{path}")[
        "Policy"
    ]["Arn"]
    aws(f"iam attach-user-policy --user-name {key} --policy-arn {arn}")
    assert aws(f"iam list-user-policies --user-name {key}")["PolicyNames"] == [name]
    users = aws(f"iam list-entities-for-policy --policy-arn {arn}")["PolicyUsers"]
    assert [each["UserName"] for each in users] == [key]
    local = aws("iam list-policies --scope Local --only-attached")["Policies"]
    assert arn in [each["Arn"] for each in local]
    version = aws(f"iam get-policy-version --policy-arn {arn} --version-id v1")["PolicyVersion"]
    assert version["Document"] == json.loads(path.read_text())
    token = aws("sts get-session-token --duration-seconds 900")["Credentials"]
    assert token["SessionToken"]
    aws(f"iam detach-user-policy --user-name {key} --policy-arn {arn}")
    aws(f"iam delete-policy --policy-arn {arn}")
    aws(f"iam update-access-key --access-key-id {key} --status Inactive")
    aws(f"iam delete-access-key --access-key-id {key}")
    told = aws("iam create-user --user-name somebody", check=False)
    assert "(NotImplemented)" in told
    assert "CreateAccessKey" in told
    told = aws(f"iam get-access-key-last-used --access-key-id {key}", check=False)
    assert "(NoSuchEntity)" in told


@pytest.mark.parametrize("service", ["sts", "iam", "s3"])
def test_curl(iam_server: ServedAmur, endpoint: str, run: Any, service: str) -> None:
    """It sends no x-amz-content-sha256 but to s3."""
    line = ["curl", "-sS", "--aws-sigv4", f"aws:amz:auto:{service}"]
    line += ["--user", f"{iam_server.key_id}:{iam_server.secret}"]
    line += ["-d", "Action=GetCallerIdentity", "-d", "Version=2011-06-15"]
    told = run(*line, "-H", "Accept: application/json", f"{endpoint}/").stdout
    assert json.loads(told)["GetCallerIdentityResult"]["UserId"] == iam_server.key_id
    changed = [each.replace("Version=2011", "Version=2012") for each in line]
    assert "<GetCallerIdentityResult>" in run(*changed, f"{endpoint}/").stdout
    anonymous = run("curl", "-sS", "-d", "Action=GetCallerIdentity", f"{endpoint}/").stdout
    assert "<Code>MissingAuthenticationToken</Code>" in anonymous


# --- Tigris ---


@pytest.fixture
def tigris_environment(iam_server: ServedAmur, tmp_path: Path) -> dict[str, str]:
    iam_endpoint: str = iam_server.iam_endpoint  # type: ignore[attr-defined]
    programs = HERE / "node/node_modules/.bin"
    (tmp_path / "home").mkdir()
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "TIGRIS_STORAGE_ENDPOINT": iam_server.endpoint,
        "TIGRIS_IAM_ENDPOINT": iam_endpoint,
        "TIGRIS_MGMT_ENDPOINT": iam_endpoint,
        "TIGRIS_STORAGE_ACCESS_KEY_ID": iam_server.key_id,
        "TIGRIS_STORAGE_SECRET_ACCESS_KEY": iam_server.secret,
        "AWS_ENDPOINT_URL_S3": iam_server.endpoint,
        "AWS_ENDPOINT_URL_IAM": iam_endpoint,
        "AWS_ENDPOINT_URL_MGMT": iam_endpoint,
        "AWS_ACCESS_KEY_ID": iam_server.key_id,
        "AWS_SECRET_ACCESS_KEY": iam_server.secret,
        "TIGRIS_NO_UPDATE_CHECK": "1",
        "TIGRIS_NO_TELEMETRY": "1",
    }


def test_tigris_iam(tigris_environment: dict[str, str], run: Any) -> None:
    """Every function of the package that takes an access key."""
    told = run("node", HERE / "node/iam.mjs", environment=tigris_environment).stdout
    assert told.strip() == "ok"


@pytest.fixture
def clients_beside(iam_server: ServedAmur) -> Iterator[Clients]:
    """On the S3 port only."""
    made = Clients(iam_server.endpoint, iam_server.endpoint)
    yield made
    made.close()


def test_tigris_cli(
    iam_server: ServedAmur,
    clients_beside: Clients,
    tigris_environment: dict[str, str],
    run: Any,
) -> None:
    """All `access-keys` commands; those on policies want a login with OAuth."""
    program = tigris_environment["PATH"].split(":")[0] + "/tigris"

    def tigris(line: str, check: bool = True) -> Any:
        done = run(program, *line.split(), environment=tigris_environment, check=check)
        return json.loads(done.stdout) if check and "--json" in line else done.stdout

    made = tigris("access-keys create my-ci-key --json")
    key = made["id"]
    s3 = clients_beside("s3", key, made["secret"])
    root_s3 = clients_beside("s3", iam_server.key_id, iam_server.secret)
    bucket = f"cli-{uuid4()}"
    root_s3.create_bucket(Bucket=bucket)
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bucket, Key="a", Body=b"")
    assert key in tigris("access-keys list")
    rows = tigris("access-keys list --json")["items"]
    assert [row["name"] for row in rows if row["id"] == key] == ["my-ci-key"]
    tigris(f"access-keys assign {key} --bucket {bucket} --role Editor --json")
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    shown = tigris(f"access-keys get {key} --json")
    assert shown["roles"] == [{"bucket": bucket, "role": "Editor"}]
    tigris(f"access-keys assign {key} --revoke-roles --json")
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bucket, Key="a", Body=b"")
    tigris(f"access-keys assign {key} --admin --json")
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    rotated = tigris(f"access-keys rotate {key} --yes --json")
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bucket, Key="a", Body=b"")
    s3 = clients_beside("s3", key, rotated["secret"])
    s3.put_object(Bucket=bucket, Key="a", Body=b"")

    iam = clients_beside("iam", iam_server.key_id, iam_server.secret)
    text = document("s3:GetObject", "*")
    arn = iam.create_policy(PolicyName=f"p-{key}", PolicyDocument=text)["Policy"]["Arn"]
    tigris(f"access-keys attach-policy {key} --policy-arn {arn} --json")
    assert f"p-{key}" in tigris(f"access-keys list-policies {key}")
    tigris(f"access-keys detach-policy {key} --policy-arn {arn} --yes --json")
    assert f"p-{key}" not in tigris(f"access-keys list-policies {key}")
    tigris(f"access-keys delete {key} --yes --json")
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bucket, Key="a", Body=b"")
    tigris(f"access-keys get {key}", check=False)
    assert iam_server.key_id in tigris("whoami")
