"""Archives in tests: encode members, run the system's readers, look at what they wrote."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from hypothesis import strategies as st

from amur.gateway.bundle.names import refusal
from amur.gateway.bundle.tar import TarEncoder
from amur.gateway.bundle.zip import ZipEncoder

Encoder = TarEncoder | ZipEncoder
MODIFIED_S = 1_700_000_001
READERS_ENV = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def encode(encoder: Encoder, members: Iterable[tuple[str, bytes]]) -> bytes:
    """The whole stream; also holds `total` to its word."""
    members = list(members)
    stream = bytearray()
    for name, body in members:
        stream += encoder.header(name, len(body), MODIFIED_S)
        stream += body
        stream += encoder.trailer(len(body), crc32(body))
    stream += encoder.end()
    assert len(stream) == encoder.total((name, len(body)) for name, body in members)
    return bytes(stream)


def write_sparse(encoder: Encoder, path: Path, members: Iterable[tuple[str, int, int]]) -> None:
    """The stream of members (name, size, CRC) with holes for bodies, so that 9 GiB cost nothing."""
    members = list(members)
    with path.open("wb") as file:
        for name, size, crc in members:
            file.write(encoder.header(name, size, MODIFIED_S))
            file.seek(size, os.SEEK_CUR)
            file.write(encoder.trailer(size, crc))
        file.write(encoder.end())
    assert path.stat().st_size == encoder.total((name, size) for name, size, _ in members)


def run(*command: str | Path, cwd: Path, stdin: bytes = b"", check: bool = True) -> bytes:
    """The standard output of a reader; with `check` it must succeed and complain of nothing."""
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, env=READERS_ENV, check=False
    )
    if check:
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout


def listing(output: bytes, fields: int, size_field: int) -> list[tuple[str, int]]:
    """Names and sizes of a `-tv` listing, whose names follow that many fields."""
    found = []
    for line in output.split(b"\n")[:-1]:
        columns = line.split(None, fields)
        name = re.sub(rb"(\S+ +){%d}\S+ " % (fields - 1), b"", line, count=1)
        # bsdtar writes bytes that it can't show in octal; no name of ours has a backslash
        name = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), name)
        found.append((name.decode(), int(columns[size_field])))
    return found


def tree(directory: Path) -> dict[str, bytes | None]:
    """Every path under it with its bytes; None for a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def expected_tree(members: Iterable[tuple[str, bytes]]) -> dict[str, bytes | None]:
    """What extraction must leave: the members and the directories that they imply."""
    expected: dict[str, bytes | None] = {}
    for name, body in members:
        for parent in Path(name).parents[:-1]:
            expected[str(parent)] = None
        expected[str(Path(name))] = None if name.endswith("/") else body
    return expected


_SEGMENT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1
)
_ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/\\"))
# names on both sides of ustar's limits: 100 bytes, 155 + 1 + 100, and of a pax record's digits
_LONG = st.builds(
    lambda segment, length: (segment * length)[:length], _ASCII.filter(bool), st.integers(85, 255)
)
_NAME = st.builds(
    lambda segments, folder: "/".join(segments) + ("/" if folder else ""),
    st.lists(_SEGMENT | _ASCII.filter(bool) | _LONG, min_size=1, max_size=4),
    st.booleans(),
)


def _fits(name: str) -> bool:
    segments = name.split("/")
    return len(name.encode()) <= 1024 and all(len(part.encode()) <= 255 for part in segments)


def _apart(members: list[tuple[str, bytes]]) -> bool:
    """No member sits where another one needs a directory."""
    files = {name for name, _ in members if not name.endswith("/")}
    needed = {str(parent) for name, _ in members for parent in Path(name).parents}
    folders = {name.rstrip("/") for name, _ in members if name.endswith("/")}
    return not files & (needed | folders)


def _with_body(name: str, body: bytes) -> tuple[str, bytes]:
    return name, b"" if name.endswith("/") else body


_BODIES = st.binary(max_size=40) | st.integers(500, 1030).map(lambda size: b"b" * size)
MEMBERS = st.lists(
    st.builds(_with_body, _NAME.filter(_fits), _BODIES),
    max_size=12,
    unique_by=lambda member: member[0],
).map(lambda members: [m for m in members if not refusal(m[0], len(m[1]))])
MEMBERS_APART = MEMBERS.filter(_apart)
