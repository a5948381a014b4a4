"""A real `amur serve` for tests and benchmarks: started, stopped, killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

KEY_ID = "tid_testing"
SECRET = "tsec_testing_secret_0123456789"  # noqa: S105 - of servers on 127.0.0.1 that live for a test


class ServedAmur:
    """One server process tree in its own process group.

    `with ServedAmur(directory) as server:` starts it and drains it. Its output is in
    `directory`.log beside the data directory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 2,
        port: int = 0,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        """`wrapper` is put before the command (strace and the like)."""
        self.directory = directory
        self.port = port or free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.key_id, self.secret = KEY_ID, SECRET
        self.log = directory.with_name(directory.name + ".log")
        self._command = [
            *wrapper, sys.executable, "-m", "amur.cli.main", "serve", str(directory),
            "--listen", f"127.0.0.1:{self.port}", "--workers", str(workers), *arguments,
        ]  # fmt: skip
        self._environment = clean_environment() | {
            "AMUR_ROOT_ACCESS_KEY_ID": KEY_ID,
            "AMUR_ROOT_SECRET_ACCESS_KEY": SECRET,
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServedAmur:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start it without waiting."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, seconds: float = 30.0) -> float:
        """Start it; the seconds until the first request was answered."""
        began = time.monotonic()
        self.spawn()
        while not self.answers():
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"the server did not start:\n{self.output()}")
            if time.monotonic() - began > seconds:
                self.kill()
                raise AssertionError(f"the server does not answer:\n{self.output()}")
            time.sleep(0.002)
        return time.monotonic() - began

    def stop(self, seconds: float = 40.0) -> int:
        """Drain it (SIGTERM); its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not drain:\n{self.output()}") from None
        self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL to the whole tree at once."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        while self.processes():
            time.sleep(0.001)
        self._process = None

    def processes(self) -> list[int]:
        """Living process ids of the tree: parent first."""
        assert self._process is not None
        group = self._process.pid
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[2]) == group and fields[0] != "Z":
                    found.append(int(entry.name))
        return sorted(found)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def client_environment(self) -> dict[str, str]:
        """What the three lines of the banner export, on top of a clean environment."""
        return clean_environment() | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "auto",
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def answers(self) -> bool:
        """Whether a request is served right now."""
        try:
            with urlopen(f"{self.endpoint}/-/health", timeout=5) as response:  # noqa: S310
                return bool(response.status == 200)
        except (URLError, OSError):
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment() -> dict[str, str]:
    """Ours, without what programs take settings of a store or a proxy from."""
    hidden = ("AMUR_", "AWS_", "RCLONE_", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
