"""A bundle that is read slowly while its objects change, packs are rewritten and files collected:
its members come out whole, in the version they were found in, or it breaks. Never other bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from amur.data.local import LocalDataStore
from amur.objects.bundling import Bundle, Member
from amur.objects.errors import StorageDamaged
from amur.objects.store import Store
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.runner import run_until_idle

PACK, FILE = 16 * 1024, 128 * 1024
SIZES = (0, 900, 6_000, 9_000, PACK, PACK + 1, 3 * PACK)
"""Inline, in packs, and in files of their own."""


@pytest.fixture
async def world(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """On a real disk, where what is unlinked is gone but for those who have it open."""
    from amur import limits
    from amur.objects import bundling

    monkeypatch.setattr(limits, "PACK_BYTES_MAX", PACK)
    monkeypatch.setattr(bundling, "FIRST_BYTES", PACK)
    monkeypatch.setattr(bundling, "BATCH_BYTES", 2 * PACK)
    world.root = tmp_path
    reopen(world)
    yield world
    await world.data.close()


def reopen(world: Any) -> None:
    """As a restart does it: the packs that were open are sealed, and so may be rewritten."""
    world.data = LocalDataStore(
        world.root / "data", chunk_bytes=PACK, pack_bytes_max=PACK, file_bytes_max=FILE
    )
    world.store = Store(world.engine, world.data, world.clock)
    world.core = world.store.core


async def fill(world: Any, rng: random.Random) -> dict[str, bytes]:
    names = [f"k{at:03}" for at in range(40)]
    rng.shuffle(names)
    stored = {name: await world.put(name, rng.choice(SIZES)) for name in names}
    for at in range(4):
        parts = [rng.randbytes(rng.choice(SIZES[1:])) for _ in range(5)]
        stored[f"parts{at}"] = await world.multipart(f"parts{at}", parts)
    await world.data.close()
    reopen(world)
    return stored


async def change_some(world: Any, rng: random.Random, names: Sequence[str]) -> None:
    for name in rng.sample(names, 4):
        if rng.random() < 0.5:
            await world.put(name, rng.choice(SIZES))
        else:
            await world.store.delete("bucket", name)


async def read_slowly(bundle: Bundle, between: Any) -> list[tuple[str, bytes]]:
    members = [entry for entry in bundle.entries if isinstance(entry, Member)]
    found = []
    async for run in bundle.runs(members):
        await between()
        if run.bodies is not None:
            bodies = zip(run.members, run.bodies, strict=True)
            found += [(member.key, body) for member, body in bodies]
            continue
        assert run.pieces is not None
        for member in run.members:
            body = b""
            while len(body) < member.size:
                body += await anext(run.pieces)
                await between()
            found.append((member.key, body))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("grace", [3600.0, 0.0], ids=["within the grace", "without a grace"])
async def test_whole_or_broken_while_packs_are_rewritten(
    world: Any, seed: int, grace: float
) -> None:
    rng = random.Random(seed)
    stored = await fill(world, rng)
    wanted = list(stored) + rng.sample(sorted(stored), 20)
    rng.shuffle(wanted)
    bundle = await world.store.bundle("bucket", wanted)
    workers = [
        Collector(world.core, grace_seconds=grace),
        Compactor(world.core, file_bytes_max=FILE),
    ]
    places = {entry.key: entry.extents for entry in bundle.entries}

    async def between() -> None:
        await change_some(world, rng, sorted(stored)[::2])  # the others move, at most
        await run_until_idle(workers)
        world.clock.advance(20)

    try:
        assert await read_slowly(bundle, between) == [(key, stored[key]) for key in wanted]
    except StorageDamaged:
        assert not grace, "bytes went before their time"
    else:
        assert grace, "nothing went, so this shows nothing"
        assert await moved(world, places, stored), "nothing was rewritten, so this shows nothing"


async def moved(world: Any, places: dict[str, Any], stored: dict[str, bytes]) -> bool:
    """Whether an object that stayed as it was lies somewhere else now."""
    now = await world.store.bundle("bucket", sorted(places))
    for entry in now.entries:
        is_elsewhere = isinstance(entry, Member) and entry.extents != places[entry.key]
        if is_elsewhere and await world.get(entry.key) == stored[entry.key]:
            return True
    return False
