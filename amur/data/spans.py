"""Which extents to read together. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from amur.data.framing import CHECKSUM_BYTES
from amur.extent import Extent
from amur.limits import KIB

SPAN_BYTES_MAX = 256 * KIB
"""Enough that the call costs nothing beside its bytes, little enough for the event loop."""

GAP_BYTES_MAX = 16 * KIB
"""Bytes nobody asked for that cost less to read than a second call."""


class Span(NamedTuple):
    """Extents of one frame each that one read of `length` bytes at `offset` brings."""

    file: bytes
    offset: int
    length: int
    members: list[int]  # their indices


def spans(
    extents: Sequence[Extent],
    *,
    span_bytes_max: int = SPAN_BYTES_MAX,
    gap_bytes_max: int = GAP_BYTES_MAX,
) -> Iterator[Span]:
    """All extents of one frame each, in the order of files and places."""
    places = sorted((each.file, each.offset, each.length, at) for at, each in enumerate(extents))
    file, start, end = b"", 0, 0
    members: list[int] = []
    for its_file, offset, length, index in places:
        stop = offset + CHECKSUM_BYTES + length
        if (
            its_file != file
            or offset > end + gap_bytes_max
            or max(stop, end) - start > span_bytes_max
        ):
            if members:
                yield Span(file, start, end - start, members)
            file, start, end, members = its_file, offset, stop, []
        members.append(index)
        end = max(end, stop)
    if members:
        yield Span(file, start, end - start, members)
