"""Stores that are not whole, or newer, and limits that are too low: refused before any harm."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest
from awscrt.checksums import crc64nvme

from amur.meta import keys
from amur.serve import checks
from amur.serve.layout import Layout, Refusal
from amur.serve.testing import ServedAmur, free_port


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, connect: Callable[[ServedAmur], Any]) -> Path:
    """A stopped server's directory with an object in a pack."""
    with ServedAmur(tmp_path_factory.mktemp("stored") / "data", workers=1) as server:
        s3 = connect(server)
        s3.create_bucket(Bucket="box")
        s3.put_object(Bucket="box", Key="k", Body=b"x" * 20_000)
    return server.directory


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "data"))


@pytest.fixture
def refused(amur: Any, copy: Path) -> Callable[..., str]:
    def run(*arguments: str | Path) -> str:
        done = amur("serve", copy, "--listen", f"127.0.0.1:{free_port()}", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        line: str = done.stderr
        return line

    return run


def test_metadata_gone(copy: Path, refused: Callable[..., str]) -> None:
    (copy / "meta" / "data.mdb").unlink()
    before = sorted(copy.rglob("*"))
    assert "mount its disk or restore" in refused()
    assert sorted(copy.rglob("*")) == before


def test_data_gone(copy: Path, refused: Callable[..., str]) -> None:
    shutil.rmtree(copy / "data")
    assert "mount its disk or restore" in refused()


def test_identity_gone(copy: Path, refused: Callable[..., str], amur: Any, tmp_path: Path) -> None:
    (copy / "amur.json").unlink()
    assert "amur.json is missing" in refused("--region", "fra")
    assert "it has no amur.json" in amur("restore", copy, tmp_path / "new").stderr


def test_metadata_truncated(copy: Path, refused: Callable[..., str]) -> None:
    (copy / "meta" / "data.mdb").write_bytes(b"")
    assert "restore a backup" in refused()


def test_first_bytes_of_the_metadata_flipped(copy: Path, refused: Callable[..., str]) -> None:
    with (copy / "meta" / "data.mdb").open("r+b") as file:
        start = bytes(b ^ 0xFF for b in file.read(8192))
        file.seek(0)
        file.write(start)
    assert "restore a backup" in refused()


def test_one_damaged_entry_does_not_keep_it_from_starting(copy: Path) -> None:
    metadata = copy / "meta" / "data.mdb"
    content = metadata.read_bytes()
    assert b"box" in content
    metadata.write_bytes(content.replace(b"box", b"bOx"))
    server = ServedAmur(copy, workers=1)
    server.spawn()
    try:
        deadline = time.monotonic() + 15
        while "amur serves" not in server.output():
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.05)
    finally:
        server.kill()


def test_newer_record(copy: Path, refused: Callable[..., str]) -> None:
    with lmdb.open(str(copy / "meta"), max_dbs=4, map_size=1 << 30) as env:
        with env.begin() as txn:
            names = [name for name, _ in txn.cursor() if not name.startswith(b"amur-")]
        tables = [env.open_db(name) for name in names]
        changed = 0
        with env.begin(write=True) as txn:
            for table in tables:
                for key, value in list(txn.cursor(table)):
                    if bytes(key).startswith(keys.BUCKETS):
                        newer = value[:8] + b"\x63" + value[9:-8]
                        seal = crc64nvme(newer, crc64nvme(key)).to_bytes(8, "little")
                        txn.put(key, newer + seal, db=table)
                        changed += 1
    assert changed == 1
    assert "newer amur (record format 99" in refused()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"access_key_id": 5}',
        '{"access_key_id": "a"}',
        '{"access_key_id": "a", "secret_access_key": "short"}',
    ],
)
def test_root_key_damaged(tmp_path: Path, content: str) -> None:
    layout = Layout(tmp_path)
    layout.root_key.write_text(content)
    layout.root_key.chmod(0o600)
    with pytest.raises(Refusal, match="restore it"):
        layout.take_root_key("", "")


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="is a file"):
        Layout(tmp_path / "file").create()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_directory_of_another_user(copy: Path) -> None:
    copy.chmod(0o700)
    for parent in copy.parents[:3]:  # pytest's own, below the shared temporary directory
        parent.chmod(0o755)
    child = os.fork()
    if child == 0:
        told = 1
        try:
            os.setuid(65534)
            Layout(copy).create()
        except Refusal as error:
            told = 0 if "make it writable for this user" in str(error) else 2
        finally:
            os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    with pytest.raises(Refusal, match="LimitNOFILE"):
        checks.open_files()


def test_tls_files_that_do_not_fit(tmp_path: Path) -> None:
    def made(name: str, *protection: str) -> tuple[Path, Path]:
        cert, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", *protection, "-subj", "/CN=x",
             "-out", cert, "-keyout", key], check=True, capture_output=True,
        )  # fmt: skip
        return cert, key

    (cert, key), (_, other) = made("a", "-nodes"), made("b", "-nodes")
    checks.tls(cert, key)
    with pytest.raises(Refusal, match="is not the key of"):
        checks.tls(cert, other)
    with pytest.raises(Refusal, match="without a passphrase"):
        checks.tls(*made("c", "-passout", "pass:abcd"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["serve", "--bogus"],
        ["serve", "--workers", "x"],
        ["backup"],
        ["serve", "a", "b"],
    ],
)
def test_usage(amur: Any, arguments: list[str]) -> None:
    done = amur(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("amur: ")
    assert done.stderr.endswith(" --help\n")


def test_keys_in_the_environment_are_json(amur: Any) -> None:
    done = amur("serve", AMUR_ACCESS_KEYS="nonsense")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "AMUR_ACCESS_KEYS is not JSON" in done.stderr
