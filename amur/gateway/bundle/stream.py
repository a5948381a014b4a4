"""The bytes of a bundle: members in order, joined to pieces that are worth sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing

from awscrt.checksums import crc32

from amur import limits
from amur.gateway.bundle.names import ERRORS_NAME
from amur.gateway.bundle.tar import TarEncoder
from amur.gateway.bundle.zip import ZipEncoder
from amur.gateway.errors import S3Error
from amur.objects.bundling import Bundle, Member

PIECE_BYTES = 256 * limits.KIB
"""5,000 small members then make a few dozen sends; a larger piece of a body goes as it is."""

Encoder = TarEncoder | ZipEncoder


class BundleBroken(Exception):
    """The stream can't go on: its client must see it end early, never a member cut short."""


class _Archive:
    """One stream under construction: what was encoded and not yet sent."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._parts: list[bytes] = []
        self._held = 0  # bytes, about

    def take(self) -> bytes:
        piece = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        return piece

    def add(self, name: str, body: bytes, modified_s: int) -> None:
        encoder, size = self._encoder, len(body)
        crc = crc32(body) if encoder.needs_crc else 0
        self._parts += (
            encoder.header(name, size, modified_s),
            body,
            encoder.trailer(size, crc),
        )
        self._held += size + 512

    def small(self, members: Sequence[Member], bodies: Sequence[bytes]) -> Iterator[bytes]:
        for member, body in zip(members, bodies, strict=True):
            if len(body) != member.size:
                raise BundleBroken(f"{member.key!r} has {len(body)} bytes of {member.size}")
            self.add(member.key, body, member.modified_s)
            if self._held >= PIECE_BYTES:
                yield self.take()

    async def large(
        self, members: Sequence[Member], pieces: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes]:
        for member in members:
            header = self._encoder.header(member.key, member.size, member.modified_s)
            self._parts.append(header)
            left, crc = member.size, 0
            while left:
                piece = await anext(pieces, b"")
                left -= len(piece)
                if left < 0 or not piece:
                    raise BundleBroken(f"{member.key!r} is not {member.size} bytes long")
                if self._encoder.needs_crc:
                    crc = crc32(piece, crc)
                self._parts.append(piece)
                self._held += len(piece)
                if self._held >= PIECE_BYTES:
                    yield self.take()
            self._parts.append(self._encoder.trailer(member.size, crc))

    def end(self) -> bytes:
        self._parts.append(self._encoder.end())
        return self.take()


async def archive(
    bundle: Bundle, members: Iterable[Member], encoder: Encoder, errors: bytes, now_s: int
) -> AsyncGenerator[bytes]:
    """The archive of these members; `errors` is the document of the last one, b"" for none."""
    made = _Archive(encoder)
    async with aclosing(bundle.runs(members)) as runs:
        async for run in runs:
            if run.bodies is not None:
                for piece in made.small(run.members, run.bodies):
                    yield piece
                continue
            assert run.pieces is not None
            async with aclosing(made.large(run.members, run.pieces)) as pieces:
                async for piece in pieces:
                    yield piece
    if errors:
        made.add(ERRORS_NAME, errors, now_s)
    yield made.end()


_under_way = 0  # in this process


async def bounded(pieces: AsyncGenerator[bytes], seconds: float) -> AsyncGenerator[bytes]:
    """The pieces, within the limits of time and number: raises S3Error SlowDown before the first,
    BundleBroken after `seconds`. Others get their turn after each."""
    global _under_way  # noqa: PLW0603 - counts what this process has under way
    if _under_way >= limits.BUNDLES_MAX:
        await pieces.aclose()
        raise S3Error("SlowDown", "Too many bundles at once.")
    _under_way += 1
    now = asyncio.get_running_loop().time
    until = now() + seconds
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if now() > until:
                    raise BundleBroken(f"not sent within {seconds:.0f} seconds")
                yield piece
                await asyncio.sleep(0)
    finally:
        _under_way -= 1
