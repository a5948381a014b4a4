"""A region whose bytes are in a bucket: of another Amur, and of a server not of ours (moto)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
from typer.testing import CliRunner

from amur.cli.main import app
from amur.clock import SystemClock
from amur.data.bucket import BucketDataStore
from amur.data.bucket_service import open_bucket
from amur.data.store import DataDamaged, DataMissing, DataUnavailable
from amur.serve.testing import ServedAmur, free_port

MIB = 1024 * 1024
MOTO = Path(__file__).parents[2] / ".venv/moto/bin/moto_server"

Open = Callable[..., ServedAmur]


def client(endpoint: str, key_id: str, secret: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def of(server: ServedAmur) -> Any:
    return client(server.endpoint, server.key_id, server.secret)


def settings(url: str, endpoint: str, key_id: str, secret: str, **more: str) -> dict[str, str]:
    options = {
        "endpoint": endpoint,
        "access_key_id": key_id,
        "secret_access_key": secret,
        "region": "us-east-1",
    }
    return {"AMUR_BLOCK_STORE": url, "AMUR_BLOCK_STORE_OPTIONS": json.dumps(options), **more}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Start an Amur in `tmp_path`/name; all are stopped in the end."""
    servers: list[ServedAmur] = []

    def start(name: str, environment: dict[str, str] | None = None, port: int = 0) -> ServedAmur:
        server = ServedAmur(tmp_path / name, workers=1, environment=environment, port=port)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where moto's S3 is."""
    assert MOTO.exists(), f"{MOTO} is missing: `make test` installs it"
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        process = subprocess.Popen(
            [MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    urlopen(f"{endpoint}/moto-api/", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.05)
            yield endpoint
        finally:
            process.kill()
            process.wait()


def amur(*arguments: str | Path, environment: dict[str, str] | None = None) -> Any:
    """A command, in this process: starting one takes longer than what it does."""
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment)


def fill(s3: Any) -> dict[str, bytes]:
    """Objects of every kind: inline, in packs, in block files of parts, multipart."""
    dice = random.Random(5)
    s3.create_bucket(Bucket="things")
    bodies = {f"small/{n}": dice.randbytes(dice.randint(1, 40_000)) for n in range(60)}
    bodies |= {f"large/{n}": dice.randbytes(n * MIB + n) for n in (1, 4, 12)}
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda key: s3.put_object(Bucket="things", Key=key, Body=bodies[key]), bodies)
        )
    upload = s3.create_multipart_upload(Bucket="things", Key="parts")["UploadId"]
    pieces = [dice.randbytes(size) for size in (6 * MIB, 5 * MIB, 100)]
    parts = []
    for number, piece in enumerate(pieces, 1):
        told = s3.upload_part(
            Bucket="things", Key="parts", UploadId=upload, PartNumber=number, Body=piece
        )
        parts.append({"PartNumber": number, "ETag": told["ETag"]})
    s3.complete_multipart_upload(
        Bucket="things", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    return bodies | {"parts": b"".join(pieces)}


def assert_reads(s3: Any, bodies: dict[str, bytes]) -> None:
    for key, body in bodies.items():
        assert s3.get_object(Bucket="things", Key=key)["Body"].read() == body, key
    whole = bodies["parts"]
    for start, end in ((0, 1), (6 * MIB - 5, 6 * MIB + 5), (11 * MIB, 11 * MIB + 99)):
        part = s3.get_object(Bucket="things", Key="parts", Range=f"bytes={start}-{end}")
        assert part["Body"].read() == whole[start : end + 1]


def write_until_killed(server: ServedAmur, clients: int = 4) -> dict[str, bytes]:
    """Bodies that were acknowledged before the server was killed in the middle of others."""
    said: dict[str, bytes] = {}

    def write(number: int) -> None:
        s3 = of(server)
        dice = random.Random(number)
        with suppress(ClientError, EndpointConnectionError, HTTPClientError):
            for turn in range(10_000):
                body = dice.randbytes(dice.choice((5_000, 5_000, 300_000, 6 * MIB)))
                s3.put_object(Bucket="things", Key=f"{number}/{turn}", Body=body)
                said[f"{number}/{turn}"] = body

    with ThreadPoolExecutor(clients) as pool:
        writing = [pool.submit(write, number) for number in range(clients)]
        while len(said) < 12:
            time.sleep(0.005)
        server.kill()
        for each in writing:
            each.result()
    return said


def assert_works(server: ServedAmur, environment: dict[str, str]) -> None:
    bodies = fill(of(server))
    assert_reads(of(server), bodies)
    said = write_until_killed(server)
    server.start()
    assert_reads(of(server), bodies | said)
    assert server.stop() == 0
    config = server.directory.with_suffix(".toml")
    options = json.loads(environment["AMUR_BLOCK_STORE_OPTIONS"])
    config.write_text(
        f'block_store = "{environment["AMUR_BLOCK_STORE"]}"\n[block_store_options]\n'
        + "".join(f'{name} = "{value}"\n' for name, value in options.items())
    )
    for command in ("fsck", "scrub", "info"):
        done = amur(command, server.directory, "--config", config)
        assert done.exit_code == 0, done.stdout + done.stderr
        assert server.secret not in done.stdout + done.stderr
    for trouble in ("Traceback", "starting it again", server.secret):
        assert trouble not in server.output()


def test_over_another_amur(opened: Open, server: ServedAmur, s3: Any, bucket: str) -> None:
    environment = settings(f"s3://{bucket}/a/b", server.endpoint, server.key_id, server.secret)
    near = opened("near", environment)
    assert_works(near, environment)
    kept = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert all(each["Key"].startswith("a/b/") for each in kept)
    assert [path for path in (near.directory / "data").rglob("*") if path.is_file()] == []


def test_over_moto(opened: Open, moto: str) -> None:
    client(moto, "any", "any-secret").create_bucket(Bucket="blocks")
    environment = settings("s3://blocks", moto, "any", "any-secret")
    assert_works(opened("near", environment), environment)


def test_while_the_block_store_is_away(opened: Open) -> None:
    far = opened("far")
    of(far).create_bucket(Bucket="blocks")
    environment = settings(
        "s3://blocks", far.endpoint, far.key_id, far.secret, AMUR_BLOCK_STORE_CACHE_BYTES="0"
    )
    near = opened("near", environment)
    s3, bodies = of(near), {"inline": b"inline", "small": bytes(9_000), "large": bytes(3 * MIB)}
    s3.create_bucket(Bucket="things")
    for key, body in bodies.items():
        s3.put_object(Bucket="things", Key=key, Body=body)
    far.kill()
    assert s3.get_object(Bucket="things", Key="inline")["Body"].read() == b"inline"
    assert s3.head_object(Bucket="things", Key="large")["ContentLength"] == 3 * MIB
    for key in ("small", "large"):
        for attempt in (
            lambda key=key: s3.get_object(Bucket="things", Key=key),
            lambda key=key: s3.put_object(Bucket="things", Key="new", Body=bodies[key]),
        ):
            with pytest.raises(ClientError) as caught:
                attempt()
            told = caught.value.response
            assert told["Error"]["Code"] == "ServiceUnavailable"
            assert told["ResponseMetadata"]["HTTPStatusCode"] == 503
            assert int(told["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) > 0
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="things", Key="new")
    assert not amur("scrub", near.directory, environment=environment).stdout
    far.start()
    for key, body in bodies.items():
        assert s3.get_object(Bucket="things", Key=key)["Body"].read() == body
    assert "starting it again" not in near.output()


def test_a_bucket_and_its_directory_belong_together(
    opened: Open, server: ServedAmur, s3: Any, bucket: str, tmp_path: Path
) -> None:
    url = f"s3://{bucket}/one"
    environment = settings(url, server.endpoint, server.key_id, server.secret)
    near = opened("near", environment)
    of(near).create_bucket(Bucket="things")
    of(near).put_object(Bucket="things", Key="k", Body=bytes(9_000))
    near.stop()

    def refusal(directory: str) -> str:
        """A server that does not start: its one line."""
        done = subprocess.run(
            [sys.executable, "-m", "amur.cli.main", "serve", str(tmp_path / directory),
             "--listen", f"127.0.0.1:{free_port()}"],
            env=server.client_environment() | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert server.secret not in done.stderr
        (line,) = done.stderr.splitlines()
        return line

    assert "belongs to another data directory" in refusal("second")
    saved = amur("backup", "--data", near.directory, tmp_path / "saved")
    assert saved.exit_code == 0, saved.stderr
    assert f"the bytes stay in {url}" in saved.stdout
    told = amur("restore", tmp_path / "saved", tmp_path / "again")
    assert told.exit_code == 1
    assert "--take-over" in told.stderr
    told = amur("restore", tmp_path / "saved", tmp_path / "again", "--take-over")
    assert told.exit_code == 0, told.stderr
    again = opened("again", environment)
    assert of(again).get_object(Bucket="things", Key="k")["Body"].read() == bytes(9_000)
    again.stop()

    s3.delete_object(Bucket=bucket, Key="one/amur-store.json")
    assert "emptied" in refusal("again")
    for command in ("fsck", "scrub", "info"):
        done = amur(command, near.directory, environment=environment)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "emptied" in done.stderr


@pytest.mark.parametrize("whose", ["amur", "moto"])
async def test_what_services_say_is_understood(
    whose: str, server: ServedAmur, s3: Any, bucket: str, request: pytest.FixtureRequest
) -> None:
    endpoint, key_id, secret = server.endpoint, server.key_id, server.secret
    if whose == "moto":
        endpoint, key_id, secret = request.getfixturevalue("moto"), "any", "any-secret"
        client(endpoint, key_id, secret).create_bucket(Bucket=bucket)
    options = json.loads(settings("", endpoint, key_id, secret)["AMUR_BLOCK_STORE_OPTIONS"])
    there = open_bucket(f"s3://{bucket}/p", options)
    assert list(there.list()) == []
    await there.put("a/b", b"0123456789")
    assert await there.put_new("new", b"first")
    assert not await there.put_new("new", b"second")
    assert await there.get("new") == b"first"
    assert bytes(await there.get_range("a/b", 3, 7)) == b"3456"
    assert bytes(await there.get_range("a/b", 3, 70)) == b"3456789"
    with pytest.raises(DataDamaged, match="10 bytes"):
        await there.get_range("a/b", 10, 20)
    for attempt in (there.get("none"), there.get_range("none", 0, 1)):
        with pytest.raises(DataMissing):
            await attempt
    found = {each.path: each for each in there.list()}
    assert {path: each.size for path, each in found.items()} == {"a/b": 10, "new": 5}
    assert all(abs(each.modified_s - time.time()) < 60 for each in found.values())
    for _ in range(2):
        await there.delete("a/b")
    assert [each.path for each in there.list()] == ["new"]
    away = open_bucket("s3://no-such-bucket", options)
    for attempt in (away.put("a", b"x"), away.put_new("a", b"x")):
        with pytest.raises(DataUnavailable, match="no such bucket"):
            await attempt
    with pytest.raises(DataUnavailable):
        list(away.list())


async def test_a_given_up_upload_leaves_no_parts(s3: Any, server: Any, bucket: str) -> None:
    """They would cost money, and no listing of objects shows them."""
    options = {
        "endpoint": server.endpoint,
        "access_key_id": server.key_id,
        "secret_access_key": server.secret,
        "region": "auto",
    }
    store = BucketDataStore(open_bucket(f"s3://{bucket}/x", options), SystemClock())
    writer = store.writer()
    for _ in range(14):
        await writer.write(bytes(MIB))
    while not s3.list_multipart_uploads(Bucket=bucket).get("Uploads"):
        await writer.write(bytes(MIB))
    await writer.abort()
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert list(store.files()) == []
    await store.close()
