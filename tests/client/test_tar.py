from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.client.tar import TarError, TarTruncated, members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]

names = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=80
)
paths = st.lists(names, min_size=1, max_size=12).map("/".join)
bodies = st.binary(max_size=1100)


def written(files: list[tuple[str, bytes]], form: int, **fields: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, body in files:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(body))
    return out.getvalue()


def read(raw: bytes) -> list[tuple[str, bytes]]:
    return list(members(io.BytesIO(raw).read))


def referee(raw: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r|") as tar:
        found = []
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member.name, file.read()))
    return found


@given(st.lists(st.tuples(paths, bodies), max_size=5), st.sampled_from(FORMATS[1:]))
def test_reads_what_tarfile_reads(files: list[tuple[str, bytes]], form: int) -> None:
    raw = written(files, form)
    assert read(raw) == referee(raw) == files


@given(st.lists(st.from_regex(r"[a-z]{1,90}/[a-z]{1,99}", fullmatch=True), max_size=3))
def test_reads_the_prefix_of_ustar(found: list[str]) -> None:
    files = [(name, name.encode()) for name in found]
    assert read(written(files, tarfile.USTAR_FORMAT)) == files


@given(st.data())
def test_a_stream_cut_anywhere_is_truncated(data: st.DataObject) -> None:
    raw = written([("a" * 150, b"1" * 700), ("ü", b"2" * 512)], tarfile.PAX_FORMAT)
    end = len(raw.rstrip(b"\0")) + 511 & ~511  # the end marker is the zeros after it
    cut = data.draw(st.integers(0, end))
    with pytest.raises(TarTruncated):
        read(raw[:cut])


@given(st.binary(min_size=1, max_size=2), st.integers(0, 2000))
def test_a_damaged_stream_is_an_error_or_another_body(damage: bytes, at: int) -> None:
    files = [("a" * 120, b"1" * 30), ("b", b"2" * 40)]
    raw = bytearray(written(files, tarfile.PAX_FORMAT))
    raw[at : at + len(damage)] = damage
    try:
        found = read(bytes(raw))
    except TarError:
        return
    assert [len(body) for _, body in found] in ([30, 40], [])


def test_global_records_hold_for_all_members_and_own_ones_go_first() -> None:
    out = io.BytesIO()
    headers = {"path": "everywhere"}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as tar:
        tar.addfile(tarfile.TarInfo("short"))
        tar.addfile(tarfile.TarInfo("ä" * 90))
    assert [name for name, _ in read(out.getvalue())] == ["everywhere", "ä" * 90]


@pytest.mark.parametrize("form", FORMATS[1:])
def test_sizes_over_eight_gibibytes_are_understood(form: int) -> None:
    member = tarfile.TarInfo("huge")
    member.size = 9 << 30
    asked = []

    def reads(size: int) -> bytes:
        asked.append(size)
        return header.read(size) if size < 1 << 20 else b""

    header = io.BytesIO(member.tobuf(form))
    with pytest.raises(TarTruncated, match=str(9 << 30)):
        list(members(reads))
    assert max(asked) < 1 << 27, "room for what was only promised"


def test_a_directory_is_an_empty_object() -> None:
    raw = written([("folder/", b"")], tarfile.USTAR_FORMAT, type=tarfile.DIRTYPE)
    assert read(raw) == [("folder/", b"")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"S"])
def test_what_is_no_file_is_refused(kind: bytes) -> None:
    with pytest.raises(TarError, match="type"):
        read(written([("a", b"")], tarfile.USTAR_FORMAT, type=kind))


@pytest.mark.parametrize(
    "records",
    [
        b"5 a\n",
        b"x path=a\n",
        b"8 path=a\n",
        b"99999 path=a\n",
        b"0 path=a\n",
        b"11 size=-1\n",
        b"5008 size=" + b"9" * 4997 + b"\n",
    ],
)
def test_damaged_records_are_refused(records: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", len(records)
    raw = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")
    with pytest.raises(TarError, match="damaged"):
        read(raw + written([("a", b"")], tarfile.USTAR_FORMAT))


def test_endless_extensions_are_refused() -> None:
    body = b"30 comment=%b\n" % (b"x" * 18)
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", len(body)
    one = header.tobuf(tarfile.USTAR_FORMAT) + body.ljust(512, b"\0")
    member = written([("a", b"1")], tarfile.USTAR_FORMAT)
    some = one * 16 + member[:1024]
    assert read(some * 3 + member) == [("a", b"1")] * 4
    with pytest.raises(TarError, match="extended header"):
        read(one * 17 + member)


def test_an_endless_extension_is_refused() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", 1 << 30
    with pytest.raises(TarError, match="extended header"):
        read(header.tobuf(tarfile.USTAR_FORMAT))
