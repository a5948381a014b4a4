"""Requests at their times, whether or not those before were answered (an open loop), on connections
of our own: a client that costs some 50 us for each request, in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

CONNECTIONS = 128  # more than are ever in use, unless the server stands still


class Wire(asyncio.Protocol):
    """One connection, one request at a time. For answers with a Content-Length, or without body."""

    def __init__(self) -> None:
        self._held = b""
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> int:
        """The status of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, mark, body = self._held.partition(b"\r\n\r\n")
        if not mark or self._answer is None:
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length or 0):
            self._held = b""
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed a connection"))


@dataclass
class Run:
    """Milliseconds from when a request was due until its answer was there."""

    waits: list[float] = field(default_factory=list)
    bad: int = 0
    late: float = 0.0  # the most that we ourselves sent one too late, ms

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.waits, share))


Answered = Callable[[int, float], Awaitable[None]]
"""Called with the request's number and the time (`perf_counter`) of its answer, if it was 200."""


async def paced(
    host: str, requests: Sequence[bytes], rate: float, answered: Answered | None = None
) -> Run:
    """All of `requests`, `rate` a second; ends when `answered` has ended for each, too."""
    loop = asyncio.get_running_loop()
    name, port = host.split(":")
    free: asyncio.Queue[Wire] = asyncio.Queue()  # in turn: the server ends those that stand idle
    for _ in range(CONNECTIONS):
        free.put_nowait((await loop.create_connection(Wire, name, int(port)))[1])
    run = Run()

    async def one(number: int, due: float) -> None:
        wire = await free.get()
        status = await wire.ask(requests[number])
        now = time.perf_counter()
        free.put_nowait(wire)
        run.waits.append((now - due) * 1e3)
        run.bad += status != 200
        if answered is not None and status == 200:
            await answered(number, now)

    began = time.perf_counter() + 0.05
    async with asyncio.TaskGroup() as group:
        for number in range(len(requests)):
            due = began + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            run.late = max(run.late, (time.perf_counter() - due) * 1e3)
            group.create_task(one(number, due))
    while not free.empty():
        free.get_nowait().transport.close()
    return run
