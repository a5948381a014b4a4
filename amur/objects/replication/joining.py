"""A region that is new among others, or was emptied, serves nothing until it knows what there is.

Else it would say 404 of what exists, and create buckets that exist already: what is written to
those would be lost when it hears of the real ones. It has joined once it has gone through all that
the peers have which answer, one at least; the region that had data when it first met others has
joined from the beginning.
"""

from __future__ import annotations

import contextlib

from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Put, prefix_end
from amur.objects.core import Core
from amur.objects.errors import RegionUnreachable

JOINED_KEY = keys.singleton_key("joined")
LOG_START_KEY = keys.singleton_key("log-start")
"""The log is whole behind this version; what is before was trimmed, or never logged."""


async def log_start(core: Core) -> int:
    """Where the log begins; at the first call in a region's life among others, here and now."""
    entry = await core.engine.get(LOG_START_KEY)
    if entry is None:
        puts = [Put(LOG_START_KEY, b"")]
        if await core.engine.scan(keys.BUCKETS, prefix_end(keys.BUCKETS), 1):
            puts.append(Put(JOINED_KEY, b""))  # the first of the regions
        with contextlib.suppress(Conflict):
            await core.engine.commit(Commit(expect=[(LOG_START_KEY, 0)], put=puts))
        entry = await core.engine.get(LOG_START_KEY)
        assert entry is not None
    return int.from_bytes(entry.value, "big") if entry.value else entry.version


async def has_joined(core: Core) -> bool:
    if not core.has_joined:
        core.has_joined = await core.engine.get(JOINED_KEY) is not None
    return core.has_joined


async def check_joined(core: Core) -> None:
    """Raise RegionUnreachable while this region must not answer for what there is."""
    if not await has_joined(core):
        raise RegionUnreachable("This region has not caught up with any other region yet")


async def join(core: Core) -> None:
    """To be called when all is here that some peer has."""
    await core.engine.commit(Commit(put=[Put(JOINED_KEY, b"")]))
