"""Hashing of bodies by S3's names, and the checksums of an object from those of its parts.

CRCs run at memory speed and stay on the event loop; MD5 and SHA are the bill of a large upload,
so `Hasher.jobs` hands them out one by one, each for a thread of its own.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from awscrt import checksums as crt

from amur.data.store import Piece
from amur.objects.errors import InvalidArgument
from amur.objects.types import Digests

DEFAULT_ALGORITHM = "CRC64NVME"
"""Computed and stored when the writer asks for no other, as Amazon does."""

_CRCS: dict[str, tuple[Callable[[Piece, int], int], int]] = {
    "CRC32": (crt.crc32, 4),
    "CRC32C": (crt.crc32c, 4),
    "CRC64NVME": (crt.crc64nvme, 8),
}
_COMBINES: dict[str, Callable[[int, int, int], int]] = {
    "CRC32": crt.combine_crc32,
    "CRC32C": crt.combine_crc32c,
    "CRC64NVME": crt.combine_crc64nvme,
}
_SHAS: dict[str, Callable[[bytes], _Hash]] = {
    "SHA1": lambda data: hashlib.sha1(data, usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
ALGORITHMS = frozenset([*_CRCS, *_SHAS])
FULL_OBJECT_ALGORITHMS = frozenset(_CRCS)
COMPOSITE_ALGORITHMS = ALGORITHMS - {"CRC64NVME"}


class _Hash(Protocol):
    def update(self, data: Piece, /) -> None: ...
    def digest(self) -> bytes: ...


def digests_of(body: bytes, algorithms: Sequence[str] = ()) -> Digests:
    """All digests of a body that is at hand, in the calling thread."""
    others: dict[str, bytes] = {}
    for name in algorithms or (DEFAULT_ALGORITHM,):
        others[name] = digest_of(name, body)
    return Digests(len(body), hashlib.md5(body, usedforsecurity=False).digest(), others)


def digest_of(algorithm: str, body: bytes) -> bytes:
    """The raw digest of `body`; big-endian for a CRC. Raises InvalidArgument of a foreign name."""
    if algorithm in _CRCS:
        crc, width = _CRCS[algorithm]
        return crc(body, 0).to_bytes(width, "big")
    if algorithm in _SHAS:
        return _SHAS[algorithm](body).digest()
    raise InvalidArgument(f"Unknown checksum algorithm {algorithm}")


class Hasher:
    """Digests of a body that comes in pieces; without MD5 its digest is empty."""

    def __init__(self, algorithms: Sequence[str] = (), *, md5: bool = True) -> None:
        self.size = 0
        self._md5: _Hash | None = hashlib.md5(usedforsecurity=False) if md5 else None
        self._crcs: dict[str, int] = {}
        self._shas: dict[str, _Hash] = {}
        for name in algorithms or (DEFAULT_ALGORITHM,):
            if name in _CRCS:
                self._crcs[name] = 0
            elif name in _SHAS:
                self._shas[name] = _SHAS[name](b"")
            else:
                raise InvalidArgument(f"Unknown checksum algorithm {name}")

    def jobs(self) -> list[Callable[[Piece], None]]:
        """The slow hashes: give each of them every piece, in order, in whatever thread."""
        slow = [*self._shas.values()] if self._md5 is None else [self._md5, *self._shas.values()]
        return [each.update for each in slow]

    def add(self, piece: Piece) -> None:
        """Count a piece and hash what is fast; the jobs must be given it too."""
        self.size += len(piece)
        for name, value in self._crcs.items():
            self._crcs[name] = _CRCS[name][0](piece, value)

    def digests(self) -> Digests:
        others = {name: sha.digest() for name, sha in self._shas.items()}
        for name, value in self._crcs.items():
            others[name] = value.to_bytes(_CRCS[name][1], "big")
        md5 = self._md5.digest() if self._md5 is not None else b""
        return Digests(self.size, md5, others)


def combined(algorithm: str, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The whole object's CRC from (digest, size) of its parts in order, without reading a byte."""
    combine, width = _COMBINES[algorithm], _CRCS[algorithm][1]
    value = 0
    for digest, size in parts:
        value = combine(value, int.from_bytes(digest, "big"), size)
    return value.to_bytes(width, "big")


def composite(algorithm: str, parts: Iterable[bytes]) -> str:
    """S3's checksum of checksums, `base64-N`, from the raw digests of the parts in order."""
    joined = list(parts)
    return f"{base64_text(digest_of(algorithm, b''.join(joined)))}-{len(joined)}"


def multipart_etag(md5s: Iterable[bytes]) -> str:
    """The ETag of a multipart object, `hex-N`, from the raw MD5s of its parts in order."""
    joined = list(md5s)
    digest = hashlib.md5(b"".join(joined), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(joined)}"


def base64_text(digest: bytes) -> str:
    return b64encode(digest).decode("ascii")
