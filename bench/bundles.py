"""Bundles against single GETs and against `tar c`, in the same run: targets of issue 3."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amur.serve.testing import ServedAmur
from bench.delay import Delay
from bench.load import Load, cpu_seconds, private_bytes
from bench.readers import AT_ONCE, Access, Gets, Source
from bench.rows import KIB, MIB, call

OBJECTS = 4_000
SIZES = (4 * KIB, 100 * KIB)
ROUND_TRIP_S = 0.030
ONE_BY_ONE = 200  # of the GETs through the delay: the others would take as long each

Say = Callable[[str], None]


@dataclass
class Way:
    """One way to read the objects of a group. `seconds` is the median of the runs, for all of them;
    `cpu_us` that of the server for each object."""

    group: str
    name: str
    objects: int
    size: int
    seconds: float
    cpu_us: float | None = None
    note: str = ""

    @property
    def rate(self) -> float:
        return self.objects / self.seconds

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Target:
    name: str
    value: float
    unit: str
    bound: str
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Plan:
    """All ways are tried in turn, each until its runs took `seconds` together."""

    seconds: float
    samples: int  # of the loaders; 0 for none
    workers: int


@dataclass
class Bundles:
    """Measures on a server of its own and tells `say` of each."""

    plan: Plan
    work: Path
    say: Say
    ways: list[Way] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def fill(self) -> None:
        server = ServedAmur(self.work / "bundles", workers=self.plan.workers)
        try:
            server.start()
            access = Access(f"127.0.0.1:{server.port}", server.key_id, server.secret)
            sources = [self._stored(server, access, size) for size in SIZES]
            for source in sources:
                self._local(server, source)
            self._far(server, access, sources)
            if self.plan.samples:
                self._loaders(server, access)
            server.stop()
            server.start()  # what a request adds is seen in fresh processes only
            self._memory(server, sources)
        finally:
            server.stop()

    def _stored(self, server: ServedAmur, access: Access, size: int) -> Source:
        bucket = f"of-{size // KIB}-kib"
        call(access.signer(), "PUT", f"/{bucket}")
        keys = [f"train/{n:06d}.bin" for n in range(OBJECTS)]
        random.Random(size).shuffle(keys)
        source = Source(access, bucket, keys, size, self.work)
        source.store(Load(server.endpoint, server.processes, self.work))
        return source

    # --- here ---
    def _local(self, server: ServedAmur, source: Source) -> None:
        group = f"{OBJECTS:,} x {source.size // KIB} KiB"
        load = Load(server.endpoint, server.processes, self.work)
        cores = self.plan.workers
        with (
            Gets(source, 0, 1) as one,
            Gets(source, 0, AT_ONCE) as threads,
            Gets(source, cores, AT_ONCE // cores) as processes,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):

            def boto3_at_once() -> float:
                return _timed(lambda: pool.map(source.boto3_get, source.keys))

            def boto3_loop() -> float:
                return _timed(lambda: map(source.boto3_get, source.keys))

            found = self._in_turn(
                server,
                {
                    "tar c of local files, to a pipe": source.tar,
                    "bundle, curl": source.curl,
                    "bundle, amur.client": source.bundle,
                    f"{AT_ONCE} GETs at once, urllib3, {cores} processes": processes.read,
                    f"{AT_ONCE} GETs at once, urllib3, threads": threads.read,
                    f"{AT_ONCE} GETs at once, boto3, threads": boto3_at_once,
                    "GET after GET, urllib3": one.read,
                    "GET after GET, boto3": boto3_loop,
                },
            )
        bare = load.cycle(source.gets(), self.plan.seconds, AT_ONCE)
        assert not bare.bad
        found[f"{AT_ONCE} GETs at once, wrk"] = (OBJECTS / bare.rate, bare.cpu_us)
        for name, (seconds, cpu_us) in found.items():
            cost = None if name.startswith("tar") else cpu_us
            self._add(Way(group, name, OBJECTS, source.size, seconds, cost))
        self._judge(group, source.size)

    def _judge(self, group: str, size: int) -> None:
        seconds = {way.name: way.seconds for way in self.ways if way.group == group}
        best = min(
            spent for name, spent in seconds.items() if "at once" in name and "wrk" not in name
        )
        times = best / seconds["bundle, amur.client"]
        if size == SIZES[0]:
            self._check(f"{group}: bundle against the fastest 64 GETs, both in Python",
                        times, "times", ">= 15", times >= 15)  # fmt: skip
        share = seconds["tar c of local files, to a pipe"] / seconds["bundle, curl"]
        self._check(f"{group}: bundle (curl) against tar c", share, "times", ">= 0.5", share >= 0.5)

    def _in_turn(
        self, server: ServedAmur, ways: dict[str, Callable[[], float]]
    ) -> dict[str, tuple[float, float]]:
        """(median seconds of a run, microseconds of the server's CPU for each object) of each."""
        runs: dict[str, list[float]] = {name: [] for name in ways}
        spent = dict.fromkeys(ways, 0.0)
        while due := [name for name, times in runs.items() if sum(times) < self.plan.seconds]:
            for name in due:
                before = cpu_seconds(server.processes())
                runs[name].append(ways[name]())
                spent[name] += cpu_seconds(server.processes()) - before
        return {
            name: (statistics.median(times), spent[name] / len(times) / OBJECTS * 1e6)
            for name, times in runs.items()
        }

    # --- far away ---
    def _far(self, server: ServedAmur, access: Access, sources: list[Source]) -> None:
        with Delay("127.0.0.1", server.port, ROUND_TRIP_S) as delay:
            far = access._replace(host=delay.host)
            for near in sources:
                source = Source(far, near.bucket, near.keys, near.size, self.work)
                self._far_ways(server, source)

    def _far_ways(self, server: ServedAmur, source: Source) -> None:
        group = f"{OBJECTS:,} x {source.size // KIB} KiB, {ROUND_TRIP_S * 1000:.0f} ms away"
        with Gets(source, 0, 1) as one, Gets(source, 0, AT_ONCE) as threads:
            source.bundle()  # opens the connection
            found = self._in_turn(
                server,
                {
                    f"{AT_ONCE} GETs at once, urllib3": threads.read,
                    "bundle, amur.client": source.bundle,
                    "bundle, curl": source.curl,
                },
            )
            some = one.read(source.paths()[:ONE_BY_ONE])
        found["GET after GET, urllib3"] = (some * OBJECTS / ONE_BY_ONE, 0.0)
        notes = {
            "GET after GET, urllib3": f"{ONE_BY_ONE} measured",
            "bundle, curl": "with a connection's set-up",
        }
        for name, (seconds, _) in found.items():
            note = notes.get(name, "")
            self._add(Way(group, name, OBJECTS, source.size, seconds, note=note))

    # --- the loaders ---
    def _loaders(self, server: ServedAmur, access: Access) -> None:
        try:
            import torch  # noqa: F401 - big, so optional
        except ImportError:
            self.say("PyTorch is not installed, so its loaders are left out")
            return
        from bench.loader import SAMPLE_BYTES, measure

        call(access.signer(), "PUT", "/samples")
        keys = [f"train/{n:06d}.bin" for n in range(self.plan.samples)]
        source = Source(access, "samples", keys, SAMPLE_BYTES, self.work)
        source.store(Load(server.endpoint, server.processes, self.work), files=False)
        for way in measure(access, source.bucket, keys, server.processes):
            self._add(way)
        with Delay("127.0.0.1", server.port, ROUND_TRIP_S) as delay:
            far = access._replace(host=delay.host)
            for way in measure(far, source.bucket, keys, server.processes, ROUND_TRIP_S):
                self._add(way)

    # --- memory ---
    def _memory(self, server: ServedAmur, sources: list[Source]) -> None:
        """What the hungriest process holds more than before, while one slow reader after the
        other is served: more than any of the requests holds."""
        for source in sources:
            source.boto3_get(source.keys[0])
        idle = max(map(private_bytes, server.processes()))
        with _watched(server) as most:
            for source in sources:
                for compression in ("none", "zstd"):
                    rate = f"{source.tar_bytes // 2}"  # bytes a second
                    header = f"x-tigris-bundle-compression: {compression}"
                    source.curl("--limit-rate", rate, "-H", header)
        added = (most[0] - idle) / MIB
        self._check("private memory that a bundle adds", added, "MiB", "<= 64", added <= 64)

    def _add(self, way: Way) -> None:
        self.ways.append(way)
        cost = "" if way.cpu_us is None else f", {way.cpu_us:.1f} us CPU each"
        self.say(f"{way.group}, {way.name}: {way.seconds:.3f} s{cost}")

    def _check(self, name: str, value: float, unit: str, bound: str, holds: bool) -> None:
        self.targets.append(Target(name, value, unit, bound, holds))
        self.say(f"{name}: {value:.2f} {unit}, wanted {bound}: {'holds' if holds else 'MISSED'}")


def _timed(reading: Callable[[], Iterator[int]]) -> float:
    began = time.perf_counter()
    for size in reading():
        assert size
    return time.perf_counter() - began


@contextmanager
def _watched(server: ServedAmur) -> Iterator[list[int]]:
    """The most private bytes of any of the processes, found within."""
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            most[0] = max(most[0], *map(private_bytes, server.processes()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        stop.set()
        watcher.join()
