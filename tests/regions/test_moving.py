"""R9 for bytes: homes move, copies are evicted, regions stop: the home always has the bytes, no
read gives wrong ones, and in the end everything can be read everywhere.

`AMUR_SIMULATIONS=20000` runs more of them, `AMUR_SIMULATION_SEED=n` one.
"""

from __future__ import annotations

import os

import pytest

from tests.support.moving_story import run_bytes_story

SEEDS = int(os.environ.get("AMUR_SIMULATIONS", "500")) // 10
SLICES = 5
ENOUGH = 5  # stories among which some home moves, for sure
ONE = os.environ.get("AMUR_SIMULATION_SEED")


@pytest.mark.parametrize("part", range(SLICES) if ONE is None else [0])
def test_the_home_has_the_bytes(part: int) -> None:
    seeds = range(part, SEEDS, SLICES) if ONE is None else [int(ONE)]
    moves = 0
    for seed in seeds:
        try:
            story = run_bytes_story(seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: AMUR_SIMULATION_SEED={seed}") from error
        assert story.reads > story.failed_reads
        moves += story.cluster.moves
    assert moves or len(seeds) < ENOUGH, "nothing moved: the stories tell nothing"
