"""Where bodies are and what a request waits for, under four policies.

Events are taken in the order of time. What takes time (a pull, a push, a move) is written down with
the time from which it holds; who comes earlier waits or goes elsewhere. Seconds and bytes.
"""

from __future__ import annotations

import heapq
from collections import Counter
from math import inf
from typing import Protocol

from bench.simulation.cache import Cache
from bench.simulation.geography import COUNT, NAMES, round_trips_s

INLINE_MAX = 4096  # bytes in the object's own record, which is in every region
INLINE_S = 0.001  # one read of the metadata
LOCAL_S = 0.002  # and one of a disk
LOCAL_RATE = 1e9  # bytes/s: the design's target for a GET of one stream
WAN_RATE = 50e6  # bytes/s of one stream between regions: a window of 10 MB over 200 ms
PUT_S = 0.005  # an fsync and a commit
PUT_RATE = 400e6  # bytes/s: the design's target for a PUT of one stream
LAG_S = 0.1  # of metadata, beside half a round trip: the design's target

HALF_LIFE_S = 6 * 3600  # of a read's count
MOVE_READS = 4.0  # decayed reads below which nothing moves
MOVE_RATIO = 2.0  # times the reads of the next region: "clearly reads it most"

SINGLE = NAMES.index("iad")

# How a GET was answered.
INLINE, DURABLE, CACHED, JOINED, PULLED, REMOTE = range(6)
OUTCOMES = ("inline", "durable", "cached", "joined", "pulled", "remote")
"""In the record; from the home's copy here; from the cache; by waiting for bytes that were on their
way; pulled from another region and kept; answered by another region, nothing kept."""
LOCAL = (INLINE, DURABLE, CACHED)

RTT = round_trips_s()
NEAREST = tuple(tuple(sorted(range(COUNT), key=RTT[here].__getitem__)) for here in range(COUNT))


class Policy(Protocol):
    """`get` gives seconds to the last byte and the outcome, `put` seconds to the answer."""

    name: str
    pulled: int
    pushed: int

    def get(
        self, now: float, region: int, key: int, size: int, writer: int
    ) -> tuple[float, int]: ...

    def put(self, now: float, region: int, key: int, size: int) -> float: ...

    def cached(self) -> int: ...

    def check(self) -> None: ...


def local_s(size: int) -> float:
    return INLINE_S if size <= INLINE_MAX else LOCAL_S + size / LOCAL_RATE


def put_s(size: int) -> float:
    return PUT_S + size / PUT_RATE


class Pull:
    """Bodies stay where they were written; others pull them and keep them while there is room.

    `holders[key]`: region -> when its copy is whole, of what more than the writer has or had;
    the home is always among them. An object that is not there is held by its writer alone.
    """

    name = "pull"

    def __init__(self, cache_bytes: int) -> None:
        self.caches = [Cache(cache_bytes) for _ in NAMES]
        self.holders: dict[int, dict[int, float]] = {}
        self.homes: dict[int, int] = {}
        self.pulled = 0
        self.pushed = 0

    def get(self, now: float, region: int, key: int, size: int, writer: int) -> tuple[float, int]:
        if size <= INLINE_MAX:
            return INLINE_S, INLINE
        home = self.homes.get(key, writer)
        self.count(now, region, key, home)
        if region == home:
            return local_s(size), DURABLE
        holders = self.holders.setdefault(key, {home: -inf})
        ready = holders.get(region)
        if ready is None:
            return self._pull(now, region, key, size, holders), PULLED
        self.caches[region].hit(key)
        self.after_read(now, region, key, size, home)
        if ready <= now:
            return local_s(size), CACHED
        return local_s(size) + ready - now, JOINED

    def put(self, now: float, region: int, key: int, size: int) -> float:
        """A new version: the copies of the old one are worth nothing."""
        for holder in self.holders.pop(key, ()):
            self.caches[holder].remove(key)
        self.homes[key] = region
        if size <= INLINE_MAX:
            self.pushed += size * (COUNT - 1)
        return put_s(size)

    def cached(self) -> int:
        """Bytes in all caches."""
        return sum(cache.used for cache in self.caches)

    def check(self) -> None:
        """Whatever happened: budgets kept, a home holds its body durably, all is accounted for."""
        held = Counter[int]()
        for region, cache in enumerate(self.caches):
            items = cache.items()
            assert cache.used == sum(items.values()) <= cache.budget
            for key in items:
                assert region in self.holders[key], "cached, and not known to be held"
                assert region != self.homes.get(key), "the home's copy could be evicted"
            held.update(items.keys())
        for key, holders in self.holders.items():
            assert len(holders) == held[key] + 1, "not one durable copy, but the cached ones"
            assert key not in self.homes or self.homes[key] in holders, "lost"

    def count(self, now: float, region: int, key: int, home: int) -> None:
        """A read; of interest to who moves."""

    def after_read(self, now: float, region: int, key: int, size: int, home: int) -> None:
        """Of a copy that is cached here."""

    def keep(self, region: int, key: int, size: int) -> None:
        for gone in self.caches[region].add(key, size):
            del self.holders[gone][region]

    def _pull(
        self, now: float, region: int, key: int, size: int, holders: dict[int, float]
    ) -> float:
        source = nearest(now, region, holders)
        spent = local_s(size) + RTT[source][region] + size / WAN_RATE
        self.pulled += size
        holders[region] = now + spent
        self.keep(region, key, size)
        return spent


def nearest(now: float, region: int, holders: dict[int, float]) -> int:
    """Of the regions that hold it and that `region` knows to, the one with the least round trip."""
    for there in NEAREST[region]:
        if there in holders and holders[there] + RTT[there][region] / 2 + LAG_S <= now:
            return there
    # Only just after a move, when the old copy is gone: the record that says so names the new home.
    return min(holders, key=holders.__getitem__)


class PullAndMove(Pull):
    """As `Pull`; and the home goes to the region that clearly reads an object most.

    The region keeps its copy durably first, then the record names it, then the old home's copy
    becomes one that may be evicted.
    """

    name = "pull and move"

    def __init__(self, cache_bytes: int) -> None:
        super().__init__(cache_bytes)
        self.moves = 0
        self._reads: dict[int, float] = {}
        self._moving: dict[int, float] = {}  # when its move was agreed
        self._events: list[tuple[float, int, int, int]] = []

    def get(self, now: float, region: int, key: int, size: int, writer: int) -> tuple[float, int]:
        self._advance(now)
        return super().get(now, region, key, size, writer)

    def count(self, now: float, region: int, key: int, home: int) -> None:
        """Counts grow by more as time goes on, which is to decay all the others."""
        place = key * COUNT + region
        self._reads[place] = self._reads.get(place, 0.0) + _growth(now)

    def after_read(self, now: float, region: int, key: int, size: int, home: int) -> None:
        reads = self._reads
        here = reads[key * COUNT + region]
        if here < MOVE_READS * _growth(now) or key in self._moving:
            return
        others = (reads.get(key * COUNT + there, 0.0) for there in range(COUNT) if there != region)
        if here < MOVE_RATIO * max(others):
            return
        agreed = max(now, self.holders[key][region]) + RTT[region][home]  # asked, promised
        self._moving[key] = agreed
        heapq.heappush(self._events, (agreed, key, region, size))

    def put(self, now: float, region: int, key: int, size: int) -> float:
        self._advance(now)
        self._moving.pop(key, None)
        return super().put(now, region, key, size)

    def _advance(self, now: float) -> None:
        while self._events and self._events[0][0] <= now:
            agreed, key, region, size = heapq.heappop(self._events)
            if self._moving.get(key) == agreed:  # not written again meanwhile
                del self._moving[key]
                self._finish(key, region, size)

    def _finish(self, key: int, region: int, size: int) -> None:
        """Unless it was evicted meanwhile, and the promise could not be given."""
        if key not in self.caches[region]:
            return
        old = next(there for there in self.holders[key] if key not in self.caches[there])
        self.caches[region].remove(key)
        self.homes[key] = region
        self.keep(old, key, size)
        self.moves += 1


def _growth(now: float) -> float:
    return float(2.0 ** (now / HALF_LIFE_S))


class Accelerate:
    """Every PUT is pushed to every region, and so was all that was there before."""

    name = "accelerate"

    def __init__(self) -> None:
        self.pulled = 0
        self.pushed = 0
        self._written: dict[int, tuple[float, int]] = {}

    def get(self, now: float, region: int, key: int, size: int, writer: int) -> tuple[float, int]:
        if size <= INLINE_MAX:
            return INLINE_S, INLINE
        written, home = self._written.get(key, (-inf, writer))
        there = written + LAG_S + RTT[home][region] + size / WAN_RATE
        if region == home or there <= now:
            return local_s(size), DURABLE
        return local_s(size) + there - now, JOINED

    def put(self, now: float, region: int, key: int, size: int) -> float:
        self.pushed += size * (COUNT - 1)
        self._written[key] = (now + put_s(size), region)
        return put_s(size)

    def cached(self) -> int:
        return 0

    def check(self) -> None:
        """Every copy is durable: nothing to lose."""


class SingleRegion:
    """The bucket is in one region, and every request goes there."""

    name = "single region"

    def __init__(self) -> None:
        self.pulled = 0
        self.pushed = 0

    def get(self, now: float, region: int, key: int, size: int, writer: int) -> tuple[float, int]:
        if region == SINGLE:
            return local_s(size), INLINE if size <= INLINE_MAX else DURABLE
        self.pulled += size
        return local_s(size) + RTT[region][SINGLE] + size / WAN_RATE, REMOTE

    def put(self, now: float, region: int, key: int, size: int) -> float:
        if region == SINGLE:
            return put_s(size)
        self.pushed += size
        return put_s(size) + RTT[region][SINGLE] + size / WAN_RATE

    def cached(self) -> int:
        return 0

    def check(self) -> None:
        """One copy, in one place."""
