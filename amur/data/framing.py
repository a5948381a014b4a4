"""Frames: how payload stands in a file, as arithmetic and checksums. No I/O.

    checksum (8 bytes, big-endian) | payload

The checksum is crc64nvme of the payload, begun not from zero but from the crc64nvme of the file's
id and the frame's offset. For one payload, two beginnings never give the same checksum, so a
frame that stands at another place than it was written for always fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from awscrt.checksums import crc64nvme

from amur.data.store import DataDamaged
from amur.extent import Extent

CHECKSUM_BYTES = 8

Buffer = bytes | bytearray | memoryview


class Frame(NamedTuple):
    """A frame to read, and which bytes of its payload are wanted."""

    offset: int  # of the checksum, in the file
    length: int  # of the payload
    start: int
    end: int


def seed(file_id: bytes, offset: int) -> int:
    """What the checksum of the frame at `offset` begins from."""
    checksum: int = crc64nvme(file_id + offset.to_bytes(8, "big"))
    return checksum


def checksum(file_id: bytes, offset: int, pieces: Sequence[Buffer]) -> bytes:
    """The 8 bytes in front of a payload that is given in pieces."""
    crc = seed(file_id, offset)
    for piece in pieces:
        crc = crc64nvme(piece, crc)
    return crc.to_bytes(CHECKSUM_BYTES, "big")


def is_whole(file_id: bytes, frame: Frame, stored: Buffer, payload: Buffer) -> bool:
    """Whether payload and checksum are all there and belong to each other and to this place."""
    if len(payload) != frame.length or len(stored) != CHECKSUM_BYTES:
        return False
    expected: int = crc64nvme(payload, seed(file_id, frame.offset))
    return expected == int.from_bytes(stored, "big")


def verify(file_id: bytes, frame: Frame, stored: Buffer, payload: Buffer) -> None:
    """Raise DataDamaged unless the frame `is_whole`."""
    if not is_whole(file_id, frame, stored, payload):
        raise DataDamaged(f"file {file_id.hex()}: frame at {frame.offset} fails its checksum")


def framed_length(length: int, chunk_bytes: int) -> int:
    """Bytes in the file of an extent of `length` payload bytes."""
    return length + CHECKSUM_BYTES * -(-length // chunk_bytes)


def position(extent: Extent, at: int, chunk_bytes: int) -> int:
    """Offset in the file of the extent's payload byte `at`."""
    return extent.offset + at + CHECKSUM_BYTES * (at // chunk_bytes + 1)


def frames(extent: Extent, start: int, end: int, chunk_bytes: int) -> Iterator[Frame]:
    """The frames that hold payload [start, end) of an extent, in order."""
    first = start - start % chunk_bytes
    for at in range(first, end, chunk_bytes):
        yield Frame(
            position(extent, at, chunk_bytes) - CHECKSUM_BYTES,
            min(chunk_bytes, extent.length - at),
            max(start - at, 0),
            min(end - at, chunk_bytes),
        )


def frames_of(
    extents: Sequence[Extent], start: int, end: int, chunk_bytes: int
) -> Iterator[tuple[bytes, Frame]]:
    """(file id, frame) of payload [start, end) of the extents laid end to end."""
    begin = 0
    if start >= end:
        return
    for extent in extents:
        if begin >= end:
            return
        stop = begin + extent.length
        if stop > start:
            low, high = max(start - begin, 0), min(end, stop) - begin
            for frame in frames(extent, low, high, chunk_bytes):
                yield extent.file, frame
        begin = stop
    assert end <= begin, f"range end {end} lies behind the last byte {begin}"
