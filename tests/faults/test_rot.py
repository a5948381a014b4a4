"""Flipped bits in what a stopped store holds: never a wrong byte, and scrub and fsck tell of them.

`AMUR_SEED` picks the bits, `AMUR_FLIPS` how many.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import amur
from amur.objects.types import BucketRecord
from amur.serve.testing import ServedAmur
from amur.workers.fsck import Report
from amur.workers.scrub import Scrubber
from tests.faults.client import Client, UnansweredError

SEED = int(os.environ.get("AMUR_SEED", "1"))
FLIPS = int(os.environ.get("AMUR_FLIPS", "20"))  # in data; in metadata as many
SIZES = (100, 4096, 5000, 60_000, 1_200_000)


def body(number: int) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(SIZES[number % len(SIZES)])


async def _fill(directory: Path) -> None:
    async with amur.open(directory) as store:
        await store.create_bucket(BucketRecord(name="rot", owner="tid_testing"))
        await asyncio.gather(*(store.put("rot", f"key{n}", body(n)) for n in range(100)))


async def _scrub(directory: Path) -> int:
    async with amur.open(directory) as store:
        scrubber = Scrubber(store.core)
        while (await scrubber.work()).state.value == "busy":
            pass
        return len(scrubber.damaged)


def _flip(file: Path, dice: Random) -> None:
    bit = dice.randrange(file.stat().st_size * 8)
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes((byte ^ 1 << bit % 8,)))


def _read_all(client: Client) -> int:
    """How many reads were refused; none may be wrong."""
    refused = 0
    for number in range(100):
        try:
            answer = client.call("GET", f"/rot/key{number}")
        except UnansweredError:  # the first chunk was good and sent: the rest is withheld
            refused += 1
            continue
        if answer.status == 200:
            assert answer.body == body(number), f"AMUR_SEED={SEED}: key{number} is wrong"
        else:
            assert answer.status in (500, 503), (number, answer.status, answer.body[:500])
            refused += 1
    return refused


def test_flipped_bits_in_data(tmp_path: Path, look: Callable[[Path], Report]) -> None:
    directory, dice = tmp_path / "data", Random(SEED)
    with ServedAmur(directory, workers=1):
        pass
    asyncio.run(_fill(directory))
    files = sorted((directory / "data").glob("??/*"), key=lambda file: file.stat().st_size)
    for _ in range(FLIPS):
        _flip(dice.choice(files), dice)
    with ServedAmur(directory, workers=1) as server:
        client = Client(server)
        refused = _read_all(client)
        client.close()
    report = look(directory)
    assert refused > 0
    assert not report.is_healthy()
    assert asyncio.run(_scrub(directory)) >= refused
