"""The engines that the contract suite runs over, and a clock that tests own.

Another engine joins by one more entry in `ENGINES`: a coroutine that opens it empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from amur.clock import FakeClock
from amur.meta.engine import Engine
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.memory import MemoryEngine

Opener = Callable[[Path, FakeClock], Awaitable[Engine]]


async def _memory(path: Path, clock: FakeClock) -> Engine:
    return MemoryEngine(clock)


async def _lmdb(path: Path, clock: FakeClock) -> Engine:
    return LmdbEngine(path / "meta", clock)


ENGINES: dict[str, Opener] = {"memory": _memory, "lmdb": _lmdb}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=sorted(ENGINES))
async def engine(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[Engine]:
    opened = await ENGINES[request.param](tmp_path, clock)
    yield opened
    await opened.close()


@pytest.fixture
async def lmdb_engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LmdbEngine]:
    opened = LmdbEngine(tmp_path / "meta", clock)
    yield opened
    await opened.close()
