"""Tar streams, as read by tarfile, GNU tar and bsdtar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings

from amur.gateway.bundle.tar import TarEncoder
from tests.support import archives

GNU = ("tar", "--quoting-style=literal", "--numeric-owner", "-f")
LONGEST = "/".join(["k" * 204] * 5)  # 1,024 bytes
EDGES = [
    ("n" * 100, b"name field full"),
    ("n" * 101, b"one too long, and no slash to split at"),
    ("p" * 155 + "/" + "n" * 100, b"prefix and name full"),
    ("p" * 156 + "/" + "n" * 99, b"prefix too long"),
    ("p" * 100 + "//" + "n" * 99, b"no name that starts with a slash"),
    ("d" * 99 + "/", b""),
    ("d" * 101 + "/", b""),
    ("p" * 60 + "/" + "d" * 90 + "/", b""),
    (LONGEST, b"x" * 512),
    ("é" * 50, b"x" * 511),
    ("dossier é/", b""),
    (" leading and trailing ", b""),
    ("-rf", b"x" * 513),
    ("a=b\u2028c", b"in a pax record"),
    ("~root/%s", b"\0" * 1024),
]


def tarfile_members(stream: bytes) -> list[tuple[str, int, bytes]]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(stream), mode="r|") as tar:
        for member in tar:
            assert member.isdir() or member.isreg()
            assert (member.uid, member.gid, member.mtime) == (0, 0, archives.MODIFIED_S)
            assert member.mode == (0o755 if member.isdir() else 0o644)
            file = tar.extractfile(member)
            name = member.name + ("/" if member.isdir() else "")
            found.append((name, member.size, file.read() if file else b""))
    return found


@settings(max_examples=60)
@given(archives.MEMBERS)
@example(EDGES)
def test_readers_list_the_same(members: list[tuple[str, bytes]]) -> None:
    stream = archives.encode(TarEncoder(), members)
    expected = [(name, len(body)) for name, body in members]
    assert tarfile_members(stream) == [(name, len(body), body) for name, body in members]
    gnu = archives.run(*GNU, "-", "-tv", cwd=Path("/"), stdin=stream)
    assert archives.listing(gnu, fields=5, size_field=2) == expected
    bsd = archives.run("bsdtar", "-tvf", "-", cwd=Path("/"), stdin=stream)
    assert archives.listing(bsd, fields=8, size_field=4) == expected


@settings(max_examples=30)
@given(archives.MEMBERS_APART)
@example(EDGES)
def test_readers_extract_the_same(members: list[tuple[str, bytes]]) -> None:
    stream = archives.encode(TarEncoder(), members)
    expected = archives.expected_tree(members)
    for command in ("tar -xf -", "bsdtar -xf -"):
        with TemporaryDirectory() as directory:
            archives.run(*command.split(), cwd=Path(directory), stdin=stream)
            assert archives.tree(Path(directory)) == expected, command
    with TemporaryDirectory() as directory:
        with tarfile.open(fileobj=io.BytesIO(stream), mode="r|") as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(directory)
        assert archives.tree(Path(directory)) == expected


def test_ustar_alone_where_it_suffices() -> None:
    tar = TarEncoder()
    for name in ("a", "n" * 100, "p" * 155 + "/" + "n" * 100, "folder/"):
        assert len(tar.header(name, 0, 0)) == 512
    assert len(tar.header("n" * 101, 0, 0)) == 512 + 512 + 512
    assert len(tar.header(LONGEST, 0, 0)) == 512 + 3 * 512 + 512


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_pax_record_counts_its_own_digits(digits: int) -> None:
    around = 10 ** (digits - 1) - len("10 path=\n") - digits
    for length in range(max(1, around - 4), around + 8):
        name = "é" + "n" * length
        assert tarfile_members(archives.encode(TarEncoder(), [(name, b"x")])) == [(name, 1, b"x")]


@pytest.mark.parametrize("modified_s", [-1, 0, 2**31, 8**11 - 1, 8**11])
def test_time_outside_of_the_field_is_cut(modified_s: int) -> None:
    for name in ("a", "é"):
        stream = TarEncoder().header(name, 0, modified_s) + TarEncoder().end()
        with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
            assert [m.mtime for m in tar] == [max(0, min(modified_s, 8**11 - 1))]


def test_directory_with_a_body_is_refused() -> None:
    with pytest.raises(ValueError, match="directory"):
        TarEncoder().header("a/", 1, 0)


@pytest.mark.parametrize("size", [8 * 2**30 - 1, 8 * 2**30, 5 * 2**40])
def test_huge_bodies(tmp_path: Path, size: int) -> None:
    path = tmp_path / "huge.tar"
    members = [("huge", size), ("é/huge", size), ("after", 3)]
    archives.write_sparse(TarEncoder(), path, [(name, size, 0) for name, size in members])
    with tarfile.open(path) as tar:
        assert [(m.name, m.size) for m in tar] == members
    gnu = archives.run(*GNU, path, "-tv", cwd=tmp_path)
    assert archives.listing(gnu, fields=5, size_field=2) == members
    bsd = archives.run("bsdtar", "-tvf", path, cwd=tmp_path)
    assert archives.listing(bsd, fields=8, size_field=4) == members


def test_huge_size_is_the_same_in_header_and_pax_record() -> None:
    header = TarEncoder().header("huge", 2**40, 0)
    assert b"size=%d\n" % 2**40 in header[512:1024]
    assert header[1024 + 124 : 1024 + 136] == b"\x80" + (2**40).to_bytes(11, "big")
