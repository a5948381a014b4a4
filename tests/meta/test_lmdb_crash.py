"""Power cuts, kills and flipped bits: what was acknowledged stays, nothing is there by half.

`AMUR_SEED` picks the seed; `AMUR_CRASH_STATES`, `AMUR_KILLS`, `AMUR_FLIPS` how many are tried.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SEED = int(os.environ.get("AMUR_SEED", "1"))
CRASH_STATES = int(os.environ.get("AMUR_CRASH_STATES", "400"))
KILLS = int(os.environ.get("AMUR_KILLS", "20"))
FLIPS = int(os.environ.get("AMUR_FLIPS", "200"))

HERE = Path(__file__).parent
COMMITTER = [sys.executable, str(HERE / "committer.py")]
ENV = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
SECTOR = 512


class Judge:
    """judge.py, started again whenever a damaged store has killed it."""

    def __init__(self) -> None:
        self.deaths = 0
        self._start()

    def _start(self) -> None:
        command = [sys.executable, str(HERE / "judge.py")]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, env=ENV, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, directory: Path, acked: Iterable[int]) -> tuple[str, str]:
        """right, error or wrong, and what was said about it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{directory} {','.join(map(str, acked))}\n")
        self._process.stdin.flush()
        verdict, _, message = self._process.stdout.readline().rstrip().partition(" ")
        if not verdict:
            self.close()
            self.deaths += 1
            self._start()
            return "error", "died"
        return verdict, message

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    process = Judge()
    yield process
    process.close()


# --- power cuts, replayed from recorded system calls ---


class Op(NamedTuple):
    """write (offset, data; `synced` by itself when done), sync, link, dirsync, done, ack."""

    kind: str
    number: int = 0  # offset of a write, or what was acknowledged
    data: bytes = b""
    synced: bool = False


CALL = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)")
QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def text(quoted: str) -> bytes:
    return bytes.fromhex(quoted.replace("\\x", ""))


class Recording:
    """Turns strace's output into operations on data.mdb."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._files: dict[int, str] = {}  # fd: "data", "dsync", "dir" or "other"
        self._offsets: dict[int, int] = {}
        self._open: dict[str, tuple[str, str]] = {}  # thread: call and arguments that began

    def line(self, line: str, directory: bytes) -> None:
        match = CALL.match(line)
        if not match:
            return
        thread, call, rest = match.groups()
        if " resumed>" in line:
            call, begun = self._open.pop(thread)
            self.end(call, begun, rest, directory)
            return
        self.begin(call, rest)
        if rest.endswith("<unfinished ...>"):
            self._open[thread] = call, rest
        else:
            self.end(call, rest, rest, directory)

    def begin(self, call: str, args: str) -> None:
        if call not in ("pwrite64", "writev", "write"):
            return
        fd = int(args[: args.index(",")])
        data = b"".join(text(quoted) for quoted in QUOTED.findall(args))
        if fd == 1 and data.startswith(b"ack "):
            self.ops.append(Op("ack", int(data[4:])))
        elif self._files.get(fd) in ("data", "dsync"):
            assert '"...' not in args, "strace cut the data short"
            at = (
                int(args.split(")")[0].replace("<unfinished ...>", "").split(",")[-1])
                if call == "pwrite64"
                else self._offsets[fd]
            )
            self.ops.append(Op("write", at, data, self._files[fd] == "dsync"))

    def end(self, call: str, args: str, result: str, directory: bytes) -> None:
        value = result.rsplit("= ", 1)[-1].split(" ")[0]
        if call == "openat" and value.isdigit():
            path = text(QUOTED.findall(args)[0])
            kind = "dir" if path == directory else "other"
            if path.endswith(b"/data.mdb"):
                kind = "dsync" if "O_DSYNC" in args else "data"
            self._files[int(value)] = kind
            return
        if call == "link":
            self.ops.append(Op("link"))
            return
        number = re.match(r"\d+", args)
        fd = int(number[0]) if number else -1
        kind = self._files.get(fd, "other")
        if call == "lseek":
            self._offsets[fd] = int(value)
        elif call == "pwrite64" and kind == "dsync":
            self.ops.append(Op("done"))
        elif call in ("fdatasync", "fsync") and kind in ("data", "dir"):
            self.ops.append(Op("sync" if kind == "data" else "dirsync"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> list[Op]:
    """What a committer did to its files from their creation on."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian package strace)")
    base = tmp_path_factory.mktemp("recorded")
    trace, directory = base / "trace", base / "meta"
    calls = "openat,lseek,pwrite64,pwritev,write,writev,fdatasync,fsync,link,ftruncate,msync"
    command = [strace, "-f", "-xx", "-s", "1000000", "-e", f"trace={calls}", "-o", str(trace)]
    subprocess.run(
        [*command, *COMMITTER, str(directory), "60"], env=ENV, check=True, stdout=subprocess.DEVNULL
    )
    recorded = Recording()
    with trace.open() as lines:
        for line in lines:
            recorded.line(line.rstrip(), os.fsencode(directory))
    kinds = [op.kind for op in recorded.ops]
    assert kinds.count("ack") == 60
    assert kinds.count("sync") > 15
    assert kinds.count("done") == sum(op.synced for op in recorded.ops)
    assert kinds.index("link") < kinds.index("dirsync") < kinds.index("ack")
    return recorded.ops


class Disk:
    """A file and what may be of it after a power cut."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[Op] = []
        self.is_linked = self.is_entry_durable = False
        self.acked: set[int] = set()

    def do(self, op: Op) -> None:
        if op.kind == "write":
            self.pending.append(op)
        elif op.kind == "sync":
            for write in self.pending:
                put(self.durable, write.number, write.data)
            self.pending.clear()
        elif op.kind == "done":
            at = max(i for i, write in enumerate(self.pending) if write.synced)
            write = self.pending.pop(at)
            put(self.durable, write.number, write.data)
        elif op.kind == "link":
            self.is_linked = True
        elif op.kind == "dirsync":
            self.is_entry_durable = self.is_linked
        else:
            self.acked.add(op.number)

    def after_power_cut(self, dice: random.Random) -> bytes:
        """The durable bytes, with any subset of the unsynced writes, some torn into sectors."""
        image = bytearray(self.durable)
        share = dice.choice([0.0, 0.3, 0.7, 1.0])
        for write in self.pending:
            if dice.random() < share:
                torn = dice.random() < 0.4
                for at in range(0, len(write.data), SECTOR):
                    if not torn or dice.random() < 0.5:
                        put(image, write.number + at, write.data[at : at + SECTOR])
        return bytes(image)


def put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data


def crash_points(ops: list[Op], states: int, dice: random.Random) -> Iterator[tuple[int, Disk]]:
    """`states` points spread over the recording, each with the disk as of then."""
    points = sorted(dice.randrange(len(ops) + 1) for _ in range(states))
    disk, at = Disk(), 0
    for point in points:
        while at < point:
            disk.do(ops[at])
            at += 1
        yield point, disk


def test_power_cuts_lose_nothing_acknowledged(
    recording: list[Op], judge: Judge, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    reached = set()
    for number, (point, disk) in enumerate(crash_points(recording, CRASH_STATES, dice)):
        directory = tmp_path / str(number)
        directory.mkdir()
        if disk.is_entry_durable or (disk.is_linked and dice.random() < 0.5):
            (directory / "data.mdb").write_bytes(disk.after_power_cut(dice))
        verdict, message = judge.ask(directory, disk.acked)
        assert verdict == "right", (
            f"AMUR_SEED={SEED}, state {number} after operation {point}: {message}"
        )
        reached.add(message)
        shutil.rmtree(directory)
    assert len(reached) > min(CRASH_STATES, 60) / 4, "the states differ"


def test_the_replay_would_see_a_missing_sync(
    recording: list[Op], judge: Judge, tmp_path: Path
) -> None:
    """The harness itself: were the data not synced before the meta page, states would be bad."""
    unsynced = [op for op in recording if op.kind != "sync"]
    dice, bad = random.Random(SEED), 0
    for number, (_, disk) in enumerate(crash_points(unsynced, 40, dice)):
        if disk.is_entry_durable:
            directory = tmp_path / str(number)
            directory.mkdir()
            (directory / "data.mdb").write_bytes(disk.after_power_cut(dice))
            bad += judge.ask(directory, disk.acked)[0] != "right"
    assert bad > 10


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
    assert judge.ask(tmp_path / "meta", acked)[0] == "right"


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
        verdict, message = judge.ask(tmp_path / "meta", acked)
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
        verdict, message = judge.ask(directory, acked)
        verdicts[verdict] += 1
        assert verdict != "wrong", f"AMUR_SEED={SEED}, bit {bit}: {message}"
        shutil.rmtree(directory)
    assert verdicts["error"] > FLIPS / 20, verdicts
