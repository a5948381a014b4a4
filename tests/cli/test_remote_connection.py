"""Flags over environment over the file of `amur configure` over defaults."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from amur.cli.connection import ConnectionProblem, Stored, config_file, load, resolve, store

AMUR = {"AMUR_ACCESS_KEY_ID": "amur", "AMUR_SECRET_ACCESS_KEY": "amur-secret"}
AWS = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "aws-secret"}
FILE = Stored("http://file:1", "file", "file-secret")


@pytest.mark.parametrize(
    ("flags", "environment", "key", "secret"),
    [
        (("", "flag", "flag-secret"), AMUR | AWS, "flag", "flag-secret"),
        (("", "", ""), AMUR | AWS, "amur", "amur-secret"),
        (("", "", ""), AWS, "aws", "aws-secret"),
        (("", "", ""), {}, "file", "file-secret"),
    ],
)
def test_keys(
    flags: tuple[str, str, str], environment: dict[str, str], key: str, secret: str
) -> None:
    given = resolve(*flags, environment=environment, stored=FILE)
    assert (given.access_key, given.access_secret) == (key, secret)


@pytest.mark.parametrize(
    ("flag", "environment", "stored", "expected"),
    [
        ("http://flag", {"AMUR_ENDPOINT": "http://a"}, FILE, "http://flag"),
        ("", {"AMUR_ENDPOINT": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, FILE, "http://a"),
        (
            "",
            {"AWS_ENDPOINT_URL": "http://c", "AWS_ENDPOINT_URL_S3": "http://b/"},
            FILE,
            "http://b",
        ),
        ("", {"AWS_ENDPOINT_URL": "https://[::1]:9"}, FILE, "https://[::1]:9"),
        ("", {}, FILE, "http://file:1"),
        ("", AWS, Stored(), "http://127.0.0.1:9000"),
    ],
)
def test_endpoint(flag: str, environment: dict[str, str], stored: Stored, expected: str) -> None:
    assert resolve(flag, environment=environment | AWS, stored=stored).endpoint == expected


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (("", "flag", ""), AWS),  # never half of a key from here and half from there
        (("", "", "flag-secret"), AWS),
        (("", "", ""), {"AWS_ACCESS_KEY_ID": "aws"}),
    ],
)
def test_half_a_key(flags: tuple[str, str, str], environment: dict[str, str]) -> None:
    with pytest.raises(ConnectionProblem, match="together"):
        resolve(*flags, environment=environment, stored=FILE)


def test_no_key() -> None:
    with pytest.raises(ConnectionProblem, match="amur configure"):
        resolve(environment={}, stored=Stored())


@pytest.mark.parametrize(
    "text", ["localhost:9000", "ftp://a", "http://", "http://u:p@h", "http://h:x"]
)
def test_no_endpoint(text: str) -> None:
    with pytest.raises(ConnectionProblem, match="not a URL"):
        resolve(text, environment=AWS, stored=Stored())


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(resolve(environment=AWS, stored=FILE)).replace("access_secret", "")


def test_region_and_token() -> None:
    given = resolve(environment=AWS | {"AWS_SESSION_TOKEN": "t"}, stored=FILE)
    assert (given.region, given.session_token) == ("auto", "t")
    assert resolve(environment=AMUR | {"AWS_SESSION_TOKEN": "t"}, stored=FILE).session_token == ""
    assert resolve(environment=AWS | {"AWS_REGION": "fra"}, stored=FILE).region == "fra"


def test_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "amur" / "client.json"
    store(file, FILE)
    store(file, Stored("http://other:1", "other", "s"))
    assert load(file) == Stored("http://other:1", "other", "s")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["client.json"]


def test_a_relative_xdg_directory_is_ignored() -> None:
    assert config_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/amur/client.json")
    assert config_file({"XDG_CONFIG_HOME": "x"}) == Path.home() / ".config/amur/client.json"


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text("{")
    with pytest.raises(ConnectionProblem, match="damaged"):
        load(tmp_path / "client.json")


# --- amur configure ---


@pytest.fixture
def without_environment(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("without_environment")
def test_configure(cli: Any, store: Any, bucket: str, tmp_path: Path) -> None:
    assert "no access key" in cli("ls", code=1).stderr
    done = cli("configure", "--endpoint", store.endpoint, "--access-key", store.key_id,
               "--access-secret", store.secret, "--json")  # fmt: skip
    assert store.secret not in done.output
    assert json.loads(done.stdout)["works"] == "yes"
    assert bucket in cli("ls").stdout
    file = tmp_path / "config" / "amur" / "client.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert store.secret not in cli("stat").output
    cli("configure", "--endpoint", "http://127.0.0.1:1", "--no-check")  # the keys stay
    assert load(file) == Stored("http://127.0.0.1:1", store.key_id, store.secret)


@pytest.mark.usefixtures("without_environment")
def test_configure_tells_what_does_not_work(cli: Any, store: Any) -> None:
    wrong = ("--access-key", store.key_id, "--access-secret", "wrong")
    done = cli("configure", "--endpoint", store.endpoint, *wrong, code=1)
    assert "the secret does not fit" in done.stdout
    assert "together" in cli("configure", "--access-key", "a", code=1).stderr
    assert "nothing to remember" not in cli("configure", code=1).output  # there is a file by now
