"""s3cmd, as Debian has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amur.serve.testing import ServedAmur


@pytest.fixture
def s3cmd(server: ServedAmur, run: Any, tmp_path: Path) -> Any:
    place = f"127.0.0.1:{server.port}"
    settings = tmp_path / "s3cfg"
    settings.write_text(
        f"[default]\naccess_key = {server.key_id}\nsecret_key = {server.secret}\n"
        f"host_base = {place}\nhost_bucket = {place}\nuse_https = False\n"
        "bucket_location = auto\n"
    )
    return lambda *command: run("s3cmd", "-c", settings, "--no-progress", *command)


def test_sync_there_and_back(
    bucket: str, s3cmd: Any, small_files: Path, same_tree: Any, tmp_path: Path
) -> None:
    s3cmd("sync", f"{small_files}/", f"s3://{bucket}/x/")
    again = s3cmd("sync", f"{small_files}/", f"s3://{bucket}/x/").stdout
    assert "upload:" not in again
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", f"s3://{bucket}/x/", f"{back}/")
    same_tree(small_files, back)


def test_big_file(bucket: str, s3cmd: Any, big_file: Path, tmp_path: Path) -> None:
    s3cmd("put", big_file, f"s3://{bucket}/big")
    assert s3cmd("ls", f"s3://{bucket}/").stdout.split()[-2:] == [
        str(big_file.stat().st_size),
        f"s3://{bucket}/big",
    ]
    s3cmd("get", f"s3://{bucket}/big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big_file.read_bytes()


def test_buckets_and_moves(s3cmd: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    s3cmd("mb", "s3://made-by-s3cmd")
    s3cmd("put", "--acl-public", tmp_path / "one", "s3://made-by-s3cmd/a b")
    s3cmd("mv", "s3://made-by-s3cmd/a b", "s3://made-by-s3cmd/c+d")
    assert "c+d" in s3cmd("ls", "s3://made-by-s3cmd").stdout
    s3cmd("info", "s3://made-by-s3cmd/c+d")
    s3cmd("del", "--recursive", "--force", "s3://made-by-s3cmd")
    s3cmd("rb", "s3://made-by-s3cmd")
