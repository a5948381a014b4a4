"""Anti-entropy: compares this region with its peers, range by range, and takes over what differs.

It runs all the time, slowly, and heals whatever the log has missed; after a gap in a peer's log it
runs at once, and only when it has gone all through does that peer's log count as applied.
"""

from __future__ import annotations

import asyncio
from math import inf

import structlog

from amur.meta.engine import Commit, Conflict
from amur.objects.core import Core
from amur.objects.replication.batches import apply_items
from amur.objects.replication.digesting import END, digest_of, marks
from amur.objects.replication.joining import has_joined, join
from amur.objects.replication.peer_state import peer_state, peer_states
from amur.regions.link import Link, LinkError
from amur.regions.messages import BucketsAsk, Digest, DigestAsk, Items, ItemsAsk, Reply
from amur.workers.worker import State, Worked, Worker, counted

RANGE_ENTRIES = 500  # our own entries in one range: few enough that a difference is cheap
PAGE_ITEMS = 500
BUCKETS_PAGE = 500
CALL_TIMEOUT_SECONDS = 30.0
START = b""
WAIT_SECONDS = 20.0  # between two rounds
BEHIND_SECONDS = 1.0  # while a peer that answers has more for us than its log, or none has yet

log = structlog.get_logger("amur.regions")


class Reconciler(Worker):
    """One unit of work is a range of one peer. `fence` is held meanwhile: no tombstone may be
    collected between a peer's answer and its being applied."""

    name = "reconcile"
    wait_seconds = WAIT_SECONDS

    def __init__(self, core: Core, fence: asyncio.Lock) -> None:
        self._core = core
        self._fence = fence
        self._turns: list[str] = []  # peers still to be compared with in this round
        self._position = START
        self._began_at = 0  # the peer's cursor when its turn began
        self._is_met = False  # a peer has answered since we began
        self._compared: set[str] = set()  # with whom, until this region has joined
        self.rounds = 0

    async def work(self) -> Worked:
        if not self._turns:
            self._turns = await self._order()
            self._position = START
            self.wait_seconds = WAIT_SECONDS
        if not self._turns:
            return counted(State.IDLE)
        link = self._core.links.get(self._turns[0])
        if link is None:
            self._next_peer()
            return counted(State.IDLE)
        try:
            async with self._fence:
                applied = await self._step(link)
            self._is_met = True
        except LinkError:
            self._next_peer()
            self.wait_seconds = WAIT_SECONDS if self._is_met else BEHIND_SECONDS
            return counted(State.IDLE)
        if not self._turns and (not await has_joined(self._core) or await self._is_behind()):
            self.wait_seconds = BEHIND_SECONDS
        return counted(State.BUSY if self._turns else State.IDLE, items=applied)

    async def _is_behind(self) -> bool:
        """A region that is new, or was emptied: it should not wait to be told of all there is."""
        states, links = await peer_states(self._core), self._core.links
        return any(
            (state.has_gap or not state.cursor) and name in links and links[name].rtt_s < inf
            for name, state in states.items()
        )

    async def _order(self) -> list[str]:
        """Peers with a gap first; not alone, as they may be away for long."""
        states = await peer_states(self._core)
        return sorted(states, key=lambda name: not states[name].has_gap)

    def _next_peer(self) -> None:
        del self._turns[:1]
        self._position = START
        self.rounds += not self._turns

    async def _step(self, link: Link) -> int:
        core, start = self._core, self._position
        if start == START:
            self._began_at = (await peer_state(core, link.region.name))[0].cursor
            await self._buckets(link)
        mine, cut = await marks(core, start, END, RANGE_ENTRIES)
        end = cut or END
        told = await _call(link, DigestAsk(start, end))
        applied = 0
        if not isinstance(told, Digest) or told.digest != digest_of(mine):
            applied = await self._take_over(link, start, end)
        self._position = end
        if end == END:
            await self._close_gap(link.region.name)
            await self._join(link.region.name)
            self._next_peer()
        return applied

    async def _join(self, peer: str) -> None:
        """This region may serve once it has gone through all the peers that answer."""
        if await has_joined(self._core):
            return
        self._compared.add(peer)
        links = self._core.links.values()
        if all(link.region.name in self._compared for link in links if link.rtt_s < inf):
            await join(self._core)
            log.info("this region has caught up with the others, and serves")

    async def _buckets(self, link: Link) -> None:
        after = ""
        while True:
            page = await _items(link, BucketsAsk(after, BUCKETS_PAGE))
            await apply_items(self._core, page.items)
            if not page.next:
                return
            after = page.next.decode()

    async def _take_over(self, link: Link, start: bytes, end: bytes) -> int:
        applied, after = 0, -1
        while True:
            ask = ItemsAsk(start, end, PAGE_ITEMS, self._core.region, after)
            page = await _items(link, ask)
            await apply_items(self._core, page.items)
            applied += len(page.items)
            if not page.next:
                return applied
            start, after = page.next, page.after

    async def _close_gap(self, peer: str) -> None:
        """All that the peer had when its turn began is here now."""
        while True:
            state, version = await peer_state(self._core, peer)
            if not state.has_gap:
                return
            state.has_gap = False
            state.applied = max(state.applied, self._began_at)
            put = state.put(peer)
            try:
                await self._core.engine.commit(Commit(expect=[(put.key, version)], put=[put]))
            except Conflict:
                continue
            log.info("caught up with a peer by comparing", peer=peer)
            return


async def _call(link: Link, request: DigestAsk | BucketsAsk | ItemsAsk) -> Reply:
    return await link.call(request, timeout_s=CALL_TIMEOUT_SECONDS)


async def _items(link: Link, request: BucketsAsk | ItemsAsk) -> Items:
    reply = await _call(link, request)
    if not isinstance(reply, Items):
        raise LinkError(f"{link.region.name} answered {type(reply).__name__}")
    return reply
