"""Load on a server: many small requests by wrk, large bodies by curl; CPU time from /proc."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
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

        def feed() -> None:
            with suppress(BrokenPipeError), path.open("wb", buffering=1 << 20) as pipe:
                for one in requests:
                    pipe.write(b"%d\n%s" % (len(one), one))

        feeder = threading.Thread(target=feed)
        feeder.start()
        measured = self._wrk(path, "stream", 36_000, connections)
        feeder.join()
        return measured

    def _wrk(self, path: Path, mode: str, seconds: float, connections: int) -> Measured:
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s",
            "-s", str(_SCRIPT), self._url, "--", str(path), mode,
        ]  # fmt: skip
        before = cpu_seconds(self._pids())
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent = cpu_seconds(self._pids()) - before
        told = json.loads(done.stderr.strip().splitlines()[-1])
        assert told["requests"], f"nothing was answered: {done.stdout}"
        return Measured(**told, cpu_us=spent / told["requests"] * 1e6)


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


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
