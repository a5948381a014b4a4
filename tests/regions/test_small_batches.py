"""The stories of `test_simulation.py`, with batches and commits so small that there is always more:
several batches are under way, and receivers merge while they write."""

from __future__ import annotations

import pytest

from amur.objects.replication import batches
from amur.workers import replicate
from tests.support.regions_story import run_story


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_regions_converge_by_small_batches(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate, "BATCH_ENTRIES_MAX", 3)
    monkeypatch.setattr(replicate, "AGAIN_ENTRIES", 2)
    monkeypatch.setattr(batches, "CHUNK_ITEMS", 1)
    together = 0
    room = replicate.Sender._room

    async def counted(sender: replicate.Sender, most: int) -> None:
        nonlocal together
        await room(sender, most)
        together = max(together, 1 + len(sender._flying))

    monkeypatch.setattr(replicate.Sender, "_room", counted)
    assert run_story(seed).acknowledged > 0
    assert together > 1
