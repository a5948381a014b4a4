"""kill -9 at random moments under mixed load: nothing acknowledged is lost, nothing is there by
half, and what the jobs were doing is taken up again.

`AMUR_SEED` picks the seed, `AMUR_KILLS` how many kills.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from amur.serve.testing import ServedAmur
from amur.workers.fsck import Report
from tests.faults.client import Client, UnansweredError
from tests.faults.conftest import HURRIED
from tests.faults.ledger import PLAIN, VERSIONED, Content, Owner

SEED = int(os.environ.get("AMUR_SEED", "1"))
KILLS = int(os.environ.get("AMUR_KILLS", "100"))
OWNERS = 4
FSCK_EVERY = 10  # kills
ONE_PROCESS = 0.4  # of the kills hit one process only, and the supervisor starts it again
DEATHS_MAX = 3  # of one process between two starts: the supervisor gives up at five


class Register(threading.Thread):
    """Overwrites keys that others overwrite, too, and remembers when."""

    KEYS = ("shared/1", "shared/2", "shared/3")

    def __init__(self, client: Client, seed: int, writes: list[tuple[str, float, float, str]]):
        super().__init__()
        self.client, self.dice, self.writes = client, Random(seed), writes
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            key, content = self.dice.choice(self.KEYS), Content(((self.dice.getrandbits(60), 100),))
            began = time.monotonic()
            ended = float("inf")
            try:
                self.client.ok("PUT", f"/{PLAIN}/{key}", "", {}, content.data())
                ended = time.monotonic()
            except UnansweredError:
                self.stopping = True
            self.writes.append((key, began, ended, content.etag()))


def check_registers(client: Client, writes: list[tuple[str, float, float, str]]) -> None:
    """A key holds what some write wrote that no acknowledged one came after."""
    for key in {key for key, *_ in writes}:
        etag = client.ok("GET", f"/{PLAIN}/{key}").headers["etag"].strip('"')
        of_key = [write for write in writes if write[0] == key]
        latest = max((began for _, began, ended, _ in of_key if ended < float("inf")), default=0.0)
        ended = max((ended for _, _, ended, written in of_key if written == etag), default=-1.0)
        assert ended >= latest, f"{key} holds {etag}, which was overwritten"
        now = time.monotonic()
        writes[:] = [write for write in writes if write[0] != key] + [(key, now, now, etag)]


class Killing:
    """A server, its clients, and who is killed."""

    def __init__(self, directory: Path) -> None:
        self.dice = Random(SEED)
        self.server = ServedAmur(directory, wrapper=HURRIED)
        self.owners = [
            Owner(Client(self.server), f"owner{n}", SEED * 1000 + n) for n in range(OWNERS)
        ]
        self.writes: list[tuple[str, float, float, str]] = []
        self.counts: Counter[str] = Counter()
        self._deaths: Counter[int] = Counter()
        self.errors: list[BaseException] = []

    def start(self) -> None:
        self.server.start()
        self._deaths.clear()

    def round(self) -> bool:
        """Load, and a kill in the middle of it; True when the whole server is dead."""
        self._stop = threading.Event()
        threads = [threading.Thread(target=self._work, args=(owner,)) for owner in self.owners]
        registers = [
            Register(Client(self.server), self.dice.getrandbits(40), self.writes) for _ in range(2)
        ]
        for thread in (*threads, *registers):
            thread.start()
        time.sleep(self.dice.uniform(0.02, 0.45))
        dead = self._kill()
        if not dead:
            time.sleep(self.dice.uniform(0, 0.1))
        self._stop.set()
        for register in registers:
            register.stopping = True
        for thread in (*threads, *registers):
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
        for register in registers:
            register.client.close()
        if self.errors:
            raise self.errors[0]
        return dead

    def _work(self, owner: Owner) -> None:
        try:
            while not self._stop.is_set() and owner.step():
                pass
        except BaseException as error:
            self.errors.append(error)

    def _kill(self) -> bool:
        """kill -9 of everything, of a worker, or of the jobs."""
        slot = self.dice.randrange(3)
        if self.dice.random() >= ONE_PROCESS or self._deaths[slot] >= DEATHS_MAX:
            self.server.kill()
            self.counts["server"] += 1
            return True
        self._deaths[slot] += 1
        _, *children = self.server.processes()
        if slot < len(children):
            os.kill(children[slot], signal.SIGKILL)
            self.counts["one process"] += 1
        return False

    def verify(self, *, all_bodies: bool = False) -> None:
        for owner in self.owners:
            owner.client.close()
            for attempt in range(50):  # a worker that is just being killed may take the connection
                try:
                    owner.verify(all_bodies=all_bodies)
                    break
                except UnansweredError:
                    assert attempt < 49
                    time.sleep(0.1)
        check_registers(self.owners[0].client, self.writes)


def test_kills_lose_nothing_and_leave_nothing_by_half(
    tmp_path: Path,
    look: Callable[[Path], Report],
    swept: Callable[[Path], list[int]],
) -> None:
    print(f"AMUR_SEED={SEED} AMUR_KILLS={KILLS}")  # noqa: T201
    directory = tmp_path / "data"
    killing = Killing(directory)
    killing.start()
    client = killing.owners[0].client
    for bucket in (PLAIN, VERSIONED):
        client.ok("PUT", f"/{bucket}")
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    client.ok("PUT", f"/{VERSIONED}", "versioning", {}, enabled)
    try:
        for number in range(KILLS):
            dead = killing.round()
            if dead:
                if number % FSCK_EVERY == 0:
                    report = look(directory)
                    assert report.is_healthy(), [f.text() for f in report.findings]
                killing.start()
            killing.verify(all_bodies=number % FSCK_EVERY == 0)
        killing.verify(all_bodies=True)
        killing.server.kill()
    finally:
        killing.server.kill()
        for owner in killing.owners:
            owner.client.close()
    files = swept(directory)
    report = look(directory)
    assert report.is_clean(), [finding.text() for finding in report.findings]
    acknowledged = sum(owner.acknowledged for owner in killing.owners)
    outcomes = Counter[str]()
    for owner in killing.owners:
        outcomes.update(owner.outcomes)
    print(f"kills {dict(killing.counts)}, acknowledged {acknowledged}, unanswered", end=" ")  # noqa: T201
    print(f"{dict(outcomes)}, files left {len(files)}")  # noqa: T201
    assert acknowledged > KILLS * 5
    assert "Traceback" not in killing.server.output(), killing.server.output()
