"""Load on a server: many small requests by wrk, large bodies by curl; CPU time from /proc."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_SCRIPT = Path(__file__).with_name("load.lua")
_TICKS = os.sysconf("SC_CLK_TCK")


class Measured(NamedTuple):
    """Of one run. Times in ms, CPU of the server in us for each request."""

    requests: int
    seconds: float
    bytes: int
    bad: int
    p50: float
    p90: float
    p99: float
    cpu_us: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class Load:
    """Runs load against the server whose processes are `pids()`."""

    def __init__(self, url: str, pids: Callable[[], Sequence[int]], work: Path) -> None:
        self._url = url
        self._pids = pids
        self._work = work

    def cycle(self, requests: Iterable[bytes], seconds: float, connections: int = 32) -> Measured:
        """The requests again and again for `seconds`, after a short warming up."""
        path = self._work / "requests"
        with path.open("wb") as file:
            file.writelines(b"%d\n%s" % (len(one), one) for one in requests)
        self._wrk(path, "cycle", min(1.0, seconds / 3), connections)
        return self._wrk(path, "cycle", seconds, connections)

    def stream(self, requests: Iterable[bytes], connections: int = 32) -> Measured:
        """Each request once, made while they are sent."""
        path = self._work / "stream"
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        before = cpu_seconds(self._pids())
        # wrk sleeps for its whole duration, whatever its script says, or until SIGINT
        process = subprocess.Popen(
            self._command(path, "stream", 360_000, connections),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with path.open("wb", buffering=1 << 20) as pipe:
            began = time.monotonic()
            for one in requests:
                pipe.write(b"%d\n%s" % (len(one), one))
        seconds = time.monotonic() - began
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        spent = cpu_seconds(self._pids()) - before
        return _measured(out, err, spent)._replace(seconds=seconds)

    def _wrk(self, path: Path, mode: str, seconds: float, connections: int) -> Measured:
        before = cpu_seconds(self._pids())
        command = self._command(path, mode, seconds, connections)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return _measured(done.stdout, done.stderr, cpu_seconds(self._pids()) - before)

    def _command(self, path: Path, mode: str, seconds: float, connections: int) -> list[str]:
        return [
            "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s",
            "-s", str(_SCRIPT), self._url, "--", str(path), mode,
        ]  # fmt: skip


def _measured(out: str, err: str, cpu: float) -> Measured:
    told = json.loads(err.strip().splitlines()[-1])
    assert told["requests"], f"nothing was answered: {out}"
    return Measured(**told, cpu_us=cpu / told["requests"] * 1e6)


def curl(*arguments: str | Path) -> float:
    """Bytes a second of one transfer; fails on an error status."""
    command = ["curl", "-sS", "--fail", "-w", "%{time_total} %{size_download} %{size_upload}"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    seconds, down, up = map(float, done.stdout.split()[-3:])
    return (down + up) / seconds


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def private_bytes(pid: int) -> int:
    """Resident memory less pages of mapped files: those of the metadata are the page cache's."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
