"""Counts what lies in this region: bytes by how they are held, for the region's page."""

from __future__ import annotations

from amur.meta import keys
from amur.meta.engine import STOP, prefix_end
from amur.meta.holdings import CACHED, GONE, kind_in
from amur.meta.records import ObjectRecord, decode
from amur.objects.core import Core
from amur.workers.worker import Worked, Worker, counted, more

ENTRIES = 2_000  # looked at in one unit of work
_NAMES = {GONE: "elsewhere", CACHED: "cached"}


class Census(Worker):
    """A round over all versions every `wait_seconds`; the last whole round is what is told.

    A large body that is only here in part counts as elsewhere.
    """

    name = "census"
    wait_seconds = 15.0

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tables = [keys.OBJECTS, keys.VERSIONS]
        self._table = 0
        self._at = keys.OBJECTS
        self._counting = self._fresh()
        self._counted: dict[str, int] = {}

    def _fresh(self) -> dict[str, int]:
        return dict.fromkeys(("inline", "durable", "cached", "elsewhere"), 0)

    async def work(self) -> Worked:
        seen, last = 0, b""

        def visit(at: bytes, value: memoryview, _version: int) -> bytes | None:
            nonlocal seen, last
            seen, last = seen + 1, at
            record = decode(value, ObjectRecord)
            self._counting[self._held(record)] += record.size
            return STOP if seen >= ENTRIES else None

        await self._core.engine.walk(self._at, prefix_end(self._tables[self._table]), visit)
        if seen >= ENTRIES:
            self._at = last + b"\x00"
            return counted(more(True))
        self._table = (self._table + 1) % len(self._tables)
        self._at = self._tables[self._table]
        if self._table:
            return counted(more(True))
        self._counted, self._counting = self._counting, self._fresh()
        return counted(more(False))

    def _held(self, record: ObjectRecord) -> str:
        if record.is_inline:
            return "inline"
        return _NAMES.get(kind_in(record, self._core.region), "durable")

    def gauges(self) -> dict[str, float]:
        return {f"bytes_{name}": float(size) for name, size in self._counted.items()}
