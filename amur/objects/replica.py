"""Taking in what other regions changed: items merged into the tables, in any order, any number of
times, with the same outcome everywhere. `docs/decisions/0004-many-regions.md` has the rules.

A batch of a peer's log is committed in a few commits, each with many items of different keys; the
last one carries the cursor, so what was taken in and what is known to be taken in never differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from amur.limits import KIB
from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Entry, Put
from amur.objects.buckets_merge import merge_bucket
from amur.objects.core import Core
from amur.objects.history import newest_of
from amur.objects.items import latest_of, size_of
from amur.objects.merging import KeyMerge
from amur.objects.peer_state import peer_state, vector
from amur.regions.messages import Ack, Batch, Item, No, Reply

CHUNK_ITEMS = 256  # items of one commit: a few ms of the engine's writer
CHUNK_BYTES = 1024 * KIB
_TOGETHER_TRIES = 3  # of a whole chunk, before its items are committed one by one


async def take_batch(core: Core, batch: Batch) -> Reply:
    """Apply a stretch of a peer's log. Raises what `Core.transact` does."""
    if batch.sender not in core.topology.peers:
        return No("not a region of this cluster")
    state, version = await peer_state(core, batch.sender)
    if batch.start != state.cursor:
        return Ack(state.cursor, False)
    if batch.end < batch.start:
        return No("a batch ends before it begins")
    state.advance(batch)
    done = await apply_items(core, batch.items, state.put(batch.sender), version)
    if not done:  # another call has taken the same stretch meanwhile
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
    chunks = list(_chunks(item for item in items if item.bucket_id))
    for chunk in chunks[:-1]:
        await _apply_chunk(core, chunk)
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
        commit = await _merged(core, chunk)
        with_cursor = commit._replace(
            expect=[*commit.expect, (cursor.key, expected)], put=[*commit.put, cursor]
        )
        try:
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
    commit = await _merged(core, chunk)
    if commit.put or commit.delete:
        await core.engine.commit(commit)


async def _merged(core: Core, chunk: Sequence[Item]) -> Commit:
    """The commit that merges these items, all of different keys, into what is here."""
    if not chunk:
        return Commit()
    buckets = await core.buckets_of({item.bucket_id for item in chunk})
    at = sorted({keys.bucket_key(bucket.name) for bucket in buckets.values()})
    reads = [*at]
    for item in chunk:
        version = item.version or None
        reads += (
            keys.object_key(item.bucket_id, item.key),
            keys.marker_key(item.bucket_id, item.key),
            keys.tombstone_key(item.bucket_id, item.key, version),
            keys.version_key(item.bucket_id, item.key, item.version),
        )
    found = await core.engine.get_many(reads)
    heads = dict(zip(at, found[: len(at)], strict=True))
    merge = KeyMerge(core)
    for position, item in enumerate(chunk):
        bucket = buckets.get(item.bucket_id)
        if bucket is None:  # deleted meanwhile, with all that was in it
            continue
        here, marker, grave, older = found[len(at) + 4 * position : len(at) + 4 * position + 4]
        expect = _expected(heads[keys.bucket_key(bucket.name)], bucket.name)
        newest = newest_of(bucket, expect, item.key, here or marker)
        await merge.merge(newest, item, grave, older)
    return merge.commit(after=latest_of(chunk))


def _expected(entry: Entry | None, name: str) -> tuple[bytes, int]:
    return keys.bucket_key(name), entry.version if entry is not None else 0
