"""One policy over all requests, and what is told of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.simulation.geography import COUNT, NAMES
from bench.simulation.policies import (
    INLINE_MAX,
    LOCAL,
    OUTCOMES,
    Accelerate,
    Policy,
    PullAndMove,
    SingleRegion,
)
from bench.simulation.traffic import DAY_S, SIZE_MAX, Catalogue, Floats, Ints, Plan, Requests

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
CURVE = tuple(np.concatenate([np.linspace(0, 90, 46), 100 - np.logspace(1, -2, 31)[1:]]).tolist())
SAMPLE = 1_000_000  # objects from which the bytes of all are estimated


@dataclass
class Told:
    """One policy's figures. Times in ms, shares of 1; all after the warm days, but for `hourly`."""

    policy: str
    cache_bytes: int
    gets: int
    puts: int
    get_ms: dict[str, float]
    put_ms: dict[str, float]
    served_in_region: float
    bodies_in_region: float
    """Of the GETs of bodies that are not inline: answered without waiting for another region."""
    cache_hits: float
    """Of those that the region has no durable copy of."""
    outcomes: dict[str, int]
    moved_bytes: int
    read_bytes: int
    cached_bytes: int
    stored_over_written: float
    """Bytes stored in all regions over the bytes of all objects, at the end."""
    moves: int = 0
    regions_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    curve_ms: list[float] = field(default_factory=list)
    hourly: list[float] = field(default_factory=list)
    """For each hour from the start, of the GETs of bodies: answered in the region."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Answers:
    """For each request: seconds, and the outcome of a GET."""

    seconds: Floats
    outcome: Ints
    pulled: int
    pushed: int
    """Bytes between regions in the days that count."""


def serve(policy: Policy, requests: Requests, warm_s: float) -> Answers:
    """Every request in turn."""
    seconds = np.empty(len(requests))
    outcomes = np.full(len(requests), -1, dtype=np.int64)
    before = (0, 0)
    warm = False
    for row, (now, region, key, size, writer, is_put) in enumerate(requests.rows()):
        if not warm and now >= warm_s:
            warm, before = True, (policy.pulled, policy.pushed)
        if is_put:
            seconds[row] = policy.put(now, region, key, size)
        else:
            seconds[row], outcomes[row] = policy.get(now, region, key, size, writer)
    policy.check()
    return Answers(seconds, outcomes, policy.pulled - before[0], policy.pushed - before[1])


def tell(policy: Policy, plan: Plan, requests: Requests, cache_bytes: int = 0) -> Told:
    """Run it and sum it up."""
    warm_s = float(plan.warm_days * DAY_S)
    answers = serve(policy, requests, warm_s)
    counted = requests.time >= warm_s
    gets, puts = counted & ~requests.is_put, counted & requests.is_put
    outcome = answers.outcome[gets]
    is_body = requests.size > INLINE_MAX
    bodies = gets & is_body
    hits = Counted.of(answers.outcome[bodies])
    return Told(
        policy=policy.name,
        cache_bytes=cache_bytes,
        gets=int(gets.sum()),
        puts=int(puts.sum()),
        get_ms=_percentiles(answers.seconds[gets]),
        put_ms=_percentiles(answers.seconds[puts]),
        served_in_region=_share(np.isin(outcome, LOCAL)),
        bodies_in_region=hits.local / max(hits.total, 1),
        cache_hits=hits.cached / max(hits.total - hits.durable, 1),
        outcomes={name: int((outcome == code).sum()) for code, name in enumerate(OUTCOMES)},
        moved_bytes=answers.pulled + answers.pushed,
        read_bytes=int(requests.size[gets].sum()),
        cached_bytes=policy.cached(),
        stored_over_written=_stored(policy, plan),
        moves=policy.moves if isinstance(policy, PullAndMove) else 0,
        regions_ms={
            name: _percentiles(answers.seconds[gets & (requests.region == region)])
            for region, name in enumerate(NAMES)
        },
        curve_ms=_round(np.percentile(answers.seconds[gets] * 1000, CURVE)),
        hourly=_hourly(plan, requests, answers, is_body & ~requests.is_put),
    )


@dataclass(frozen=True)
class Counted:
    total: int
    durable: int
    cached: int
    local: int

    @staticmethod
    def of(outcome: Ints) -> Counted:
        by_name = {name: int((outcome == code).sum()) for code, name in enumerate(OUTCOMES)}
        durable, cached = by_name["durable"], by_name["cached"]
        return Counted(len(outcome), durable, cached, durable + cached)


def _stored(policy: Policy, plan: Plan) -> float:
    """Inline bodies are wherever the metadata is; other bodies as the policy says."""
    inline, bodies = written(plan)
    if isinstance(policy, SingleRegion):
        return 1.0
    copies = COUNT if isinstance(policy, Accelerate) else 1
    return (inline * COUNT + bodies * copies + policy.cached()) / (inline + bodies)


def written(plan: Plan) -> tuple[float, float]:
    """Bytes of all objects, inline and not, from a sample of them."""
    step = max(plan.objects // SAMPLE, 1)
    size = Catalogue(plan.objects).size(np.arange(0, plan.objects, step, dtype=np.int64))
    assert size.max() <= SIZE_MAX
    inline = size <= INLINE_MAX
    return float(size[inline].sum() * step), float(size[~inline].sum() * step)


def _hourly(
    plan: Plan, requests: Requests, answers: Answers, bodies: NDArray[np.bool_]
) -> list[float]:
    hour = (requests.time[bodies] // 3600).astype(np.int64)
    hours = plan.days * 24
    local = np.isin(answers.outcome[bodies], LOCAL)
    every = np.bincount(hour, minlength=hours)
    return _round(np.bincount(hour, weights=local, minlength=hours) / np.maximum(every, 1), 4)


def _percentiles(seconds: Floats) -> dict[str, float]:
    if not len(seconds):
        return {}
    values = np.percentile(seconds * 1000, PERCENTILES)
    told = {f"p{name:g}": float(value) for name, value in zip(PERCENTILES, values, strict=True)}
    told["mean"] = float(seconds.mean() * 1000)
    return {name: round(value, 2) for name, value in told.items()}


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _round(values: Floats, digits: int = 2) -> list[float]:
    return [round(value, digits) for value in values.tolist()]
