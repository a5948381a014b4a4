"""The one word that metadata and data have in common."""

from __future__ import annotations

import msgspec


class Extent(msgspec.Struct, array_like=True, frozen=True):
    """`length` payload bytes in `file` (16 bytes), framed from its byte `offset` on."""

    file: bytes
    offset: int
    length: int
