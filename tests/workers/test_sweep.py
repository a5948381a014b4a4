"""The sweeper finds what a dead process left, and leaves alone what a living one writes."""

from __future__ import annotations

from typing import Any

import pytest

from amur.workers.runner import run_until_idle
from amur.workers.sweep import Sweeper

BLOCK = 50_000


async def test_orphans_of_a_dead_process_go_and_used_files_stay(world: Any, killed: Any) -> None:
    kept = await world.put("kept", BLOCK)
    small = await world.put("small", 6_000)
    world.engine.fuse.at = world.engine.fuse.calls + 2  # dies at the commit, the bytes are there
    with pytest.raises(killed):
        await world.put("lost", BLOCK)
    await run_until_idle(world.workers)
    world.clock.advance(1000)
    await run_until_idle(world.workers)
    assert len(world.files()) == 3, "its writer might still commit"
    world.die()
    await world.rest()
    assert len(world.files()) == 2
    assert await world.get("kept") == kept
    assert await world.get("small") == small
    await world.assert_nothing_left()


async def test_a_sweep_in_pages_is_complete(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.sweep.FILES_MAX", 2)
    for _ in range(7):
        writer = world.data.writer()
        await writer.write(world.body(BLOCK))
        await writer.finish()
    body = await world.put("kept", BLOCK)
    world.die()
    sweeper = Sweeper(world.core)
    await run_until_idle([sweeper])
    await world.rest()
    assert len(world.files()) == 1
    assert await world.get("kept") == body
