from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.data.framing import (
    CHECKSUM_BYTES,
    Frame,
    checksum,
    framed_length,
    frames,
    frames_of,
    is_whole,
    position,
    verify,
)
from amur.data.store import DataDamaged
from amur.extent import Extent

ID = bytes(range(16))


def laid_out(body: bytes, offset: int, chunk: int) -> bytes:
    """The plain meaning of the format: frame after frame."""
    out = b""
    for at in range(0, len(body), chunk):
        piece = body[at : at + chunk]
        out += checksum(ID, offset + len(out), [piece]) + piece
    return out


@given(
    body=st.binary(min_size=1, max_size=200),
    offset=st.integers(0, 2**40),
    chunk=st.integers(1, 64),
    data=st.data(),
)
def test_arithmetic_agrees_with_the_layout(
    body: bytes, offset: int, chunk: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, len(body)))
    extent = Extent(ID, offset, len(body))
    file = laid_out(body, offset, chunk)
    assert len(file) == framed_length(len(body), chunk)
    read = b""
    for frame in frames(extent, start, end, chunk):
        at = frame.offset - offset
        stored, payload = file[at : at + 8], file[at + 8 : at + 8 + frame.length]
        verify(ID, frame, stored, payload)
        read += payload[frame.start : frame.end]
    assert read == body[start:end]
    if start < len(body):
        assert file[position(extent, start, chunk) - offset] == body[start]


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=6), data=st.data())
def test_extents_laid_end_to_end(lengths: list[int], data: st.DataObject) -> None:
    total = sum(lengths)
    start = data.draw(st.integers(0, total))
    end = data.draw(st.integers(start, total))
    extents = [Extent(bytes([n]) * 16, 0, length) for n, length in enumerate(lengths)]
    seen = []
    for file_id, frame in frames_of(extents, start, end, 8):
        index = file_id[0]
        base = sum(lengths[:index]) + frame.offset // (8 + CHECKSUM_BYTES) * 8
        seen += range(base + frame.start, base + frame.end)
    assert seen == list(range(start, end))


def test_a_range_behind_the_end_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="lies behind"):
        list(frames_of([Extent(ID, 0, 10)], 0, 11, 8))


@pytest.mark.parametrize("payload", [b"payload", bytes(64), b"\xff" * 64])
def test_a_frame_belongs_to_its_place(payload: bytes) -> None:
    stored = checksum(ID, 4096, [payload])
    frame = Frame(4096, len(payload), 0, len(payload))
    assert is_whole(ID, frame, stored, payload)
    assert not is_whole(ID, frame._replace(offset=4104), stored, payload)
    assert not is_whole(ID[:-1] + b"\x00", frame, stored, payload)
    assert not is_whole(ID, frame, stored, payload[:-1])
    assert not is_whole(ID, frame, stored[:-1], payload)
    with pytest.raises(DataDamaged):
        verify(ID, frame, stored, payload[:-1])


def test_pieces_make_the_same_checksum() -> None:
    assert checksum(ID, 7, [b"ab", bytearray(b"c"), memoryview(b"de")]) == checksum(
        ID, 7, [b"abcde"]
    )


def crc64_nvme(data: bytes, crc: int = 0) -> int:
    """Bit by bit, from the polynomial (reflected 0xAD93D23594C93659, all ones in and out)."""
    crc ^= 2**64 - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ 2**64 - 1


@given(body=st.binary(max_size=40), offset=st.integers(0, 2**63))
def test_the_checksum_is_what_it_says(body: bytes, offset: int) -> None:
    assert crc64_nvme(b"123456789") == 0xAE8B14860A799888  # the catalogue's check value
    begun = crc64_nvme(ID + offset.to_bytes(8, "big"))
    assert int.from_bytes(checksum(ID, offset, [body]), "big") == crc64_nvme(body, begun)


def test_the_format_stays() -> None:
    """Written once, by this format: a change here makes old data unreadable."""
    assert checksum(ID, 4096, [b"amur"]).hex() == "bfb9706a94c542d5"
