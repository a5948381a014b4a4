"""A server under a load whose acknowledgements are remembered, to be killed in the middle of it."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from amur.serve.testing import ServedAmur

WRITERS = 6
KEYS = 40  # of each writer: most puts overwrite
SIZES = (0, 10, 3000, 4097, 20_000, 300_000, 1_200_000)
PART = 5 * 1024 * 1024


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and not item.get_closest_marker("sweep"):
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def seed() -> int:
    """`AMUR_TEST_SEED` repeats a run; it is printed when a test fails."""
    chosen = int(os.environ.get("AMUR_TEST_SEED") or random.randrange(2**32))
    print(f"AMUR_TEST_SEED={chosen}")  # noqa: T201 - pytest shows it with a failure
    return chosen


def client_of(server: ServedAmur) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="auto",
        aws_access_key_id=server.key_id,
        aws_secret_access_key=server.secret,
        config=Config(
            max_pool_connections=WRITERS + 2,
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )


@dataclass
class Fate:
    """What may be found at a key: the last acknowledged state, or what was being done since.

    A state is the hash of the body, or None for an absent key.
    """

    acknowledged: str | None = None
    attempted: list[str | None] = field(default_factory=list)


class Load:
    """Writers that put, copy, delete, batch-delete and upload in parts, each over its own keys."""

    def __init__(self, seed: int) -> None:
        self.fates: dict[str, Fate] = {}
        self.acknowledged = 0
        self._dice = [random.Random(seed * 100 + n) for n in range(WRITERS)]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.surprises: list[BaseException] = []

    def make_bucket(self, server: ServedAmur) -> None:
        client = client_of(server)
        client.create_bucket(Bucket="load")
        client.close()

    def start(self, server: ServedAmur) -> None:
        self._stop.clear()
        self._client = client_of(server)
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """The writers end at their next error or soon."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def verify(self, server: ServedAmur) -> None:
        """Every key is as acknowledged, or as attempted, and whole; then start afresh from that."""
        assert not self.surprises, self.surprises
        client = client_of(server)

        def check(item: tuple[str, Fate]) -> None:
            key, fate = item
            found = _read(client, key)
            assert found in (fate.acknowledged, *fate.attempted), (
                f"{key}: found {found}, acknowledged {fate.acknowledged}, maybe {fate.attempted}"
            )
            fate.acknowledged, fate.attempted = found, []

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(check, self.fates.items()))
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="load")
        listed = {entry["Key"] for page in pages for entry in page.get("Contents", ())}
        client.close()
        there = {key for key, fate in self.fates.items() if fate.acknowledged is not None}
        assert listed == there

    def _write(self, n: int) -> None:
        try:
            while not self._stop.is_set():
                self._step(n, self._dice[n])
        except (HTTPClientError, BotoCoreError, ConnectionError, OSError):
            return  # the server is gone
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                self.surprises.append(error)
        except BaseException as error:
            self.surprises.append(error)

    def _step(self, n: int, dice: random.Random) -> None:
        key = f"w{n}/k{dice.randrange(KEYS)}"
        what = dice.choices(("put", "delete", "copy", "many", "parts"), (60, 10, 10, 5, 2))[0]
        if what == "put":
            body = dice.randbytes(dice.choice(SIZES))
            self._do({key: _hash(body)}, "put_object", Key=key, Body=body)
        elif what == "delete":
            self._do({key: None}, "delete_object", Key=key)
        elif what == "copy":
            source = f"w{n}/k{dice.randrange(KEYS)}"
            fate = self.fates.get(source)
            if fate and fate.acknowledged and source != key:
                origin = {"Bucket": "load", "Key": source}
                self._do({key: fate.acknowledged}, "copy_object", Key=key, CopySource=origin)
        elif what == "many":
            keys = {f"w{n}/k{dice.randrange(KEYS)}" for _ in range(5)}
            listed = {"Objects": [{"Key": one} for one in keys]}
            self._do(dict.fromkeys(keys), "delete_objects", Delete=listed)
        else:
            self._in_parts(key, dice)

    def _in_parts(self, key: str, dice: random.Random) -> None:
        bodies = [dice.randbytes(PART), dice.randbytes(1000)]
        upload = self._client.create_multipart_upload(Bucket="load", Key=key)["UploadId"]
        parts = []
        for number, body in enumerate(bodies, 1):
            sent = self._client.upload_part(
                Bucket="load", Key=key, UploadId=upload, PartNumber=number, Body=body
            )
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._do(
            {key: _hash(b"".join(bodies))}, "complete_multipart_upload",
            Key=key, UploadId=upload, MultipartUpload={"Parts": parts},
        )  # fmt: skip

    def _do(self, changes: dict[str, str | None], operation: str, **arguments: Any) -> None:
        """Note what is tried before, and what is acknowledged after."""
        for key, state in changes.items():
            self.fates.setdefault(key, Fate()).attempted.append(state)
        getattr(self._client, operation)(Bucket="load", **arguments)
        for key, state in changes.items():
            self.fates[key] = Fate(state)
        self.acknowledged += 1


@pytest.fixture
def load(seed: int) -> Load:
    return Load(seed)


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _read(client: Any, key: str) -> str | None:
    try:
        with client.get_object(Bucket="load", Key=key)["Body"] as body:
            return _hash(body.read())
    except client.exceptions.NoSuchKey:
        return None
