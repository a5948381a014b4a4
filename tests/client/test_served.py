"""Against a real server."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import boto3
import pytest

from amur.client import BundleError, BundleLoader, bundle_objects
from amur.serve.testing import ServedAmur

ROOT = Path(__file__).parents[2]
OBJECTS = {
    f"{name}/{at}": bytes([at]) * size
    for at, size in enumerate([0, 1, 511, 512, 513, 4096, 4097, 100_000, 3_000_000])
    for name in ("a", "ünï cödé/" + "long" * 40)
} | {"folder/": b""}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    with ServedAmur(tmp_path_factory.mktemp("served") / "data", workers=1) as served:
        yield served


@pytest.fixture(scope="module")
def s3(server: ServedAmur) -> Iterator[Any]:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="auto",
        aws_access_key_id=server.key_id,
        aws_secret_access_key=server.secret,
    )
    client.create_bucket(Bucket="photos")
    for key, body in OBJECTS.items():
        client.put_object(Bucket="photos", Key=key, Body=body)
    yield client
    client.close()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_members_and_counts(s3: Any, compression: Any) -> None:
    keys = [*OBJECTS, "no"]
    with bundle_objects(s3, "photos", keys, compression=compression) as bundle:
        assert list(bundle) == list(OBJECTS.items())
    assert bundle.object_count == len(OBJECTS)
    assert bundle.bundle_bytes == sum(map(len, OBJECTS.values()))
    assert bundle.skipped_count == 1
    assert bundle.skipped == [("no", "NoSuchKey")]
    with bundle_objects(s3, "photos", keys, compression=compression) as bundle:
        assert bundle.read()


def test_a_zip_is_read_as_a_file(s3: Any) -> None:
    with bundle_objects(s3, "photos", list(OBJECTS), format="zip") as bundle:
        with pytest.raises(ValueError, match="zip"):
            next(iter(bundle))
        archive = zipfile.ZipFile(io.BytesIO(bundle.read()))
    assert {name: archive.read(name) for name in archive.namelist()} == OBJECTS


def test_refusals(s3: Any) -> None:
    with pytest.raises(BundleError) as caught:
        bundle_objects(s3, "photos", ["a/1", "x & <y>", "ü"], on_error="fail")
    assert caught.value.code == "BundleKeyNotFound"
    assert caught.value.missing_keys == ["x & <y>", "ü"]
    assert caught.value.request_id
    with pytest.raises(BundleError) as caught:
        bundle_objects(s3, "no-such-bucket", ["a"])
    assert (caught.value.status, caught.value.code) == (404, "NoSuchBucket")


def test_a_loader_of_a_prefix(s3: Any) -> None:
    loader = BundleLoader(s3, "photos", prefix="a/", batch_size=2, shuffle=True, requests=3)
    assert dict(chain(*loader)) == {k: v for k, v in OBJECTS.items() if k.startswith("a/")}


def test_a_loader_survives_a_server_that_is_killed(tmp_path: Path) -> None:
    server = ServedAmur(tmp_path / "data", workers=1)
    server.start()
    made = {
        "endpoint_url": server.endpoint, "region_name": "auto",
        "aws_access_key_id": server.key_id, "aws_secret_access_key": server.secret,
    }  # fmt: skip
    try:
        client = boto3.client("s3", **made)
        client.create_bucket(Bucket="photos")
        bodies = {f"{at:02}": bytes([at]) * 500_000 for at in range(60)}
        for key, body in bodies.items():
            client.put_object(Bucket="photos", Key=key, Body=body)
        client.close()
        is_killed = Event()

        def decode(key: str, body: bytes) -> tuple[str, bytes]:
            assert key < "05" or is_killed.wait(60)  # the stream is held in its second batch
            return key, body

        loader = BundleLoader(
            made, "photos", bodies, batch_size=5, decode=decode, requests=1, retries=20
        )
        batches = iter(loader)
        found = dict(next(batches))
        server.kill()
        is_killed.set()
        server.start()
        found |= dict(chain(*batches))
        assert found == bodies
        loader._fetch.s3_client().close()
    finally:
        server.kill()


# --- the example ---

TRAIN = [sys.executable, ROOT / "examples" / "train.py", "--samples", "800", "--epochs", "3",
         "--workers", "1", "--batch", "16", "--every", "5"]  # fmt: skip


def results(output: str) -> list[tuple[str, str]]:
    """Loss and accuracy of each epoch."""
    return re.findall(r"loss ([\d.]+), accuracy ([\d.]+)%", output)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torch"), reason="pip install amur[torch]")
def test_the_example_learns_and_goes_on_after_a_kill_as_if_nothing_had_been(
    server: ServedAmur, s3: Any
) -> None:
    environment = server.client_environment() | {"OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"env": environment, "text": True}
    whole = subprocess.run(
        [*TRAIN, "--bucket", "whole"], check=True, stdout=subprocess.PIPE, **options
    )
    learnt = results(whole.stdout)
    assert len(learnt) == 3
    assert float(learnt[2][0]) < float(learnt[0][0])
    assert float(learnt[2][1]) > 60  # by chance: 25

    train = [*TRAIN, "--bucket", "killed"]
    with subprocess.Popen(train, stdout=subprocess.DEVNULL, **options) as first:
        while first.poll() is None and not has_checkpoint(s3):
            time.sleep(0.01)
        first.kill()
    second = subprocess.run(train, check=True, stdout=subprocess.PIPE, **options)
    assert "going on in epoch" in second.stdout
    assert results(second.stdout)[-1] == learnt[-1]


def has_checkpoint(s3: Any) -> bool:
    names = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    return "killed" in names and bool(
        s3.list_objects_v2(Bucket="killed", Prefix="checkpoint").get("Contents")
    )
