"""The LMDB engine against the engine in memory: random commits and walks, keys of every length.

`AMUR_SEED` runs one seed, `AMUR_ROUNDS` more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from zlib import crc32

import pytest

from amur.clock import FakeClock
from amur.meta.engine import ABSENT, STOP, Commit, Conflict, Engine, Entry, Put
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.lmdb_keyspace import CHUNK
from amur.meta.memory import MemoryEngine

SEEDS = (
    [int(os.environ["AMUR_SEED"])]
    if "AMUR_SEED" in os.environ
    else range(int(os.environ.get("AMUR_ROUNDS", "12")))
)
STEPS = 60
LENGTHS = [
    near for chunks in (1, 2, 3, 4) for near in range(chunks * CHUNK - 3, chunks * CHUNK + 4)
] + [1, 2, 3, 10, 470, 511, 512, 530, 960, 1033, 1060, 2199, 2200]
BYTES = b"\x00\x00\x01\x02a\xfe\xff\xff"


class Keys:
    """Random keys that share long prefixes, so that nodes split, fill and empty."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.used: list[bytes] = [b"a"]

    def any(self) -> bytes:
        dice = self.dice
        way = dice.random()
        if way < 0.45:
            return dice.choice(self.used)
        length = dice.choice(LENGTHS)
        if way < 0.6:
            key = bytes([dice.choice(BYTES)]) * length
        else:
            key = dice.choice(self.used)[: dice.choice(LENGTHS)]
            key += bytes([dice.choice(BYTES)]) * max(0, length - len(key) - 3)
            key += bytes(dice.choice(BYTES) for _ in range(dice.randrange(4)))
        key = key[:2200] or b"\x00"
        self.used.append(key)
        if len(self.used) > 60:
            self.used.pop(dice.randrange(60))
        return key


def random_commit(dice: random.Random, keys: Keys, versions: list[int]) -> Commit:
    expect = [
        (keys.any(), dice.choice([ABSENT, ABSENT, dice.choice(versions)]))
        for _ in range(dice.choice([0, 0, 0, 1, 2]))
    ]
    empty = [(keys.any(), keys.any()) for _ in range(dice.random() < 0.15)]
    puts = [
        Put(keys.any(), dice.randbytes(dice.choice([0, 8, 30, 5000])))
        for _ in range(dice.randrange(6))
    ]
    deletes = [keys.any() for _ in range(dice.choice([0, 1, 4, 12]))]
    log = [b"log"] * (dice.random() < 0.1)
    return Commit(expect, empty, puts, deletes, log, dice.choice([0, 0, max(versions) + 5]))


async def outcome(engine: Engine, commit: Commit) -> int | None:
    try:
        return await engine.commit(commit)
    except Conflict:
        return None


async def walked(
    engine: Engine, start: bytes, end: bytes, reverse: bool, salt: int, targets: list[bytes]
) -> list[Entry]:
    """A walk whose visitor seeks, and stops, by a fixed function of the keys it sees."""
    seen: list[Entry] = []

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(Entry(key, bytes(value), version))
        choice = crc32(key, salt)
        if choice % 97 == 0:
            return STOP
        if choice % 3 == 0:
            target = targets[choice % len(targets)]
            if (target <= key) if reverse else (target > key):
                return target
            return key if reverse else key + b"\x00"
        return None

    await engine.walk(start, end, visit, reverse=reverse)
    return seen


async def compare(left: Engine, right: Engine, dice: random.Random, keys: Keys) -> None:
    asked = [keys.any() for _ in range(8)]
    assert await left.get_many(asked) == await right.get_many(asked)
    for key in asked[:3]:
        assert await left.get(key) == await right.get(key)
    for reverse in (False, True):
        start, end = keys.any(), keys.any()
        if dice.random() < 0.6:
            start, end = min(start, end), max(start, end)
        salt = dice.randrange(1 << 30)
        args = (start, end, reverse, salt, asked)
        assert await walked(left, *args) == await walked(right, *args)
        assert await left.scan(start, end, 7, reverse=reverse) == await right.scan(
            start, end, 7, reverse=reverse
        )


@pytest.mark.parametrize("seed", SEEDS)
async def test_lmdb_answers_as_memory_does(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    keys, clock = Keys(dice), FakeClock()
    memory, path = MemoryEngine(clock), tmp_path / "meta"
    engine = LmdbEngine(path, clock)
    versions = [1]
    for _ in range(STEPS):
        clock.advance(dice.choice([0, 0.5, -3]))
        commits = [random_commit(dice, keys, versions) for _ in range(dice.choice([1, 2, 9]))]
        expected = [await outcome(memory, commit) for commit in commits]
        assert await asyncio.gather(*(outcome(engine, c) for c in commits)) == expected
        versions.extend(version for version in expected if version)
        await compare(engine, memory, dice, keys)
        if dice.random() < 0.05:
            await engine.close()
            engine = LmdbEngine(path, clock)
    everything = (b"\x00", b"\xff" * 2201, 1 << 30)
    entries = await memory.scan(*everything)
    assert await engine.scan(*everything) == entries
    assert await engine.scan(*everything, reverse=True) == entries[::-1]
    await engine.commit(Commit(delete=[entry.key for entry in entries]))
    stats = engine.stats()
    assert stats["entries"] == stats["tail_entries"] == 0, "empty nodes are removed"
    await engine.close()
