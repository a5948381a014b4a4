"""`amur cp`: what arrives, what is left alone, what goes on where it was cut off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from amur.cli import download, upload
from amur.limits import MIB

LARGE = bytes(range(256)) * (4096 * 12)  # 12 MiB: three parts of 5 MiB
PART = ("--part-size", "5")


def content(s3: Any, bucket: str, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def keys(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def told(done: Any) -> dict[str, int]:
    answer = json.loads(done.stdout)
    return {name: answer[name] for name in ("count", "skipped", "failed")}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("a.txt", "sub/b.html", "sub/deep/c", "ä b"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "empty").mkdir()
    return root


# --- one file ---


@pytest.mark.parametrize(
    ("target", "key"), [("", "f.txt"), ("/", "f.txt"), ("/dir/", "dir/f.txt"), ("/dir", "dir")]
)
def test_up(cli: Any, s3: Any, bucket: str, tmp_path: Path, target: str, key: str) -> None:
    (tmp_path / "f.txt").write_text("hello")
    cli("cp", "f.txt", f"t3://{bucket}{target}")
    assert content(s3, bucket, key) == b"hello"
    assert s3.head_object(Bucket=bucket, Key=key)["ContentType"] == "text/plain"


def test_down(cli: Any, s3: Any, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="dir/k", Body=b"hello")
    modified = s3.head_object(Bucket=bucket, Key="dir/k")["LastModified"].timestamp()
    cli("cp", f"s3://{bucket}/dir/k", ".")
    cli("cp", f"tigris://{bucket}/dir/k", "new/name")
    for name in ("k", "new/name"):
        assert (tmp_path / name).read_bytes() == b"hello"
        assert (tmp_path / name).stat().st_mtime == modified


def test_pipes(cli: Any, s3: Any, bucket: str) -> None:
    cli("cp", "-", f"t3://{bucket}/piped.txt", stdin=LARGE, code=0)
    assert content(s3, bucket, "piped.txt") == LARGE
    assert cli("cp", f"t3://{bucket}/piped.txt", "-").stdout_bytes == LARGE


def test_options(cli: Any, s3: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "f.tar.gz").write_bytes(b"x")
    cli("cp", "f.tar.gz", f"t3://{bucket}/")
    assert s3.head_object(Bucket=bucket, Key="f.tar.gz")["ContentType"] == "application/gzip"
    cli("cp", "f.tar.gz", f"t3://{bucket}/", "--content-type", "a/b")
    assert s3.head_object(Bucket=bucket, Key="f.tar.gz")["ContentType"] == "a/b"
    assert "public or private" in cli("cp", "f", f"t3://{bucket}", "--access", "x", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "b"), "must be remote"),
        (("none", "t3://{bucket}"), "no such file"),
        (("tree", "t3://{bucket}"), "--recursive"),
        (("t3://{bucket}/none", "."), "no such object"),
        (("t3://{bucket}", "."), "--recursive"),
        (("-r", "t3://{bucket}/none", "x"), "there is nothing"),
        (("tree/a.txt", "t3://no-such-bucket/x"), "no such bucket"),
        (("-r", "tree", "t3://no-such-bucket/x"), "no such bucket"),
    ],
)
def test_refusals(cli: Any, bucket: str, tree: Path, arguments: tuple[str, ...], said: str) -> None:
    done = cli("cp", *(each.format(bucket=bucket) for each in arguments), code=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


# --- folders ---


def test_there_and_back(cli: Any, s3: Any, bucket: str, tree: Path, tmp_path: Path) -> None:
    assert told(cli("cp", "-r", "tree", f"t3://{bucket}/x", "--json"))["count"] == 4
    assert keys(s3, bucket) == ["x/a.txt", "x/sub/b.html", "x/sub/deep/c", "x/ä b"]
    s3.put_object(Bucket=bucket, Key="x/marker/", Body=b"")
    s3.put_object(Bucket=bucket, Key="x-other", Body=b"")
    cli("cp", "-r", f"t3://{bucket}/x", "back")
    found = {
        path.relative_to(tmp_path / "back").as_posix(): path.read_text()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert found == {name: name for name in ("a.txt", "sub/b.html", "sub/deep/c", "ä b")}
    cli("cp", "-r", f"t3://{bucket}/x/sub", f"t3://{bucket}/y")
    assert content(s3, bucket, "y/deep/c") == b"sub/deep/c"


def test_names_cannot_lead_out(cli: Any, s3: Any, bucket: str, tmp_path: Path) -> None:
    for key in ("x/../evil", "x//etc/evil", "x/good"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"1")
    done = cli("cp", "-r", f"t3://{bucket}/x", "inner/target", "--json", code=1)
    assert told(done) == {"count": 1, "skipped": 0, "failed": 2}
    assert done.stderr.count("no file can safely be named so") == 2
    files = [path for path in (tmp_path / "inner").rglob("*") if path.is_file()]
    assert files == [tmp_path / "inner/target/good"]


def test_one_failure_does_not_stop_the_others(
    cli: Any, s3: Any, bucket: str, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "back" / "x").mkdir(parents=True)  # a directory is where a file should go
    for key in ("x", "y", "z"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"1")
    done = cli("cp", "-r", f"t3://{bucket}", "back", "--json", code=1)
    assert told(done) == {"count": 2, "skipped": 0, "failed": 1}
    assert f"t3://{bucket}/x: " in done.stderr
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"x", "y", "z"}


def test_resume_leaves_alone_what_is_there(
    cli: Any, s3: Any, bucket: str, tree: Path, tmp_path: Path
) -> None:
    (tree / "large").write_bytes(LARGE)
    up = ("cp", "-r", "tree", f"t3://{bucket}", "--resume", "--json", *PART)
    down = ("cp", "-r", f"t3://{bucket}", "back", "--resume", "--json", *PART)
    for command in (up, down):
        assert told(cli(*command)) == {"count": 5, "skipped": 0, "failed": 0}
        assert told(cli(*command)) == {"count": 0, "skipped": 5, "failed": 0}
    (tree / "a.txt").write_text("A.TXT")  # same size; older than the object
    os.utime(tree / "a.txt", (1, 1))
    assert told(cli(*up))["count"] == 1
    assert content(s3, bucket, "a.txt") == b"A.TXT"
    assert told(cli(*down))["count"] == 1
    assert (tmp_path / "back" / "a.txt").read_text() == "A.TXT"


def test_resume_between_buckets(cli: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x/k", Body=b"1")
    command = ("cp", "-r", f"t3://{bucket}/x", f"t3://{bucket}/y", "--resume", "--json")
    assert told(cli(*command))["count"] == 1
    assert told(cli(*command))["skipped"] == 1


# --- large files ---


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the pieces that were read for sending."""
    offsets: list[int] = []
    piece = upload._piece

    def noted(path: Path, start: int, size: int, workers: Any) -> Any:
        offsets.append(start)
        return piece(path, start, size, workers)

    monkeypatch.setattr(upload, "_piece", noted)
    return offsets


def begin(s3: Any, bucket: str, parts: dict[int, bytes], **given: str) -> str:
    """An upload that was cut off after these parts."""
    kind = given or {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    started = s3.create_multipart_upload(Bucket=bucket, Key="large", **kind)["UploadId"]
    for number, body in parts.items():
        s3.upload_part(
            Bucket=bucket, Key="large", UploadId=started, PartNumber=number, Body=body,
            ChecksumAlgorithm=kind["ChecksumAlgorithm"],
        )  # fmt: skip
    return str(started)


def uploads(s3: Any, bucket: str) -> list[str]:
    listed = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    return [each["UploadId"] for each in listed]


def test_parts(cli: Any, s3: Any, bucket: str, large: Path, sent: list[int]) -> None:
    cli("cp", "large", f"t3://{bucket}", *PART)
    assert sorted(sent) == [0, 5 * MIB, 10 * MIB]
    assert content(s3, bucket, "large") == LARGE
    head = s3.head_object(Bucket=bucket, Key="large", ChecksumMode="ENABLED")
    assert (head["ChecksumType"], head["ETag"][-3:]) == ("FULL_OBJECT", '-3"')
    cli("cp", f"t3://{bucket}/large", "back", *PART)
    assert (large.parent / "back").read_bytes() == LARGE
    assert [each.name for each in large.parent.iterdir() if "amur" in each.name] == []


def test_an_upload_goes_on(cli: Any, s3: Any, bucket: str, large: Path, sent: list[int]) -> None:
    begin(s3, bucket, {1: LARGE[: 5 * MIB], 2: b"of another file" * 400_000})
    cli("cp", "large", f"t3://{bucket}", *PART)
    assert sorted(sent) == [5 * MIB, 10 * MIB]  # the part that differs is sent again
    assert content(s3, bucket, "large") == LARGE
    assert uploads(s3, bucket) == []


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({1: LARGE[: 5 * MIB]}, {"ChecksumAlgorithm": "CRC32"}),  # of another program
        ({4: LARGE[: 5 * MIB]}, {}),  # of another file
    ],
)
def test_an_upload_of_others_is_left_alone(
    cli: Any, s3: Any, bucket: str, large: Path, sent: list[int],
    parts: dict[int, bytes], kind: dict[str, str],
) -> None:  # fmt: skip
    started = begin(s3, bucket, parts, **kind)
    cli("cp", "large", f"t3://{bucket}", *PART)
    assert len(sent) == 3
    assert content(s3, bucket, "large") == LARGE
    assert uploads(s3, bucket) == [started]


def test_a_file_that_changes_is_not_stored(
    cli: Any, s3: Any, bucket: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = upload._piece

    def changed(path: Path, start: int, size: int, workers: Any) -> Any:
        if start:
            os.utime(large, (1, 1))
        return piece(path, start, size, workers)

    monkeypatch.setattr(upload, "_piece", changed)
    assert "has changed" in cli("cp", "large", f"t3://{bucket}", *PART, code=1).stderr
    assert keys(s3, bucket) == []


def cut_download(s3: Any, bucket: str, large: Path, first: bytes) -> Path:
    """What a run left that was cut off behind the first of three ranges."""
    s3.upload_file(str(large), bucket, "large")
    tag = s3.head_object(Bucket=bucket, Key="large")["ETag"]
    stem = f".back.{''.join(each for each in tag if each.isalnum())}.5"
    partial = large.parent / f"{stem}.amur-partial"
    partial.write_bytes(first)
    (large.parent / f"{stem}.amur-parts").write_bytes(b"0\n1")  # the second was being written
    return partial


def test_a_download_goes_on(
    cli: Any, s3: Any, bucket: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_download(s3, bucket, large, LARGE[: 5 * MIB + 17])
    fetched = []
    fetch = download._Partial._fetch

    def noted(self: Any, descriptor: int, start: int, size: int, workers: Any) -> None:
        fetched.append(start)
        fetch(self, descriptor, start, size, workers)

    monkeypatch.setattr(download._Partial, "_fetch", noted)
    cli("cp", f"t3://{bucket}/large", "back", *PART)
    assert sorted(fetched) == [5 * MIB, 10 * MIB]
    assert (large.parent / "back").read_bytes() == LARGE
    assert [each.name for each in large.parent.iterdir() if "amur" in each.name] == []


def test_a_damaged_rest_is_noticed(cli: Any, s3: Any, bucket: str, large: Path) -> None:
    cli("cp", "large", f"t3://{bucket}", *PART)
    tag = s3.head_object(Bucket=bucket, Key="large")["ETag"]
    stem = f".back.{''.join(each for each in tag if each.isalnum())}.5"
    (large.parent / f"{stem}.amur-partial").write_bytes(b"x" * 5 * MIB)
    (large.parent / f"{stem}.amur-parts").write_bytes(b"0\n")
    done = cli("cp", f"t3://{bucket}/large", "back", *PART, code=1)
    assert "does not fit the object's checksum" in done.stderr
    assert not (large.parent / "back").exists()
    cli("cp", f"t3://{bucket}/large", "back", *PART)
    assert (large.parent / "back").read_bytes() == LARGE


def test_two_versions_never_meet(
    cli: Any, s3: Any, bucket: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_download(s3, bucket, large, LARGE[: 5 * MIB])
    fetch = download._Partial._fetch

    def overwritten(self: Any, descriptor: int, start: int, size: int, workers: Any) -> None:
        s3.put_object(Bucket=bucket, Key="large", Body=LARGE[::-1])
        fetch(self, descriptor, start, size, workers)

    monkeypatch.setattr(download._Partial, "_fetch", overwritten)
    done = cli("cp", f"t3://{bucket}/large", "back", *PART, code=1)
    assert "was changed while it was copied" in done.stderr
    assert not (large.parent / "back").exists()
    monkeypatch.setattr(download._Partial, "_fetch", fetch)
    cli("cp", f"t3://{bucket}/large", "back", *PART)
    assert (large.parent / "back").read_bytes() == LARGE[::-1]


def test_long_names_that_differ_at_their_end(
    cli: Any, s3: Any, bucket: str, tmp_path: Path
) -> None:
    stored = {f"{'n' * 250}{at:02}": str(at) * 3000 for at in range(20)}
    stored |= {f"{'ä' * 120}{at}": str(at) for at in range(5)}
    for key, body in stored.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    cli("cp", "-r", f"t3://{bucket}", "back")
    assert {path.name: path.read_text() for path in (tmp_path / "back").iterdir()} == stored


def test_a_file_whose_name_is_no_key_is_told(
    cli: Any, s3: Any, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "ok").write_text("x")
    (tmp_path / "tree" / "bad\udcff").write_text("y")
    done = cli("cp", "-r", "tree", f"t3://{bucket}", code=1)
    assert "bad\\udcff: a name that is not UTF-8 can't be a key" in done.stderr
    assert keys(s3, bucket) == ["ok"]


def test_a_folders_marker_with_a_body_is_told(cli: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/", Body=b"lost?")
    s3.put_object(Bucket=bucket, Key="empty/", Body=b"")
    s3.put_object(Bucket=bucket, Key="file", Body=b"x")
    done = cli("cp", "-r", f"t3://{bucket}", "back", code=1)
    assert f"t3://{bucket}/dir/: no file can safely be named so" in done.stderr
    assert "copied 1 object" in done.stdout
    assert done.stderr.count("\n") == 1


def test_part_size_grows_with_the_file() -> None:
    settings = upload.Settings(5 * MIB)
    assert settings.part_bytes_of(50_000 * MIB) == 5 * MIB
    assert settings.part_bytes_of(50_001 * MIB) == 6 * MIB
    assert settings.part_bytes_of(5 * 1024**4) * 10_000 >= 5 * 1024**4
