"""What is asked for, when and where: 10^8 objects of which none needs memory until it is touched.

An object is a number. Its number says whose **audience** it has (one region, or the world) and its
rank in that audience's popularity; a hash of the number says its size and the region that wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.simulation.geography import COUNT, REGIONS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY_S = 86_400
CHUNK = 250_000  # requests that are Python objects at one time

WORLD = COUNT  # the audience that is everybody
WORLD_OBJECTS = 0.05  # share of the objects
WORLD_READS = 0.20  # share of a region's reads
OWN_READS = 0.70  # the rest are of what another region mostly reads
WRITTEN_BY_AUDIENCE = 0.75  # the others: written in one region for the readers of another

WRITES = 0.05  # share of the requests
REWRITES = 0.20  # share of the writes that are of objects as popular as those read

SIZE_MEDIAN = 32 * 1024
SIZE_SIGMA = 2.2  # of the logarithm: 17 % are inline, the mean is 11 medians
SIZE_MAX = 1 << 30

SWING = 0.8  # a region's rate at its best hour is nine times that at its worst
PEAK_HOUR = 15  # local time


@dataclass(frozen=True)
class Plan:
    """What to simulate. `zipf` is the exponent of popularity by rank, not 1."""

    seed: int = 1
    objects: int = 100_000_000
    requests: int = 10_000_000
    days: int = 3
    warm_days: int = 1  # the first, which are simulated and not counted
    zipf: float = 0.95


@dataclass(frozen=True)
class Requests:
    """One row for each request, in the order of time: seconds, the region that it comes to, the
    object, its bytes, the region that wrote it before the simulation, is it a PUT."""

    time: Floats
    region: Ints
    key: Ints
    size: Ints
    home: Ints
    is_put: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)

    def rows(self) -> Iterator[tuple[float, int, int, int, int, bool]]:
        columns = (self.time, self.region, self.key, self.size, self.home, self.is_put)
        for begin in range(0, len(self), CHUNK):
            yield from zip(
                *(column[begin : begin + CHUNK].tolist() for column in columns), strict=True
            )


class Catalogue:
    """The objects: number 0 is the most popular of the first region, and so on."""

    def __init__(self, objects: int) -> None:
        weights = [region.weight * (1 - WORLD_OBJECTS) for region in REGIONS] + [WORLD_OBJECTS]
        self.begins = (np.cumsum([0.0, *weights]) * objects).round().astype(np.int64)
        self.counts = np.diff(self.begins)
        self._shares = np.cumsum([region.weight for region in REGIONS])

    def audience(self, key: Ints) -> Ints:
        return np.asarray(np.searchsorted(self.begins, key, side="right") - 1, dtype=np.int64)

    def home(self, key: Ints) -> Ints:
        """The region that wrote it: its audience's, else any by weight."""
        audience = self.audience(key)
        anywhere = np.searchsorted(self._shares[:-1], uniform(key, 2), side="right")
        own = (uniform(key, 1) < WRITTEN_BY_AUDIENCE) & (audience != WORLD)
        return np.where(own, audience, anywhere).astype(np.int64)

    def size(self, key: Ints) -> Ints:
        """Bytes, log-normal (by Box and Muller), at least 1."""
        radius = np.sqrt(-2 * np.log1p(-uniform(key, 3)))
        normal = radius * np.cos(2 * np.pi * uniform(key, 4))
        size = SIZE_MEDIAN * np.exp(SIZE_SIGMA * normal)
        return np.asarray(np.clip(size, 1, SIZE_MAX), dtype=np.int64)

    def ranked(self, audience: Ints, rank: Ints) -> Ints:
        return np.asarray(self.begins[audience] + rank, dtype=np.int64)


def uniform(key: Ints, salt: int) -> Floats:
    """A number in [0, 1) for each object, by the finalizer of SplitMix64."""
    word = key.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    word ^= word >> np.uint64(31)
    return np.asarray((word >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def zipf_ranks(chance: Floats, count: Ints, exponent: float) -> Ints:
    """Ranks from 0 below `count`, by the inverse of the continuous power law on [1, count + 1)."""
    power = 1 - exponent
    top = (count + 1.0) ** power
    rank = (1 + chance * (top - 1)) ** (1 / power)
    return np.minimum(rank.astype(np.int64), count) - 1


def rates() -> Floats:
    """(11, 1440): the share of all requests of a region and a minute of the UTC day."""
    hour = np.arange(1440) / 60
    table = np.empty((COUNT, 1440))
    for row, region in enumerate(REGIONS):
        local = 2 * np.pi * (hour + region.utc_hours - PEAK_HOUR) / 24
        table[row] = region.weight * (1 + SWING * np.cos(local))
    return np.asarray(table / table.sum())


def generate(plan: Plan) -> Requests:
    """All requests; the same for the same plan."""
    random = np.random.Generator(np.random.PCG64(plan.seed))
    catalogue = Catalogue(plan.objects)
    time, region = _arrivals(plan, random)
    is_put = random.random(plan.requests) < WRITES
    audience = _audiences(random, region, is_put)
    count = catalogue.counts[audience]
    chance = random.random(plan.requests)
    popular = zipf_ranks(chance, count, plan.zipf)
    fresh = is_put & (random.random(plan.requests) >= REWRITES)
    rank = np.where(fresh, (chance * count).astype(np.int64), popular)
    key = catalogue.ranked(audience, rank)
    return Requests(time, region, key, catalogue.size(key), catalogue.home(key), is_put)


def _arrivals(plan: Plan, random: np.random.Generator) -> tuple[Floats, Ints]:
    """When and where: a Poisson process with the rates of the day, given how many there are."""
    cells = np.cumsum(rates().T.ravel())  # minute by minute, its regions
    cell = np.searchsorted(cells[:-1], random.random(plan.requests), side="right")
    minute, region = np.divmod(cell, COUNT)
    day = random.integers(plan.days, size=plan.requests)
    time = day * DAY_S + (minute + random.random(plan.requests)) * 60
    order = np.argsort(time, kind="stable")
    return time[order], region[order].astype(np.int64)


def _audiences(random: np.random.Generator, region: Ints, is_put: NDArray[np.bool_]) -> Ints:
    """Whose objects: reads by region, writes by whom the writer writes for."""
    size = len(region)
    shares = np.cumsum([each.weight for each in REGIONS])
    anybody = np.searchsorted(shares[:-1], random.random(size), side="right")
    which = random.random(size)
    own = np.where(is_put, WRITTEN_BY_AUDIENCE * (1 - WORLD_OBJECTS), OWN_READS)
    world = np.where(is_put, WORLD_OBJECTS, WORLD_READS)
    return np.select([which < own, which < own + world], [region, WORLD], anybody).astype(np.int64)
