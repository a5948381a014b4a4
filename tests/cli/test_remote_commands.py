"""Looking, making, moving and removing, by command; what it did is asked by boto3."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError


def keys(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for key in ("data/a", "data/b c", "data/sub/d", "data-other", "top"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


# --- ls ---


@pytest.mark.parametrize(
    ("path", "flags", "names"),
    [
        ("", (), ["data-other", "data/", "top"]),
        ("data", (), ["data/a", "data/b c", "data/sub/"]),
        ("data/", ("-r",), ["data/a", "data/b c", "data/sub/d"]),
        ("da", (), ["data-other", "data/"]),
        ("nothing", (), []),
    ],
)
def test_ls(cli: Any, filled: str, path: str, flags: tuple[str, ...], names: list[str]) -> None:
    done = json.loads(cli("ls", f"t3://{filled}/{path}", "--json", *flags).stdout)
    assert [item["key"] for item in done["items"]] == names
    lines = cli("ls", f"{filled}/{path}", *flags).stdout.splitlines()
    assert len(lines) == len(names)


def test_ls_by_pages(cli: Any, filled: str) -> None:
    found, token = [], ""
    while True:
        more = ("--page-token", token) if token else ()
        page = json.loads(cli("ls", filled, "-r", "--limit", "2", "--json", *more).stdout)
        assert len(page["items"]) <= 2
        found += [item["key"] for item in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert found == ["data-other", "data/a", "data/b c", "data/sub/d", "top"]
    assert "--page-token" in cli("ls", filled, "--limit", "1").stderr


def test_ls_of_buckets(cli: Any, bucket: str) -> None:
    assert bucket in cli("ls").stdout
    items = json.loads(cli("buckets", "list", "--format", "json").stdout)["items"]
    assert bucket in [item["name"] for item in items]
    assert f"<name>{bucket}</name>" in cli("ls", "--format", "xml").stdout


def test_names_cannot_command_the_terminal(cli: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a\x1b[2J\nb", Body=b"")
    out = cli("ls", bucket).stdout
    assert "\x1b" not in out
    assert out.count("\n") == 1
    listed = json.loads(cli("ls", bucket, "--json").stdout)["items"]
    assert listed[0]["key"] == "a\x1b[2J\nb"


# --- stat, touch, mk, presign ---


def test_stat(cli: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345", ContentType="text/x", Metadata={"a": "b"})
    known = json.loads(cli("stat", f"{bucket}/k", "--json").stdout)
    assert (known["size"], known["content_type"], known["metadata"]) == (5, "text/x", {"a": "b"})
    assert "5 bytes" in cli("objects", "info", bucket, "k").stdout
    assert "no such object" in cli("stat", f"{bucket}/none", code=1).stderr
    assert json.loads(cli("stat", bucket, "--json").stdout)["access"] == "private"
    assert json.loads(cli("stat", "--json").stdout)["buckets"] >= 1


def test_touch_never_empties(cli: Any, s3: Any, bucket: str) -> None:
    assert json.loads(cli("touch", f"{bucket}/k", "--json").stdout)["created"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    assert not json.loads(cli("touch", f"{bucket}/k", "--json").stdout)["created"]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"


def test_mk(cli: Any, s3: Any, bucket: str) -> None:
    name = f"{bucket}-made"
    cli("mk", f"t3://{name}", "--public")
    acl = s3.get_bucket_acl(Bucket=name)["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in acl)
    cli("mk", f"{name}/folder")
    assert keys(s3, name) == ["folder/"]
    assert "have this bucket already" in cli("mk", name, code=1).stderr
    assert "of buckets" in cli("mk", f"{name}/f/", "--public", code=1).stderr


def test_presign(cli: Any, s3: Any, bucket: str) -> None:
    url = cli("presign", f"{bucket}/a b", "--method", "put").stdout.strip()
    with urlopen(Request(url, data=b"sent", method="PUT")):
        pass
    answer = json.loads(cli("presign", f"{bucket}/a b", "--format", "json").stdout)
    with urlopen(answer["url"]) as response:
        assert response.read() == b"sent"


# --- mv ---


def test_mv_renames(cli: Any, s3: Any, filled: str) -> None:
    before = s3.head_object(Bucket=filled, Key="data/a")["ETag"]
    cli("mv", f"{filled}/data/a", f"{filled}/new/")
    assert s3.head_object(Bucket=filled, Key="new/a")["ETag"] == before
    assert "data/a" not in keys(s3, filled)


def test_mv_does_not_overwrite(cli: Any, s3: Any, filled: str, bucket: str) -> None:
    done = cli("mv", f"{filled}/data/a", f"{filled}/top", code=1)
    assert "--force" in done.stderr
    assert s3.get_object(Bucket=filled, Key="top")["Body"].read() == b"top"
    cli("mv", f"{filled}/data/a", f"{filled}/top", "--force")
    assert s3.get_object(Bucket=filled, Key="top")["Body"].read() == b"data/a"
    assert "data/a" not in keys(s3, filled)


def test_mv_of_a_folder_to_another_bucket(cli: Any, s3: Any, filled: str) -> None:
    other = f"{filled}-other"
    s3.create_bucket(Bucket=other)
    cli("mv", "-r", f"t3://{filled}/data", f"t3://{other}/moved")
    assert keys(s3, other) == ["moved/a", "moved/b c", "moved/sub/d"]
    assert keys(s3, filled) == ["data-other", "top"]


@pytest.mark.parametrize(
    ("source", "target", "flags", "said"),
    [
        ("data", "x", (), "use --recursive"),
        ("none", "x", (), "no such object"),
        ("none", "x", ("-r",), "there is nothing"),
        ("top", "top", (), "the same"),
        ("data", "data/sub/x", ("-r",), "lies in the source"),
    ],
)
def test_mv_refuses(
    cli: Any, filled: str, source: str, target: str, flags: tuple[str, ...], said: str
) -> None:
    assert said in cli("mv", f"{filled}/{source}", f"{filled}/{target}", *flags, code=1).stderr


# --- rm ---


def test_rm(cli: Any, s3: Any, filled: str) -> None:
    cli("rm", f"{filled}/top")
    assert "no such object" in cli("rm", f"{filled}/top", code=1).stderr
    assert "--recursive" in cli("rm", f"{filled}/data", code=1).stderr
    assert "is a bucket" in cli("rm", filled, code=1).stderr
    done = json.loads(cli("rm", "-r", f"{filled}/data", "--yes", "--json").stdout)
    assert done["count"] == 3
    assert keys(s3, filled) == ["data-other"]  # begins the same, and is no part of the folder


def test_rm_asks_on_a_terminal(
    cli: Any, s3: Any, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("amur.cli.remote.is_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, **_: asked.append(question))
    assert "nothing was done" in cli("rm", "-r", filled, code=1).stderr
    assert "nothing was done" in cli("buckets", "delete", "--force", filled, code=1).stderr
    assert len(keys(s3, filled)) == 5
    cli("rm", "-r", filled, "--yes")
    assert len(asked) == 2
    assert keys(s3, filled) == []


# --- buckets ---


def test_bucket_delete(cli: Any, s3: Any, filled: str) -> None:
    assert "not empty" in cli("buckets", "delete", filled, code=1).stderr
    cli("buckets", "delete", filled, "--force", "--yes")
    with pytest.raises(ClientError):
        s3.head_bucket(Bucket=filled)
    assert "no such bucket" in cli("buckets", "get", filled, code=1).stderr


def test_bucket_set(cli: Any, s3: Any, bucket: str) -> None:
    cli("buckets", "set", bucket, "--versioning", "enable", "--tag", "a=1", "--tag", "b=2")
    cli("buckets", "set", bucket, "--tag", "b=3", "--access", "public")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert {each["Key"]: each["Value"] for each in tags} == {"a": "1", "b": "3"}
    shown = json.loads(cli("buckets", "get", bucket, "--json").stdout)
    assert (shown["access"], shown["versioning"]) == ("public", "Enabled")
    assert "nothing to set" in cli("buckets", "set", bucket, code=1).stderr
    assert "enable or suspend" in cli("buckets", "set", bucket, "--versioning", "x", code=1).stderr


def test_bucket_cors(cli: Any, s3: Any, bucket: str) -> None:
    cli("buckets", "set-cors", bucket, "--origins", "https://a.example", "--methods", "get,put")
    cli("buckets", "set-cors", bucket, "--origins", "*")
    rules = s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    assert [rule["AllowedOrigins"] for rule in rules] == [["https://a.example"], ["*"]]
    cli("buckets", "set-cors", bucket, "--reset")
    with pytest.raises(ClientError):
        s3.get_bucket_cors(Bucket=bucket)


# --- objects ---


def test_objects(cli: Any, s3: Any, bucket: str, tmp_path: Any) -> None:
    (tmp_path / "f.json").write_text("{}")
    cli("objects", "put", bucket, "a/k", "f.json", "--metadata", "x=y")
    head = s3.head_object(Bucket=bucket, Key="a/k")
    assert (head["ContentType"], head["Metadata"]) == ("application/json", {"x": "y"})
    cli("objects", "get", f"t3://{bucket}/a/k")
    assert (tmp_path / "k").read_text() == "{}"
    assert cli("objects", "get", bucket, "a/k", "-o", "-").stdout == "{}"
    cli("objects", "put", bucket, "a/stdin", "-", stdin="piped")
    listed = json.loads(cli("objects", "list", bucket, "--prefix", "a/", "--json").stdout)
    assert [item["key"] for item in listed["items"]] == ["a/k", "a/stdin"]
    cli("objects", "delete", bucket, "a/k")
    assert keys(s3, bucket) == ["a/stdin"]


def test_versions(cli: Any, s3: Any, bucket: str) -> None:
    cli("buckets", "set", bucket, "--versioning", "enable")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"two")
    s3.put_object(Bucket=bucket, Key="k2", Body=b"other")
    cli("objects", "delete", bucket, "k")
    rows = json.loads(cli("objects", "list-versions", bucket, "k", "--json").stdout)["items"]
    assert [(row["key"], row["is_delete_marker"]) for row in rows] == [
        ("k", True), ("k", False), ("k", False), ("k2", False),
    ]  # fmt: skip
    done = cli("objects", "get", bucket, "k", "--version-id", first, "-o", "-")
    assert done.stdout == "one"
    cli("objects", "delete", bucket, "k", "--all-versions", "--yes")
    left = s3.list_object_versions(Bucket=bucket)
    assert [each["Key"] for each in left["Versions"]] == ["k2"]
    assert "DeleteMarkers" not in left


def test_set_access(cli: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    cli("buckets", "set", bucket, "--allow-object-acl")
    cli("objects", "set-access", bucket, "k", "--access", "public")
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


# --- what fails ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ls", "t3://no-such-bucket"), "no such bucket"),
        (("ls", "http://x"), "not an address"),
        (("ls", "--endpoint", "http://127.0.0.1:1"), "can't connect to http://127.0.0.1:1"),
        (("ls", "--access-key", "a"), "go together"),
        (("ls", "--access-key", "a", "--access-secret", "bbbbbbbb"), "does not know"),
        (("ls", "--format", "yaml"), "table, json or xml"),
        (("presign", "box"), "no object in it"),
    ],
)
def test_failures_are_one_line(cli: Any, arguments: tuple[str, ...], said: str) -> None:
    done = cli(*arguments, code=1)
    assert said in done.stderr
    assert done.stderr.startswith("amur: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
