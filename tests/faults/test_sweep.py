"""A kill, or an error, at every single system call that changes a file (`make faults`).

strace counts per thread and name, so that "the K-th fdatasync of a thread" is a place in the
program; K goes up until the scenario ends undisturbed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import amur
from amur.objects.errors import NoSuchBucket, NoSuchKey
from amur.objects.store import Store
from amur.workers.fsck import fsck

HERE = Path(__file__).parent
CALLS = (
    "write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "rename", "link", "unlink",
    "mkdir", "ftruncate", "fallocate",
)  # fmt: skip
ERRORS = {"write": ("EIO", "ENOSPC"), "pwrite64": ("EIO", "ENOSPC"), "writev": ("EIO", "ENOSPC"),
          "pwritev": ("EIO", "ENOSPC"), "fsync": ("EIO",), "fdatasync": ("EIO",)}  # fmt: skip
PLACES_MAX = 400
STRIDES = {"mkdir": 16}  # of the 256 directories of a new data store, one in 16

RARE = {"rename", "pwritev", "fallocate", "ftruncate", "unlink", "link"}

pytestmark = pytest.mark.sweep

State = dict[str, list[str | None]]


@pytest.mark.parametrize("call", CALLS)
def test_kill_at_every(tmp_path: Path, call: str) -> None:
    places = _sweep(tmp_path, call, "signal=SIGKILL")
    assert places or call in RARE, f"{call} was never seen: what does the scenario use instead?"


@pytest.mark.parametrize(("call", "error"), [(c, e) for c, es in ERRORS.items() for e in es])
def test_error_at_every(tmp_path: Path, call: str, error: str) -> None:
    places = _sweep(tmp_path, call, f"error={error}")
    assert places or call in RARE


def _sweep(tmp_path: Path, call: str, fault: str) -> int:
    for place in range(1, PLACES_MAX, STRIDES.get(call, 1)):
        directory = tmp_path / f"{place}"
        inject = f"inject={call}:{fault}:when={place}"
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject,
             sys.executable, str(HERE / "scenario.py"), str(directory)],
            capture_output=True, text=True, check=False, timeout=120, cwd=HERE.parents[1],
        )  # fmt: skip
        asyncio.run(_verify(directory, _told(done.stdout), f"{call} {fault} at {place}"))
        shutil.rmtree(directory, ignore_errors=True)
        if done.returncode == 0 and done.stdout.endswith("closed\n"):
            return place - 1
    raise AssertionError(f"more than {PLACES_MAX} places")


def _told(output: str) -> State:
    """Per key what may be found: one state when acknowledged, two when it was being changed."""
    state: State = {}
    trying: dict[str, str | None] = {}
    for line in output.splitlines():
        if line == "ok":
            state |= {key: [found] for key, found in trying.items()}
            trying = {}
        elif line.startswith("try "):
            trying = json.loads(line[4:])
    for key, found in trying.items():
        state[key] = [*state.get(key, [None]), found]
    return state


async def _verify(directory: Path, told: State, where: str) -> None:
    async with amur.open(directory) as store:
        for key, expected in told.items():
            found = await _read(store, key)
            assert found in expected, f"{where}: {key} is {found}, expected {expected}"
        report = await fsck(store.core)
        assert report.is_healthy(), f"{where}: {[finding.text() for finding in report.findings]}"


async def _read(store: Store, key: str) -> str | None:
    try:
        reading = await store.get("box", key)
    except (NoSuchKey, NoSuchBucket):
        return None
    digest = hashlib.sha256(reading.body or b"")
    if reading.stream is not None:
        async for piece in reading.stream:
            digest.update(piece)
    return digest.hexdigest()
