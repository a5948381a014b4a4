"""Keeps a set of processes alive until it is told to stop.

One thread, no handlers: signals are blocked and waited for, so that nothing is ever interrupted
half-way and forking is safe (no other thread holds a lock).
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

DRAIN_SECONDS = 30.0  # requests in flight get this long to finish
_CRASHES_MAX = 5  # of one process ...
_CRASH_WINDOW_SECONDS = 20.0  # ... within this long, then everything stops
_RESPAWN_DELAY_SECONDS = 0.2
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM}
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


@dataclass
class Process:
    """One process to keep: `main` runs in the child and answers its exit code."""

    name: str
    main: Callable[[], int]
    role: str = ""
    pid: int = 0
    deaths: list[float] = field(default_factory=list)


class Supervisor:
    """Runs processes, starts the dead again, stops all on SIGTERM and SIGINT.

    `note` hears the pids by role whenever they change. What has a role that `is_held` stays down
    when it dies, until a SIGALRM finds it held no more.
    """

    def __init__(
        self,
        processes: list[Process],
        say: Callable[[str], None],
        note: Callable[[dict[str, list[int]]], None] = lambda pids: None,
        is_held: Callable[[str], bool] = lambda role: False,
    ) -> None:
        self._processes = processes
        self._say = say
        self._note = note
        self._is_held = is_held
        self._stopping = False
        self._failed = False
        self._kill_at = 0.0

    def start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._spawn_missing()

    def run(self) -> int:
        """Until all are gone. Exit code 0 when stopped on demand."""
        while any(process.pid for process in self._processes) or not self._stopping:
            which = signal.sigwait(_SIGNALS)
            if which in (signal.SIGTERM, signal.SIGINT):
                self.stop()
            elif which == signal.SIGALRM:
                self._alarm()
            self._reap()
        return 1 if self._failed else 0

    def stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._kill_at = time.monotonic() + DRAIN_SECONDS
        self._signal(signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, DRAIN_SECONDS)

    def alive(self) -> bool:
        """Did all survive so far? For the wait until the first of them listens."""
        self._reap()
        return not self._stopping and not _told_to_stop()

    def _alarm(self) -> None:
        if self._stopping:
            left = self._kill_at - time.monotonic()
            if left > 0:  # this alarm was meant for a respawn
                signal.setitimer(signal.ITIMER_REAL, left)
                return
            self._say(f"amur: requests were still running after {DRAIN_SECONDS:.0f} s: cut off")
            self._signal(signal.SIGKILL)
            return
        self._spawn_missing()

    def _spawn_missing(self) -> None:
        for process in self._processes:
            if not process.pid and not self._is_held(process.role):
                self._spawn(process)
        self._tell()

    def _tell(self) -> None:
        pids = {"supervisor": [os.getpid()]}
        for process in self._processes:
            living = pids.setdefault(process.role or process.name, [])
            if process.pid:
                living.append(process.pid)
        self._note(pids)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for process in self._processes:
                if process.pid == pid:
                    process.pid = 0
                    self._tell()
                    self._died(process, os.waitstatus_to_exitcode(status))

    def _died(self, process: Process, code: int) -> None:
        if self._stopping or _told_to_stop():  # Ctrl-C reaches the children, too
            return
        if self._is_held(process.role):
            self._say(f"amur: {process.name} is held down")
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        now = time.monotonic()
        process.deaths = [at for at in process.deaths if now - at < _CRASH_WINDOW_SECONDS] + [now]
        if len(process.deaths) >= _CRASHES_MAX:
            self._say(f"amur: {process.name} {how} again and again: stopping")
            self._failed = True
            self.stop()
            return
        self._say(f"amur: {process.name} {how}: starting it again")
        signal.setitimer(signal.ITIMER_REAL, _RESPAWN_DELAY_SECONDS)

    def _signal(self, which: signal.Signals) -> None:
        for process in self._processes:
            if process.pid:
                os.kill(process.pid, which)

    def _spawn(self, process: Process) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            process.pid = pid
            return
        code = 1
        try:
            faulthandler.enable()  # a crash in compiled code says where it was
            die_with(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = process.main()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _told_to_stop() -> bool:
    """Whether a signal waits that `run` has not taken yet."""
    return not signal.sigpending().isdisjoint({signal.SIGTERM, signal.SIGINT})


def die_with(parent: int) -> None:
    """A child of a killed parent must not go on serving (and holding the port) alone."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
