"""The endpoint in front of the regions: `python -m amur.cluster.front DIR`.

It leads each new connection on to the first region, in an order of preference, whose gateway is
well. It looks every half second; a gateway that refuses connections is left out at once, one that
says nothing within a second or so. Connections that a region has already are cut only when it is
surely gone: a client tries again, but not for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from amur.cluster import control, plan, process
from amur.cluster.health import is_well
from amur.cluster.pipe import End, Path, lead_on
from amur.cluster.plan import HOST, Places

CHECK_SECONDS = 0.5
CHECK_TIMEOUT_SECONDS = 1.0  # with the pause before: out of use 1.5 s after it hangs
CUT_SECONDS = 5.0  # of silence, until the connections that it has are cut
_BACKLOG = 1024


@dataclass
class Region:
    name: str
    host: str
    port: int
    is_well: bool = False
    well_at: float = field(default_factory=time.monotonic)
    path: Path = field(default_factory=Path)  # of no length: for its connections


class Front:
    """Regions in the order of preference, and their health."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self.regions = list(regions)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen there, once each region has been looked at. Raises OSError."""
        await asyncio.gather(*(self._look(region) for region in self.regions))
        for region in self.regions:
            self._start(self._watch(region))
        front = self

        class Near(End):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                front._start(front._lead(self))

        self._server = await asyncio.get_running_loop().create_server(
            lambda: Near(Path(), forth=True, is_near=True), host, port, backlog=_BACKLOG
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for region in self.regions:
            region.path.abort()
        for task in self._tasks:
            task.cancel()

    async def answer(self, request: control.Message) -> control.Message:
        """What it thinks of the regions."""
        return {
            "regions": [
                {"name": each.name, "is_well": each.is_well, "connections": each.path.connections}
                for each in self.regions
            ]
        }

    async def _lead(self, near: End) -> None:
        """To the best region that takes it; to one that seems unwell when there is no other."""
        for region in sorted(self.regions, key=lambda each: not each.is_well):
            near.move(region.path)
            if await lead_on(near, region.host, region.port, is_last=False):
                return
            region.is_well = False
        near.abort()

    async def _watch(self, region: Region) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self._look(region)

    async def _look(self, region: Region) -> None:
        is_gone = False
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                region.is_well = await is_well(region.host, region.port)
        except ConnectionRefusedError:
            region.is_well, is_gone = False, True
        except (OSError, TimeoutError):
            region.is_well = False
        now = time.monotonic()
        if region.is_well:
            region.well_at = now
        elif is_gone or now - region.well_at > CUT_SECONDS:
            region.path.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _work(places: Places) -> object:
    of = plan.read(places)
    front = Front([Region(each.name, HOST, each.gateway_port) for each in of.regions])
    await front.open(*of.address)
    return front, await control.serve(places.front, front.answer)


if __name__ == "__main__":
    process.main(_work)
