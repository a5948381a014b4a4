"""A process that commits and acknowledges on its standard output, to be killed or recorded.

Usage: committer.py DIRECTORY COUNT. Commit n puts two keys, deletes those of commit n - 7, sets
"last" and logs n; "ack n" is written once it has returned.
"""

from __future__ import annotations

import asyncio
import os
import sys

from amur.meta.engine import Commit, Put
from amur.meta.lmdb_engine import LmdbEngine

LONG = b"L" * 700
AT_ONCE = 3
KEPT = 7


async def main(path: str, count: int) -> None:
    engine = LmdbEngine(path)
    entry = await engine.get(b"last")
    first = int(entry.value) + 100 if entry else 0
    os.write(1, b"ready\n")

    async def write(lane: int) -> None:
        for n in range(first + lane, first + count, AT_ONCE):
            name, old = b"%06d" % n, b"%06d" % (n - KEPT)
            value = name * (1 + n % 5 * 300)
            puts = [Put(b"a" + name, value), Put(LONG + name, value), Put(b"last", name)]
            deletes = [b"a" + old, LONG + old] if n >= KEPT else []
            await engine.commit(Commit(put=puts, delete=deletes, log=[name]))
            os.write(1, b"ack %d\n" % n)

    await asyncio.gather(*(write(lane) for lane in range(AT_ONCE)))
    await engine.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
