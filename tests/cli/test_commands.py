"""info, fsck, scrub, backup and restore against a server that goes on serving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from amur.serve.testing import ServedAmur


def test_help_and_version(amur: Any) -> None:
    assert "serve" in amur("--help").stdout
    assert amur("version").stdout.startswith("amur ")


def test_info(server: ServedAmur, amur: Any) -> None:
    told = amur("info", server.directory).stdout
    row = next(line for line in told.splitlines() if " box " in line)
    assert " 80 " in row  # objects
    assert "region local, 1 buckets" in told


def test_fsck_and_scrub(server: ServedAmur, amur: Any) -> None:
    done = amur("fsck", server.directory)
    assert done.returncode == 0, done.stdout
    done = amur("scrub", server.directory)
    assert done.returncode == 0
    assert "0 damaged" in done.stdout
    done = amur("fsck", "--repair", server.directory)
    assert "another amur" in done.stderr


def test_backup_and_restore(
    server: ServedAmur, amur: Any, tmp_path: Path, connect: Callable[[ServedAmur], Any]
) -> None:
    done = amur("backup", "--data", server.directory, tmp_path / "backup")
    assert done.returncode == 0, done.stderr
    connect(server).put_object(Bucket="box", Key="after", Body=b"the backup")
    done = amur("restore", tmp_path / "backup", tmp_path / "restored")
    assert done.returncode == 0, done.stderr
    assert amur("restore", tmp_path / "backup", tmp_path / "restored").returncode == 1
    assert amur("fsck", tmp_path / "restored").returncode == 0
    with ServedAmur(tmp_path / "restored") as restored:
        s3 = connect(restored)
        listed = s3.list_objects_v2(Bucket="box")
        assert listed["KeyCount"] == 80
        for n in range(39):
            assert (
                s3.get_object(Bucket="box", Key=f"pack-{n}")["Body"].read() == bytes([n]) * 20_000
            )
        assert s3.get_object(Bucket="box", Key="block")["Body"].read() == bytes(range(256)) * 20_000


def test_damage_is_found(tmp_path: Path, amur: Any, connect: Callable[[ServedAmur], Any]) -> None:
    with ServedAmur(tmp_path / "data", workers=1) as server:
        s3 = connect(server)
        s3.create_bucket(Bucket="box")
        s3.put_object(Bucket="box", Key="k", Body=b"x" * 100_000)
    pack = max((tmp_path / "data" / "data").glob("??/*"), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[50_000] ^= 1
    pack.write_bytes(content)
    done = amur("scrub", server.directory)
    assert (done.returncode, "1 damaged" in done.stdout) == (1, True)
    done = amur("fsck", server.directory)
    assert done.returncode == 1
    assert "bytes-damaged" in done.stdout
    assert amur("fsck", "--repair", server.directory).returncode == 1
    assert amur("fsck", "--repair", "--accept-loss", server.directory).returncode == 0
    assert amur("fsck", server.directory).returncode == 0
