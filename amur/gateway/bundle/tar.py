"""Tar streams: POSIX ustar headers, with a pax record only where ustar can't say it.

Sans-IO, tuned: a bundle has thousands of small members and `tarfile` spends more time on a
header than we do on the whole object. Format: POSIX.1-2017, pax, "Interchange Format".

Every member is a regular file (0644, owner 0) named by its whole key; an empty object whose key
ends in `/` is a directory (0755). The caller has asked `names.refusal` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar
from zlib import adler32

_BLOCK = 512
_NAME = 100  # bytes of the name field
_PREFIX = 155
_OCTAL_MAX = 8**11 - 1  # what eleven octal digits hold: 8 GiB - 1, or the year 2242
_ZEROS = bytes(2 * _BLOCK)

_FILE_MODE = b"0000644\0" + 2 * b"0000000\0"  # mode, uid, gid
_DIRECTORY_MODE = b"0000755\0" + 2 * b"0000000\0"


@lru_cache(maxsize=256)
def _tail(kind: bytes, prefix: bytes) -> tuple[bytes, int]:
    """What follows the checksum, and the sum of that with the checksum field as spaces.

    These are bytes 156 to 511: type, no link, magic and version, no owner names, prefix.
    """
    fields = kind + bytes(100) + b"ustar\x0000" + bytes(64) + 2 * b"0000000\0" + prefix
    return fields.ljust(_BLOCK - 148 - 8, b"\0"), sum(fields) + 8 * ord(" ")


_FILE_TAIL, _FILE_SUM = _tail(b"0", b"")


class TarEncoder:
    """Encodes one stream: for each member header, body (the caller's) and trailer; then end."""

    needs_crc: ClassVar[bool] = False

    def header(self, name: str, size: int, modified_s: int) -> bytes:
        """What precedes the body of `size` bytes; `modified_s` in Unix seconds."""
        if len(name) > _NAME or size > _OCTAL_MAX or name[-1] == "/" or not name.isascii():
            return _rare(name, size, modified_s)
        if not 0 <= modified_s <= _OCTAL_MAX:
            modified_s = max(0, min(modified_s, _OCTAL_MAX))
        head = b"%b%b%011o\0%011o\0" % (
            name.encode().ljust(_NAME, b"\0"),
            _FILE_MODE,
            size,
            modified_s,
        )
        # The low half of Adler-32 is the plain sum of bytes modulo 65521, and no header of ours
        # sums to that: at most 255 bytes of names, all ASCII, are the only ones that vary much.
        return b"%b%06o\0 %b" % (head, adler32(head, _FILE_SUM) & 0xFFFF, _FILE_TAIL)

    def trailer(self, size: int, body_crc: int) -> bytes:
        """What follows the body: zeros up to the next block."""
        return _ZEROS[: -size % _BLOCK]

    def end(self) -> bytes:
        """What ends the stream."""
        return _ZEROS

    @staticmethod
    def total(members: Iterable[tuple[str, int]]) -> int:
        """Bytes of a whole stream of members (name, size)."""
        total = len(_ZEROS)
        for name, size in members:
            total += _BLOCK + size + -size % _BLOCK
            if len(name) > _NAME or size > _OCTAL_MAX or not name.isascii():
                records = _place(name, size)[2]
                if records:
                    total += _BLOCK + len(records) + -len(records) % _BLOCK
        return total


def _rare(name: str, size: int, modified_s: int) -> bytes:
    """The header of a directory, of a long or international name, or of a huge body."""
    prefix, short, records = _place(name, size)
    mode, kind = _FILE_MODE, b"0"
    if name[-1] == "/":
        if size:
            raise ValueError("a directory has no body; see names.refusal")
        mode, kind = _DIRECTORY_MODE, b"5"
    modified_s = max(0, min(modified_s, _OCTAL_MAX))
    header = _header(short, mode, size, modified_s, kind, prefix)
    if not records:
        return header
    pax = _header(b"PaxHeader", _FILE_MODE, len(records), modified_s, b"x", b"")
    return b"%b%b%b%b" % (pax, records, _ZEROS[: -len(records) % _BLOCK], header)


def _header(
    name: bytes, mode: bytes, size: int, modified_s: int, kind: bytes, prefix: bytes
) -> bytes:
    # A huge size is in the pax record and also here, in GNU's base-256: a reader that knows only
    # one of them, or prefers either, stays at the same place in the stream.
    digits = b"%011o\0" % size if size <= _OCTAL_MAX else b"\x80" + size.to_bytes(11, "big")
    head = b"%b%b%b%011o\0" % (name.ljust(_NAME, b"\0"), mode, digits, modified_s)
    tail, start = _tail(kind, prefix)
    return b"%b%06o\0 %b" % (head, adler32(head, start) & 0xFFFF, tail)


def _place(name: str, size: int) -> tuple[bytes, bytes, bytes]:
    """Where a name and size go: the ustar prefix, the ustar name, pax records ("" if none)."""
    records = _record(b"size", b"%d" % size) if size > _OCTAL_MAX else b""
    raw = name.encode()
    if name.isascii():
        if len(raw) <= _NAME:
            return b"", raw, records
        cut = raw.find(b"/", len(raw) - _NAME - 1, _PREFIX + 1)
        # Never a name field that starts or a prefix that ends with a slash, as with `a//b`.
        if 0 < cut < len(raw) - 1 and b"//" not in raw:
            return raw[:cut], raw[cut + 1 :], records
    # No part of the key goes to the header: a reader without pax gets one harmless name.
    return b"", b"PaxName/" if raw[-1:] == b"/" else b"PaxName", records + _record(b"path", raw)


def _record(keyword: bytes, value: bytes) -> bytes:
    """One pax record, `length keyword=value\\n`, where the length counts its own digits."""
    rest = b" %b=%b\n" % (keyword, value)
    length = len(rest) + 1
    while len(str(length)) + len(rest) > length:
        length += 1
    return b"%d%b" % (length, rest)
