"""The scrubber: reads every byte that is in use, slowly, so that rot is found before a reader does.

It follows the reference table, which lies in the order of files and offsets; where it stands is
kept in a singleton, so that a restart goes on.
"""

from __future__ import annotations

import contextlib
from itertools import groupby

import structlog

from amur.data.store import DataDamaged, DataError, DataMissing
from amur.limits import MIB
from amur.meta import keys
from amur.meta.engine import Commit, EngineError, EngineFull, Put, prefix_end
from amur.meta.records import Extent
from amur.objects.core import Core
from amur.objects.errors import StoreError
from amur.objects.pull.mending import mend
from amur.workers.owners import Place, extent_at
from amur.workers.worker import Worked, Worker, counted, more

CHECK_BYTES = 64 * MIB  # verified in one unit of work
REFERENCES_MAX = 256
DAMAGED_MAX = 1000  # owners named in the report; all are logged
POSITION_KEY = keys.singleton_key("scrub")

log = structlog.get_logger("amur.workers")


class Scrubber(Worker):
    """`damaged` names the records whose bytes failed in this round, by metadata key."""

    name = "scrub"
    wait_seconds = 86_400.0  # between rounds

    def __init__(self, core: Core) -> None:
        self._core = core
        self._position = b""
        self.damaged: dict[bytes, str] = {}

    async def work(self) -> Worked:
        if not self._position:
            stored = await self._core.engine.get(POSITION_KEY)
            self._position = stored.value if stored is not None else keys.REFERENCES
        start = self._position
        if start == keys.REFERENCES:
            self.damaged = {}
        entries = await self._core.engine.scan(start, prefix_end(keys.REFERENCES), REFERENCES_MAX)
        split = [keys.split_reference(entry.key) for entry in entries]
        checked = size = bad = mended = 0
        position = keys.REFERENCES
        for place, some in groupby(split, lambda reference: reference[:2]):
            owners = [owner for _, _, owner in some]
            extent = await self._extent(place, owners)
            if extent is None:
                continue
            if checked and size + extent.length > CHECK_BYTES:
                position = keys.reference_prefix(*place)
                break
            is_good = await self._is_good(extent, owners)
            bad += not is_good
            mended += not is_good and await self._mended(owners)
            checked += 1
            size += extent.length
        else:
            if len(entries) == REFERENCES_MAX:
                position = entries[-1].key + b"\x00"
        self._position = position
        with contextlib.suppress(EngineFull):  # it only costs a restart some reading again
            await self._core.engine.commit(Commit(put=[Put(POSITION_KEY, position)]))
        is_more = position != keys.REFERENCES
        return counted(more(is_more), extents=checked, bytes=size, damaged=bad, mended=mended)

    def report(self) -> dict[str, object]:
        return {"damaged": [owner.hex() for owner in self.damaged]}

    async def _extent(self, place: Place, owners: list[bytes]) -> Extent | None:
        """What lies at `place`; None for a manifest, and for what changed meanwhile."""
        for entry in await self._core.engine.get_many(owners[:1]):
            return extent_at(entry, place)
        return None

    async def _mended(self, owners: list[bytes]) -> bool:
        """Whether other regions had the bytes: then nobody has to be told."""
        if not self._core.is_cluster:
            return False
        try:
            done = [await mend(self._core, owner) for owner in owners]
        except (DataError, EngineError, StoreError) as error:
            log.warning("bytes could not be mended", error=repr(error))
            return False
        if all(done):
            for owner in owners:
                self.damaged.pop(owner, None)
        return all(done)

    async def _is_good(self, extent: Extent, owners: list[bytes]) -> bool:
        try:
            await self._core.data.check(extent)
        except (DataDamaged, DataMissing) as error:
            if await self._extent((extent.file, extent.offset), owners) is None:
                return True  # deleted meanwhile
            log.error("bytes are damaged", owners=[o.hex() for o in owners], error=str(error))
            if len(self.damaged) < DAMAGED_MAX:
                self.damaged.update((owner, str(error)) for owner in owners)
            return False
        except DataError as error:
            log.warning("bytes could not be checked", error=str(error))
        return True
