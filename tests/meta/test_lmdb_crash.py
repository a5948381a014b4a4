"""Power cuts, kills and flipped bits: what was acknowledged stays, nothing is there by half.

`AMUR_SEED` picks the seed; `AMUR_CRASH_STATES`, `AMUR_KILLS`, `AMUR_FLIPS` how many are tried.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.judge import Judge
from tests.support.power_disk import Disk, Op, Said, Synced, cuts
from tests.support.power_trace import Recorded, record

SEED = int(os.environ.get("AMUR_SEED", "1"))
CRASH_STATES = int(os.environ.get("AMUR_CRASH_STATES", "400"))
KILLS = int(os.environ.get("AMUR_KILLS", "20"))
FLIPS = int(os.environ.get("AMUR_FLIPS", "200"))

HERE = Path(__file__).parent
COMMITTER = [sys.executable, str(HERE / "committer.py")]
ENV = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    process = Judge([sys.executable, str(HERE / "judge.py")], ENV)
    yield process
    process.close()


def ask(judge: Judge, directory: Path, acked: Iterable[int]) -> tuple[str, str]:
    return judge.ask(f"{directory} {','.join(map(str, acked))}")


# --- power cuts, replayed from recorded system calls ---


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """What a committer did to its files from their creation on."""
    base = tmp_path_factory.mktemp("recorded")
    root = base / "root"
    root.mkdir()
    recorded = record([*COMMITTER, str(root / "meta"), "60"], root, ENV, base / "trace")
    assert sum(isinstance(op, Said) for op in recorded.ops) == 61, "ready and 60 answers"
    assert recorded.calls["fdatasync"] > 15
    return recorded


def judged_states(
    recorded: Recorded, ops: list[Op], states: int, judge: Judge, tmp_path: Path
) -> Iterator[tuple[int, int, str, str]]:
    """Number, point and verdict of so many states, at points spread over the recording."""
    dice = random.Random(SEED)
    points = sorted(dice.randrange(len(ops) + 1) for _ in range(states))
    start = Disk(recorded.directories, recorded.before)
    for number, (point, disk) in enumerate(cuts(start, ops, points)):
        directory = tmp_path / str(number)
        directory.mkdir()
        disk.cut(dice, directory)
        acked = [int(line.split()[1]) for line in disk.said if line.startswith("ack ")]
        yield number, point, *ask(judge, directory / "meta", acked)
        shutil.rmtree(directory)


def test_power_cuts_lose_nothing_acknowledged(
    recording: Recorded, judge: Judge, tmp_path: Path
) -> None:
    reached = set()
    states = judged_states(recording, recording.ops, CRASH_STATES, judge, tmp_path)
    for number, point, verdict, message in states:
        assert verdict == "right", (
            f"AMUR_SEED={SEED}, state {number} after operation {point}: {message}"
        )
        reached.add(message)
    assert len(reached) > min(CRASH_STATES, 60) / 4, "the states differ"


def test_the_replay_would_see_a_missing_sync(
    recording: Recorded, judge: Judge, tmp_path: Path
) -> None:
    """The harness itself: were the data not synced before the meta page, states would be bad."""
    data = recording.names["meta/data.mdb"]
    unsynced = [
        op
        for op in recording.ops
        if not (isinstance(op, Synced) and op.node == data and op.end - op.first > 1)
    ]  # left: the meta page, by itself
    verdicts = [state[2] for state in judged_states(recording, unsynced, 60, judge, tmp_path)]
    assert len(verdicts) - verdicts.count("right") > 10


# --- errors of the disk ---


@pytest.mark.parametrize("when", [2, 11])
@pytest.mark.parametrize(
    ("call", "error", "raised"),
    [
        ("fdatasync", "EIO", "EngineFailed"),
        ("pwrite64", "EIO", "EngineFailed"),
        ("writev", "EIO", "EngineFailed"),
        ("writev", "ENOSPC", "EngineFull"),
    ],
)
def test_an_error_of_the_disk_is_told_and_never_acknowledged(
    call: str, error: str, raised: str, when: int, judge: Judge, tmp_path: Path
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian package strace)")
    inject = f"inject={call}:error={error}:when={when}+"
    command = [strace, "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    subprocess.run([*COMMITTER, str(tmp_path / "meta"), "9"], env=ENV, check=True)
    done = subprocess.run(
        [*command, *COMMITTER, str(tmp_path / "meta"), "60"],
        env=ENV,
        check=False,
        capture_output=True,
    )
    assert done.returncode != 0
    assert f"amur.meta.engine.{raised}:" in done.stderr.decode()
    acked = [int(line.split()[1]) for line in done.stdout.splitlines() if b"ack" in line]
    assert ask(judge, tmp_path / "meta", acked)[0] == "right"


# --- kills ---


def test_kills_lose_nothing_acknowledged(judge: Judge, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    acked: set[int] = set()
    for number in range(KILLS):
        with subprocess.Popen(
            [*COMMITTER, str(tmp_path / "meta"), "100000"], env=ENV, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            for _ in range(dice.randrange(40)):
                acked.add(int(process.stdout.readline().split()[1]))
            process.kill()
            acked.update(int(line.split()[1]) for line in process.stdout if line.endswith(b"\n"))
        verdict, message = ask(judge, tmp_path / "meta", acked)
        assert verdict == "right", f"AMUR_SEED={SEED}, kill {number}: {message}"
    assert len(acked) > KILLS


# --- flipped bits ---


def test_a_flipped_bit_never_makes_a_wrong_answer(judge: Judge, tmp_path: Path) -> None:
    dice, whole = random.Random(SEED), tmp_path / "whole"
    done = subprocess.run(
        [*COMMITTER, str(whole), "150"], env=ENV, check=True, stdout=subprocess.PIPE
    )
    acked = [int(line.split()[1]) for line in done.stdout.splitlines() if b"ack" in line]
    image = (whole / "data.mdb").read_bytes()
    verdicts: Counter[str] = Counter()
    for number in range(FLIPS):
        flipped, bit = bytearray(image), dice.randrange(len(image) * 8)
        flipped[bit // 8] ^= 1 << bit % 8
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "data.mdb").write_bytes(flipped)
        verdict, message = ask(judge, directory, acked)
        verdicts[verdict] += 1
        assert verdict != "wrong", f"AMUR_SEED={SEED}, bit {bit}: {message}"
        shutil.rmtree(directory)
    assert verdicts["error"] > FLIPS / 20, verdicts
