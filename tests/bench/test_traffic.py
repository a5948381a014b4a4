"""The simulated requests: the same from a seed, and distributed as is said."""

from __future__ import annotations

import numpy as np
import pytest

from bench.simulation.geography import COUNT, REGIONS
from bench.simulation.traffic import (
    DAY_S,
    PEAK_HOUR,
    SIZE_MEDIAN,
    SIZE_SIGMA,
    SWING,
    WRITES,
    WRITTEN_BY_AUDIENCE,
    Catalogue,
    Plan,
    Requests,
    generate,
    rates,
    uniform,
    zipf_ranks,
)

PLAN = Plan(objects=100_000_000, requests=50_000)


@pytest.fixture(scope="module")
def requests() -> Requests:
    return generate(PLAN)


def test_a_seed_gives_the_same_requests_and_another_seed_others(requests: Requests) -> None:
    again, other = generate(PLAN), generate(Plan(seed=2, requests=50_000))
    assert list(again.rows()) == list(requests.rows())
    assert list(other.rows()) != list(requests.rows())


def test_rows_are_in_the_order_of_time_and_in_range(requests: Requests) -> None:
    assert len(list(requests.rows())) == len(requests) == PLAN.requests
    assert np.all(np.diff(requests.time) >= 0)
    assert 0 <= requests.time[0] <= requests.time[-1] < PLAN.days * DAY_S
    assert requests.key.min() >= 0
    assert requests.key.max() < PLAN.objects
    assert requests.size.min() >= 1
    assert requests.is_put.mean() == pytest.approx(WRITES, rel=0.1)


def test_an_object_is_always_the_same(requests: Requests) -> None:
    seen: dict[int, tuple[int, int]] = {}
    repeated = 0
    for _, _, key, size, home, _ in requests.rows():
        repeated += key in seen
        assert seen.setdefault(key, (size, home)) == (size, home)
    assert repeated > 1000


def test_sizes_are_log_normal_and_homes_where_the_audience_is() -> None:
    catalogue = Catalogue(1_000_000)
    key = np.arange(1_000_000, dtype=np.int64)
    log = np.log(catalogue.size(key) / SIZE_MEDIAN)
    assert log.mean() == pytest.approx(0, abs=0.02)
    assert log.std() == pytest.approx(SIZE_SIGMA, rel=0.01)
    audience = catalogue.audience(key)
    assert np.bincount(audience).tolist() == catalogue.counts.tolist()
    own = catalogue.home(key)[audience < COUNT] == audience[audience < COUNT]
    by_chance = sum(region.weight**2 for region in REGIONS)
    expected = WRITTEN_BY_AUDIENCE + (1 - WRITTEN_BY_AUDIENCE) * by_chance
    assert own.mean() == pytest.approx(expected, abs=0.005)


def test_hashes_of_neighbours_and_of_salts_are_independent() -> None:
    key = np.arange(100_000, dtype=np.int64)
    one, two = uniform(key, 1), uniform(key, 2)
    assert one.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.02
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.02


def test_ranks_are_zipfian() -> None:
    """P(rank < k) is the power law's integral up to k + 1."""
    exponent, count = 0.95, 1_000_000
    chance = (np.arange(1_000_000) + 0.5) / 1_000_000
    ranks = zipf_ranks(chance, np.full(1_000_000, count), exponent)
    assert ranks.min() == 0
    assert 0.9999 * count < ranks.max() < count
    for below in (1, 10, 1000, 100_000):
        power = 1 - exponent
        expected = ((below + 1) ** power - 1) / ((count + 1) ** power - 1)
        assert (ranks < below).mean() == pytest.approx(expected, rel=0.001)


def test_the_load_follows_the_sun() -> None:
    table = rates()
    assert table.sum() == pytest.approx(1)
    for row, region in enumerate(REGIONS):
        assert table[row].argmax() == (PEAK_HOUR - region.utc_hours) % 24 * 60
        assert table[row].max() / table[row].min() == pytest.approx((1 + SWING) / (1 - SWING))
        assert table[row].sum() == pytest.approx(region.weight)
