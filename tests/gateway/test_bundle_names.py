"""Keys that may not be member names, and what extractors do with the ones that may."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.gateway.bundle.names import refusal
from amur.gateway.bundle.tar import TarEncoder
from amur.gateway.bundle.zip import ZipEncoder
from tests.support import archives


@pytest.mark.parametrize(
    ("reason", "names"),
    [
        ("EmptyName", [""]),
        ("UnsafeName", ["/", "/etc/passwd", "//a"]),
        ("UnsafeName", ["..", "../a", "a/..", "a/../b", "a/../../b", "../"]),
        ("UnsafeName", [".", "./a", "a/.", "a/./b", "a/./"]),
        ("UnsafeName", [".. /a", "a/. ", "...", "a/.../b", ". ./a"]),
        ("UnsafeName", ["\\", "..\\a", "a\\b", "\\\\host\\share"]),
        ("UnsafeName", ["C:", "c:a", "C:/a", "z:/"]),
        ("ControlCharacterInName", ["a\0b", "\0", "a\n", "\na", "a\rb", "a\tb", "\x1b[2J", "\x7f"]),
        ("ControlCharacterInName", ["\x80", "a\x9b2J", "a\ud800"]),
        ("ReservedName", ["__bundle_errors.json", "__BUNDLE_errors.json"]),
        (
            "ReservedName",
            ["__bundle_errors.json/", "__bundle_errors.json/a", "__bundle_error\u017f.json"],
        ),
    ],
)
def test_refused(reason: str, names: list[str]) -> None:
    assert {name: refusal(name) for name in names} == dict.fromkeys(names, reason)


@pytest.mark.parametrize(
    "name",
    [
        "a", "dataset/train/img_00001.jpg", "a//b", "a/", "..a", "a..", "a/..b", ".hidden",
        "a/.hidden/b", "2026-01-01T00:00:00Z", "ab:c", "a/C:", "é:", "日本/語", "a b", " a", "-rf",
        "~", "$HOME", "*", "CON", "x" * 1024, "a/__bundle_errors.json", "__bundle_errors.json5",
    ],
)  # fmt: skip
def test_accepted(name: str) -> None:
    assert refusal(name) == ""


def test_only_an_empty_object_can_be_a_directory() -> None:
    assert refusal("folder/", 0) == ""
    assert refusal("folder/", 1) == "DirectoryWithBody"
    assert refusal("folder/a", 1) == ""


@given(st.text(st.sampled_from("./ \\:aC\0\n\x85é_")))
def test_refusal_is_no_weaker_than_its_definition(name: str) -> None:
    """Against a slow definition without short cuts."""
    segments = name.split("/")
    windows = [segment.rstrip(". ") for segment in segments if segment[:1] == "."]
    unsafe = (
        not name
        or name.startswith("/")
        or any(bad in name for bad in "\\\0\n\x85")
        or "" in windows
        or (name[1:2] == ":" and name[0] in "aC")
    )
    assert bool(refusal(name)) == unsafe


PIECES = ["..", ".", "", "a", ".. ", "C:", "\\", "..\\", "a\n", "a\0..", "~", "-", "...", "é.."]

Extract = Callable[[bytes, Path], None]


def gnu_tar(stream: bytes, into: Path) -> None:
    archives.run("tar", "-xPf", "-", cwd=into, stdin=stream, check=False)


def bsdtar(stream: bytes, into: Path) -> None:
    archives.run("bsdtar", "-xPf", "-", cwd=into, stdin=stream, check=False)


def unzip(stream: bytes, into: Path) -> None:
    archive = into.parent / "archive.zip"
    archive.write_bytes(stream)
    archives.run("unzip", "-:", "-qqo", archive, cwd=into, check=False)
    archive.unlink()


def python_tar(rule: str) -> Extract:
    def extract(stream: bytes, into: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(stream), mode="r|") as tar:
            # Debian 12's Python has no filters, and takes no argument for one
            tar.extraction_filter = getattr(tarfile, f"{rule}_filter", None)
            for member in tar:
                with suppress(OSError):  # a file where a directory is needed
                    tar.extract(member, into)

    return extract


def python_zip(stream: bytes, into: Path) -> None:
    with ZipFile(io.BytesIO(stream)) as read:
        for info in read.infolist():
            with suppress(OSError):
                read.extract(info, into)


@pytest.mark.parametrize(
    ("encoder", "extract"),
    [
        (TarEncoder, gnu_tar),
        (TarEncoder, bsdtar),
        (TarEncoder, python_tar("fully_trusted")),
        (TarEncoder, python_tar("data")),
        (ZipEncoder, unzip),
        (ZipEncoder, bsdtar),
        (ZipEncoder, python_zip),
    ],
    ids=["tar", "bsdtar", "tarfile", "tarfile-data", "unzip", "bsdtar-zip", "zipfile"],
)
def test_nothing_is_written_outside(
    tmp_path: Path, encoder: type[archives.Encoder], extract: Extract
) -> None:
    """Readers run with their own guards off, where they have such a switch."""
    into = tmp_path / "above" / "into"
    into.mkdir(parents=True)
    (tmp_path / "canary").write_bytes(b"alive")
    names = ["/".join(pieces) for n in (1, 2, 3) for pieces in product(PIECES, repeat=n)]
    names += [f"{tmp_path}/escaped", f"a/../../{tmp_path}/escaped", "../../canary"]
    accepted = [name for name in names if not refusal(name, not name.endswith("/"))]
    assert len(accepted) > 100
    extract(
        archives.encode(
            encoder(), [(name, b"" if name.endswith("/") else b"x") for name in accepted]
        ),
        into,
    )
    assert (into / "a").exists()
    outside = {p for p in tmp_path.rglob("*") if into not in p.parents}
    assert outside == {tmp_path / "canary", tmp_path / "above", into}
    assert (tmp_path / "canary").read_bytes() == b"alive"
