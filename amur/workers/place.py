"""The placer: pulls the bodies that this region shall have (table W), and clears up after the dead.

An entry goes once the body is here, or its version is gone, with what was pulled of it. While no
region that has the bytes answers it stays, and is tried again, later and later.
"""

from __future__ import annotations

import asyncio

import structlog

from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Entry, prefix_end
from amur.meta.holdings import DURABLE
from amur.objects.core import Core
from amur.objects.errors import InvalidRequest, StoreError
from amur.objects.pull.kept import drop_chunks
from amur.objects.pull.localizing import make_local
from amur.objects.pull.wanting import want
from amur.workers.worker import Worked, Worker, counted, more

__all__ = ["Placer", "want"]

AT_ONCE = 8  # bodies under way
PAGE = 64  # entries looked at in one unit of work
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
REMEMBERED_MAX = 10_000  # entries whose time of retry is known
_WAIT_S = 0.05  # for one of those under way, in one unit of work

log = structlog.get_logger("amur.workers")


class Placer(Worker):
    """Those under way go on between units of work, so that a long one holds up nobody."""

    name = "place"
    wait_seconds = 0.2  # what an accelerated bucket takes in is everywhere soon after

    def __init__(self, core: Core) -> None:
        self._core = core
        self._position = keys.WANTED
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._retry: dict[bytes, tuple[float, float]] = {}  # entry: when, and how long it waited

    async def work(self) -> Worked:
        end = prefix_end(keys.WANTED)
        page = await self._core.engine.scan(self._position, end, PAGE)
        now = asyncio.get_running_loop().time()
        self._position = keys.WANTED
        for entry in page:
            if len(self._under_way) >= AT_ONCE:
                self._position = entry.key
                break
            if entry.key not in self._under_way and self._retry.get(entry.key, (0, 0))[0] <= now:
                self._under_way[entry.key] = asyncio.create_task(self._place(entry))
        else:
            if len(page) == PAGE:
                self._position = page[-1].key + b"\x00"
        if self._under_way:
            await asyncio.wait(
                self._under_way.values(), timeout=_WAIT_S, return_when=asyncio.FIRST_COMPLETED
            )
        ended = [at for at, task in self._under_way.items() if task.done()]
        placed = sum([self._under_way.pop(at).result() for at in ended])
        is_more = bool(self._under_way) or self._position != keys.WANTED
        return counted(more(is_more), placed=placed, failed=len(ended) - placed)

    def report(self) -> dict[str, object]:
        return {"under_way": len(self._under_way), "waiting": len(self._retry)}

    async def _place(self, entry: Entry) -> bool:
        """Whether the entry is dealt with."""
        core, name = self._core, keys.split_named(entry.key)
        try:
            if not await make_local(core, *name, durable=entry.value == bytes([DURABLE])):
                await drop_chunks(core, *name)
        except InvalidRequest:
            log.info("a body may not lie here", version=name[2])  # restricted since it was wanted
        except StoreError as error:
            self._try_later(entry.key, error)
            return False
        self._retry.pop(entry.key, None)
        try:
            await core.engine.commit(Commit([(entry.key, entry.version)], delete=[entry.key]))
        except Conflict:
            return False  # wanted again, in another way
        return True

    def _try_later(self, at: bytes, error: StoreError) -> None:
        waited = self._retry.get(at, (0.0, 0.0))[1]
        if not waited:
            log.info("a wanted body can't be had now", error=repr(error))
        if len(self._retry) >= REMEMBERED_MAX:
            self._retry.clear()
        pause = min(RETRY_MAX_S, max(RETRY_MIN_S, 2 * waited))
        self._retry[at] = (asyncio.get_running_loop().time() + pause, pause)
