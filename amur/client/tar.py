"""Members of a tar stream, read forward only.

Sans-IO but for the one `read`. Formats: POSIX.1-2017 pax and ustar, GNU long names and base-256
sizes. `tarfile` spends some 60 us on a member, which at 4 KiB is most of the time of a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zlib import adler32

_BLOCK = 512
_EXTENSION_BYTES_MAX = 1 << 20  # a pax header or a long name
_EXTENSIONS_MAX = 16  # of one member
_NUMBER_DIGITS_MAX = 20
_PIECE_BYTES = 64 << 20
_SIZE_MAX = 5 << 40  # bytes of the largest object

_FILE, _OLD_FILE, _DIRECTORY = b"0", b"\0", b"5"
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK = b"x", b"g", b"L", b"K"


class TarError(Exception):
    """The stream is no tar, or no tar of plain files."""


class TarTruncated(TarError):
    """The stream stops before the end of the archive."""


def members(read: Callable[[int], bytes]) -> Iterator[tuple[str, bytes]]:
    """(name, body) of each file, to the end of the archive; a directory has an empty body.

    `read(n)` gives n bytes, fewer only at the end of the stream (io.BufferedReader.read). Raises
    TarTruncated, and TarError at a link, a device or a header that is damaged.
    """
    padding = 0  # after the body before: read in one call with the next header
    shared: dict[str, str] = {}
    extended: dict[str, str] = {}
    extensions = 0
    while True:
        block = read(padding + _BLOCK)
        header = block[padding:]
        if len(header) < _BLOCK:
            raise TarTruncated("the archive has no end")
        if not header[0] and not any(header):
            return
        _verify(header)
        kind = header[156:157]
        size = _number(header[124:136])
        if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
            extensions += 1
            if size > _EXTENSION_BYTES_MAX or extensions > _EXTENSIONS_MAX:
                raise TarError(f"{extensions} extended headers, the last of {size} bytes")
            body = _exactly(read, size)
            if kind == _PAX:
                extended |= _records(body)
            elif kind == _PAX_GLOBAL:
                shared |= _records(body)
            elif kind == _GNU_NAME:
                extended["path"] = _text(body.partition(b"\0")[0])
        else:
            if kind not in (_FILE, _OLD_FILE, _DIRECTORY):
                raise TarError(f"a member of type {kind!r}")
            name = _name(header)
            if extended or shared:
                said = shared | extended
                name = said.get("path", name)
                size = int(said.get("size", size))
                extended = {}
            extensions = 0
            if size > _SIZE_MAX or (size and kind == _DIRECTORY):
                raise TarError(f"{name!r} of {size} bytes")
            yield name, _exactly(read, size)
        padding = -size % _BLOCK


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """A large body piece by piece: room is made for what comes, not for what was promised."""
    if size <= _PIECE_BYTES:
        body = read(size) if size else b""
    else:
        pieces, left = [], size
        while left and (piece := read(min(left, _PIECE_BYTES))):
            pieces.append(piece)
            left -= len(piece)
        body = b"".join(pieces)
    if len(body) < size:
        raise TarTruncated(f"{size - len(body)} bytes of a member are missing")
    return body


def _verify(header: bytes) -> None:
    """The checksum: the sum of all bytes, with its own field counted as spaces.

    The low half of Adler-32 is one plus the sum of bytes modulo 65521, at the speed of C.
    """
    field = header[148:156]
    added = (adler32(header) & 0xFFFF) - (adler32(field) & 0xFFFF) + 8 * 32
    if (added - _number(field)) % 65521:
        raise TarError("a header is damaged")


def _number(field: bytes) -> int:
    """An octal number, or GNU's base-256."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if not digits:
        return 0
    if not digits.isdigit():  # int() would take a sign or underscores
        raise TarError("a header is damaged")
    try:
        return int(digits, 8)
    except ValueError:
        raise TarError("a header is damaged") from None


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":  # GNU keeps other things there
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return _text(name)


def _records(body: bytes) -> dict[str, str]:
    """`path` and `size` of pax records: `length keyword=value\\n`, the length counts all of it."""
    found = {}
    at = 0
    while at < len(body) and body[at]:  # some writers pad with zeros
        digits = body[at : at + 20].partition(b" ")[0]
        start = at + len(digits) + 1
        end = at + int(digits) if digits.isdigit() else 0
        if not start < end <= len(body) or body[end - 1] != 0x0A:
            raise TarError("an extended header is damaged")
        keyword, equals, value = body[start : end - 1].partition(b"=")
        if not equals:
            raise TarError("an extended header is damaged")
        if keyword in (b"path", b"size"):
            found[keyword.decode()] = _text(value)
        at = end
    size = found.get("size", "0")
    if not size.isdecimal() or len(size) > _NUMBER_DIGITS_MAX:
        raise TarError("an extended header is damaged")
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
