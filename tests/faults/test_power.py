"""R5: power cuts at any moment of a store's life; what was acknowledged is there, whole.

A process that uses every part of the store is recorded once, then the disk is rebuilt as power cuts
may have left it. `AMUR_SEED` picks what is done and what is lost, `AMUR_CRASH_STATES` how many
states are tried. Threads are not in the seed's hands: `AMUR_POWER_TRACE` names the trace of a run
that failed, to have the same states again.
"""

from __future__ import annotations

import filecmp
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.judge import Judge
from tests.support.power_disk import Changed, Disk, Names, Op, Said, Synced, cuts
from tests.support.power_trace import Recorded, record, replayed

SEED = int(os.environ.get("AMUR_SEED", "1"))
TRACE = os.environ.get("AMUR_POWER_TRACE", "")
STATES = int(os.environ.get("AMUR_CRASH_STATES", "300"))
DEEP = 10
"""One in so many states is looked at by fsck, too, before and after the workers cleaned up."""

HERE = Path(__file__).parent
PROGRAM = [sys.executable, str(HERE / "power_store.py")]
ENV = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
ROOM_BYTES = 4 << 30


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory if there is one with room: its syncs cost nothing."""
    shm = Path("/dev/shm")
    has_room = shm.is_dir() and shutil.disk_usage(shm).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(dir=shm if has_room else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def stored(memory: Path) -> Path:
    """Where the recorded store lives: the directory itself is made by `amur.open`."""
    root = memory / "recorded"
    root.mkdir()
    return root


@pytest.fixture(scope="module")
def trace(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """Kept after a run that failed."""
    directory = tmp_path_factory.mktemp("power")
    yield Path(TRACE) if TRACE else directory / "trace"
    if not request.session.testsfailed:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def recording(stored: Path, trace: Path) -> Recorded:
    if TRACE:
        return replayed(trace)
    command = [*PROGRAM, "write", str(stored / "in" / "store"), str(SEED)]
    recorded = record(command, stored, ENV, trace)
    did = Counter[str]()
    for op in recorded.ops:
        if isinstance(op, Said) and op.line.startswith("did "):
            _, worker, what, count = op.line.split()
            did[f"{worker} {what}"] += int(count)
    assert did["collect files"] > 10
    assert did["compact moved"] > 10
    assert did["sweep orphans"] > 0
    assert recorded.calls["sync_file_range"] > 3
    return recorded


@pytest.fixture(scope="module")
def judges() -> Iterator[list[Judge]]:
    some = [Judge([*PROGRAM, "judge", str(SEED)], ENV) for _ in range(2)]
    yield some
    for judge in some:
        judge.close()


class State(NamedTuple):
    number: int
    point: int
    directory: Path


class Verdicts:
    """Has the judges look at states while the next ones are built."""

    def __init__(self, judges: list[Judge]) -> None:
        self._judges = judges
        self._asked: deque[State] = deque()
        self.right: set[str] = set()
        self.bad: list[str] = []

    def ask(self, state: State, answers: Counter[str], *, deep: bool) -> None:
        if len(self._asked) == len(self._judges):
            self._settle()
        question = {"directory": str(state.directory / "in/store"), "answers": answers}
        judge = self._judges[state.number % len(self._judges)]
        judge.send(json.dumps({**question, "deep": deep}))
        self._asked.append(state)

    def _settle(self) -> None:
        state = self._asked.popleft()
        verdict, message = self._judges[state.number % len(self._judges)].answer()
        if verdict == "right":
            self.right.add(message)
        else:
            self.bad.append(f"state {state.number} after {state.point}: {message}")
        shutil.rmtree(state.directory)

    def all(self) -> list[str]:
        while self._asked:
            self._settle()
        return self.bad


def points(ops: list[Op], count: int, dice: random.Random) -> list[int]:
    """Anywhere, right after an answer, right before something is durable, and at the start."""
    answers = [at + 1 for at, op in enumerate(ops) if isinstance(op, Said)]
    syncs = [at for at, op in enumerate(ops) if isinstance(op, Synced)]
    start = ops[: answers[0]]
    early = [at for at, op in enumerate(start) if not _is_name(op)]
    kinds = range(len(ops) + 1), answers, syncs, early
    return sorted(
        dice.choice(places)
        for places, share in zip(kinds, (0.35, 0.35, 0.2, 0.1), strict=True)
        for _ in range(round(count * share))
    )


def _is_name(op: Op) -> bool:
    return isinstance(op, Changed) and isinstance(op.change, Names)


def answered(said: list[str], before: Counter[str]) -> Counter[str]:
    """How many operations of each lane are known to be done."""
    answers = Counter(before)
    for line in said:
        word, lane, *rest = line.split()
        if word == "ok":
            answers[lane] += 1
        elif word == "at":
            answers[lane] = int(rest[0])
    return answers


def judged(
    recorded: Recorded,
    ops: list[Op],
    count: int,
    judges: list[Judge],
    memory: Path,
    before: Counter[str] | None = None,
) -> Verdicts:
    """Of `count` states; `before` says what was done before the recording."""
    dice, verdicts = random.Random(SEED), Verdicts(judges)
    disk = Disk(recorded.directories, recorded.before)
    for number, (point, _) in enumerate(cuts(disk, ops, points(ops, count, dice))):
        directory = memory / f"state{number}"
        directory.mkdir()
        disk.cut(dice, directory)
        answers = answered(disk.said, before or Counter())
        verdicts.ask(State(number, point, directory), answers, deep=number % DEEP == 0)
        if len(verdicts.bad) > 5:
            break
    verdicts.all()
    return verdicts


@pytest.mark.skipif(bool(TRACE), reason="what the process left is gone")
def test_the_recording_is_faithful(recording: Recorded, stored: Path, memory: Path) -> None:
    """Played to the end without a loss it makes the very files that the process left."""
    disk = Disk(recording.directories, recording.before)
    for op in recording.ops:
        disk.play(op)
    played = memory / "played"
    played.mkdir()
    disk.all(played)

    def files(root: Path) -> list[str]:
        found = (str(path.relative_to(root)) for path in root.rglob("*"))
        return sorted(name for name in found if not name.endswith("lock.mdb"))

    names = files(stored)
    assert files(played) == names
    for name in names:
        if (stored / name).is_file():
            assert filecmp.cmp(stored / name, played / name, shallow=False), name


def test_power_cuts_lose_nothing_acknowledged(
    recording: Recorded, trace: Path, judges: list[Judge], memory: Path
) -> None:
    verdicts = judged(recording, recording.ops, STATES, judges, memory)
    assert not verdicts.bad, "\n".join(
        [f"AMUR_SEED={SEED} AMUR_POWER_TRACE={trace}", *verdicts.bad]
    )
    assert len(verdicts.right) > min(STATES, 100) / 4, "the states differ"


def test_power_cuts_while_recovering_lose_nothing_either(
    recording: Recorded, trace: Path, judges: list[Judge], memory: Path
) -> None:
    """A second cut, while the store that the first one left is opened, cleaned up and used."""
    dice, root = random.Random(SEED), memory / "again"
    answers = [at + 1 for at, op in enumerate(recording.ops) if isinstance(op, Said)]
    point = dice.choice(answers[len(answers) // 4 : len(answers) * 3 // 4])
    start = Disk(recording.directories, recording.before)
    _, disk = next(cuts(start, recording.ops, [point]))
    root.mkdir()
    disk.cut(dice, root)
    command = [*PROGRAM, "go-on", str(root / "in" / "store"), str(SEED)]
    again = record(command, root, ENV, memory / "trace-again")
    before = answered(disk.said, Counter())
    verdicts = judged(again, again.ops, STATES // 4, judges, memory, before)
    assert not verdicts.bad, "\n".join(
        [f"AMUR_SEED={SEED} after {point} of {trace}", *verdicts.bad]
    )
    assert len(verdicts.right) > min(STATES // 4, 100) / 4, "the states differ"


def _is_data(name: str) -> bool:
    return name.startswith("in/store/data/") and len(Path(name).name) == 32


def _is_data_directory(name: str) -> bool:
    return name.startswith("in/store/data/") and len(Path(name).name) == 2


def _is_metadata(name: str) -> bool:
    return name == "in/store/meta/data.mdb"


@pytest.mark.parametrize("unsynced", [_is_data, _is_data_directory, _is_metadata])
def test_the_replay_would_see_a_missing_sync(
    unsynced: Callable[[str], bool], recording: Recorded, judges: list[Judge], memory: Path
) -> None:
    """The harness itself: without these syncs, states would be bad."""
    nodes = {node for name, node in recording.names.items() if unsynced(name)}
    ops = [op for op in recording.ops if not (isinstance(op, Synced) and op.node in nodes)]
    assert len(ops) < len(recording.ops)
    assert len(judged(recording, ops, 30, judges, memory).bad) > 5
