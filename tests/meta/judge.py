"""A process that judges stores which committer.py wrote; damaged ones may kill it.

Reads lines "DIRECTORY ACKED,ACKED,...", answers each with a line: "right COMMITS", "error MESSAGE"
(the engine noticed), or "wrong MESSAGE".
"""

from __future__ import annotations

import asyncio
import sys

from amur.meta import keys
from amur.meta.engine import Engine, EngineError, prefix_end
from amur.meta.lmdb_engine import LmdbEngine

LONG = b"L" * 700
KEPT = 7
LOG_KEY_BYTES = 11


def expected_of(order: list[int]) -> tuple[dict[bytes, bytes], set[bytes]]:
    """What commits in this order leave behind, and the keys that they deleted."""
    present: dict[bytes, bytes] = {}
    deleted: set[bytes] = set()
    for n in order:
        name = b"%06d" % n
        for old in (b"a%06d" % (n - KEPT), LONG + b"%06d" % (n - KEPT)):
            if present.pop(old, None) is not None:
                deleted.add(old)
        present[b"a" + name] = present[LONG + name] = name * (1 + n % 5 * 300)
        present[b"last"] = name
    return present, deleted


async def check(engine: Engine, acked: set[int]) -> int:
    """The store must be exactly what its logged commits make, with all acknowledged ones."""
    under_log = await engine.scan(keys.LOG, prefix_end(keys.LOG), 1 << 20)
    log = [entry for entry in under_log if len(entry.key) == LOG_KEY_BYTES]
    order = [int(entry.value) for entry in log]
    assert acked <= set(order), f"lost {sorted(acked - set(order))}"
    present, deleted = expected_of(order)
    entries = await engine.scan(b"A", b"z", 1 << 20)
    assert await engine.scan(b"A", b"z", 1 << 20, reverse=True) == entries[::-1], "backwards"
    assert {e.key: e.value for e in entries if e not in log} == present, "scan"
    for key, value in present.items():
        entry = await engine.get(key)
        assert entry, f"get lost {key!r}"
        assert entry.value == value, f"get changed {key!r}"
    assert await engine.get_many(sorted(deleted)) == [None] * len(deleted), "deleted came back"
    return len(order)


async def judge(directory: str, acked: set[int]) -> str:
    try:
        engine = LmdbEngine(directory)
        answer = f"right {await check(engine, acked)}"
        await engine.close()
    except EngineError as error:
        return f"error {error}"
    except AssertionError as error:
        return f"wrong {error}"[:300]
    return answer


for line in sys.stdin:
    place, _, numbers = line.rstrip("\n").partition(" ")
    verdict = asyncio.run(judge(place, {int(n) for n in numbers.split(",") if n}))
    sys.stdout.write(verdict.replace("\n", " ") + "\n")
    sys.stdout.flush()
