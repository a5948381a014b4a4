"""Taking in what other regions changed: items merged into the tables, in any order, any number of
times, with the same outcome everywhere. `docs/decisions/0004-many-regions.md` has the rules.

A batch of a peer's log is committed in a few commits, each with many items of different keys; the
last one carries the cursor, so what was taken in and what is known to be taken in never differ.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from amur.limits import KIB
from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Put
from amur.meta.records import BucketRecord
from amur.objects.core import Core
from amur.objects.history import newest_of
from amur.objects.replication.buckets import merge_bucket
from amur.objects.replication.entries import merge_entries
from amur.objects.replication.items import latest_of, size_of
from amur.objects.replication.merging import KeyMerge
from amur.objects.replication.peer_state import peer_state, vector
from amur.regions.messages import UNKNOWN, Ack, Batch, Item, No, Reply

CHUNK_ITEMS = 256  # items of one commit: a few ms of the engine's writer
CHUNK_BYTES = 1024 * KIB
CHUNKS_TOGETHER = 3  # merged while those before them are written; they share a sync
_TOGETHER_TRIES = 3  # of a whole chunk, before its items are committed one by one

EARLIER_SECONDS = 2.0
"""How long a batch waits for the one before it, which may have come by a slower connection."""


async def take_batch(core: Core, batch: Batch) -> Reply:
    """Apply a stretch of a peer's log, one batch of a sender at a time. Raises what
    `Core.transact` does."""
    if batch.sender not in core.topology.peers:
        return No("not a region of this cluster")
    if batch.end < batch.start:
        return No("a batch ends before it begins")
    turn = core.turns.setdefault(batch.sender, asyncio.Condition())
    async with turn:
        if batch.start == UNKNOWN:
            reply = await core.transact(lambda: _begin_session(core, batch.sender))
        else:
            reply = await _in_order(core, batch, turn)
        turn.notify_all()
    return reply


async def _begin_session(core: Core, sender: str) -> Reply:
    """Tell the cursor; no batch that was made before this is accepted from now on.

    So the batches that are accepted were made one after the other, whatever was late or came twice:
    none holds what a vector before it says is known to be dead.
    """
    state, version = await peer_state(core, sender)
    state.session += 1
    put = state.put(sender)
    await core.engine.commit(Commit(expect=[(put.key, version)], put=[put]))
    return Ack(state.cursor, False, session=state.session)


async def _in_order(core: Core, batch: Batch, turn: asyncio.Condition) -> Reply:
    state, version = await peer_state(core, batch.sender)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EARLIER_SECONDS):
            while batch.session == state.session and batch.start > state.cursor:
                await turn.wait()
                state, version = await peer_state(core, batch.sender)
    if batch.session != state.session or batch.start != state.cursor:
        return Ack(state.cursor, False)
    state.advance(batch)
    done = await apply_items(core, batch.items, state.put(batch.sender), version)
    if not done:  # another process has taken the same stretch meanwhile
        state, _ = await peer_state(core, batch.sender)
        return Ack(state.cursor, False)
    return Ack(batch.end, True, await vector(core))


async def apply_items(
    core: Core, items: Sequence[Item], cursor: Put | None = None, expected: int = 0
) -> bool:
    """Merge items in; the last commit puts `cursor`, expected at engine version `expected`.

    False when the cursor was moved by somebody else; the items may be in all the same.
    """
    buckets = [item for item in items if not item.bucket_id]
    for item in buckets:
        await core.transact(lambda item=item: merge_bucket(core, item))  # type: ignore[misc]
    await merge_entries(core, [item for item in items if item.bucket_id == keys.ENTRIES_ID])
    versions = (item for item in items if item.bucket_id not in (b"", keys.ENTRIES_ID))
    chunks = list(_chunks(versions))
    for at in range(0, len(chunks) - 1, CHUNKS_TOGETHER):
        await _apply_chunks(core, chunks[at : min(at + CHUNKS_TOGETHER, len(chunks) - 1)])
    last = chunks[-1] if chunks else []
    if cursor is None:
        if last:
            await _apply_chunk(core, last)
        return True
    return await _apply_last(core, last, cursor, expected)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items for one commit each: within bounds, no key twice."""
    chunk: list[Item] = []
    seen: set[tuple[bytes, bytes]] = set()
    size = 0
    for item in items:
        name, its_size = (item.bucket_id, item.key), size_of(item)
        if chunk and (name in seen or len(chunk) >= CHUNK_ITEMS or size + its_size > CHUNK_BYTES):
            yield chunk
            chunk, seen, size = [], set(), 0
        chunk.append(item)
        seen.add(name)
        size += its_size
    if chunk:
        yield chunk


async def _apply_last(core: Core, chunk: Sequence[Item], cursor: Put, expected: int) -> bool:
    for _ in range(_TOGETHER_TRIES):
        try:
            commit = await merged(core, chunk)
            with_cursor = commit._replace(
                expect=[*commit.expect, (cursor.key, expected)], put=[*commit.put, cursor]
            )
            await core.engine.commit(with_cursor)
        except Conflict:
            continue
        return True
    await _apply_chunk(core, chunk)
    try:
        await core.engine.commit(Commit(expect=[(cursor.key, expected)], put=[cursor]))
    except Conflict:
        return False
    return True


async def _apply_chunks(core: Core, chunks: Sequence[Sequence[Item]]) -> None:
    """In any order; who meets what another has changed meanwhile merges once more."""
    applying = (_apply_chunk(core, chunk) for chunk in chunks)
    for outcome in await asyncio.gather(*applying, return_exceptions=True):
        if outcome is not None:
            raise outcome


async def _apply_chunk(core: Core, chunk: Sequence[Item]) -> None:
    """Together if that works, else (a client keeps writing one of the keys) one by one."""
    for _ in range(_TOGETHER_TRIES):
        try:
            await _commit(core, chunk)
        except Conflict:
            continue
        return
    for item in chunk:
        await core.transact(lambda item=item: _commit(core, [item]))  # type: ignore[misc]


async def _commit(core: Core, chunk: Sequence[Item]) -> None:
    commit = await merged(core, chunk)
    if commit.put or commit.delete:
        await core.engine.commit(commit)


def _places(bucket: BucketRecord | None, item: Item) -> tuple[bytes, ...]:
    """Where to look for an item. What cannot be there is not looked for: to prove that a key is
    absent costs more than to read it."""
    if bucket is None:
        return ()
    version = item.version or None
    here = keys.object_key(item.bucket_id, item.key)
    grave = keys.tombstone_key(item.bucket_id, item.key, version)
    if version is None and not bucket.versioning:
        return here, grave
    marker = keys.marker_key(item.bucket_id, item.key)
    return here, grave, marker, keys.version_key(item.bucket_id, item.key, item.version)


async def merged(core: Core, chunk: Sequence[Item]) -> Commit:
    """The commit that merges these items, all of different keys, into what is here. May raise
    Conflict."""
    if not chunk:
        return Commit()
    buckets = await core.buckets_of({item.bucket_id for item in chunk})
    heads = [keys.bucket_key(bucket.name) for bucket in buckets.values()]
    places = [_places(buckets.get(item.bucket_id), item) for item in chunk]
    found = iter(await core.engine.get_many([*heads, *chain.from_iterable(places)]))
    expects: dict[str, tuple[bytes, int]] = {}
    for seen, at in zip(buckets.values(), heads, strict=True):
        head = next(found)
        if head is None or core.bucket_of(seen.name, head) is not seen:
            raise Conflict  # where to look hangs on the bucket as it was
        expects[seen.name] = (at, head.version)
    merge = KeyMerge(core)
    for item, where in zip(chunk, places, strict=True):
        bucket = buckets.get(item.bucket_id)
        if bucket is None:  # deleted meanwhile, with all that was in it
            continue
        here, grave = next(found), next(found)
        marker, older = (next(found), next(found)) if len(where) > 2 else (None, None)
        newest = newest_of(bucket, expects[bucket.name], item.key, here or marker)
        await merge.merge(newest, item, grave, older)
    return merge.commit(after=latest_of(chunk))
