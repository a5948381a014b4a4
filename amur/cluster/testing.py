"""A real cluster for tests and benchmarks: started, played with, killed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from amur.serve.testing import KEY_ID, SECRET, clean_environment

_PORTS = 15_000, 30_000  # below those that outgoing connections are given
_RUN_SECONDS = 180.0


class ServedCluster:
    """`with ServedCluster(directory) as cluster:` starts it and stops it.

    The directory's name is DIR of `amur cluster up`; it need not exist.
    """

    def __init__(
        self,
        directory: Path,
        regions: Sequence[str] = ("sjc", "ord", "fra"),
        *,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """`arguments` are more flags of `amur cluster up`, like --latency=sjc:ord=80ms."""
        self.directory = directory
        self.regions = list(regions)
        self.key_id, self.secret = KEY_ID, SECRET
        self._listen = f"127.0.0.1:{first_of_free_ports(len(self.regions))}"
        self._arguments = list(arguments)
        self._environment = clean_environment() | {
            "AMUR_ROOT_ACCESS_KEY_ID": KEY_ID,
            "AMUR_ROOT_SECRET_ACCESS_KEY": SECRET,
            **(environment or {}),
        }

    def __enter__(self) -> ServedCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Returns when all answers, with what it says."""
        names = ",".join(self.regions)
        done = self.run("up", str(self.directory), "--detach", "--regions", names,
                        "--listen", self._listen, *self._arguments)  # fmt: skip
        return done.stdout

    def stop(self) -> None:
        """In order; no error when it is not running."""
        self.run("down", code=None)

    def kill(self) -> None:
        """SIGKILL to every process at once."""
        facts = self.facts()
        pids = list(facts["processes"].values())
        for region in facts["regions"].values():
            pids += [pid for role in region["pids"].values() for pid in role]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(
        self, command: str, *arguments: str | Path, code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """`amur cluster COMMAND ...` on this cluster; its exit code must be `code`, if not None."""
        where = () if command in ("up", "status") else ("--dir", str(self.directory))
        done = subprocess.run(
            [sys.executable, "-m", "amur.cli.main", "cluster", command,
             *map(str, arguments), *where],
            env=self._environment, capture_output=True, text=True, timeout=_RUN_SECONDS,
            check=False,
        )  # fmt: skip
        if code is not None and done.returncode != code:
            raise AssertionError(f"amur cluster {command}: {done.stdout}{done.stderr}")
        return done

    def facts(self) -> Any:
        """cluster.json."""
        return json.loads((self.directory / "cluster.json").read_bytes())

    def status(self) -> Any:
        """What `amur cluster status --json` says."""
        return json.loads(self.run("status", self.directory, "--json").stdout)

    def endpoint(self, region: str = "") -> str:
        """Of a region's gateway; of the whole cluster."""
        facts = self.facts()
        found: str = facts["regions"][region]["endpoint"] if region else facts["endpoint"]
        return found

    def pids(self, region: str) -> dict[str, list[int]]:
        """By role; {} of a region that is down."""
        found: dict[str, list[int]] = self.facts()["regions"][region]["pids"]
        return found


def first_of_free_ports(regions: int) -> int:
    """The first of as many consecutive free ports as a cluster has listeners."""
    count = 1 + 2 * regions + 2 * regions * (regions - 1)
    while True:
        first = _PORTS[0] + secrets.randbelow(_PORTS[1] - _PORTS[0] - count)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return first
