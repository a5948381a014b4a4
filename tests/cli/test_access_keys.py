"""`amur access-keys`: what a key may is tried with the key itself."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from amur.cli.iam_remote import IamRemote, Refused
from amur.cli.remote import code_of
from amur.serve.testing import ServedAmur

Made = dict[str, Any]


@pytest.fixture
def name() -> str:
    return f"k-{secrets.token_hex(5)}"


@pytest.fixture
def key(cli: Any, name: str) -> Made:
    """Without any right."""
    return made(cli, name)


@pytest.fixture
def as_key(store: ServedAmur) -> Iterator[Callable[..., Any]]:
    """S3 by another key."""
    clients = []

    def connected(key_id: str, secret: str, token: str | None = None) -> Any:
        client = boto3.client(
            "s3", endpoint_url=store.endpoint, region_name="auto", aws_access_key_id=key_id,
            aws_secret_access_key=secret, aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        clients.append(client)
        return client

    yield connected
    for client in clients:
        client.close()


def made(cli: Any, *arguments: str) -> Made:
    found: Made = json.loads(cli("access-keys", "create", *arguments, "--json").stdout)
    return found


def shown(cli: Any, key: str) -> Made:
    found: Made = json.loads(cli("access-keys", "get", key, "--json").stdout)
    return found


def exported(text: str) -> dict[str, str]:
    """What a shell would have after it has read the lines."""
    found = {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "export"
            (assignment,) = words[1:]
            name, _, value = assignment.partition("=")
            found[name] = value
    return found


def refusal(call: Callable[[], Any]) -> str:
    """The code with which it is refused, "" when it is not."""
    try:
        call()
    except ClientError as error:
        return code_of(error)
    return ""


# --- create ---


def test_create_prints_what_a_shell_can_read(
    cli: Any, as_key: Any, bucket: str, name: str, s3: Any
) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    out = cli("access-keys", "create", name, "--bucket", bucket, "--role", "readonly").stdout
    found = exported(out)
    other = as_key(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"])
    assert other.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
    assert refusal(lambda: other.put_object(Bucket=bucket, Key="b")) == "AccessDenied"
    assert out.count(found["AWS_SECRET_ACCESS_KEY"]) == 1
    assert found["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


def test_create_with_everything(cli: Any, bucket: str, name: str) -> None:
    cli("iam", "policies", "create", name, "--template", "drop-box", "--bucket", bucket)
    key = made(
        cli, name, "--bucket", bucket, "--role", "ReadOnly", "--bucket", "other", "--role",
        "Editor", "--policy", name, "--tag", "team=ml", "--expires", "2030-01-01T00:00:00Z",
    )  # fmt: skip
    assert key["secret"].startswith("tsec_")
    found = shown(cli, key["id"])
    assert found["roles"] == [
        {"bucket": bucket, "role": "ReadOnly"}, {"bucket": "other", "role": "Editor"},
    ]  # fmt: skip
    assert (found["tags"], found["expires"]) == ({"team": "ml"}, "2030-01-01T00:00:00Z")
    assert [each["name"] for each in found["policies"]] == [name]
    assert "secret" not in found
    text = cli("access-keys", "get", name).stdout
    assert f"{bucket}: ReadOnly, other: Editor" in text
    assert "until 2030-01-01" in text
    assert key["secret"] not in text


def test_one_role_is_of_all_buckets(cli: Any, name: str) -> None:
    key = made(cli, name, "--bucket", "aaa", "--bucket", "bbb", "--role", "Editor")
    assert [each["role"] for each in key["roles"]] == ["Editor", "Editor"]


def test_a_key_of_an_administrator(cli: Any, as_key: Any, name: str) -> None:
    key = made(cli, name, "--admin")
    mine = as_key(key["id"], key["secret"])
    bucket = f"b-{secrets.token_hex(5)}"
    mine.create_bucket(Bucket=bucket)
    flags = ("--access-key", key["id"], "--access-secret", key["secret"])
    cli("access-keys", "create", f"{name}-2", *flags)
    assert shown(cli, name)["roles"] == [{"bucket": "*", "role": "NamespaceAdmin"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bucket", "b"), "a --role for each --bucket"),
        (("--role", "Editor"), "a --role for each --bucket"),
        (("--bucket", "b", "--role", "Boss"), "'Boss' is not a role"),
        (("--bucket", "b", "--role", "Editor", "--admin"), "--admin is everything"),
        (("--policy", "no-such-policy"), "does not exist"),
        (("--expires", "soon"), "is no time"),
        (("--expires", "3600"), "is no time"),
        (("--expires", "2020-01-01T00:00:00Z"), "would be expired already"),
        (("--tag", "team"), "is not NAME=VALUE"),
        (("--member", "usr_nobody"), "usr_nobody does not exist"),
        (("--member", "nobody@example.com"), "there is no member"),
        (("--dataset", "b"), "give --template, too"),
        (("--template", "no-such"), "there is no template"),
        (("--template", "training-job"), "needs datasets"),
        (("--template", "training-job", "--bucket", "b"), "has no bucket"),
        (("--template", "drop-box", "--bucket", "B_"), "is no name of a bucket"),
        (("--template", "drop-box", "--bucket", "b1,b2", "--bucket", "b3"), "given once"),
    ],
)
def test_create_refuses(cli: Any, name: str, arguments: tuple[str, ...], said: str) -> None:
    done = cli("access-keys", "create", name, *arguments, code=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert name not in cli("access-keys", "list").stdout


# --- the training job of the seed ---


def test_the_training_job_is_one_command(
    cli: Any, s3: Any, as_key: Any, store: ServedAmur, name: str
) -> None:
    tail = secrets.token_hex(4)
    wiki, base, tuned, other = (f"{each}-{tail}" for each in ("wiki", "base", "tuned", "other"))
    for bucket in (wiki, base, tuned, other):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="a", Body=b"before")
    key = made(
        cli, name, "--template", "training-job", "--dataset", wiki, "--base-models", base,
        "--output", tuned, "--start", "now", "--end", "12h",
    )  # fmt: skip
    job = as_key(key["id"], key["secret"])
    for bucket in (wiki, base):
        assert job.get_object(Bucket=bucket, Key="a")["Body"].read() == b"before"
        assert job.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    job.put_object(Bucket=tuned, Key="model", Body=b"weights")
    assert s3.get_object(Bucket=tuned, Key="model")["Body"].read() == b"weights"
    upload = job.create_multipart_upload(Bucket=tuned, Key="big")["UploadId"]
    job.abort_multipart_upload(Bucket=tuned, Key="big", UploadId=upload)

    attempts = [
        lambda: job.put_object(Bucket=wiki, Key="a", Body=b"after"),
        lambda: job.put_object(Bucket=base, Key="b", Body=b"after"),
        lambda: job.delete_object(Bucket=wiki, Key="a"),
        lambda: job.delete_object(Bucket=tuned, Key="a"),
        lambda: job.delete_bucket(Bucket=tuned),
        lambda: job.get_object(Bucket=other, Key="a"),
        lambda: job.put_object(Bucket=other, Key="b", Body=b"after"),
        lambda: job.list_objects_v2(Bucket=other),
        lambda: job.copy_object(Bucket=tuned, Key="c", CopySource=f"{other}/a"),
        lambda: job.create_bucket(Bucket=f"new-{tail}"),
        job.list_buckets,
        lambda: job.put_bucket_acl(Bucket=tuned, ACL="public-read"),
        lambda: job.put_bucket_versioning(
            Bucket=tuned, VersioningConfiguration={"Status": "Enabled"}
        ),
        lambda: job.get_bucket_policy(Bucket=wiki),
    ]
    assert {refusal(each) for each in attempts} == {"AccessDenied"}
    for bucket in (wiki, base, other):
        assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"before"
    flags = ("--access-key", key["id"], "--access-secret", key["secret"])
    for refused in (
        ("access-keys", "create", "mine", "--admin"),
        ("access-keys", "expire", key["id"], "never"),
        ("access-keys", "assign", key["id"], "--bucket", other, "--role", "Editor"),
        ("iam", "policies", "edit", name, "--description", "mine"),
    ):
        assert "may not iam:" in cli(*refused, *flags, code=1).stderr
    cli("access-keys", "get", key["id"], *flags)  # what it is itself it may see

    assert key["expires"] == shown(cli, name)["expires"]
    text = key["created_policy"]["document"]
    assert text.count(f'"aws:CurrentTime": "{key["expires"]}"') == 3
    gone = json.loads(cli("access-keys", "delete", name, "--with-policies", "--json").stdout)
    assert gone["deleted_policies"] == [name]
    assert refusal(lambda: job.get_object(Bucket=wiki, Key="a")) == "InvalidAccessKeyId"
    cli("iam", "policies", "get", name, code=1)


@pytest.mark.parametrize(
    "failing", [("--member", "usr_nobody"), ("--expires", "2020-01-01"), ("--policy", "no-such")]
)
def test_what_was_made_is_taken_back(
    cli: Any, bucket: str, name: str, failing: tuple[str, ...]
) -> None:
    done = cli(
        "access-keys", "create", name, "--template", "drop-box", "--bucket", bucket, *failing,
        code=1,
    )  # fmt: skip
    assert f"policy/{name} was made, and was taken back" in done.stderr
    assert done.stdout == ""
    assert "does not exist" in cli("iam", "policies", "get", name, code=1).stderr
    assert "there is no access key" in cli("access-keys", "get", name, code=1).stderr


def test_an_answer_that_does_not_come(
    cli: Any, bucket: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether there is a key; it has lost its rights in any case."""
    call = IamRemote.call

    def cut(iam: IamRemote, action: str, *given: Any) -> Any:
        answer = call(iam, action, *given)
        if action == "CreateAccessKeyWithBucketsRole":
            raise ConnectionClosedError(endpoint_url="http://x")
        return answer

    monkeypatch.setattr(IamRemote, "call", cut)
    arguments = (name, "--template", "drop-box", "--bucket", bucket)
    done = cli("access-keys", "create", *arguments, code=1)
    assert "was taken back" in done.stderr
    assert "may have been made all the same" in done.stderr
    assert done.stderr.endswith("has broken off\n")
    assert shown(cli, name)["policies"] == []


def test_what_cannot_be_taken_back_is_told(
    cli: Any, bucket: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = IamRemote.call

    def refusing(iam: IamRemote, action: str, *given: Any) -> Any:
        if action in ("CreateAccessKeyWithBucketsRole", "ForceDeletePolicy"):
            raise Refused("ServiceUnavailable", "Try again.")
        return call(iam, action, *given)

    monkeypatch.setattr(IamRemote, "call", refusing)
    arguments = (name, "--template", "drop-box", "--bucket", bucket)
    done = cli("access-keys", "create", *arguments, code=1)
    assert f"policy/{name} was made and is still there: delete it" in done.stderr
    assert done.stderr.endswith("amur: Try again (ServiceUnavailable)\n")
    assert name in cli("iam", "policies", "list").stdout


def test_a_template_beside_roles(cli: Any, bucket: str, name: str) -> None:
    key = made(
        cli, name, "--template", "ip-bound", "--address", "10.0.0.0/8,192.0.2.1", "--bucket",
        bucket, "--role", "Editor", "--policy-name", f"{name}-there",
    )  # fmt: skip
    assert key["roles"] == [{"bucket": bucket, "role": "Editor"}]
    document = json.loads(key["created_policy"]["document"])
    condition = {"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.1"]}}
    assert document["Statement"][0]["Condition"] == condition
    assert key["policies"][0].endswith(f":policy/{name}-there")


def test_parameters_by_name(cli: Any, bucket: str, name: str) -> None:
    made(
        cli, name, "--template", "read-only", "--param", f"buckets={bucket}", "--param",
        "buckets=other", "--param", "end=7d",
    )  # fmt: skip
    found = shown(cli, name)
    assert found["expires"]
    text = cli("iam", "policies", "get", name).stdout
    assert f"arn:aws:s3:::{bucket}/*" in text
    assert "arn:aws:s3:::other/*" in text
    done = cli("access-keys", "create", "x", "--template", "read-only", "--param", "a=b", code=1)
    assert "has no a: buckets, start, end" in done.stderr


# --- list and get ---


def test_list(cli: Any, key: Made, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    items = json.loads(cli("access-keys", "list", "--json").stdout)["items"]
    (found,) = [each for each in items if each["id"] == key["id"]]
    assert (found["name"], found["status"]) == (name, "active")
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("access-keys", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "ROLES"]
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith(key["id"])]


def test_list_by_pages(cli: Any, name: str) -> None:
    ids = {made(cli, f"{name}-{n}")["id"] for n in range(3)}
    found: list[str] = []
    token = ""
    while True:
        more = ("--page-token", token) if token else ()
        page = json.loads(cli("access-keys", "list", "--limit", "2", "--json", *more).stdout)
        assert len(page["items"]) <= 2
        found += [each["id"] for each in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert len(found) == len(set(found))
    assert ids <= set(found)
    assert "--page-token" in cli("access-keys", "list", "--limit", "1").stderr


def test_list_with_policies(cli: Any, key: Made, bucket: str, name: str) -> None:
    cli("iam", "policies", "create", name, "--template", "drop-box", "--bucket", bucket)
    cli("access-keys", "attach-policy", name, "--policy-arn", name)
    items = json.loads(cli("access-keys", "list", "--policies", "--json").stdout)["items"]
    assert {each["id"]: each["policies"] for each in items}[key["id"]] == [name]


def test_a_name_of_two_keys(cli: Any, key: Made, name: str) -> None:
    second = made(cli, name)
    done = cli("access-keys", "delete", name, code=1)
    assert f"several access keys are called {name}" in done.stderr
    assert second["id"] in done.stderr
    cli("access-keys", "delete", second["id"])
    assert shown(cli, name)["id"] == key["id"]


def test_the_key_of_the_settings(cli: Any, store: ServedAmur) -> None:
    found = shown(cli, store.key_id)
    assert found["roles"] == [{"bucket": "*", "role": "NamespaceAdmin"}]
    assert (found["policies"], found["created"]) == ([], "")
    assert store.secret not in cli("access-keys", "get", store.key_id).stdout


def test_names_cannot_command_the_terminal(cli: Any) -> None:
    done = cli("access-keys", "create", "bad\x1b[2Jname", code=1)
    assert "\x1b" not in done.output


# --- changes ---


def test_assign(cli: Any, key: Made, as_key: Any, bucket: str) -> None:
    mine = as_key(key["id"], key["secret"])
    assert refusal(lambda: mine.list_objects_v2(Bucket=bucket)) == "AccessDenied"
    cli("access-keys", "assign", key["id"], "--bucket", bucket, "--role", "ReadOnly")
    assert refusal(lambda: mine.list_objects_v2(Bucket=bucket)) == ""
    cli("access-keys", "assign", key["id"], "--bucket", "b2", "--role", "Editor", "--add")
    assert [each["bucket"] for each in shown(cli, key["id"])["roles"]] == [bucket, "b2"]
    out = cli("access-keys", "assign", key["id"], "--bucket", "b2", "--role", "ReadWrite").stdout
    assert f"and no longer: {bucket}: ReadOnly, b2: Editor" in out
    assert refusal(lambda: mine.list_objects_v2(Bucket=bucket)) == "AccessDenied"
    cli("access-keys", "assign", key["id"], "--admin")
    assert refusal(lambda: mine.list_objects_v2(Bucket=bucket)) == ""
    cli("access-keys", "assign", key["id"], "--revoke-roles")
    assert shown(cli, key["id"])["roles"] == []


@pytest.mark.parametrize(
    "flags", [(), ("--revoke-roles", "--admin"), ("--revoke-roles", "--add"), ("--bucket", "b")]
)
def test_assign_refuses(cli: Any, key: Made, flags: tuple[str, ...]) -> None:
    assert "amur: give" in cli("access-keys", "assign", key["id"], *flags, code=1).stderr


def test_rotate(cli: Any, as_key: Any, bucket: str, name: str) -> None:
    key = made(cli, name, "--bucket", bucket, "--role", "Editor")
    rotated = ("access-keys", "rotate", name)
    second = exported(cli(*rotated, "--overlap", "1h").stdout)["AWS_SECRET_ACCESS_KEY"]
    for secret in (key["secret"], second):
        assert refusal(lambda s=secret: as_key(key["id"], s).list_objects_v2(Bucket=bucket)) == ""
    third = json.loads(cli(*rotated, "--json").stdout)["secret"]
    assert refusal(lambda: as_key(key["id"], third).list_objects_v2(Bucket=bucket)) == ""
    for secret in (key["secret"], second):
        old = as_key(key["id"], secret)
        assert refusal(lambda c=old: c.list_objects_v2(Bucket=bucket)) == "SignatureDoesNotMatch"
    assert "0 to 604800" in cli(*rotated, "--overlap", "30d", code=1).stderr
    assert "is no span" in cli(*rotated, "--overlap", "later", code=1).stderr


def test_disable_rename_expire(cli: Any, as_key: Any, bucket: str, name: str) -> None:
    key = made(cli, name, "--bucket", bucket, "--role", "Editor")
    mine = as_key(key["id"], key["secret"])
    cli("access-keys", "disable", name)
    assert refusal(lambda: mine.list_objects_v2(Bucket=bucket))
    assert "disabled" in cli("access-keys", "get", name).stdout
    cli("access-keys", "enable", name)
    assert refusal(lambda: mine.list_objects_v2(Bucket=bucket)) == ""
    cli("access-keys", "rename", name, f"{name}-b")
    cli("access-keys", "expire", f"{name}-b", "1h")
    assert shown(cli, f"{name}-b")["expires"]
    cli("access-keys", "expire", f"{name}-b", "never")
    assert shown(cli, f"{name}-b")["expires"] == ""
    assert "there is no access key" in cli("access-keys", "enable", name, code=1).stderr


def test_policies_of_a_key(cli: Any, key: Made, bucket: str, name: str) -> None:
    cli("iam", "policies", "create", name, "--template", "drop-box", "--bucket", bucket)
    arn = json.loads(cli("iam", "policies", "get", name, "--json").stdout)["arn"]
    cli("access-keys", "attach-policy", key["id"], "--policy-arn", arn)
    listed = ("access-keys", "list-policies", key["id"])
    assert json.loads(cli(*listed, "--json").stdout)["items"] == [{"name": name, "arn": arn}]
    assert arn in cli(*listed).stdout
    cli("access-keys", "detach-policy", key["id"], "--policy", name)
    assert json.loads(cli(*listed, "--json").stdout)["items"] == []
    assert "no policies" in cli(*listed).stderr
    done = cli("access-keys", "detach-policy", key["id"], "--policy", name, code=1)
    assert "is not attached" in done.stderr


def test_delete_tells_what_it_had(cli: Any, bucket: str, name: str) -> None:
    cli("iam", "policies", "create", name, "--template", "drop-box", "--bucket", bucket)
    made(cli, name, "--bucket", bucket, "--role", "Editor", "--policy", name)
    other = made(cli, f"{name}-2", "--policy", name)
    out = cli("access-keys", "delete", name, "--yes", "--with-policies").stdout
    assert f"it had roles {bucket}: Editor; policies {name}" in out
    assert "deleted policy" not in out  # the other key has it
    assert [each["name"] for each in shown(cli, other["id"])["policies"]] == [name]
    assert "there is no access key" in cli("access-keys", "delete", name, code=1).stderr


def test_delete_asks(cli: Any, key: Made, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amur.cli.remote.is_terminal", lambda: True)
    done = cli("access-keys", "delete", name, stdin="n\n", code=1)
    assert f"delete access key {key['id']} ({name}; roles -; policies -)?" in done.stderr
    assert "nothing was done" in done.stderr
    assert shown(cli, name)["id"] == key["id"]
    cli("access-keys", "delete", name, "--yes")
    cli("access-keys", "get", name, code=1)


# --- what can go wrong ---


def test_wrong_secrets_are_not_repeated(cli: Any, key: Made) -> None:
    secret = "tsec_" + secrets.token_hex(20)
    flags = ("--access-key", key["id"], "--access-secret", secret)
    done = cli("access-keys", "list", *flags, code=1)
    assert secret not in done.output
    assert done.stderr.count("\n") == 1
    done = cli("access-keys", "list", "--access-key", "tid_x", "--access-secret", secret, code=1)
    assert secret not in done.output


def test_without_rights(cli: Any, key: Made) -> None:
    flags = ("--access-key", key["id"], "--access-secret", key["secret"])
    done = cli("access-keys", "create", "mine", *flags, code=1)
    assert "may not iam:CreateAccessKey" in done.stderr
    assert key["secret"] not in done.output
    items = json.loads(cli("access-keys", "list", "--json", *flags).stdout)["items"]
    assert [each["id"] for each in items] == [key["id"]]  # its own


def test_where_no_iam_is_spoken(cli: Any, web: str) -> None:
    done = cli("access-keys", "list", "--endpoint", web, code=1)
    assert done.stderr == "amur: the endpoint does not speak the IAM API (HTTP 501)\n"


def test_where_nothing_is(cli: Any) -> None:
    done = cli("access-keys", "list", "--endpoint", "http://127.0.0.1:9", code=1)
    assert "can't connect to http://127.0.0.1:9" in done.stderr


@pytest.fixture
def web() -> Iterator[str]:
    """A server of something else."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Silent(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
