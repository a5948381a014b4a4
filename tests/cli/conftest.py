"""Running the `amur` command, and a server to look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from amur.serve.testing import ServedAmur

Amur = Callable[..., "subprocess.CompletedProcess[str]"]


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
