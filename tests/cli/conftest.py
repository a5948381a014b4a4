"""Running the `amur` command, and a server to look at."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from amur.cli.main import app
from amur.serve.testing import ServedAmur, free_port

Amur = Callable[..., "subprocess.CompletedProcess[str]"]
Cli = Callable[..., Any]


@pytest.fixture(scope="session")
def amur() -> Amur:
    """Run `amur ...`; never raises for its exit code."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AMUR_")}

    def runner(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "amur.cli.main", *map(str, arguments)],
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return runner


@pytest.fixture(scope="session")
def connect() -> Iterator[Callable[[ServedAmur], Any]]:
    clients = []

    def connected(server: ServedAmur) -> Any:
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="auto",
            aws_access_key_id=server.key_id,
            aws_secret_access_key=server.secret,
        )
        clients.append(client)
        return client

    yield connected
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, connect: Callable[[ServedAmur], Any]
) -> Iterator[ServedAmur]:
    """With 40 objects of each tier in bucket `box`, one deleted."""
    with ServedAmur(tmp_path_factory.mktemp("served") / "data") as served:
        s3 = connect(served)
        s3.create_bucket(Bucket="box")
        for n in range(40):
            s3.put_object(Bucket="box", Key=f"inline-{n}", Body=b"i" * 100)
            s3.put_object(Bucket="box", Key=f"pack-{n}", Body=bytes([n]) * 20_000)
        s3.put_object(Bucket="box", Key="block", Body=bytes(range(256)) * 20_000)
        s3.delete_object(Bucket="box", Key="pack-39")
        yield served


@pytest.fixture(scope="session")
def iam_place() -> str:
    """Host and port of the IAM API's own listener of `store`."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, iam_place: str) -> Iterator[ServedAmur]:
    """Empty; each test makes buckets of its own."""
    directory = tmp_path_factory.mktemp("store") / "data"
    settings = {"AMUR_IAM_LISTEN": iam_place}
    with ServedAmur(directory, workers=1, environment=settings) as served:
        yield served


@pytest.fixture(scope="session")
def s3(store: ServedAmur, connect: Callable[[ServedAmur], Any]) -> Any:
    return connect(store)


@pytest.fixture
def cli(store: ServedAmur, iam_place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run a command in this process, in `tmp_path`, against `store`."""
    for name in os.environ:
        if name.startswith(("AWS_", "AMUR_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # workers of a parallel run have it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    monkeypatch.setenv("AMUR_IAM_ENDPOINT", f"http://{iam_place}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*arguments: str | Path, stdin: str | bytes | None = None, code: int = 0) -> Any:
        result = runner.invoke(app, [str(each) for each in arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"b-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=name)
    return name
