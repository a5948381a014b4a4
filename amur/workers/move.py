"""The mover: offers to take over the homes of what this region reads far more than they do, and
asks what became of promises. See objects/replication/moving.py."""

from __future__ import annotations

import structlog

from amur.meta import keys
from amur.meta.engine import Conflict, Entry, prefix_end
from amur.meta.holdings import CACHED, home_of, kind_in
from amur.objects.core import Core
from amur.objects.pull.accesses import access_of
from amur.objects.pull.bodies import find_body
from amur.objects.replication.moving import MOVE_READS, PROMISE_TIMEOUT_SECONDS, settle_promise
from amur.regions.link import LinkError
from amur.regions.messages import BodyName, Offer, Yes
from amur.workers.worker import Worked, Worker, counted, more

PAGE = 200  # counts looked at in one unit of work
OFFERS_MAX = 8  # in one unit of work: each may move a body
PROMISES_MAX = 32

log = structlog.get_logger("amur.workers")


class Mover(Worker):
    """Goes through the counts of reads (table A), and through the promises (table N)."""

    name = "move"
    wait_seconds = 10.0

    def __init__(self, core: Core) -> None:
        self._core = core
        self._position = keys.ACCESSES
        self._promise_at = keys.PROMISES

    async def work(self) -> Worked:
        settled = await self._settle()
        page = await self._core.engine.scan(self._position, prefix_end(keys.ACCESSES), PAGE)
        self._position = page[-1].key + b"\x00" if len(page) == PAGE else keys.ACCESSES
        now = self._core.clock.now_ns()
        offers = moved = 0
        for entry in page:
            reads = access_of(entry.value).count_at(now)
            if reads < MOVE_READS or offers >= OFFERS_MAX:
                continue
            told = await self._offer(entry, reads)
            offers += told is not None
            moved += bool(told)
        at_end = self._position == keys.ACCESSES
        return counted(more(not at_end), offers=offers, moved=moved, settled=settled)

    async def _offer(self, entry: Entry, reads: float) -> bool | None:
        """Whether the home moved here; None when there was nothing to offer."""
        core = self._core
        name = BodyName(*keys.split_named(entry.key))
        found = await find_body(core, name.bucket_id, name.key, name.version)
        if found is None or kind_in(found.record, core.region) != CACHED:
            return None
        link = core.links.get(home_of(found.record))
        if link is None:
            return None
        try:
            offer = Offer(name, core.region, reads)
            return isinstance(await link.call(offer, timeout_s=PROMISE_TIMEOUT_SECONDS), Yes)
        except LinkError:
            return False

    async def _settle(self) -> int:
        end = prefix_end(keys.PROMISES)
        page = await self._core.engine.scan(self._promise_at, end, PROMISES_MAX)
        at_end = len(page) < PROMISES_MAX
        self._promise_at = keys.PROMISES if at_end else page[-1].key + b"\x00"
        settled = 0
        for entry in page:
            try:
                settled += await settle_promise(self._core, BodyName(*keys.split_named(entry.key)))
            except (Conflict, LinkError):
                continue
        return settled
