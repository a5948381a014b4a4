"""Many regions on one machine, 80 ms between them: targets of issue 4.

What a peer has got is read from its metadata engine, opened beside its own processes: a look costs
microseconds and disturbs nobody. All regions, the links between them and the load share the cores.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvloop

from amur.cluster.testing import ServedCluster
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.records import BucketRecord, decode
from amur.objects.replication.peer_state import PeerState, state_key
from bench.curling import Fetched, fetch
from bench.load import Load, Measured, cpu_seconds, curl
from bench.paced import Run, paced
from bench.rows import BODIES, KIB, MIB, RESIGN_SECONDS, Row, call
from bench.signing import Signer

REGIONS = ("sjc", "ord", "fra")
HOME, FAR = "sjc", "fra"
ROUND_TRIP_MS = 80
LAG_RATE = 1000  # writes a second
LAG_TARGET_MS = 100 + ROUND_TRIP_MS / 2
LOOKS_RATE = 50  # writes a second that are looked for in the peer
LOOK_SECONDS = 0.002
CALM_RATE = 100  # writes a second, where it is their latency that is measured
DRAIN_RATE_TARGET = 20_000
SETTLE_SECONDS = 300.0
PUT_RATIO_TARGET = 1.15
BLACK_HOLE_TARGET = 1.2
ROLES = ("gateway", "blocks", "replicate", "jobs", "supervisor")

Say = Callable[[Row], None]


@dataclass
class Plan:
    seconds: float  # of the lag; the others follow
    drained: int  # changes
    puts: int  # of a round at full speed
    big_bytes: int
    rounds: int  # of what is compared in turns


class Spent(NamedTuple):
    """CPU seconds, by role of a region and by region, and of the links."""

    roles: dict[str, dict[str, float]]
    links: float

    def of(self, region: str, *roles: str) -> float:
        return sum(self.roles[region].get(role, 0.0) for role in roles or ROLES)

    @property
    def total(self) -> float:
        return sum(self.of(region) for region in self.roles)


class Side:
    """A cluster (maybe of one region) and what is asked of it."""

    def __init__(self, cluster: ServedCluster, work: Path) -> None:
        self.cluster = cluster
        self._work = work

    def host(self, region: str) -> str:
        return self.cluster.endpoint(region).removeprefix("http://")

    def signer(self, region: str = HOME) -> Signer:
        return Signer(self.host(region), self.cluster.key_id, self.cluster.secret)

    def load(self, *roles: str) -> Load:
        """On the home region; `roles` are those whose CPU counts."""
        return Load(self.cluster.endpoint(HOME), lambda: self.pids(HOME, *roles), self._work)

    def pids(self, region: str, *roles: str) -> list[int]:
        found = self.cluster.pids(region)
        return [pid for role in roles or found for pid in found.get(role, ())]

    def spent(self) -> Spent:
        facts = self.cluster.facts()
        roles = {
            name: {role: cpu_seconds(pids) for role, pids in region["pids"].items()}
            for name, region in facts["regions"].items()
        }
        return Spent(roles, cpu_seconds([facts["processes"]["links"]]))

    def puts(self, bucket: str, count: int, signer: Signer) -> list[bytes]:
        hashes = [Signer.digest(body) for body in BODIES]
        return [
            signer.request("PUT", f"/{bucket}/{n:07d}", "", BODIES[n % 64], hashes[n % 64])
            for n in range(count)
        ]

    @contextmanager
    def engine(self, region: str) -> Iterator[LmdbEngine]:
        """To be read only."""
        engine = LmdbEngine(Path(self.cluster.facts()["regions"][region]["data"]) / "meta")
        try:
            yield engine
        finally:
            asyncio.run(engine.close())

    def make_bucket(self, name: str) -> bytes:
        """Its id, once all regions have it."""
        call(self.signer(), "PUT", f"/{name}")
        self.settle()
        with self.engine(HOME) as engine:
            entry = engine.get_now(keys.bucket_key(name))
        assert entry is not None
        return decode(entry.value, BucketRecord).id

    def settle(self) -> None:
        """Until every region has all that any has written."""
        for region in self.cluster.regions:
            with self.engine(region) as engine:
                last = _log_end(engine)
            for peer in self.cluster.regions:
                if peer != region:
                    with self.engine(peer) as engine:
                        _until(lambda: _cursor(engine, region) >= last)  # noqa: B023 - called now


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + SETTLE_SECONDS
    while not holds():
        assert time.monotonic() < until, "the regions do not settle"
        time.sleep(0.01)


def _log_end(engine: LmdbEngine) -> int:
    """Version of the last change that is told to peers."""
    found = asyncio.run(engine.scan(keys.LOG, prefix_end(keys.LOG), 1, reverse=True))
    return int.from_bytes(found[0].key[1:9], "big") if found else 0


def _cursor(engine: LmdbEngine, peer: str) -> int:
    """Up to where this region has the log of `peer`."""
    entry = engine.get_now(state_key(peer))
    return PeerState.decode(entry.value).cursor if entry is not None else 0


@dataclass
class Regions:
    """Measures, and tells `say` of each row."""

    plan: Plan
    work: Path
    say: Say
    rows: list[Row] = field(default_factory=list)

    def fill(self) -> None:
        distances = [
            f"--latency={a}:{b}={ROUND_TRIP_MS}ms"
            for at, a in enumerate(REGIONS)
            for b in REGIONS[at + 1 :]
        ]
        arguments = ["--workers=1", *distances]
        with ServedCluster(self.work / "three", REGIONS, arguments=arguments) as cluster:
            side = Side(cluster, self.work)
            self._lag(side, LAG_RATE)
            self._lag(side, CALM_RATE)
            self._drain(side)
            self._reads(side)
            self._black_hole(side)
            one = ServedCluster(self.work / "one", [HOME], arguments=["--workers=1"])
            with one:
                self._local_put(Side(one, self.work), side)

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.say(row)

    # --- lag ---
    def _lag(self, side: Side, rate: int) -> None:
        """From the answer to a write until the peer has it, of some of the writes."""
        name = f"lag-{rate}"
        bucket = side.make_bucket(name)
        requests = side.puts(name, int(rate * self.plan.seconds), side.signer())
        sampled = max(1, rate // LOOKS_RATE)
        lags: list[float] = []
        before = side.spent()
        with side.engine(FAR) as engine:

            async def look(number: int, answered: float) -> None:
                if number % sampled:
                    return
                at = keys.object_key(bucket, b"%07d" % number)
                await asyncio.sleep(ROUND_TRIP_MS / 2e3)  # it can't be there before
                while engine.get_now(at) is None:  # noqa: ASYNC110 - another process tells nobody
                    await asyncio.sleep(LOOK_SECONDS)
                lags.append((time.perf_counter() - answered) * 1e3)

            run = uvloop.run(paced(side.host(HOME), requests, rate, look))
        after = side.spent()
        call(side.signer(FAR), "GET", f"/{name}/{0:07d}")
        p50, p90, p99 = (float(np.percentile(lags, share)) for share in (50, 90, 99))
        row = Row(f"replication lag at {rate:,} writes/s of 1 KiB, p99", p99, "ms")
        row.p50, row.p90, row.p99, row.bad = p50, p90, p99, run.bad
        if rate == LAG_RATE:
            row.target, row.holds = f"<= {LAG_TARGET_MS:.0f}", p99 <= LAG_TARGET_MS
        self._add(row)
        self._add(Row("the longest of them", max(lags), "ms"))
        self._add(self._latency("the writes themselves meanwhile, p50", run))
        for label, region, role in (
            ("sender, two peers", HOME, "replicate"),
            ("receiver", FAR, "blocks"),
        ):
            us = (after.of(region, role) - before.of(region, role)) / len(requests) * 1e6
            self._add(Row(f"{label}: CPU of a write at this rate", us, "us"))

    @staticmethod
    def _latency(name: str, run: Run) -> Row:
        row = Row(name, run.percentile(50), "ms", bad=run.bad)
        row.p50, row.p90, row.p99 = (run.percentile(share) for share in (50, 90, 99))
        return row

    # --- after a partition ---
    def _drain(self, side: Side) -> None:
        side.make_bucket("drain")
        side.cluster.run("partition", HOME, FAR)
        filled = side.load().stream(_filling(side, self.plan.drained), 64)
        assert not filled.bad, "writes failed during the partition"
        with side.engine(HOME) as engine:
            last = _log_end(engine)
        with side.engine("ord") as engine:
            _until(lambda: _cursor(engine, HOME) >= last)
        with side.engine(FAR) as engine:
            start = _cursor(engine, HOME)
            before = side.spent()
            side.cluster.run("heal", HOME, FAR)
            began = time.perf_counter()
            _until(lambda: _cursor(engine, HOME) > start)
            first = time.perf_counter() - began
            _until(lambda: _cursor(engine, HOME) >= last)
            seconds = time.perf_counter() - began
        after = side.spent()
        count = self.plan.drained
        rate = count / seconds
        name = f"{count:,} queued changes drained, {ROUND_TRIP_MS} ms away"
        self._add(Row(name, rate, "/s", f">= {DRAIN_RATE_TARGET:,}", rate >= DRAIN_RATE_TARGET))
        self._add(Row("until the first of them was in", first, "s"))
        self._add(Row("without this time", count / (seconds - first), "/s"))
        spent = {
            "sender: CPU of a change": after.of(HOME, "replicate") - before.of(HOME, "replicate"),
            "receiver: CPU of a change": after.of(FAR, "blocks") - before.of(FAR, "blocks"),
            "the simulated line: CPU of a change": after.links - before.links,
        }
        for label, cpu in spent.items():
            self._add(Row(label, cpu / count * 1e6, "us"))

    # --- reading elsewhere ---
    def _reads(self, side: Side) -> None:
        side.make_bucket("reads")
        many = 3 if self.plan.rounds < 3 else 7
        big = self.plan.big_bytes
        for size, label, count in (
            (KIB, "1 KiB", many),
            (16 * KIB, "16 KiB", many),
            (MIB, "1 MiB", many),
            (big, f"{big // MIB:,} MiB", 1),
        ):
            paths = [f"/reads/{size}-{n}" for n in range(count)]
            body = self.work / "body"
            with body.open("wb") as file:
                for _ in range(max(1, size // MIB)):
                    file.write(random.randbytes(min(size, MIB)))
            for path in paths:
                curl("-T", body, side.signer().link("PUT", path))
            side.settle()
            home = _median([fetch(side.signer().link("GET", path)) for path in paths * 2][count:])
            before = side.spent()
            first = _median([fetch(side.signer(FAR).link("GET", path)) for path in paths])
            after = side.spent()
            second = _median([fetch(side.signer(FAR).link("GET", path)) for path in paths])
            self._reading(f"GET {label} in its home region", home, home)
            self._reading(f"GET {label} in another region, first", first, home)
            self._reading(f"GET {label} in another region, second", second, home)
        for name, region, role in (("its gateway", FAR, "gateway"), ("the holder", HOME, "blocks")):
            us = (after.of(region, role) - before.of(region, role)) / (big / MIB) * 1e6
            self._add(Row(f"first read of {big // MIB:,} MiB: CPU of a MiB, {name}", us, "us"))
        us = (after.links - before.links) / (big / MIB) * 1e6
        self._add(Row("the same, the simulated line", us, "us"))

    def _reading(self, name: str, found: Fetched, home: Fetched) -> None:
        row = Row(name, found.whole * 1e3, "ms", ratio=found.whole / home.whole)
        row.p50 = found.first * 1e3
        self._add(row)

    # --- a peer that does not answer ---
    def _black_hole(self, side: Side) -> None:
        side.make_bucket("hole")
        calm: list[Run] = []
        dark: list[Run] = []
        for _ in range(self.plan.rounds):
            calm.append(self._calm_puts(side, "hole"))
            side.cluster.run("partition", HOME, FAR)
            dark.append(self._calm_puts(side, "hole"))
            side.cluster.run("heal", HOME, FAR)
            side.settle()
        ratio = _ratio(calm, dark, share=99)
        row = Row(f"PUT p99 at {CALM_RATE}/s, a peer black-holed, against before", ratio, "times",
                  f"<= {BLACK_HOLE_TARGET}", ratio <= BLACK_HOLE_TARGET)  # fmt: skip
        row.p50, row.p90, row.p99 = (_middle(dark, share) for share in (50, 90, 99))
        row.bad = sum(run.bad for run in dark)
        self._add(row)

    def _calm_puts(self, side: Side, bucket: str) -> Run:
        seconds = max(3.0, self.plan.seconds / 3)
        requests = side.puts(bucket, int(CALM_RATE * seconds), side.signer())
        return uvloop.run(paced(side.host(HOME), requests, CALM_RATE))

    # --- what regions cost a local PUT ---
    def _local_put(self, one: Side, three: Side) -> None:
        sides = {"one region": one, "three regions": three}
        calm: dict[str, list[Run]] = {name: [] for name in sides}
        full: dict[str, list[Measured]] = {name: [] for name in sides}
        whole: dict[str, list[float]] = {name: [] for name in sides}
        for side in sides.values():
            side.make_bucket("cost")
        for _ in range(self.plan.rounds):
            for name, side in sides.items():
                calm[name].append(self._calm_puts(side, "cost"))
                side.settle()
                requests = side.puts("cost", self.plan.puts, side.signer())
                before = side.spent()
                measured = side.load("gateway").stream(requests, 64)
                side.settle()
                spent = side.spent().total - before.total
                full[name].append(measured)
                whole[name].append(spent / measured.requests * 1e6)
        self._compared(calm, full, whole)

    def _compared(
        self,
        calm: dict[str, list[Run]],
        full: dict[str, list[Measured]],
        whole: dict[str, list[float]],
    ) -> None:
        """Each dict is one region first, then three."""

        def middle(runs: list[Measured], what: str) -> float:
            return float(statistics.median(getattr(run, what) for run in runs))

        for name, runs in full.items():
            row = Row(f"durable PUT 1 KiB, {name}, 64 at once", middle(runs, "rate"), "req/s")
            row.cpu_us = middle(runs, "cpu_us")
            row.p50, row.p90, row.p99 = (middle(runs, share) for share in ("p50", "p90", "p99"))
            row.bad = sum(run.bad for run in runs)
            self._add(row)
            row = self._latency(f"durable PUT 1 KiB, {name}, at {CALM_RATE}/s, p50", calm[name][0])
            row.p50, row.p90, row.p99 = (_middle(calm[name], share) for share in (50, 90, 99))
            row.value = row.p50
            self._add(row)
        one, three = full.values()
        cpu = statistics.median(b.cpu_us / a.cpu_us for a, b in zip(one, three, strict=True))
        for label, ratio in (
            ("gateway CPU of a PUT", cpu),
            (f"p50 of a PUT at {CALM_RATE}/s", _ratio(*calm.values(), share=50)),
        ):
            bound, name = f"<= {PUT_RATIO_TARGET}", f"{label}, three regions against one"
            self._add(Row(name, ratio, "times", bound, ratio <= PUT_RATIO_TARGET))
        rate = statistics.median(b.rate / a.rate for a, b in zip(one, three, strict=True))
        self._add(Row("rate of PUTs, all three regions on these cores", rate, "times"))
        for name, costs in whole.items():
            cost = statistics.median(costs)
            self._add(Row(f"CPU of a PUT in all processes, {name}", cost, "us"))


def _middle(runs: list[Run], share: float) -> float:
    return statistics.median(run.percentile(share) for run in runs)


def _ratio(before: list[Run], after: list[Run], *, share: float) -> float:
    """The median over the rounds: what was measured one after the other had the same machine."""
    pairs = zip(before, after, strict=True)
    return statistics.median(b.percentile(share) / a.percentile(share) for a, b in pairs)


def _median(found: list[Fetched]) -> Fetched:
    return Fetched(
        statistics.median(one.first for one in found), statistics.median(one.whole for one in found)
    )


def _filling(side: Side, count: int) -> Iterator[bytes]:
    """Each key once; the tail is repeated, as wrk stops with some under way."""
    hashes = [Signer.digest(body) for body in BODIES]
    signer, renew_at = side.signer(), time.monotonic() + RESIGN_SECONDS
    for place in range(count + 256):
        number = place % count
        if time.monotonic() > renew_at:
            signer, renew_at = side.signer(), time.monotonic() + RESIGN_SECONDS
        body, digest = BODIES[number % 64], hashes[number % 64]
        yield signer.request("PUT", f"/drain/{number:07d}", "", body, digest)
