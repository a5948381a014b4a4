"""kill -9 of any process of any region under load: what was acknowledged is everywhere afterwards.

`AMUR_SEED` picks the moments and the victims, `AMUR_KILLS` how many.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from amur.cluster.testing import ServedCluster
from tests.cluster.live import (
    ENABLED,
    FRA,
    INLINE,
    PACK,
    REGIONS,
    SJC,
    Live,
    body_of,
    is_well,
    until,
    versions_of,
)
from tests.faults.client import Answer, Client, UnansweredError

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SEED = int(os.environ.get("AMUR_SEED", "1"))
KILLS = int(os.environ.get("AMUR_KILLS", "10"))
ROLES = ("gateway", "blocks", "replicate", "jobs")
BUCKETS = {"/global": {}, "/versioned": {}, "/pinned": {"x-tigris-regions": FRA}}
LARGE = 2_500_000


class Writer:
    """Goes from region to region when one fails. Owns its keys, and gives up a key whose last
    request got no answer: that one may have been carried out, or not, now or a moment later."""

    def __init__(self, live: Live, name: str, seed: int) -> None:
        self.dice = Random(seed)
        self.name = name
        self.told: dict[str, bytes | None] = {}
        self.unclear: dict[str, bytes | None] = {}
        self.ids: dict[str, list[str]] = {}
        self._clients = [live.client(region, seconds=10) for region in REGIONS]
        self._keys = dict.fromkeys(BUCKETS, 0)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._step(self._clients[0])

    def _step(self, client: Client) -> None:
        dice = self.dice
        bucket = dice.choice(list(BUCKETS))
        path = f"{bucket}/{self.name}/{self._keys[bucket] + dice.randrange(8)}"
        if path in self.unclear:
            self._keys[bucket] += 8
            return
        size = dice.choices((INLINE, PACK, LARGE), (60, 38, 2))[0]
        body = None if dice.random() < 0.15 else body_of(str(dice.getrandbits(60)), size)
        try:
            if body is None:
                answer = client.call("DELETE", path)
            else:
                answer = client.call("PUT", path, "", {}, body)
        except UnansweredError:
            answer = None
        if answer is None or answer.status >= 500:
            self.unclear[path] = body
            self._clients.append(self._clients.pop(0))
            time.sleep(0.02)
            return
        self._settle(path, body, answer)

    def _settle(self, path: str, body: bytes | None, answer: Answer) -> None:
        assert answer.status < 300, (path, answer)
        self.told[path] = body
        version = answer.headers.get("x-amz-version-id", "")
        if version:
            self.ids.setdefault(path, []).append(version)

    def outcomes(self, path: str) -> list[bytes | None]:
        """What may be there."""
        found = [self.told.get(path)]
        return [*found, self.unclear[path]] if path in self.unclear else found


def _strike(live: Live, dice: Random) -> None:
    region = dice.choice(REGIONS)
    if dice.random() < 0.3:
        live.kill(region)
        time.sleep(dice.random())
        live.start(region)
    else:
        for role in dice.sample(ROLES, dice.randint(1, len(ROLES))):
            live.strike(region, role)


def test_kills_under_load(tmp_path: Path) -> None:
    with ServedCluster(tmp_path / "dir") as cluster:
        live = Live(cluster)
        writers = list(_load(live))
        clients = live.everywhere()
        until(lambda: all(map(is_well, clients.values())), "every gateway answers")
        until(live.is_in_step, "the regions are in step")
        told = [{b: versions_of(c, b[1:]) for b in BUCKETS} for c in clients.values()]
        assert told[0] == told[1] == told[2], f"AMUR_SEED={SEED}"
        listed = {(line[1], line[2]) for line in told[0]["/versioned"]}
        for writer in writers:
            for client in clients.values():
                _compare(writer, client)
            for path, ids in writer.ids.items():
                key = path.removeprefix("/versioned/")
                missing = [each for each in ids if (key, each) not in listed]
                assert not missing, (SEED, path, missing)
        live.close()
    for region in REGIONS:
        assert live.fsck(region, "--repair").returncode == 0
        done = live.fsck(region)
        assert done.returncode == 0, done.stdout
        assert done.stdout.endswith("clean\n"), done.stdout


def _load(live: Live) -> Iterator[Writer]:
    """Writers, once they have worked through the kills."""
    sjc, dice, stop = live.client(SJC), Random(SEED), threading.Event()
    for bucket, headers in BUCKETS.items():
        sjc.ok("PUT", bucket, "", headers)
    sjc.ok("PUT", "/versioned", "versioning", {}, ENABLED)
    until(live.is_in_step, "the regions are in step")
    writers = [Writer(live, f"w{number}", SEED * 100 + number) for number in range(3)]
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(writer.run, stop) for writer in writers]
        try:
            for _ in range(KILLS):
                time.sleep(dice.random())
                _strike(live, dice)
            time.sleep(1)
        finally:
            stop.set()
        for each in running:
            each.result()
    assert sum(len(writer.told) for writer in writers) > 100
    assert any(writer.unclear for writer in writers), "no kill met a request: it shows nothing"
    yield from writers


def _compare(writer: Writer, client: Client) -> None:
    for path in writer.told.keys() | writer.unclear.keys():
        answer = client.call("GET", path)
        assert answer.status in (200, 404), (SEED, path, answer)
        body = answer.body if answer.status == 200 else None
        assert body in writer.outcomes(path), f"AMUR_SEED={SEED}: {path} is not what was told"
