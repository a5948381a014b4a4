"""SIGKILL of the whole server at random moments: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from amur.serve.testing import ServedAmur

KILLS = int(os.environ.get("AMUR_TEST_KILLS") or 100)
FSCK_EVERY = 10


def test_random_kills(tmp_path: Path, seed: int, load: Any) -> None:
    """`AMUR_TEST_KILLS=2000 pytest tests/faults` for more."""
    dice = random.Random(seed)
    server = ServedAmur(tmp_path / "data", workers=2)
    try:
        server.start()
        load.make_bucket(server)
        for kill in range(1, KILLS + 1):
            load.start(server)
            time.sleep(dice.uniform(0.02, 0.5))
            server.kill()
            load.join()
            if kill % FSCK_EVERY == 0:
                _fsck(server.directory)
            server.start()
            load.verify(server)
        assert load.acknowledged > KILLS, "hardly anything was under way when the kills came"
        assert server.stop() == 0
        _fsck(server.directory)
    finally:
        server.kill()


def test_one_worker_dies_under_load(tmp_path: Path, seed: int, load: Any) -> None:
    """The others go on, and the dead one's locks and readers hold nobody up."""
    with ServedAmur(tmp_path / "data", workers=2) as server:
        load.make_bucket(server)
        for _ in range(3):
            load.start(server)
            time.sleep(0.5)
            os.kill(server.processes()[1], 9)
            load.join()
            load.verify(server)
    _fsck(server.directory)


def _fsck(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amur.cli.main", "fsck", str(directory)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
