"""R9 and R17 with all that clients can do, and all workers: no read gives wrong bytes, what was
acknowledged is there in the end, in every region (or overwritten or deleted by something later),
every body can be read everywhere, and a bucket that is deleted takes no acknowledged write along.

`AMUR_SIMULATIONS=20000` runs more of them, `AMUR_SIMULATION_SEED=n` one.
"""

from __future__ import annotations

import os

import pytest

from tests.support.wild_story import run_wild_story

SEEDS = int(os.environ.get("AMUR_SIMULATIONS", "500")) // 10
SLICES = 10
ONE = os.environ.get("AMUR_SIMULATION_SEED")


@pytest.mark.parametrize("part", range(SLICES) if ONE is None else [0])
def test_regions_lose_nothing_whatever_clients_do(part: int) -> None:
    seeds = range(part, SEEDS, SLICES) if ONE is None else [int(ONE)]
    for seed in seeds:
        try:
            story = run_wild_story(seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: AMUR_SIMULATION_SEED={seed}") from error
        assert story.acknowledged > 0, seed


def test_the_same_seed_tells_the_same_story() -> None:
    assert run_wild_story(7) == run_wild_story(7)
