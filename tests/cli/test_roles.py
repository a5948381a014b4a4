"""Roles of one region as servers of their own over one directory; roles that are held down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from amur.config import ROLES
from amur.serve import held
from amur.serve.layout import Layout, Refusal
from amur.serve.testing import ServedAmur, free_port

Amur = Callable[..., "subprocess.CompletedProcess[str]"]


def _until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_locks_are_by_role(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    some = layout.lock(("jobs", "blocks"), wait_seconds=0)
    gateway = layout.lock(("gateway",), wait_seconds=0)
    with pytest.raises(Refusal, match=f"process {os.getpid()}"):
        layout.lock(("gateway", "replicate"), wait_seconds=0)
    with pytest.raises(Refusal, match="another amur"):
        layout.lock(wait_seconds=0)
    gateway.close()
    layout.lock(("gateway", "replicate"), wait_seconds=0).close()
    some.close()
    layout.lock(wait_seconds=0).close()


def test_pids_and_held_roles(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.run.mkdir()
    assert layout.pids(ROLES).name == "pids.json"
    held.note(layout.pids(("blocks",)), {"supervisor": [10], "blocks": [11]})
    held.note(layout.pids(("gateway", "jobs")), {"supervisor": [20], "gateway": [21, 22]})
    assert held.pids(layout.run) == {
        "supervisor": [10, 20], "blocks": [11], "gateway": [21, 22],
    }  # fmt: skip
    held.hold(layout.held, {"jobs", "gateway"})
    assert held.roles(layout.held) == {"jobs", "gateway"}
    held.hold(layout.held, ())
    assert held.roles(layout.held) == set()
    layout.held.write_text("not JSON")
    assert held.roles(layout.held) == set()
    held.note(tmp_path / "none" / "pids.json", {})  # a place that can't be written is no harm


def test_two_servers_of_one_directory(tmp_path: Path, amur: Amur) -> None:
    gateway = ServedAmur(tmp_path / "data", workers=1, arguments=["--roles", "gateway"])
    jobs = ServedAmur(tmp_path / "data", workers=1, arguments=["--roles", "jobs"])
    jobs.log = tmp_path / "jobs.log"
    try:
        jobs.spawn()
        gateway.start()  # both lay out the new directory
        _until(lambda: json.loads(_health(gateway))["status"] == "ok")  # it knows of the jobs
        again = amur("serve", gateway.directory, "--listen", f"127.0.0.1:{free_port()}",
                     "--roles", "gateway,blocks")  # fmt: skip
        assert (again.returncode, "another amur" in again.stderr) == (1, True)
        gateway.stop()
        assert "another amur" in amur("fsck", "--repair", gateway.directory).stderr
        assert jobs.stop() == 0
        assert amur("fsck", "--repair", gateway.directory).returncode == 0
        assert not list((gateway.directory / "run").glob("pids*"))
    finally:
        gateway.kill()
        jobs.kill()


def test_a_role_without_work_is_refused(tmp_path: Path, amur: Amur) -> None:
    done = amur("serve", tmp_path / "data", "--roles", "blocks")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "blocks needs peers" in done.stderr


def test_held_roles_stay_down_until_they_are_not(tmp_path: Path) -> None:
    with ServedAmur(tmp_path / "data", workers=1) as server:
        layout = Layout(server.directory)
        before = _pids(layout)
        assert before["supervisor"] == [server.pid]
        held.hold(layout.held, {"gateway"})
        os.kill(before["gateway"][0], signal.SIGKILL)
        os.kill(before["jobs"][0], signal.SIGKILL)
        _until(lambda: _pids(layout)["jobs"] not in ([], before["jobs"]))
        assert _pids(layout)["gateway"] == []
        assert not server.answers()
        held.hold(layout.held, ())
        os.kill(server.pid, signal.SIGALRM)
        _until(server.answers)
        assert "worker 0 is held down" in server.output()
        held.hold(layout.held, {"jobs"})
    with ServedAmur(tmp_path / "data", workers=1):  # a fresh start begins with everything
        assert held.roles(layout.held) == set()
        assert _pids(layout)["jobs"]


def _pids(layout: Layout) -> dict[str, list[int]]:
    return held.pids(layout.run)


def _health(server: ServedAmur) -> Any:
    with urlopen(f"{server.endpoint}/-/health") as answer:
        return answer.read()
