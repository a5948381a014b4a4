"""Zip streams, as read by zipfile, unzip and bsdtar."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_STORED, ZipFile
from zlib import crc32

import pytest
from hypothesis import example, given, settings

from amur.gateway.bundle.zip import ZipEncoder
from tests.support import archives

EDGES = [
    ("a", b""),
    ("folder/", b""),
    ("/".join(["k" * 204] * 5), b"x" * 70_000),
    ("dossier é/日本", b"not a descriptor: PK\7\10"),
    (" leading and trailing ", b"PK\1\2PK\3\4PK\5\6"),
    ("-rf", b"x"),
    ("~root/%s", b"\0"),
]


@settings(max_examples=60)
@given(archives.MEMBERS)
@example(EDGES)
def test_readers_list_the_same(members: list[tuple[str, bytes]]) -> None:
    stream = archives.encode(ZipEncoder(), members)
    with ZipFile(io.BytesIO(stream)) as read:
        assert read.testzip() is None
        assert [(i.filename, read.read(i)) for i in read.infolist()] == members
        for info in read.infolist():
            mode = info.external_attr >> 16
            assert mode == (stat.S_IFDIR | 0o755 if info.is_dir() else stat.S_IFREG | 0o644)
            assert info.compress_type == ZIP_STORED
            assert info.date_time == (2023, 11, 14, 22, 13, 20)
    expected = [(name, len(body)) for name, body in members]
    with TemporaryDirectory() as directory:
        path = Path(directory) / "a.zip"
        path.write_bytes(stream)
        bsd = archives.run("bsdtar", "-tvf", path, cwd=path.parent)
        assert archives.listing(bsd, fields=8, size_field=4) == expected
        if members:  # unzip warns of an empty archive
            archives.run("unzip", "-tqq", path, cwd=path.parent)


@settings(max_examples=30)
@given(archives.MEMBERS_APART.filter(bool))
@example(EDGES)
def test_readers_extract_the_same(members: list[tuple[str, bytes]]) -> None:
    stream = archives.encode(ZipEncoder(), members)
    expected = archives.expected_tree(members)
    with TemporaryDirectory() as above:
        path = Path(above) / "a.zip"
        path.write_bytes(stream)
        for number, command in enumerate(("unzip -qqV ../a.zip", "bsdtar -xf ../a.zip")):
            into = Path(above) / str(number)
            into.mkdir()
            archives.run(*command.split(), cwd=into)
            assert archives.tree(into) == expected, command
        with ZipFile(path) as read:
            read.extractall(Path(above) / "python")
        assert archives.tree(Path(above) / "python") == expected


def test_a_streaming_reader_extracts_too(tmp_path: Path) -> None:
    archives.run("bsdtar", "-xf", "-", cwd=tmp_path, stdin=archives.encode(ZipEncoder(), EDGES))
    assert archives.tree(tmp_path) == archives.expected_tree(EDGES)


def test_exact_time_survives(tmp_path: Path) -> None:
    archives.run("bsdtar", "-xf", "-", cwd=tmp_path, stdin=archives.encode(ZipEncoder(), EDGES))
    assert (tmp_path / "a").stat().st_mtime == archives.MODIFIED_S


@pytest.mark.parametrize(
    ("modified_s", "date"),
    [
        (-1, (1980, 1, 1, 0, 0, 0)),
        (0, (1980, 1, 1, 0, 0, 0)),
        (2**31 - 1, (2038, 1, 19, 3, 14, 6)),
        (2**40, (2038, 1, 19, 3, 14, 6)),
    ],
)
def test_time_outside_of_the_field_is_cut(modified_s: int, date: tuple[int, ...]) -> None:
    encoder = ZipEncoder()
    stream = encoder.header("a", 0, modified_s) + encoder.trailer(0, 0) + encoder.end()
    with ZipFile(io.BytesIO(stream)) as read:
        assert read.infolist()[0].date_time == date


def test_directory_with_a_body_is_refused() -> None:
    with pytest.raises(ValueError, match="directory"):
        ZipEncoder().header("a/", 1, 0)


@pytest.mark.parametrize("size", [2**32 - 2, 2**32 - 1, 2**32, 2**33 + 5])
def test_huge_bodies_and_offsets(tmp_path: Path, size: int) -> None:
    path = tmp_path / "huge.zip"
    crc = crc32(b"\0\0\0")
    members = [("small", 3), ("huge", size), ("é/after", 3), ("huge again", size), ("last/", 0)]
    archives.write_sparse(
        ZipEncoder(), path, [(name, size, crc if size == 3 else 0) for name, size in members]
    )
    with ZipFile(path) as read:
        assert [(i.filename, i.file_size) for i in read.infolist()] == members
        assert read.read("é/after") == b"\0\0\0"
    bsd = archives.run("bsdtar", "-tvf", path, cwd=tmp_path)
    assert archives.listing(bsd, fields=8, size_field=4) == members
    if size != 2**32 - 1:  # unzip 6 takes a size of just that for one that it has yet to look up
        assert archives.run("unzip", "-p", path, "é/after", cwd=tmp_path) == b"\0\0\0"


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536, 70_000])
def test_many_members(tmp_path: Path, count: int) -> None:
    names = [str(number) for number in range(count)]
    stream = archives.encode(ZipEncoder(), [(name, b"") for name in names])
    with ZipFile(io.BytesIO(stream)) as read:
        assert read.namelist() == names
    path = tmp_path / "many.zip"
    path.write_bytes(stream)
    for command in ("bsdtar -tf", "unzip -Z1"):
        assert archives.run(*command.split(), path, cwd=tmp_path).decode().split() == names
