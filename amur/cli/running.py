"""Opening a data directory for a command, and turning what fails into one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from amur.cli.errors import refuse
from amur.config import ConfigError, load
from amur.data.store import DataError
from amur.meta.engine import EngineError
from amur.objects.errors import StoreError
from amur.regions.topology import Topology
from amur.serve.blockstore import claim_data
from amur.serve.layout import Layout, Refusal
from amur.serve.wiring import Opened, open_store

T = TypeVar("T")


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's coroutine; what a person can do something about is one line."""
    try:
        return asyncio.run(work())
    except (Refusal, ConfigError, EngineError, DataError, StoreError) as error:
        raise refuse(" ".join(str(error).split()) or type(error).__name__) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise refuse(f"{where}{error.strerror or error}") from None


def layout_of(path: Path, config: Path | None = None) -> Layout:
    """Of a directory that exists, with the settings of its block store. Raises Refusal and
    ConfigError."""
    layout = Layout(path.absolute())
    if not (layout.meta / "data.mdb").exists():
        raise Refusal(f"{path} is not an amur data directory (it has no meta/data.mdb)")
    if layout.block_store()[0]:  # which keys open it only the settings say
        layout.blocks = load(config).blocks
    return layout


@asynccontextmanager
async def opened(
    path: Path, config: Path | None = None, *, alone: bool = False, bytes_too: bool = True
) -> AsyncIterator[tuple[Layout, Opened]]:
    """The store of a directory; `alone` refuses while a server uses it. Without `bytes_too` a
    bucket is not asked whether it is there, and whose it is."""
    layout = layout_of(path, config)
    lock = None
    if alone:
        layout.run.mkdir(mode=0o700, exist_ok=True)
        lock = layout.lock(wait_seconds=0)
    try:
        region = layout.facts()["region"] if layout.identity.exists() else "local"
        # bytes that lie in another region are not lost
        store = open_store(layout, region, Topology.of_numbers(region, layout.regions()))
        try:
            if bytes_too:
                await claim_data(store.data, store.engine, layout)
            yield layout, store
        finally:
            await store.close()
    finally:
        if lock is not None:
            lock.close()
