"""Flights: bytes on their way from another region, once for all who wait for them here.

A flight gathers at the pace of the peer. Who follows it takes pieces as they come; those of a
chunk go from memory once the chunk is kept, and who is slow reads on from the disk.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from amur.data.store import Piece
from amur.extent import Extent
from amur.objects.errors import BodyUnreachable

GATHERED_MAX = 16
"""Chunks on their way at once in one process, in memory: PULL_CHUNK_BYTES each. Others wait."""

PATIENCE_SECONDS = 4.5
"""Who waits for his turn gives up when nothing has come from anywhere for so long."""


class Flight:
    """Of `size` bytes. `kept` is where they lie once they are kept here."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.have = 0
        self.waiters = 0
        self.kept: list[Extent] | None = None
        self.failure: Exception | None = None  # why not all bytes came
        self.not_kept: Exception | None = None  # all came, but could not be kept
        self.task: asyncio.Task[None] | None = None
        self._pieces: list[Piece] = []
        self._ends: list[int] = []  # of the pieces
        self._news = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Too late to join."""
        if self.failure is not None or self.task is None:
            return self.failure is not None
        return self.task.done() or self.task.cancelling() > 0

    # --- who gathers ---
    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self.have += len(piece)
        self._ends.append(self.have)
        self._tell()

    def body(self) -> bytes:
        return b"".join(self._pieces)

    def pieces(self) -> list[Piece]:
        return self._pieces

    def landed(self, extents: list[Extent], *, is_forgotten: bool = False) -> None:
        """All is here and kept at `extents`, [] if there is nobody left to keep it for."""
        self.kept = extents
        if is_forgotten:
            self._pieces, self._ends = [], []
        self._tell()

    def failed(self, error: Exception) -> None:
        self.failure = error
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # --- who waits ---
    def join(self) -> None:
        self.waiters += 1

    def leave(self, *, is_served: bool = False) -> None:
        """It is called off when nobody waits any more, unless half of it is here, or the last one
        got what he wanted of it: the rest will be wanted, too."""
        self.waiters -= 1
        is_idle = not self.waiters and not is_served
        if is_idle and self.task is not None and 2 * self.have < self.size:
            self.task.cancel()

    def piece_at(self, at: int, end: int) -> Piece | None:
        """What is in memory from byte `at` on, at most to `end`."""
        position = bisect_right(self._ends, at)
        if position == len(self._ends):
            return None
        piece = self._pieces[position]
        begin = self._ends[position] - len(piece)
        if begin == at and len(piece) <= end - at:
            return piece
        return piece[at - begin : end - begin]

    async def news(self) -> None:
        """Wait for the next piece, or the end."""
        await self._news.wait()

    async def over(self) -> None:
        """Wait until all is done."""
        if self.task is not None:
            await asyncio.wait((self.task,))


class Flights:
    """Those of one process, by what they bring; and other work that nobody waits for."""

    def __init__(self) -> None:
        self.by_name: dict[bytes, Flight] = {}
        self.begun = 0  # how many there were
        self.came_at = 0.0  # loop time of the last piece from anywhere
        self._turns = asyncio.Semaphore(GATHERED_MAX)
        self.missing: dict[bytes, int] = {}  # a chunk that was not here, by its version
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def start(
        self, name: bytes, size: int, fly: Callable[[Flight], Coroutine[Any, Any, None]]
    ) -> Flight:
        """The flight of that name, begun now if there is none. The caller joins it."""
        flight = self.by_name.get(name)
        if flight is None or flight.is_over:
            flight = self.by_name[name] = Flight(size)
            self.begun += 1
            flight.task = asyncio.create_task(fly(flight))
            flight.task.add_done_callback(lambda _: self._ended(name, flight))
        flight.join()
        return flight

    def _ended(self, name: bytes, flight: Flight) -> None:
        if flight.failure is None and flight.have < flight.size:
            flight.failed(BodyUnreachable("The transfer was called off"))
        if self.by_name.get(name) is flight:
            del self.by_name[name]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of GATHERED_MAX, in order. Raises BodyUnreachable when all are stuck."""
        loop = asyncio.get_running_loop()
        began, mine = loop.time(), asyncio.ensure_future(self._turns.acquire())
        try:
            while not mine.done():
                await asyncio.wait((mine,), timeout=PATIENCE_SECONDS)
                idle_s = loop.time() - max(began, self.came_at)
                if not mine.done() and idle_s >= PATIENCE_SECONDS:
                    raise BodyUnreachable("No region sends anything")
            yield
        finally:
            if mine.done():
                self._turns.release()
            else:
                mine.cancel()

    def spawn(self, name: bytes, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this in the background, once at a time for each name."""
        if name not in self._tasks:
            task = self._tasks[name] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        while tasks := [
            *(flight.task for flight in self.by_name.values() if flight.task is not None),
            *self._tasks.values(),
        ]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Call all off."""
        for flight in list(self.by_name.values()):
            if flight.task is not None:
                flight.task.cancel()
        for task in list(self._tasks.values()):
            task.cancel()
        await self.quiet()
