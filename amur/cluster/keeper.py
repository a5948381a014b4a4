"""Runs a cluster: starts its processes, does to them what it is told, stops them when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from amur.cluster import control, plan
from amur.cluster.health import is_well, listens
from amur.cluster.plan import HOST, Places, Plan, RegionPlan
from amur.cluster.regions import KILLED_WITH, Popen, RegionProcesses, spawn
from amur.serve.layout import Lock, Refusal, RootKey

START_SECONDS = 60.0  # for all regions to answer, on a slow and busy machine
_BLOCKS_SECONDS = 10.0  # for the block services, once the gateways are well
_DRAIN_SECONDS = 35.0  # a region lets its requests end within 30
_KILL_SECONDS = 10.0
_TICK_SECONDS = 0.1
_PORT_WAIT_SECONDS = 5.0  # a cluster that was killed needs a moment to go
_SHORT_LIFE_SECONDS = 2.0  # a process of ours that dies sooner will not do better the next time

Say = Callable[[str], None]


def lock(places: Places) -> Lock:
    """Be the only one who runs this cluster. Raises Refusal, OSError."""
    places.create()
    taken = Lock()
    path = places.run / "lock"
    if not taken.take(path, time.monotonic() + _TICK_SECONDS):
        owner = path.read_text(errors="replace").strip()[:32]
        raise Refusal(
            f"the cluster in {places.root} is running already (process {owner}); "
            "stop it with amur cluster down"
        )
    return taken


class Keeper:
    """`run` is its whole life; `ready` is called once everything answers."""

    def __init__(self, places: Places, of: Plan, key: RootKey, say: Say) -> None:
        self._places = places
        self._plan = of
        self._say = say
        self.regions = {
            region.name: RegionProcesses(places, region.name, key) for region in of.regions
        }
        self._nets: dict[str, tuple[Popen, float]] = {}  # links and front, and when they began
        self._written = ""
        self._is_ready = self._has_failed = False
        self._told = asyncio.Event()
        self._turn = asyncio.Lock()  # one command after the other

    async def run(self, ready: Callable[[], None]) -> int:
        """Until it is told to stop. The exit code; raises Refusal and OSError."""
        loop = asyncio.get_running_loop()
        for which in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(which, self._told.set)
        await self._wait_for_ports()
        plan.write_settings(self._places, self._plan)
        server = await control.serve(self._places.keeper, self.answer)
        watch = loop.create_task(self._watch())
        try:
            for region in self.regions.values():
                region.start()
            for name in ("links", "front"):
                self._start_net(name)
            await self._until_up(self._plan.regions)
            if not self._told.is_set():
                self._is_ready = True
                ready()
            await self._told.wait()
        finally:
            server.close()
            await self._stop()
            watch.cancel()
            self._write()
        return 1 if self._has_failed else 0

    async def answer(self, request: control.Message) -> control.Message:
        """`do` is status, kill, start, stop or down. Raises Refusal."""
        what = request["do"]
        if what == "status":
            return {"ready": self._is_ready, "pid": os.getpid()}
        if what == "down":
            self._told.set()
            return {}
        region = self._plan.region(request["region"])
        async with self._turn:
            if what == "kill":
                await self._kill(region.name, request.get("role", "all"))
            elif what == "start":
                self.regions[region.name].start()
                await self._until_up([region])
            elif what == "stop":
                self.regions[region.name].stop()
                await self._until_down([self.regions[region.name]])
            self._write()
        return {}

    # --- regions ---

    async def _kill(self, name: str, role: str) -> None:
        if role != "all" and role not in KILLED_WITH:
            raise Refusal(f"there is no role {role!r}; there are {', '.join(KILLED_WITH)} and all")
        until = time.monotonic() + _KILL_SECONDS
        while not self.regions[name].kill(role):
            if time.monotonic() > until:
                raise Refusal(f"{role} of {name} can't be killed: it hangs in the system")
            await asyncio.sleep(_TICK_SECONDS / 10)

    async def _until_up(self, regions: Sequence[RegionPlan]) -> None:
        """Every gateway is well, every block service listens. Raises Refusal."""

        async def is_up(region: RegionPlan) -> bool:
            process = self.regions[region.name]
            if not process.is_alive:
                raise Refusal(f"region {region.name} did not start: {process.last_words()}")
            return await _answers(region.gateway_port)

        for region in regions:
            if not await self._until(partial(is_up, region), START_SECONDS):
                raise Refusal(
                    f"region {region.name} does not answer; see {self.regions[region.name].log}"
                )
        for region in regions:
            if not await self._until(partial(listens, HOST, region.blocks_port), _BLOCKS_SECONDS):
                self._say(f"amur: the block service of {region.name} does not answer yet")
        if not await self._until(partial(listens, *self._plan.address), START_SECONDS):
            raise Refusal(f"the endpoint does not answer; see {self._places.run / 'front.log'}")

    async def _until(self, check: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Whether it came true in time; true, too, when there is no need to know any more."""
        until = time.monotonic() + seconds
        while not self._told.is_set() and not await check():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_TICK_SECONDS)
        return True

    async def _until_down(self, regions: Sequence[RegionProcesses]) -> None:
        until = time.monotonic() + _DRAIN_SECONDS
        for region in regions:
            while region.is_alive and time.monotonic() < until:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(_TICK_SECONDS)
            region.kill()

    async def _stop(self) -> None:
        for region in self.regions.values():
            region.stop()
        await self._until_down(list(self.regions.values()))
        for process, _ in self._nets.values():
            process.kill()  # they keep nothing
            process.wait()

    # --- what is not a region ---

    def _start_net(self, name: str) -> None:
        command = [f"amur.cluster.{name}", str(self._places.root)]
        process = spawn(command, str(self._places.run / f"{name}.log"), dict(os.environ))
        self._nets[name] = process, time.monotonic()

    async def _wait_for_ports(self) -> None:
        until = time.monotonic() + _PORT_WAIT_SECONDS
        while True:
            try:
                plan.refuse_taken_ports(self._plan)
            except Refusal:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(_TICK_SECONDS)
            else:
                return

    async def _watch(self) -> None:
        """Keep cluster.json true, and the links and the endpoint alive."""
        while True:
            self._write()
            for name, (process, began) in tuple(self._nets.items()):
                if process.poll() is None:
                    continue
                if time.monotonic() - began < _SHORT_LIFE_SECONDS:
                    self._say(f"amur: {name} ended: see {self._places.run / name}.log; stopping")
                    self._has_failed = True
                    self._told.set()
                    return
                self._say(f"amur: {name} ended: starting it again")
                self._start_net(name)
            await asyncio.sleep(_TICK_SECONDS)

    def _write(self) -> None:
        """cluster.json, when it has changed. On a full disk it stays as it was."""
        facts = {
            "endpoint": self._plan.endpoint,
            "regions": {
                region.name: {
                    "endpoint": f"http://{HOST}:{region.gateway_port}",
                    "block_service": f"http://{HOST}:{region.blocks_port}",
                    "data": str(self._places.data(region.name)),
                    "pids": self.regions[region.name].pids(),
                }
                for region in self._plan.regions
            },
            "processes": {
                "keeper": os.getpid(),
                **{n: p.pid for n, (p, _) in self._nets.items() if p.poll() is None},
            },
        }
        text = json.dumps(facts, indent=2) + "\n"
        if text == self._written:
            return
        with contextlib.suppress(OSError):
            written = self._places.cluster.with_suffix(".tmp")
            written.write_text(text)
            written.replace(self._places.cluster)
            self._written = text


async def _answers(port: int) -> bool:
    try:
        async with asyncio.timeout(5):
            return await is_well(HOST, port)
    except (OSError, TimeoutError):
        return False
