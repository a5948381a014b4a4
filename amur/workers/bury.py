"""Tombstones: kept until nobody can bring the dead version back, then collected.

One that was made at version v by region O may go when every region has applied O's log up to v, as
each said in its own ordered stream: what a region sends after that can't hold the dead version.
Buckets' own tombstones stay: a few bytes that keep an id from being used again.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Entry, Put, prefix_end
from amur.meta.records import BucketRecord, TombstoneRecord, decode, encode
from amur.meta.stamping import region_number
from amur.objects.buckets import abort_uploads, drop_contents
from amur.objects.core import Core
from amur.objects.replication.closing import settle, unemptied
from amur.objects.replication.peer_state import PeerState, peer_states
from amur.objects.replication.securing import COLLECTED_KEY
from amur.regions.link import LinkError
from amur.workers.worker import Worked, Worker, counted, more

PAGE = 500


class Burier(Worker):
    """`fence` is held by who is applying what a peer answered."""

    name = "bury"
    wait_seconds = 15.0

    def __init__(self, core: Core, fence: asyncio.Lock) -> None:
        self._core = core
        self._fence = fence
        self._position = keys.TOMBSTONES

    async def work(self) -> Worked:
        await self._settle_closed()
        emptied = await self._empty_buckets()
        async with self._fence:
            collected = await self._collect()
        at_end = self._position == keys.TOMBSTONES
        return counted(more(not at_end), collected=collected, buckets=emptied)

    async def _collect(self) -> int:
        engine = self._core.engine
        page = await engine.scan(self._position, prefix_end(keys.TOMBSTONES), PAGE)
        self._position = page[-1].key + b"\x00" if len(page) == PAGE else keys.TOMBSTONES
        states = await peer_states(self._core)
        dead = [(entry, decode(entry.value, TombstoneRecord).version) for entry in page]
        going = [(entry, version) for entry, version in dead if self._is_stable(states, version)]
        if not going:
            return 0
        before = await engine.get(COLLECTED_KEY)
        latest = max(version for _, version in going)
        expect = [(entry.key, entry.version) for entry, _ in going]
        expect.append((COLLECTED_KEY, before.version if before is not None else 0))
        if before is not None:
            latest = max(latest, int.from_bytes(before.value, "big"))
        put = Put(COLLECTED_KEY, latest.to_bytes(8, "big"))
        delete = [entry.key for entry, _ in going]
        try:
            await engine.commit(Commit(expect=expect, put=[put], delete=delete))
        except Conflict:  # a later one has taken the place of one of them: the next round sees it
            return 0
        return len(going)

    def _is_stable(self, states: dict[str, PeerState], version: int) -> bool:
        maker = self._core.topology.of_number(region_number(version))
        if maker is None:  # a region that has left: nobody tells any more
            return False
        me = self._core.region
        if maker.name != me and states[maker.name].applied < version:
            return False
        return all(
            state.vector.get(maker.name, 0) >= version
            for name, state in states.items()
            if name != maker.name
        )

    async def _settle_closed(self) -> None:
        """Ask what became of buckets that were to be deleted."""
        engine = self._core.engine
        rows = await engine.scan(keys.BUCKETS, prefix_end(keys.BUCKETS), 1 << 31)
        for record in (decode(row.value, BucketRecord) for row in rows):
            if record.closing:
                with contextlib.suppress(LinkError):
                    await settle(self._core, record)

    async def _empty_buckets(self) -> int:
        """Drop what was in buckets that another region has deleted."""
        engine = self._core.engine
        graves = await engine.scan(
            keys.BUCKET_TOMBSTONES, prefix_end(keys.BUCKET_TOMBSTONES), 1 << 31
        )
        emptied = 0
        for entry in graves:
            grave = decode(entry.value, TombstoneRecord)
            if not grave.is_emptied:
                await self._empty(entry, grave)
                emptied += 1
        return emptied

    async def _empty(self, entry: Entry, grave: TombstoneRecord) -> None:
        core = self._core
        for bucket_id in unemptied(grave):
            await self._drop(bucket_id)
        done = msgspec.structs.replace(grave, is_emptied=True, also=[])
        put = Put(entry.key, encode(done))
        try:
            await core.engine.commit(Commit(expect=[(entry.key, entry.version)], put=[put]))
        except Conflict:  # deleted once more: the next round
            return

    async def _drop(self, bucket_id: bytes) -> None:
        core = self._core
        await core.transact(lambda: drop_contents(core, bucket_id))
        await abort_uploads(core, bucket_id)
        start = keys.TOMBSTONES + bucket_id
        while page := await core.engine.scan(start, prefix_end(start), PAGE):
            await core.engine.commit(Commit(delete=[each.key for each in page]))
