"""Bytes of a version from other regions: who is asked, in which order, and until when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from math import inf
from typing import NamedTuple

from amur import limits
from amur.data.store import DataError, Piece
from amur.extent import Extent
from amur.meta import keys
from amur.meta.holdings import holders
from amur.meta.records import ObjectRecord
from amur.objects.core import Core
from amur.objects.errors import BodyUnreachable
from amur.objects.intake import Taken, release
from amur.objects.types import Digests
from amur.regions.link import Link, LinkError
from amur.regions.messages import BodyName

PULL_SECONDS = 4.5
"""Without a byte from anybody: then the client is told to try again (within 5 s)."""
STALL_SECONDS = 2.0  # without a byte from one peer, when there are others
GONE_SECONDS = 1.0  # the same of a peer that was not reachable lately: it may be back
NOT_HERE = "The bytes of this object may not lie in this region"
_TRY_SECONDS = 0.25  # that every peer gets at least


class Version(NamedTuple):
    """Whose bytes are meant: `at` is the metadata key at which its record was found."""

    at: bytes
    record: ObjectRecord

    @property
    def name(self) -> tuple[bytes, bytes, int]:
        return (*keys.owner_name(self.at), self.record.version)

    @property
    def label(self) -> bytes:
        """The same for all who mean this version, wherever it stood."""
        return keys.chunks_prefix(*self.name)


def sources(core: Core, record: ObjectRecord) -> list[Link]:
    """Whom to ask: who says that it has the bytes, the nearest first; then the others, who may
    have got them since."""
    named = holders(record)
    order = [name for name in named if name in core.links]
    others = sorted(core.links.keys() - set(order))
    near = sorted((core.links[name] for name in order), key=lambda link: link.rtt_s)
    far = sorted((core.links[name] for name in others), key=lambda link: link.rtt_s)
    return near + far


async def from_peers(core: Core, body: Version, start: int, end: int) -> AsyncGenerator[bytes]:
    """Bytes [start, end), in pieces of at most CHUNK_BYTES. Raises BodyUnreachable."""
    name, at, loop = BodyName(*body.name), start, asyncio.get_running_loop()
    while at < end:
        before, until = at, loop.time() + PULL_SECONDS
        asked = sources(core, body.record)
        why: Exception | None = None
        for later, link in zip(range(len(asked) - 1, -1, -1), asked, strict=True):
            stream = link.read(name, at, end)
            try:
                async with aclosing(stream):
                    while at < end:
                        left = until - loop.time() - later * _TRY_SECONDS
                        stall = GONE_SECONDS if link.rtt_s == inf else STALL_SECONDS
                        async with asyncio.timeout(max(_TRY_SECONDS, min(stall, left))):
                            piece = await anext(stream, b"")
                        if not piece:
                            break
                        piece = piece[: end - at]
                        at += len(piece)
                        core.flights.came_at = loop.time()
                        yield piece
                        until = loop.time() + PULL_SECONDS
            except (LinkError, TimeoutError) as error:
                why = error
            if at >= end:
                return
        if at == before:
            raise BodyUnreachable("No region that has the bytes of the object answers") from why


# --- keeping what came ---


async def may_keep(core: Core, body: Version) -> bool:
    """Whether bytes of this version may lie in this region."""
    restriction = body.record.regions
    if not restriction:
        bucket_id = body.name[0]
        bucket = (await core.buckets_of({bucket_id})).get(bucket_id)
        restriction = bucket.regions if bucket is not None else ""
    return core.topology.may_hold(restriction)


async def written(core: Core, pieces: AsyncIterator[Piece], size: int) -> list[Extent]:
    """Make `size` bytes durable, which nothing references yet. Raises DataError, and what the
    stream raises: nothing is left then."""
    if size <= limits.PACK_BYTES_MAX:
        return [await core.data.append(b"".join([piece async for piece in pieces]))]
    writer = core.data.writer()
    try:
        async for piece in pieces:
            await writer.write(piece)
        return await writer.finish()
    except BaseException:
        await writer.abort()
        raise


async def give_up(core: Core, extents: list[Extent], size: int) -> None:
    """Release what was written but surely not committed."""
    with contextlib.suppress(DataError):  # the sweeper finds it
        await release(core, Taken(None, extents, Digests(size, b"", {}), []))
