"""What a person can get wrong: one line that says what to do, and exit code 1."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amur.config import BlockStore
from amur.serve import checks
from amur.serve.layout import Layout, Refusal
from amur.serve.testing import ServedAmur, free_port


@pytest.fixture
def refused(amur: Any, tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: str | Path, **environment: str) -> str:
        data = tmp_path / "data"
        done = amur(
            "serve", data, "--listen", f"127.0.0.1:{free_port()}", *arguments, **environment
        )
        assert done.returncode == 1, done
        assert done.stdout == ""
        line: str = done.stderr
        assert line.startswith("amur: ")
        assert line.count("\n") == 1, line
        return line

    return run


def test_port_taken(amur: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = amur("serve", tmp_path / "data", "--listen", place)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the port is taken" in done.stderr


def test_directory_not_writable(amur: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = amur("serve", tmp_path / "file" / "data", "--listen", f"127.0.0.1:{free_port()}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "can't write to the data directory" in done.stderr


def test_other_region(refused: Callable[..., str], tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("fra")
    assert "belongs to region 'fra'" in refused("--region", "sjc")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"sjc": 0, "fra": 3}, "region fra has the number 2, not 3"),
        ({"sjc": 0, "ams": 2}, "number 2 is another region's, not ams's"),
        ({"sjc": 2, "fra": 0}, "region sjc has the number 0, not 2"),
    ],
)
def test_numbers_are_for_good(tmp_path: Path, now: dict[str, int], said: str) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("sjc", {"sjc": 0, "fra": 2})
    with pytest.raises(Refusal, match=said):
        layout.claim("sjc", now)
    layout.claim("sjc", {"sjc": 0, "fra": 2, "ams": 3})


@pytest.mark.parametrize(
    ("made", "asked", "said"),
    [
        ("s3://b/p", "", "keeps its bytes in s3://b/p, but block_store is not set"),
        ("", "s3://b/p", "keeps its bytes in files of its own, but block_store is s3://b/p"),
        ("s3://b/p", "s3://b/q", "keeps its bytes in s3://b/p, but block_store is s3://b/q"),
    ],
)
def test_other_block_store(
    refused: Callable[..., str], tmp_path: Path, made: str, asked: str, said: str
) -> None:
    layout = Layout(tmp_path / "data", BlockStore(made))
    layout.create()
    layout.claim("local")
    layout.claim("local")
    facts = layout.facts()
    assert (facts["format"], facts.get("block_store", "")) == (2 if made else 1, made)
    assert said in refused(**({"AMUR_BLOCK_STORE": asked} if asked else {}))


def test_block_store_options_that_nobody_knows(refused: Callable[..., str]) -> None:
    options = json.dumps({"endpiont": "http://127.0.0.1:1", "secret_access_key": "hush-hush"})
    line = refused(AMUR_BLOCK_STORE="s3://b", AMUR_BLOCK_STORE_OPTIONS=options)
    assert "endpiont" in line
    assert "hush" not in line


def test_block_store_that_is_not_there(refused: Callable[..., str]) -> None:
    options = {"endpoint": "http://127.0.0.1:1", "access_key_id": "id", "secret_access_key": "hush"}
    line = refused(AMUR_BLOCK_STORE="s3://b/p", AMUR_BLOCK_STORE_OPTIONS=json.dumps(options))
    assert "can't use block_store s3://b/p" in line
    assert "fsck" not in line
    assert "hush" not in line


def test_newer_format(refused: Callable[..., str], tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.identity.write_text(json.dumps({"format": 99, "region": "local"}))
    assert "newer amur" in refused()


def test_damaged_identity(refused: Callable[..., str], tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.identity.write_bytes(b"\0\0\0")
    assert "amur.json is damaged" in refused()


def test_damaged_metadata(refused: Callable[..., str], tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.claim("local")
    (layout.meta / "data.mdb").write_bytes(os.urandom(8192))
    assert "this is not Amur's metadata" in refused()


def test_two_servers_of_one_directory(tmp_path: Path, amur: Any) -> None:
    with ServedAmur(tmp_path / "data", workers=1) as first:
        done = amur("serve", first.directory, "--listen", f"127.0.0.1:{free_port()}")
        assert done.returncode == 1
        assert f"another amur (process {first.pid}) is using" in done.stderr


def test_tls_files(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "must be given together" in refused("--tls-cert", "a")
    assert "can't read the TLS file" in refused("--tls-cert", "none", "--tls-key", "none")
    (tmp_path / "pem").write_text("nonsense")
    both = ("--tls-cert", tmp_path / "pem", "--tls-key", tmp_path / "pem")
    assert "no TLS certificate and key" in refused(*both)


def test_half_a_root_key(refused: Callable[..., str]) -> None:
    assert "must be given together" in refused(AMUR_ROOT_ACCESS_KEY_ID="tid_x")


def test_key_given_twice(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "amur.toml"
    path.write_text('[[access_keys]]\nid = "a"\nsecret = "12345678"\n' * 2)
    assert "given twice" in refused("--config", path)


def test_unknown_setting(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "amur.toml"
    path.write_text("wokers = 3")
    assert "unknown setting 'wokers'" in refused("--config", path)


def test_root_key_readable_by_others(refused: Callable[..., str], tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.take_root_key("", "")
    assert stat.S_IMODE(layout.root_key.stat().st_mode) == 0o600
    layout.root_key.chmod(0o644)
    assert "chmod 600" in refused()


def test_clock_before_2024(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    with pytest.raises(Refusal, match="set it"):
        checks.clock()


def test_disk_nearly_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = os.statvfs(tmp_path)
    free = 0

    def statvfs(_: Path) -> os.statvfs_result:
        values = list(real)
        values[4] = free // real.f_frsize  # f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr("os.statvfs", statvfs)
    layout = Layout(tmp_path)
    with pytest.raises(Refusal, match="nearly full"):
        checks.disk(layout, is_new=False)
    free = 100 * 1024 * 1024
    with pytest.raises(Refusal, match="nearly full"):
        checks.disk(layout, is_new=True)
    assert "writes are refused" in checks.disk(layout, is_new=False)  # reads and deletes go on
    free = real.f_blocks * real.f_frsize
    assert checks.disk(layout, is_new=True) == ""


@pytest.mark.parametrize("command", ["info", "fsck", "scrub"])
def test_not_a_data_directory(amur: Any, tmp_path: Path, command: str) -> None:
    done = amur(command, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is not an amur data directory" in done.stderr
    assert list(tmp_path.iterdir()) == []
