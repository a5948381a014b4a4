"""rclone, as Debian has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amur.serve.testing import ServedAmur


@pytest.fixture
def rclone(server: ServedAmur, run: Any) -> Any:
    settings = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_AMUR_TYPE": "s3",
        "RCLONE_CONFIG_AMUR_PROVIDER": "Other",
        "RCLONE_CONFIG_AMUR_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_AMUR_REGION": "auto",
        "RCLONE_CONFIG_AMUR_ACCESS_KEY_ID": server.key_id,
        "RCLONE_CONFIG_AMUR_SECRET_ACCESS_KEY": server.secret,
        "RCLONE_STATS_ONE_LINE": "true",
    }
    return lambda *command: run("rclone", *command, environment=settings)


def test_sync_there_and_back(
    bucket: str, rclone: Any, small_files: Path, same_tree: Any, tmp_path: Path
) -> None:
    there = f"amur:{bucket}/x"
    rclone("sync", "--transfers", "8", small_files, there)
    again = rclone("sync", "-v", "--checksum", small_files, there).stderr
    assert "Copied" not in again
    assert "Deleted" not in again
    rclone("check", small_files, there)
    rclone("sync", "--transfers", "8", there, tmp_path / "back")
    same_tree(small_files, tmp_path / "back")
    assert "Copied" not in rclone("sync", "-v", small_files, there).stderr
    rclone("purge", there)
    assert rclone("lsf", f"amur:{bucket}").stdout == ""


def test_big_file(bucket: str, rclone: Any, big_file: Path, tmp_path: Path) -> None:
    rclone("copyto", "--s3-upload-cutoff", "10M", big_file, f"amur:{bucket}/in parts")
    rclone("copyto", "--s3-upload-cutoff", "1G", big_file, f"amur:{bucket}/whole")
    for name in ("in parts", "whole"):
        rclone("copyto", f"amur:{bucket}/{name}", tmp_path / name)
        assert (tmp_path / name).read_bytes() == big_file.read_bytes()


def test_moves_within_the_store(bucket: str, rclone: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1" * 5000)
    rclone("copy", tmp_path / "one", f"amur:{bucket}/d")
    rclone("moveto", f"amur:{bucket}/d/one", f"amur:{bucket}/e/two")
    assert rclone("cat", f"amur:{bucket}/e/two").stdout == "1" * 5000
    assert sorted(rclone("lsf", "-R", f"amur:{bucket}").stdout.split()) == ["e/", "e/two"]
