"""A kill or an error at every system call of scripted work: nothing acknowledged is lost, nothing
is there by half, and after a failed sync the process does not go on.

The normal run takes a sample of POINTS, `make faults` takes all. `AMUR_SEED` picks the sample.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from amur.workers.fsck import fsck
from tests.faults.scenarios import GAVE_UP, SCENARIOS, STOPPED, Stage, State, setup, state_of

SEED = int(os.environ.get("AMUR_SEED", "1"))
POINTS = int(os.environ.get("AMUR_POINTS", "60"))
ROOT = Path(__file__).parents[2]
CALLS = (
    "pwrite64", "pwritev", "writev", "fdatasync", "fsync", "sync_file_range", "ftruncate",
    "unlink", "unlinkat", "rename", "openat", "mkdir", "flock",
)  # fmt: skip
WRITES, SYNCS = frozenset({"pwrite64", "pwritev", "writev"}), frozenset({"fdatasync", "fsync"})
PLACES_MAX = 40  # of one call in one scenario
_TIMEOUT = 40.0
_CALL = re.compile(r"(\d+) +(\w+)\(")

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")


class Point(NamedTuple):
    """What happens at the `when`-th such call of a thread."""

    scenario: str
    call: str
    when: int
    fault: str  # in strace's words


class Outcome(NamedTuple):
    code: int
    told: list[list[str]]  # words of each line
    log: str  # strace's


def faults_of(call: str) -> list[str]:
    """What can go wrong with a call; `retval=0` is a write that took nothing, which is allowed."""
    faults = ["signal=SIGKILL", "error=EIO"]
    if call in WRITES:
        faults += ["error=ENOSPC", "error=EINTR", "retval=0"]
    elif call in SYNCS:
        faults += ["error=ENOSPC", "error=EINTR"]
    elif call == "openat":
        faults += ["error=ENOSPC", "error=EMFILE", "error=EINTR"]
    elif call in ("mkdir", "rename", "ftruncate"):
        faults += ["error=ENOSPC"]
    return faults


class Nursery:
    """scenarios.py as a process, and strace on its children."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.scenarios"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.template = work / "template"
        self.states: dict[str, list[State]] = {}
        asyncio.run(_prepare(self.template))

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def run(self, directory: Path, scenario: str, *strace: str) -> Outcome:
        """Run it on a copy of the template in `directory`, under strace."""
        shutil.copytree(self.template, directory)
        Path(f"{directory}.told").touch()
        assert self._process.stdin
        self._process.stdin.write(f"{scenario} {directory}\n")
        pid = int(self._line())
        log = directory.with_suffix(".strace")
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", log, "-s", "0", *strace, "-p", str(pid)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _TIMEOUT
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                assert time.monotonic() < deadline, "strace does not attach"
                time.sleep(0.001)
            Path(f"{directory}.go").touch()
            code = int(self._line())
        except BaseException:
            os.kill(pid, 9)
            raise
        finally:
            try:
                tracer.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                tracer.kill()
                tracer.communicate()
        told = Path(f"{directory}.told").read_text().splitlines()
        return Outcome(code, [line.split(maxsplit=2) for line in told], log.read_text())

    def _line(self) -> str:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], _TIMEOUT)
        assert ready, "the child hangs"
        return self._process.stdout.readline().split()[1]

    def points(self, scenario: str) -> list[Point]:
        """Every call that the scenario makes, with everything that can befall it."""
        directory = self._work / f"count-{scenario}"
        outcome = self.run(directory, scenario, "-e", "trace=" + ",".join(CALLS))
        assert outcome.code == 0, outcome
        shutil.rmtree(directory)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for thread, call in _CALL.findall(outcome.log):
            counts[call][thread] += 1
        assert counts["fdatasync"], outcome.log
        self.states[scenario] = asyncio.run(
            _states(self._work / f"calm-{scenario}", self.template, scenario)
        )
        return [
            Point(scenario, call, when, fault)
            for call, threads in sorted(counts.items())
            for when in _spread(max(threads.values()))
            for fault in faults_of(call)
        ]

    def check(self, point: Point, directory: Path) -> str:
        """Disturb the scenario there and judge what is left; what came of it, in a word."""
        outcome = self.run(
            directory, point.scenario, "-e", f"trace={point.call}",
            "-e", f"inject={point.call}:{point.fault}:when={point.when}",
        )  # fmt: skip
        acknowledged = max([int(words[1]) for words in outcome.told if words[0] == "ok"], default=0)
        begun = max([int(words[1]) for words in outcome.told if words[0] == "do"], default=0)
        assert not [words for words in outcome.told if words[0] == "goes"], outcome
        fired = "(INJECTED)" in outcome.log
        if fired and point.call in SYNCS and point.fault == "error=EIO":
            assert outcome.code == STOPPED, f"went on after a failed sync: {outcome}"
        assert outcome.code in (0, STOPPED, GAVE_UP, -9), outcome
        states = self.states[point.scenario]
        asyncio.run(_judge(directory, [states[acknowledged], states[max(acknowledged, begun)]]))
        return {0: "went well", STOPPED: "stopped", GAVE_UP: "refused", -9: "killed"}[outcome.code]


def _spread(count: int) -> list[int]:
    """1 to `count`, or PLACES_MAX of them: the jobs look at each file again and again."""
    if count <= PLACES_MAX:
        return list(range(1, count + 1))
    return sorted({round(count ** (n / PLACES_MAX)) for n in range(PLACES_MAX + 1)})


async def _prepare(directory: Path) -> None:
    stage = Stage(directory)
    await setup(stage)
    await stage.close()


async def _states(directory: Path, template: Path, scenario: str) -> list[State]:
    """What is stored after each step, when nothing goes wrong."""
    shutil.copytree(template, directory)
    stage = Stage(directory)
    states = [await state_of(stage.store)]
    for step in SCENARIOS[scenario]:
        await step(stage)
        states.append(await state_of(stage.store))
    await stage.close()
    shutil.rmtree(directory)
    return states


async def _judge(directory: Path, allowed: list[State]) -> None:
    """A step is there or is not: each key by itself, where it changed several."""
    stage = Stage(directory)
    try:
        found = await state_of(stage.store)
        found.pop("plain/never", None)  # metadata may go on where data can't
        for key in {key for state in (*allowed, found) for key in state}:
            expected = [state.get(key) for state in allowed]
            assert found.get(key) in expected, f"{key}: {found.get(key)}, expected {expected}"
        report = await fsck(stage.store.core)
        assert report.is_healthy(), [finding.text() for finding in report.findings]
        await stage.work()
        report = await fsck(stage.store.core)
        assert report.is_clean(), [finding.text() for finding in report.findings]
        left = await state_of(stage.store)
        left.pop("plain/never", None)
        assert left == found, "the jobs changed what is stored"
        await stage.put("after", "after", 5000)
    finally:
        await stage.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("calls"))
    yield nursery
    nursery.close()


def _check_all(nursery: Nursery, points: list[Point], work: Path) -> Counter[str]:
    results: Counter[str] = Counter()
    wrong = []
    for number, point in enumerate(points):
        directory = work / str(number)
        try:
            results[nursery.check(point, directory)] += 1
        except AssertionError as error:
            wrong.append(f"{point}: {str(error)[:1500]}")
            assert "hangs" not in str(error)  # noqa: PT017
        shutil.rmtree(directory)
    assert not wrong, f"AMUR_SEED={SEED}: {len(wrong)} wrong:\n" + "\n".join(wrong[:10])
    return results


def test_some_disturbed_calls(nursery: Nursery, tmp_path: Path) -> None:
    everything = [point for scenario in SCENARIOS for point in nursery.points(scenario)]
    points = Random(SEED).sample(everything, min(POINTS, len(everything)))
    results = _check_all(nursery, points, tmp_path)
    print(f"AMUR_SEED={SEED}: {len(points)} of {len(everything)} points: {dict(results)}")  # noqa: T201
    assert results["killed"]
    assert results["stopped"]


@pytest.mark.sweep
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_disturbed_call(nursery: Nursery, tmp_path: Path, scenario: str) -> None:
    points = nursery.points(scenario)
    results = _check_all(nursery, points, tmp_path)
    print(f"{scenario}: {len(points)} points: {dict(results)}")  # noqa: T201
