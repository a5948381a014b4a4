"""The table of round-trip times against physics, and against figures that others publish."""

from __future__ import annotations

from itertools import combinations

import pytest

from bench.simulation.geography import (
    COUNT,
    LIGHT_KM_PER_MS,
    NAMES,
    REGIONS,
    distance_km,
    round_trips_s,
)

PAIRS = list(combinations(range(COUNT), 2))

ROUND_ABOUT = ("gru", "jnb")  # that network has no cable across the South Atlantic

IBM_MS = {
    ("iad", "fra"): 88,
    ("iad", "lhr"): 76,
    ("iad", "syd"): 213,
    ("iad", "nrt"): 139,
    ("iad", "gru"): 118,
    ("fra", "lhr"): 13,
    ("fra", "syd"): 249,
    ("lhr", "nrt"): 238,
    ("nrt", "syd"): 115,
    ("syd", "gru"): 326,
}
"""IBM Cloud's averages from 8 November to 7 December 2025 between Washington, Frankfurt, London,
Sydney, Tokyo and Sao Paulo (ibm-cloud-docs/vpc, network-latency.md)."""


def test_the_table_is_symmetric_and_complete() -> None:
    table = round_trips_s()
    assert all(table[here][here] == 0 for here in range(COUNT))
    assert all(table[here][there] == table[there][here] > 0 for here, there in PAIRS)


@pytest.mark.parametrize(("here", "there"), PAIRS, ids=lambda at: NAMES[at])
def test_nothing_is_faster_than_light_or_much_slower_than_a_cable(here: int, there: int) -> None:
    least_ms = 2 * distance_km(REGIONS[here], REGIONS[there]) / LIGHT_KM_PER_MS
    stretch = 4.5 if (NAMES[here], NAMES[there]) == ROUND_ABOUT else 2.5
    assert least_ms < round_trips_s()[here][there] * 1000 < stretch * least_ms + 8


@pytest.mark.parametrize("pair", IBM_MS, ids="-".join)
def test_another_network_is_about_as_far(pair: tuple[str, str]) -> None:
    here, there = (NAMES.index(name) for name in pair)
    assert round_trips_s()[here][there] * 1000 == pytest.approx(IBM_MS[pair], rel=0.2, abs=5)


def test_the_weights_add_up() -> None:
    assert sum(region.weight for region in REGIONS) == pytest.approx(1)
