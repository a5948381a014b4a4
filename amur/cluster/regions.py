"""The processes of one region: started, held down, killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from functools import partial

import psutil

from amur.cluster.plan import Places
from amur.config import ROLES
from amur.serve import held
from amur.serve.layout import Layout, RootKey
from amur.serve.supervisor import die_with

KILLED_WITH: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway", "jobs"),  # what serves clients and works for them; the bytes stay there
    "blocks": ("blocks",),
    "replicate": ("replicate",),
    "jobs": ("jobs",),
}
"""What goes down with a role."""


def spawn(command: Collection[str], log: str, environment: Mapping[str, str]) -> Popen:
    """A child that ends when we end, however we end. Raises OSError."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us: we stop them in order
            preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - the keeper has one thread
        )


Popen = subprocess.Popen[bytes]


class RegionProcesses:
    """`amur serve` of one region and its children, as their parent sees them."""

    def __init__(self, places: Places, name: str, key: RootKey) -> None:
        self.name = name
        self.log = places.run / f"{name}.log"
        self._layout = Layout(places.data(name))
        self._command = ["amur.cli.main", "serve", "--config", str(places.config(name))]
        # no other AMUR_ variable: they would win over the file
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("AMUR_")
        } | {"AMUR_ROOT_ACCESS_KEY_ID": key.id, "AMUR_ROOT_SECRET_ACCESS_KEY": key.secret}
        self._process: Popen | None = None
        self._dying: set[int] = set()  # its children, killed and not gone yet

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the last start; None while it lives, or before."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, or what is held down of it. Raises OSError."""
        if not self.is_alive:
            self._process = spawn(self._command, str(self.log), self._environment)
            return
        held.hold(self._layout.held, ())
        for pid in self.pids().get("supervisor", ()):
            os.kill(pid, signal.SIGALRM)  # it looks what is missing

    def stop(self) -> None:
        """Let it drain."""
        if self._process is not None and self.is_alive:
            self._process.terminate()

    def kill(self, role: str = "all") -> bool:
        """SIGKILL. False while something of it lives: try again."""
        if role == "all":
            return self._kill_all()
        roles = KILLED_WITH[role]
        if not self.is_alive:
            return True
        held.hold(self._layout.held, held.roles(self._layout.held).union(roles))
        living = [pid for name, pids in self.pids().items() if name in roles for pid in pids]
        for pid in living:
            _kill(pid)
        return not living

    def _kill_all(self) -> bool:
        self._dying.update(pid for each in self.pids().values() for pid in each)
        if self._process is not None and self.is_alive:
            self._process.kill()
            self._process.wait()
        self._dying = set(filter(_lives, self._dying))
        for pid in self._dying:
            _kill(pid)  # they die with it on Linux; elsewhere they are told
        return not self._dying

    def pids(self) -> dict[str, list[int]]:
        """By role. Empty when it is down."""
        if self._process is None or not self.is_alive:
            return {}
        found = {}
        for role, pids in held.pids(self._layout.run).items():
            found[role] = [pid for pid in pids if self._is_ours(pid)]
        return found if found.get("supervisor") else {}

    def is_held(self) -> bool:
        return bool(held.roles(self._layout.held))

    def last_words(self) -> str:
        """The last line of its log: why it did not start."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("amur: ") if lines else "it says nothing"

    def _is_ours(self, pid: int) -> bool:
        """What an earlier process wrote down may be somebody else's number by now."""
        assert self._process is not None
        try:
            return pid == self._process.pid or psutil.Process(pid).ppid() == self._process.pid
        except psutil.NoSuchProcess:
            return False


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


assert set(KILLED_WITH) == set(ROLES)
