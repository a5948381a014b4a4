"""Zip streams: stored members, checksums after the bodies, zip64 where a number needs it.

Sans-IO. Format: PKWARE APPNOTE 6.3.10. The CRC of a body is known only after it, so each local
header leaves CRC and sizes to the data descriptor (flag bit 3); names are UTF-8 (bit 11). The
exact time is in Info-ZIP's extended timestamp; the DOS time beside it is UTC.

Readers that seek believe the central directory, which no body can imitate. A reader that streams
must search the bodies for descriptors, as in every streamed stored zip, so a hostile body can
mislead it: what is read as a stream is better asked for as tar.

Every member is a regular file (0644) named by its whole key; an empty object whose key ends in
`/` is a directory (0755). The caller has asked `names.refusal` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from time import gmtime
from typing import ClassVar

_MAX16 = 0xFFFF
_MAX32 = 0xFFFFFFFF  # this value itself says "look in the zip64 field"
_FLAGS = 1 << 3 | 1 << 11
_PLAIN, _ZIP64 = 20, 45  # versions needed to read
_MADE_BY = 3 << 8 | _ZIP64  # Unix: the mode is in the high half of the external attributes
_FILE = 0o100644 << 16
_DIRECTORY = 0o040755 << 16 | 1 << 4  # and the DOS bit

_local = Struct("<4s5H3I2H").pack
_descriptor = Struct("<4s3I").pack
_descriptor64 = Struct("<4sI2Q").pack
_central = Struct("<4s6H3I5H2I").pack
_end64 = Struct("<4sQ2H2I4Q").pack
_locator64 = Struct("<4sIQI").pack
_end = Struct("<4s4H2IH").pack
_timestamp = Struct("<2sHBi").pack

_LOCAL, _LOCAL64 = 30 + 9, 30 + 9 + 20  # bytes with their extra fields, without the name
_DESCRIPTOR, _DESCRIPTOR64 = 16, 24
_CENTRAL = 46 + 9
_END, _END64 = 22, 22 + 56 + 20


class ZipEncoder:
    """Encodes one stream: for each member header, body (the caller's) and trailer; then end."""

    needs_crc: ClassVar[bool] = True

    def __init__(self) -> None:
        self._offset = 0  # of the next member
        self._count = 0
        self._directory = bytearray()
        self._name = b""  # of the member under way
        self._times: tuple[int, int, bytes] = (0, 0, b"")
        self._header_size = 0

    def header(self, name: str, size: int, modified_s: int) -> bytes:
        """What precedes the body of `size` bytes; `modified_s` in Unix seconds."""
        if size and name[-1] == "/":
            raise ValueError("a directory has no body; see names.refusal")
        self._name = raw = name.encode()
        self._times = clock, day, extra = _times(modified_s)
        needed, size_field = _PLAIN, 0
        if size >= _MAX32:
            needed, size_field = _ZIP64, _MAX32
            extra += _zip64(0, 0)
        start = _local(
            b"PK\3\4",
            needed,
            _FLAGS,
            0,
            clock,
            day,
            0,
            size_field,
            size_field,
            len(raw),
            len(extra),
        )
        self._header_size = len(start) + len(raw) + len(extra)
        return b"%b%b%b" % (start, raw, extra)

    def trailer(self, size: int, body_crc: int) -> bytes:
        """What follows the body; `body_crc` is its CRC-32."""
        raw, offset = self._name, self._offset
        clock, day, extra = self._times
        large = [size, size] if size >= _MAX32 else []
        if offset >= _MAX32:
            large.append(offset)
        if large:
            extra += _zip64(*large)
        after = (_descriptor64 if size >= _MAX32 else _descriptor)(b"PK\7\10", body_crc, size, size)
        size_field = min(size, _MAX32)
        entry = _central(
            b"PK\1\2",
            _MADE_BY,
            _ZIP64 if large else _PLAIN,
            _FLAGS,
            0,  # stored
            clock,
            day,
            body_crc,
            size_field,
            size_field,
            len(raw),
            len(extra),
            0,  # no comment
            0,  # on the first disk
            0,  # not known to be text
            _DIRECTORY if raw[-1:] == b"/" else _FILE,
            min(offset, _MAX32),
        )
        self._directory += b"%b%b%b" % (entry, raw, extra)
        self._offset += self._header_size + size + len(after)
        self._count += 1
        return after

    def end(self) -> bytes:
        """What ends the stream: the central directory."""
        count, size, offset = self._count, len(self._directory), self._offset
        tail = b""
        if count >= _MAX16 or size >= _MAX32 or offset >= _MAX32:
            tail = _end64(
                b"PK\6\6", 44, _MADE_BY, _ZIP64, 0, 0, count, count, size, offset
            ) + _locator64(b"PK\6\7", 0, offset + size, 1)
            count, size, offset = min(count, _MAX16), min(size, _MAX32), min(offset, _MAX32)
        last = _end(b"PK\5\6", 0, 0, count, count, size, offset, 0)
        return b"".join((self._directory, tail, last))

    @staticmethod
    def total(members: Iterable[tuple[str, int]]) -> int:
        """Bytes of a whole stream of members (name, size)."""
        count = offset = directory = 0
        for name, size in members:
            raw = len(name) if name.isascii() else len(name.encode())
            large = 16 if size >= _MAX32 else 0
            if offset >= _MAX32:
                large += 8
            directory += _CENTRAL + raw + (4 + large if large else 0)
            if size >= _MAX32:
                offset += _LOCAL64 + raw + size + _DESCRIPTOR64
            else:
                offset += _LOCAL + raw + size + _DESCRIPTOR
            count += 1
        zip64 = count >= _MAX16 or directory >= _MAX32 or offset >= _MAX32
        return offset + directory + (_END64 if zip64 else _END)


def _zip64(*numbers: int) -> bytes:
    """The extra field with what does not fit in 32 bits."""
    return Struct(f"<2H{len(numbers)}Q").pack(1, 8 * len(numbers), *numbers)


@lru_cache(maxsize=1024)
def _times(modified_s: int) -> tuple[int, int, bytes]:
    """DOS time and date (UTC, 1980 to 2107, even seconds) and the extended timestamp."""
    exact = max(0, min(modified_s, 2**31 - 1))
    year, month, day, hour, minute, second = gmtime(exact)[:6]
    stamp = _timestamp(b"UT", 5, 1, exact)
    if year < 1980:
        return 0, 1 << 5 | 1, stamp
    return hour << 11 | minute << 5 | second >> 1, (year - 1980) << 9 | month << 5 | day, stamp
