"""What a process of the server opens for itself."""

from __future__ import annotations

import os
from typing import NamedTuple

from amur.clock import SystemClock
from amur.config import Settings
from amur.data.local import LocalDataStore
from amur.gateway.observe import Observer
from amur.iam.keys import KeyRing
from amur.meta.engine import EngineError
from amur.meta.lmdb_engine import LmdbEngine
from amur.objects.store import Store
from amur.serve.layout import Layout, RootKey

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Opened(NamedTuple):
    """Metadata, data and the store over them, of one process."""

    engine: LmdbEngine
    data: LocalDataStore
    store: Store

    def gauges(self) -> dict[str, float]:
        """For the metrics of this process, by name without `amur_`."""
        with open("/proc/self/statm", "rb") as statm:
            resident = int(statm.read().split()[1]) * _PAGE_BYTES
        try:
            engine = self.engine.stats()
        except EngineError:
            engine = {}
        numbers: dict[str, float] = {f"engine_{name}": n for name, n in engine.items()}
        numbers["data_free_bytes"] = self.data.free_bytes()
        numbers["resident_bytes"] = resident
        return numbers

    async def close(self) -> None:
        await self.store.close()
        await self.data.close()
        await self.engine.close()


def open_store(layout: Layout, region: str) -> Opened:
    """In the process that uses it, never before a fork."""
    clock = SystemClock()
    engine = LmdbEngine(layout.meta, clock)
    data = LocalDataStore(layout.data)
    return Opened(engine, data, Store(engine, data, clock, region=region))


def key_ring(settings: Settings, root: RootKey) -> KeyRing:
    """Raises ValueError for what can't be a key."""
    extra = ((key.id, key.secret, key.owner or key.id) for key in settings.access_keys)
    return KeyRing(root.id, root.secret, extra)
