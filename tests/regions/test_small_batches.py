"""The stories of `test_simulation.py`, with batches and commits so small that there are always
more: senders prepare the next batch while one is under way, receivers merge while they write."""

from __future__ import annotations

import pytest

from amur.objects import replica
from amur.workers import replicate
from tests.support.regions_story import run_story


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_regions_converge_by_small_batches(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate, "BATCH_ENTRIES_MAX", 3)
    monkeypatch.setattr(replicate, "AGAIN_ENTRIES", 2)
    monkeypatch.setattr(replica, "CHUNK_ITEMS", 1)
    ahead = 0
    prepare = replicate.Sender._send_and_prepare

    async def counted(*arguments: object) -> object:
        nonlocal ahead
        ahead += 1
        return await prepare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(replicate.Sender, "_send_and_prepare", counted)
    assert run_story(seed).acknowledged > 0
    assert ahead > 0
