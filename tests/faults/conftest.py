"""Kills, failing disks, cut uploads, wrong clocks and flipped bits on the real product."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amur.clock import SystemClock
from amur.data.local import LocalDataStore
from amur.meta.lmdb_engine import LmdbEngine
from amur.objects.core import Core
from amur.workers.collect import Collector
from amur.workers.fsck import Report, fsck
from amur.workers.runner import run_until_idle
from amur.workers.sweep import Sweeper

HURRIED = (sys.executable, str(Path(__file__).with_name("hurried.py")))
"""Wrapper of a server's command; see there."""

Look = Callable[[Path], Report]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.faults)


def _core(directory: Path) -> Core:
    clock = SystemClock()
    data = LocalDataStore(directory / "data")
    return Core(LmdbEngine(directory / "meta", clock), data, clock, "local")


async def _close(core: Core) -> None:
    await core.data.close()
    await core.engine.close()


@pytest.fixture(scope="session")
def look() -> Look:
    """fsck of a data directory that is not served."""

    async def run(directory: Path) -> Report:
        core = _core(directory)
        try:
            return await fsck(core)
        finally:
            await _close(core)

    return lambda directory: asyncio.run(run(directory))


@pytest.fixture(scope="session")
def swept() -> Callable[[Path], list[int]]:
    """Sweep and collect without any grace; the sizes of the files that are left."""

    async def run(directory: Path) -> list[int]:
        core = _core(directory)
        try:
            await run_until_idle([Sweeper(core), Collector(core, grace_seconds=0)])
            await run_until_idle([Sweeper(core), Collector(core, grace_seconds=0)])
            return [info.size for info in core.data.files()]
        finally:
            await _close(core)

    return lambda directory: asyncio.run(run(directory))
