"""What a read and a commit of the LMDB engine cost, in microseconds, on this machine.

Usage: python bench/meta_engine.py [DIRECTORY]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

from amur.meta.engine import Commit, Put
from amur.meta.lmdb_engine import LmdbEngine

ENTRIES = 20_000
VALUE = os.urandom(1100)


async def measure_reads(engine: LmdbEngine) -> None:
    keys = [b"O8-bytes-%020d" % n for n in range(ENTRIES)]
    for at in range(0, ENTRIES, 1000):
        await engine.commit(Commit(put=[Put(key, VALUE) for key in keys[at : at + 1000]]))

    async def timed(name: str, call: Callable[[bytes], Awaitable[object]], per: int = 1) -> None:
        rounds = max(1, 50_000 // per)
        began = time.process_time()
        for n in range(rounds):
            await call(keys[n * 7919 % ENTRIES])
        print(f"{name:32} {(time.process_time() - began) / rounds / per * 1e6:8.2f} us CPU")

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        return None

    def seek(key: bytes, value: memoryview, version: int) -> bytes | None:
        return key + b"\x00"

    hot = keys[0]
    await timed("get, same key", lambda key: engine.get(hot))
    await timed("get, random key", engine.get)
    await timed("get, absent", lambda key: engine.get(key + b"-"))
    await timed("get_many of two", lambda key: engine.get_many([key, key + b"-"]))
    await timed("walk, each entry", lambda key: engine.walk(b"O", b"P", visit), ENTRIES)
    await timed("walk with seeks, each seek", lambda key: engine.walk(b"O", b"P", seek), ENTRIES)


async def measure_commits(engine: LmdbEngine, at_once: int, each: int) -> None:
    """Commits as a PUT of a new object makes them: three expectations, two puts, one log value."""

    async def write(lane: int) -> None:
        for n in range(each):
            key = b"O%06d-%06d-%06d" % (at_once, lane, n)
            expect = [(b"Bucket", 0), (key, 0), (b"D" + key, 0)]
            puts = [Put(key, VALUE, stamp=1), Put(b"R" + key, b"")]
            await engine.commit(Commit(expect=expect, put=puts, log=[key]))

    before, cpu, began = engine.stats()["batches"], time.process_time(), time.perf_counter()
    await asyncio.gather(*(write(lane) for lane in range(at_once)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    count = at_once * each
    print(
        f"commit, {at_once:3} at once {'':12} {count / seconds:8.0f} /s"
        f"  {seconds / each * 1e6:7.0f} us latency  {cpu / count * 1e6:6.1f} us CPU"
        f"  {count / (engine.stats()['batches'] - before):5.1f} in a batch"
    )


async def main(directory: str) -> None:
    engine = LmdbEngine(directory)
    await measure_reads(engine)
    for at_once, each in ((1, 1000), (8, 400), (64, 100), (256, 50)):
        await measure_commits(engine, at_once, each)
    await engine.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        uvloop.run(main(place))
