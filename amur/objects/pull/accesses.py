"""How often, and when, versions are read in this region: counted in memory, kept in table A.

A loss of some counts costs nothing but a worse guess, so they are written now and then, by each
process that serves reads (`flush`, see workers/accesses.py), and are told to nobody.
"""

from __future__ import annotations

import msgspec

from amur.meta import keys
from amur.meta.engine import ABSENT, Commit, Conflict, Put
from amur.objects.core import Core

HALF_LIFE_SECONDS = 6 * 3600.0
"""In which a count loses half its weight: it follows where on earth it is day, and no burst."""

COUNTED_MAX = 100_000  # versions counted in memory of one process: about 30 MB
_FLUSHED_AT_ONCE = 500

Name = tuple[bytes, bytes, int]  # bucket id, raw key, version


class Access(msgspec.Struct, array_like=True):
    """`count` is decayed up to `at_ns`; `hit_ns` is when a pulled copy last served a read."""

    count: float = 0.0
    at_ns: int = 0
    hit_ns: int = 0

    def count_at(self, now_ns: int) -> float:
        age_s = max(0, now_ns - self.at_ns) / 1e9
        return float(self.count * 0.5 ** (age_s / HALF_LIFE_SECONDS))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Access).decode


def note_read(core: Core, name: Name, *, is_hit: bool = False) -> None:
    """One read of a version; `is_hit` when a pulled copy served it."""
    counted = core.reads.get(name)
    if counted is None:
        if len(core.reads) >= COUNTED_MAX:
            return
        counted = core.reads[name] = [0, 0]
    counted[0] += 1
    if is_hit:
        counted[1] = core.clock.now_ns()


def note_hit(core: Core, name: Name) -> None:
    """A pulled copy served (some of) a read that is counted already."""
    counted = core.reads.get(name)
    if counted is not None:
        counted[1] = core.clock.now_ns()


async def accesses(core: Core, names: list[Name]) -> list[Access]:
    entries = await core.engine.get_many([keys.access_key(*name) for name in names])
    return [_decode(entry.value) if entry is not None else Access() for entry in entries]


def access_of(value: bytes | memoryview) -> Access:
    return _decode(value)


async def flush(core: Core) -> int:
    """Add what was counted to the table; how many versions were."""
    reads, core.reads = core.reads, {}
    names = list(reads)
    for begin in range(0, len(names), _FLUSHED_AT_ONCE):
        some = names[begin : begin + _FLUSHED_AT_ONCE]
        while not await _added(core, {name: reads[name] for name in some}):
            pass  # another process has counted some of them, too
    return len(names)


async def _added(core: Core, reads: dict[Name, list[int]]) -> bool:
    now = core.clock.now_ns()
    places = [keys.access_key(*name) for name in reads]
    entries = await core.engine.get_many(places)
    puts, expect = [], []
    for at, entry, (count, hit_ns) in zip(places, entries, reads.values(), strict=True):
        access = _decode(entry.value) if entry is not None else Access()
        access = Access(access.count_at(now) + count, now, max(access.hit_ns, hit_ns))
        puts.append(Put(at, _encode(access)))
        expect.append((at, entry.version if entry is not None else ABSENT))
    try:
        await core.engine.commit(Commit(expect, put=puts))
    except Conflict:
        return False
    return True
