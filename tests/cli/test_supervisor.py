"""Processes that die, and a supervisor that knows when to give up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, signal, sys, time
from amur.serve import supervisor
from amur.serve.supervisor import Process, Supervisor

supervisor.DRAIN_SECONDS = 0.5

def crash():
    open(sys.argv[1], "a").write("x")
    return 7

def last():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(60)

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(60)
    return 0

mains = {"crash": crash, "last": last, "stubborn": stubborn}
kept = Supervisor(
    [Process(name, mains[name]) for name in sys.argv[2:]],
    lambda message: print(message, file=sys.stderr),
)
kept.start()
sys.exit(kept.run())
"""


def _start(tmp_path: Path, *names: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "crashes"), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_gives_up_on_a_crash_loop(tmp_path: Path) -> None:
    with _start(tmp_path, "crash", "last") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert (tmp_path / "crashes").read_text() == "xxxxx"
    assert err.count("ended with code 7: starting it again") == 4
    assert "again and again: stopping" in err


def test_cuts_off_what_does_not_drain(tmp_path: Path) -> None:
    with _start(tmp_path, "stubborn") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert "cut off" in err
    assert process.returncode == 0


def test_no_child_is_left(tmp_path: Path) -> None:
    with _start(tmp_path, "last", "stubborn") as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while _group(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
