"""The `aws` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

AWS = str(Path(__file__).parents[2] / ".venv/aws/bin/aws")


def test_sync_there_and_back(
    s3: Any, bucket: str, run: Any, small_files: Path, same_tree: Any, tmp_path: Path
) -> None:
    there = run(AWS, "s3", "sync", "--no-progress", small_files, f"s3://{bucket}/x").stdout
    assert there.count("upload:") == sum(path.is_file() for path in small_files.rglob("*"))
    assert run(AWS, "s3", "sync", small_files, f"s3://{bucket}/x").stdout == ""
    back = tmp_path / "back"
    run(AWS, "s3", "sync", "--no-progress", f"s3://{bucket}/x", back)
    same_tree(small_files, back)
    assert run(AWS, "s3", "sync", f"s3://{bucket}/x", back).stdout == ""
    run(AWS, "s3", "rm", "--recursive", "--quiet", f"s3://{bucket}/x")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_big_file(bucket: str, run: Any, big_file: Path, tmp_path: Path) -> None:
    run(AWS, "s3", "cp", "--no-progress", big_file, f"s3://{bucket}/big")
    run(AWS, "s3", "mv", "--no-progress", f"s3://{bucket}/big", f"s3://{bucket}/moved")
    run(AWS, "s3", "cp", "--no-progress", f"s3://{bucket}/moved", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big_file.read_bytes()
    listed = run(AWS, "s3", "ls", f"s3://{bucket}").stdout
    assert listed.split()[-2:] == [str(big_file.stat().st_size), "moved"]


def test_the_three_lines(run: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello")
    run(AWS, "s3", "mb", "s3://the-three-lines")
    run(AWS, "s3", "cp", tmp_path / "README.md", "s3://the-three-lines/")
    link = run(AWS, "s3", "presign", "s3://the-three-lines/README.md").stdout.strip()
    assert run("curl", "-sS", "--fail", link).stdout == "hello"
    run(AWS, "s3", "rb", "--force", "s3://the-three-lines")
    assert "the-three-lines" not in run(AWS, "s3", "ls").stdout


def test_s3api(bucket: str, run: Any, tmp_path: Path) -> None:
    tags = "TagSet=[{Key=team,Value=a b}]"
    run(AWS, "s3api", "put-bucket-tagging", "--bucket", bucket, "--tagging", tags)
    assert "a b" in run(AWS, "s3api", "get-bucket-tagging", "--bucket", bucket).stdout
    body = tmp_path / "b"
    body.write_bytes(b"x" * 100)
    run(AWS, "s3api", "put-object", "--bucket", bucket, "--key", "k", "--body", body,
        "--checksum-algorithm", "SHA256", "--metadata", "a=b")  # fmt: skip
    told = run(AWS, "s3api", "get-object-attributes", "--bucket", bucket, "--key", "k",
               "--object-attributes", "ObjectSize", "Checksum", "ETag").stdout  # fmt: skip
    assert '"ObjectSize": 100' in told
    assert "ChecksumSHA256" in told
