"""Several regions in one process under a virtual clock: a network that loses, repeats, delays and
splits, regions that stop at any moment and come back, clocks that are wrong. All from one seed.

Metadata engines survive a stop as they are: a commit that returned is durable. Every commit is
watched: what was buried in a region must never appear there again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Coroutine
from random import Random
from typing import Any

from amur.clock import Clock
from amur.data.memory import MemoryDataStore
from amur.meta import keys
from amur.meta.engine import Commit
from amur.meta.memory import MemoryEngine
from amur.meta.records import ObjectRecord, TombstoneRecord, decode
from amur.meta.stamping import stamped
from amur.objects.core import Core
from amur.objects.replication.answering import answer, open_body
from amur.objects.store import Store
from amur.regions import messages
from amur.regions.link import Link, PeerUnreachable
from amur.regions.messages import BodyName, Reply, Request
from amur.regions.topology import Region, Topology
from amur.workers.bury import Burier
from amur.workers.reconcile import Reconciler
from amur.workers.replicate import Sender
from amur.workers.trim import Trimmer
from amur.workers.worker import State, Worker

EPOCH_NS = 1_800_000_000_000_000_000
NAMES = ("sjc", "ord", "fra", "sin", "gru")


class SkewedClock(Clock):
    """The loop's time, wrong by `skew_s`."""

    def __init__(self, skew_s: float) -> None:
        self.skew_s = skew_s

    def now_ns(self) -> int:
        now_s = asyncio.get_running_loop().time() + self.skew_s
        return EPOCH_NS + int(now_s * 1e9)


class WatchedEngine(MemoryEngine):
    """Fails when a version appears that this region had buried."""

    def __init__(self, clock: Clock, number: int, trace: Trace) -> None:
        super().__init__(clock, region_number=number)
        self._trace = trace
        self._dead: set[tuple[bytes, bytes, int]] = set()
        self._null_dead: dict[tuple[bytes, bytes], int] = {}
        self.stopped = False

    async def commit(self, commit: Commit) -> int:
        assert not self.stopped, "a stopped region writes"
        version = await super().commit(commit)
        for put in commit.put:
            key, value = stamped(put, version)
            if key.startswith(keys.TOMBSTONES):
                bucket, raw, dead = keys.split_tombstone(key)
                if dead is None:
                    self._null_dead[bucket, raw] = decode(value, TombstoneRecord).version
                else:
                    self._dead.add((bucket, raw, dead))
        for put in commit.put:
            if put.key[:1] in (keys.OBJECTS, keys.MARKERS, keys.VERSIONS):
                key, value = stamped(put, version)
                self._check(*keys.owner_name(key), decode(value, ObjectRecord))
        self._trace.note("commit", version, len(commit.put), len(commit.delete))
        self.committed(commit)
        return version

    def committed(self, commit: Commit) -> None:
        """For stories that watch more."""

    def _check(self, bucket: bytes, key: bytes, record: ObjectRecord) -> None:
        if record.is_null:
            assert record.version > self._null_dead.get((bucket, key), 0), f"{key!r} resurrected"
        else:
            assert (bucket, key, record.version) not in self._dead, f"{key!r} resurrected"


class Trace:
    """A running hash of all that happened: the same seed must give the same."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.count = 0

    def note(self, *facts: object) -> None:
        self.count += 1
        now = asyncio.get_running_loop().time()
        self._hash.update(repr((round(now, 9), *facts)).encode())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Network:
    """Between every pair of regions. `loss` and `repeat` are chances of each message."""

    def __init__(self, chance: Random, trace: Trace) -> None:
        self.chance = chance
        self.trace = trace
        self.loss = 0.0
        self.repeat = 0.0
        self.stray = 0.0  # chance of a message to come very late
        self.delay_s = 0.01
        self.cut: set[frozenset[str]] = set()

    async def pass_(self, one: str, other: str) -> bool:
        """Wait as long as a message takes; whether it arrives."""
        chance = self.chance
        delay = self.delay_s * chance.uniform(0.5, 1.5)
        if chance.random() < 0.05:
            delay *= 20
        if self.stray and chance.random() < self.stray:
            delay += chance.uniform(1, 90)
        await asyncio.sleep(delay)
        return frozenset((one, other)) not in self.cut and chance.random() >= self.loss


class SimLink(Link):
    """From one region to another, over the network."""

    def __init__(self, cluster: SimCluster, here: str, region: Region) -> None:
        self.region = region
        self._cluster = cluster
        self._here = here

    async def call(self, request: Request, *, timeout_s: float = 5.0) -> Reply:
        data = messages.encode(request)
        name, network = self.region.name, self._cluster.network
        network.trace.note("call", self._here, name, type(request).__name__, len(data))
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        copies = 2 if network.chance.random() < network.repeat else 1
        for _ in range(copies):
            self._cluster.spawn(self._deliver(data, answered))
        try:
            async with asyncio.timeout(timeout_s or 5.0):
                reply = await answered
        except TimeoutError:
            raise PeerUnreachable(f"{name} does not answer") from None
        return messages.decode_reply(reply)

    async def _deliver(self, data: bytes, answered: asyncio.Future[bytes]) -> None:
        network, name = self._cluster.network, self.region.name
        if not await network.pass_(self._here, name):
            return
        reply = await self._cluster.regions[name].serve(data)
        if reply is not None and await network.pass_(name, self._here) and not answered.done():
            answered.set_result(reply)

    async def read(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        if not await self._cluster.network.pass_(self._here, self.region.name):
            raise PeerUnreachable("cut off")
        region = self._cluster.regions[self.region.name]
        if not region.is_up:
            raise PeerUnreachable("down")
        async with contextlib.aclosing(open_body(region.core, name, start, end)) as pieces:
            async for piece in pieces:
                if not region.is_up:
                    raise PeerUnreachable("down")
                yield piece

    @property
    def rtt_s(self) -> float:
        return self._cluster.network.delay_s * 2

    async def close(self) -> None:
        """Nothing to release."""


class SimRegion:
    """One region: what survives a stop, and the tasks that don't."""

    def __init__(self, cluster: SimCluster, name: str, number: int, skew_s: float) -> None:
        self.cluster = cluster
        self.name = name
        self.clock = SkewedClock(skew_s)
        self.engine = WatchedEngine(self.clock, number, cluster.network.trace)
        self.data = MemoryDataStore()
        self.number = number
        self.is_up = False
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order, so that a seed repeats

    def start(self) -> None:
        assert not self.is_up
        regions = [Region(name, number) for number, name in enumerate(self.cluster.names)]
        peers = [region for region in regions if region.name != self.name]
        topology = Topology(regions[self.number], peers)
        self.store = Store(self.engine, self.data, self.clock, region=self.name, topology=topology)
        core: Core = self.store.core
        core.links = {peer.name: SimLink(self.cluster, self.name, peer) for peer in peers}
        self.core = core
        self.is_up = True
        self.engine.stopped = False
        fence = asyncio.Lock()
        self.senders = [Sender(core, link) for link in core.links.values()]
        for sender in self.senders:
            self.spawn(sender.run())
        for worker in self.cluster.workers(core, fence):
            self.spawn(self._drive(worker))

    async def run(self, what: Coroutine[Any, Any, Any]) -> bool:
        """Whether it came to its end before the region stopped; what it raises."""
        task = self.spawn(what)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return False
        return True

    def spawn(self, what: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that ends with the region."""
        task = asyncio.get_running_loop().create_task(what)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.cluster.failures.append(error)

    async def _drive(self, worker: Worker) -> None:
        while True:
            state, _ = await worker.work()
            rest = worker.wait_seconds * self.cluster.pace
            await asyncio.sleep(0.05 if state is State.BUSY else rest)

    async def stop(self) -> None:
        """Everything that runs is cut off where it is; nothing that was committed is lost."""
        self.is_up = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.engine.stopped = True

    async def serve(self, data: bytes) -> bytes | None:
        """Answer a peer; None when the region stops meanwhile."""
        if not self.is_up:
            return None
        request = messages.decode_request(data)
        task = self.spawn(answer(self.core, request))
        try:
            reply: Reply = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return None
            raise
        return messages.encode(reply)


class SimCluster:
    """`failures` are errors of background tasks: there must be none."""

    def __init__(self, chance: Random, names: tuple[str, ...], skews_s: list[float]) -> None:
        self.names = names
        self.trace = Trace()
        self.network = Network(chance, self.trace)
        self.failures: list[BaseException] = []
        self.pace = 1.0  # of the workers' waiting
        self.log_entries_max = 1_000_000
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order, so that a seed repeats
        self.regions = {
            name: SimRegion(self, name, number, skews_s[number])
            for number, name in enumerate(names)
        }

    def start(self) -> None:
        for region in self.regions.values():
            self.start_region(region)

    def start_region(self, region: SimRegion) -> None:
        region.start()

    def workers(self, core: Core, fence: asyncio.Lock) -> list[Worker]:
        """What runs in each region beside its senders."""
        trimmer = Trimmer(core, entries_max=self.log_entries_max, page=4)
        return [Reconciler(core, fence), Burier(core, fence), trimmer]

    def spawn(self, what: Coroutine[Any, Any, Any]) -> None:
        """A message under way: it outlives its sender."""
        task = asyncio.get_running_loop().create_task(what)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def stop(self) -> None:
        for region in self.regions.values():
            if region.is_up:
                await region.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
