"""The links between the regions: `python -m amur.cluster.links DIR`.

Each ordered pair of regions has two of them, to the other's gateway and to its block service. What
lies between two regions is the same for all links that join them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from amur.cluster import control, plan, process
from amur.cluster.pipe import End, Path, State, lead_on
from amur.cluster.plan import HOST, LinkPlan, Places, Plan
from amur.serve.layout import Refusal

_BACKLOG = 1024  # connections that wait to be accepted


class Links:
    """All links of one cluster."""

    def __init__(self, of: Plan) -> None:
        self._plan = of
        names = [region.name for region in of.regions]
        self.paths = {frozenset(pair): Path() for pair in itertools.combinations(names, 2)}
        for far in of.distances:
            self._between(far.a, far.b).round_trip_s = far.round_trip_ms / 1000
        self._tasks: set[asyncio.Task[bool]] = set()
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Listen. Raises OSError."""
        for link in self._plan.links:
            self._servers.append(await self._listen(link))

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for path in self.paths.values():
            path.abort()
        for task in self._tasks:
            task.cancel()

    async def answer(self, request: control.Message) -> control.Message:
        """`do` is latency, bandwidth, partition, heal or show. Raises Refusal."""
        what, paths = request["do"], self._chosen(request.get("a"), request.get("b"))
        for path in paths:
            if what == "latency":
                path.round_trip_s = float(request["ms"]) / 1000
            elif what == "bandwidth":
                path.bytes_per_s = float(request["bytes_per_s"])
            elif what == "partition" and request.get("reset"):
                path.reset()
            elif what == "partition":
                path.lose()
            elif what == "heal" and path.state is not State.OPEN:
                path.heal()
        return {"paths": [self._facts(pair, path) for pair, path in self.paths.items()]}

    def _facts(self, pair: frozenset[str], path: Path) -> control.Message:
        a, b = sorted(pair)
        return {
            "a": a,
            "b": b,
            "state": path.state.value,
            "round_trip_ms": path.round_trip_s * 1000,
            "bytes_per_s": path.bytes_per_s,
            "connections": path.connections,
        }

    def _chosen(self, a: str | None, b: str | None) -> Iterable[Path]:
        """Between two regions; around one; all."""
        if a and b:
            return [self._between(a, b)]
        if not a:
            return self.paths.values()
        self._plan.region(a)
        return [path for pair, path in self.paths.items() if a in pair]

    def _between(self, a: str, b: str) -> Path:
        self._plan.region(a)
        self._plan.region(b)
        if a == b:
            raise Refusal(f"nothing lies between {a} and itself: name two regions")
        return self.paths[frozenset((a, b))]

    async def _listen(self, link: LinkPlan) -> asyncio.Server:
        path = self._between(link.source, link.target)
        target = self._plan.region(link.target)
        port = target.gateway_port if link.service == "gateway" else target.blocks_port
        forth = link.source < link.target
        loop = asyncio.get_running_loop()

        class Near(End):
            def connection_made(near, transport: asyncio.BaseTransport) -> None:  # noqa: N805
                super().connection_made(transport)
                task = loop.create_task(lead_on(near, HOST, port))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        return await loop.create_server(
            lambda: Near(path, forth=forth, is_near=True), HOST, link.port, backlog=_BACKLOG
        )


async def _work(places: Places) -> object:
    links = Links(plan.read(places))
    await links.open()
    return links, await control.serve(places.links, links.answer)


if __name__ == "__main__":
    process.main(_work)
