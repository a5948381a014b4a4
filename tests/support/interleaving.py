"""An engine that yields to other tasks before and after each call, at random from a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from amur.meta.engine import Commit, Engine, Entry, Visitor, Watch


class InterleavedEngine(Engine):
    """Each call is atomic, as the contract says; what happens between calls is anybody's."""

    def __init__(self, engine: Engine, chance: Random) -> None:
        self._engine = engine
        self._chance = chance

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)

    async def get(self, key: bytes) -> Entry | None:
        await self._pause()
        found = await self._engine.get(key)
        await self._pause()
        return found

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        await self._pause()
        found = await self._engine.get_many(keys)
        await self._pause()
        return found

    async def walk(
        self, start: bytes, end: bytes, visit: Visitor, *, reverse: bool = False
    ) -> None:
        await self._pause()
        await self._engine.walk(start, end, visit, reverse=reverse)
        await self._pause()

    async def walk_many(self, walks: Sequence[tuple[bytes, bytes, Visitor]]) -> None:
        await self._pause()
        await self._engine.walk_many(walks)
        await self._pause()

    async def commit(self, commit: Commit) -> int:
        await self._pause()
        version = await self._engine.commit(commit)
        await self._pause()
        return version

    def watch(self, prefix: bytes) -> Watch:
        return self._engine.watch(prefix)

    async def close(self) -> None:
        await self._engine.close()
