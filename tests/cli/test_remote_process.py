"""The `amur` command as a process: what it imports, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amur.serve.testing import ServedAmur

HEAVY = ("boto3", "botocore", "s3transfer", "rich", "awscrt", "uvloop")


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["buckets", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from amur.cli.main import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'loaded: {found}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_server_does_not_load_the_client() -> None:
    script = (
        "import sys; import amur.cli.main, amur.serve.start, amur.serve.worker\n"
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_interrupt() -> None:
    """While it waits for a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        # a shell that runs tests in the background has SIGINT ignored, for its children as well
        script = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from amur.cli.main import main; main()"
        )
        keys = {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": endpoint,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", script, "ls"], env=os.environ | keys, stderr=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "amur: interrupted"


def test_a_reader_that_leaves(store: ServedAmur, bucket: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "amur.cli.main", "ls", bucket, "--json"],
        env=store.client_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 141


def test_stdout_is_nothing_but_the_archive(
    store: ServedAmur, s3: Any, bucket: str, tmp_path: Path
) -> None:
    s3.put_object(Bucket=bucket, Key="inline-1", Body=b"content")
    done = subprocess.run(
        [sys.executable, "-m", "amur.cli.main", "bundle", bucket, "-k", "inline-1,none", "--json"],
        env=store.client_environment(), capture_output=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout[:8] == b"inline-1"
    assert b'"skipped_count":1' in done.stderr


def test_no_key(amur: Any, tmp_path: Path) -> None:
    done = amur("ls", XDG_CONFIG_HOME=str(tmp_path), AWS_ACCESS_KEY_ID="",
                AWS_SECRET_ACCESS_KEY="")  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "amur configure" in done.stderr
