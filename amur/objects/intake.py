"""Taking a body in: hashed, verified and durable before any record names it.

A body at hand is hashed at once and goes inline or into a pack. A stream is gathered to pieces of
CHUNK_BYTES; while one piece is hashed in threads and written, the next is being gathered, so a
body holds two pieces in memory whatever its size, and goes as fast as its slowest hash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import NamedTuple

from amur.affinity import CPUS, roam
from amur.data.store import DataError, DataUnavailable, Piece
from amur.limits import CHUNK_BYTES, INLINE_BYTES_MAX, PACK_BYTES_MAX, PUT_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import Commit, EngineError, Put
from amur.meta.records import VERSION_STAMP, Checksum, Extent, GarbageRecord, encode
from amur.objects.core import Core, storage_error
from amur.objects.digests import DEFAULT_ALGORITHM, Hasher, base64_text, digests_of
from amur.objects.errors import EntityTooLarge
from amur.objects.types import Body, Digests, Verify

HASH_IN_LOOP_BYTES_MAX = 16 * 1024
"""Up to here (30 us of MD5) hashing costs less than a thread's round trip."""

_hash_threads = ThreadPoolExecutor(max(2, len(CPUS)), "amur-hash", roam)


class Taken(NamedTuple):
    """A body that is durable but that nothing references yet."""

    inline: bytes | None  # the body itself, to be put into the record
    extents: list[Extent]
    digests: Digests
    checksums: list[Checksum]  # to be stored


async def take(
    core: Core,
    body: Body,
    *,
    algorithms: Sequence[str] = (),
    verify: Verify | None = None,
    inline_max: int = INLINE_BYTES_MAX,
    size_max: int = PUT_BYTES_MAX,
) -> Taken:
    """Hash a body, have it verified, and make it durable.

    Raises EntityTooLarge, StorageFull, what `verify` raises and what the stream raises; nothing
    of the body is then left.
    """
    if isinstance(body, bytes):
        if len(body) > size_max:
            raise EntityTooLarge
        if len(body) <= PACK_BYTES_MAX:
            return await _take_small(core, body, algorithms, verify, inline_max)
        pieces = _cut(body)
    else:
        pieces = _gathered(body)
    async with aclosing(pieces):
        first = await anext(pieces, b"")
        second = await anext(pieces, b"") if len(first) == CHUNK_BYTES else b""
        if second:
            return await _take_stream(core, (first, second), pieces, algorithms, verify, size_max)
    if len(first) > size_max:
        raise EntityTooLarge
    return await _take_small(core, bytes(first), algorithms, verify, inline_max)


async def release(core: Core, taken: Taken) -> None:
    """Give up a body that was taken but surely not committed.

    Block files are wholly its own and go at once; what lies in a pack is dead until compaction.
    A pack of nothing but such bodies is found by a note, of which one is enough: when the collector
    finds it still in use, others will note it. The delete of nothing lets it pass on a full disk.
    """
    files = {extent.file for extent in taken.extents}
    if taken.digests.size > PACK_BYTES_MAX:
        for file in files:
            with contextlib.suppress(DataUnavailable):  # the sweeper finds it
                await core.data.unlink(file)
    elif files and files != core.noted_packs:
        core.noted_packs = files
        note = GarbageRecord(extents=taken.extents)
        put = Put(keys.garbage_key(0), encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP)
        with contextlib.suppress(EngineError):  # the sweeper finds it once this process is gone
            await core.engine.commit(Commit(put=[put], delete=[keys.doomed_key(0)]))


async def stream_digest(algorithm: str, stream: AsyncIterator[bytes]) -> bytes:
    """One more digest of bytes that are stored already."""
    hasher = Hasher([algorithm], md5=False)
    jobs = hasher.jobs()
    loop = asyncio.get_running_loop()
    async for piece in stream:
        hasher.add(piece)
        for job in jobs:
            await loop.run_in_executor(_hash_threads, job, piece)
    return hasher.digests().others[algorithm]


async def _take_small(
    core: Core, body: bytes, algorithms: Sequence[str], verify: Verify | None, inline_max: int
) -> Taken:
    if len(body) <= HASH_IN_LOOP_BYTES_MAX:
        digests = digests_of(body, algorithms)
    else:
        digests = await _in_thread(lambda: digests_of(body, algorithms))
    checksums = _checksums(digests, verify)
    if len(body) <= inline_max or not body:
        return Taken(body, [], digests, checksums)
    try:
        extent = await core.data.append(body)
    except DataError as error:
        raise storage_error(error) from error
    return Taken(None, [extent], digests, checksums)


async def _take_stream(
    core: Core,
    begun: tuple[Piece, Piece],
    rest: AsyncIterator[Piece],
    algorithms: Sequence[str],
    verify: Verify | None,
    size_max: int,
) -> Taken:
    hasher = Hasher(algorithms)
    jobs = hasher.jobs()
    writer = core.data.writer()
    loop = asyncio.get_running_loop()

    async def process(piece: Piece) -> None:
        hashing = [loop.run_in_executor(_hash_threads, job, piece) for job in jobs]
        try:
            await writer.write(piece)
        finally:
            await asyncio.wait(hashing)

    busy: asyncio.Task[None] | None = None
    try:
        piece, upcoming = begun
        while piece:
            if hasher.size + len(piece) > size_max:
                raise EntityTooLarge
            hasher.add(piece)
            busy = loop.create_task(process(piece))
            piece, upcoming = upcoming or await anext(rest, b""), b""
            await busy
        digests = hasher.digests()
        checksums = _checksums(digests, verify)
        extents = await writer.finish()
    except BaseException as error:
        await _stop(busy)
        await writer.abort()
        if isinstance(error, DataError):
            raise storage_error(error) from error
        raise
    return Taken(None, extents, digests, checksums)


async def _stop(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _checksums(digests: Digests, verify: Verify | None) -> list[Checksum]:
    """What verification answers, or the default checksum, if that was computed."""
    if verify is not None and (answer := verify(digests)):
        return answer
    default = digests.others.get(DEFAULT_ALGORITHM)
    return [Checksum(DEFAULT_ALGORITHM, base64_text(default))] if default is not None else []


async def _in_thread(job: Callable[[], Digests]) -> Digests:
    return await asyncio.get_running_loop().run_in_executor(_hash_threads, job)


async def _cut(body: bytes) -> AsyncGenerator[Piece, None]:
    for at in range(0, len(body), CHUNK_BYTES):
        yield body[at : at + CHUNK_BYTES]


async def _gathered(stream: AsyncIterator[Piece]) -> AsyncGenerator[Piece, None]:
    """The stream in pieces of exactly CHUNK_BYTES but the last; each byte is copied once."""
    held: list[Piece | memoryview] = []
    size = 0
    async for chunk in stream:
        held.append(chunk)
        size += len(chunk)
        while size >= CHUNK_BYTES:
            last = memoryview(held.pop())
            split = len(last) - (size - CHUNK_BYTES)
            whole = last.obj
            if isinstance(whole, bytes | bytearray) and len(whole) == split == CHUNK_BYTES:
                yield whole
            else:
                yield b"".join((*held, last[:split]))
            size -= CHUNK_BYTES
            held = [last[split:]] if size else []
    if size:
        yield b"".join(held)
