"""S13: whatever keys a bundle is asked for, its archive harms nobody who unpacks it.

What tar, bsdtar and unzip make of single names is tested with the encoders; here the whole way.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from amur.objects.store import Store

Client = Any  # of tests/gateway/conftest.py
ERRORS = "__bundle_errors.json"

EVIL = [
    "/etc/passwd", "//etc/passwd", "../up", "a/../../up", "a/..", "..", ".", "./a", "a/./b",
    "nul\x00.jpg", "a\nb", "a\rb", "\x1b[2Jterminal", "a\\..\\..\\b", "C:\\windows", "c:evil",
    ERRORS, f"{ERRORS}/", f"{ERRORS}/x", f"./{ERRORS}", ERRORS.upper(), f"a/../{ERRORS}",
    "folder-with-bytes/", "...", ".. /up",
]  # fmt: skip
GOOD = [
    "a/b/c.jpg", "a b", "-rf", "--checkpoint-action=exec=sh", "é/\U0001f600", "x" * 300, "p//q",
    f"a/{ERRORS}", "a..b/..c", "$(id)", "`id`", "'\"", "x/" + "y" * 200, "2026-01-01T00:00",
    "é" * 400,
]  # fmt: skip


@pytest.fixture
async def everything(store: Store) -> list[str]:
    """All of these exist; good and evil keys take turns."""
    await store.create_bucket("bkt")
    keys = [key for at in range(len(EVIL)) for key in [EVIL[at], *GOOD[at : at + 1]]]
    for key in keys:
        await store.put("bkt", key, b'{"skipped":[]}')
    return keys


def listing(program: str, archive: bytes) -> list[str]:
    done = subprocess.run([program, "-tf", "-"], input=archive, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def files_below(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


def asked(keys: list[str]) -> bytes:
    return json.dumps({"keys": keys}).encode()


async def test_only_harmless_names_come_and_the_rest_is_told(
    client: Client, everything: list[str]
) -> None:
    answer = await client("POST", "/bkt?bundle", asked(everything))
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        assert all(member.isreg() for member in tar)
        names = tar.getnames()
        document = tar.extractfile(names[-1])
        assert document is not None
        told = json.load(document)["skipped"]
    assert [name for name in names if name in GOOD] == [key for key in everything if key in GOOD]
    assert names[len(GOOD) :] == [ERRORS]
    assert [each["key"] for each in told] == EVIL
    assert all(each["reason"].endswith(("Name", "WithBody")) for each in told)
    zipped = await client(
        "POST", "/bkt?bundle", asked(everything), {"x-tigris-bundle-format": "zip"}
    )
    with zipfile.ZipFile(io.BytesIO(zipped.body)) as archived:
        assert archived.namelist() == names


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
async def test_programs_read_the_same_names(
    client: Client, everything: list[str], program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    plain = [key for key in everything if key not in GOOD or (key.isascii() and "'" not in key)]
    answer = await client("POST", "/bkt?bundle", asked(plain))
    listed = listing(program, answer.body)
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        assert listed == tar.getnames()


async def test_unpacking_stays_inside(
    client: Client, everything: list[str], tmp_path: Path
) -> None:
    """Even by an extractor that trusts the archive; names too long for a file apart."""
    short = [key for key in everything if all(len(part.encode()) < 256 for part in key.split("/"))]
    answer = await client("POST", "/bkt?bundle", asked(short))
    inside = tmp_path / "a" / "b" / "inside"
    inside.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        tar.extractall(inside, filter="fully_trusted")
    found = files_below(tmp_path)
    assert len(found) == len([key for key in short if key in GOOD]) + 1
    assert all(path.is_relative_to(inside) for path in found)


async def test_no_object_passes_for_the_document_of_errors(
    client: Client, everything: list[str]
) -> None:
    spoofs = [key for key in EVIL if ERRORS in key.lower()]
    for wanted in ([ERRORS], ["-rf", *spoofs], [*spoofs, "missing"]):
        answer = await client("POST", "/bkt?bundle", asked(wanted))
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            last = tar.getmembers()[-1]
            document = tar.extractfile(last)
            assert document is not None
            assert last.name == ERRORS
            told = json.load(document)["skipped"]
        assert [each["key"] for each in told] == [key for key in wanted if key != "-rf"]


async def test_no_key_leaves_its_bucket(client: Client, store: Store) -> None:
    """As archive entries did elsewhere (RustFS GHSA-f4vq, rclone CVE-2026-59732)."""
    for name in ("bkt", "other"):
        await store.create_bucket(name, owner="alice" if name == "bkt" else "bob")
    await store.put("other", "secret", b"bob's")
    wanted = ["../other/secret", "/other/secret", "other/secret", "..%2fother%2fsecret"]
    answer = await client.as_("alice")("POST", "/bkt?bundle", asked(wanted))
    assert answer.headers["x-tigris-bundle-count"] == "0"
    assert b"bob's" not in answer.body
