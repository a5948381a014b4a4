"""A server's life: first start, its pages, dying workers, draining."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest

from amur.serve.testing import ServedAmur


@pytest.fixture
def stopping() -> Iterator[ExitStack]:
    """What must end with the test, whatever becomes of it."""
    with ExitStack() as stack:
        yield stack


Connect = Callable[[ServedAmur], Any]


def _wait_for_banners(server: ServedAmur, count: int) -> None:
    """It is printed a few milliseconds after the first worker answers."""
    deadline = time.monotonic() + 10
    while server.output().count("aws s3 cp") < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_first_start_makes_and_tells_a_key(tmp_path: Path) -> None:
    own = {"AMUR_ROOT_ACCESS_KEY_ID": "", "AMUR_ROOT_SECRET_ACCESS_KEY": ""}
    with ServedAmur(tmp_path / "data", environment=own) as server:
        _wait_for_banners(server, 1)
    first = server.output()
    key = re.search(r"access key id +(tid_[A-Za-z0-9]{24})\n", first)
    secret = re.search(r"secret access key +(tsec_[A-Za-z0-9]{48})  \(kept in (.*)\)\n", first)
    assert key
    assert secret
    kept = Path(secret[2])
    assert json.loads(kept.read_bytes()) == {
        "access_key_id": key[1],
        "secret_access_key": secret[1],
    }
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert f"export AWS_ENDPOINT_URL={server.endpoint} AWS_DEFAULT_REGION=auto" in first
    with server:
        _wait_for_banners(server, 2)
    assert server.output().count(secret[1]) == 2  # at the first start, in the table and the line
    pasted = re.findall(r"AWS_SECRET_ACCESS_KEY=(.*)\n", server.output())[-1]
    shown = subprocess.run(
        ["sh", "-c", f"echo {pasted}"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == secret[1]


def test_health_and_metrics(server: ServedAmur, connect: Connect) -> None:
    deadline = time.monotonic() + 10
    while (told := _page(server, "health")) != {
        "status": "ok",
        "engine_readable": True,
        "disk_has_room": True,
        "jobs_alive": True,
    }:
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
    wanted = 'amur_request_duration_seconds_count{operation="PutObject",status="2xx"} 81.0'
    while wanted not in (text := _text(server, "metrics")):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    assert 'amur_request_body_bytes_total{operation="PutObject"} 5.924e+06' in text
    assert 'amur_job_state{job="scrub"' in text
    assert text.count("amur_requests_in_flight{") == 2


def test_access_log(server: ServedAmur) -> None:
    path = server.directory / "run" / "access.log"
    deadline = time.monotonic() + 10
    while not path.exists() or '"DeleteObject"' not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    puts = [line for line in lines if line["operation"] == "PutObject"]
    assert {line["status"] for line in puts} == {200}
    assert {line["access_key_id"] for line in puts} == {server.key_id}
    assert len({line["request_id"] for line in lines}) == len(lines)


def test_no_secret_is_logged(server: ServedAmur, connect: Connect) -> None:
    link = connect(server).generate_presigned_url(
        "get_object", Params={"Bucket": "box", "Key": "k"}
    )
    signature = link.rpartition("=")[2]
    for url in (link, link.replace("Signature=", "Signature=0")):
        with pytest.raises(OSError, match="HTTP Error"):
            urlopen(url)
    deadline = time.monotonic() + 10
    path = server.directory / "run" / "access.log"
    while path.read_text().count('"path":"/box/k"') < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    everything = path.read_text() + server.output() + _text(server, "metrics")
    assert signature not in everything
    assert server.secret not in everything


def test_dead_worker_is_replaced_and_its_counts_kept(tmp_path: Path, connect: Connect) -> None:
    with ServedAmur(tmp_path / "data", workers=1) as server:
        s3 = connect(server)
        for n in range(7):
            s3.create_bucket(Bucket=f"bucket-{n}")
        time.sleep(1.5)  # counts are written once a second
        worker = server.processes()[1]
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not server.answers():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert worker not in server.processes()
        assert len(s3.list_buckets()["Buckets"]) == 7
        wanted = 'operation="CreateBucket",status="2xx"} 7.0'
        assert wanted in _text(server, "metrics")
        assert "was killed by signal 9: starting it again" in server.output()


def test_drain_finishes_what_is_in_flight(
    tmp_path: Path, connect: Connect, stopping: ExitStack
) -> None:
    server = ServedAmur(tmp_path / "data", workers=1)
    stopping.callback(server.kill)
    server.start()
    s3 = connect(server)
    s3.create_bucket(Bucket="box")
    body = os.urandom(1 << 20)
    link = s3.generate_presigned_url("put_object", Params={"Bucket": "box", "Key": "slow"})
    target = link.removeprefix(server.endpoint)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        head = (
            f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {1 << 20}"
        )
        sock.sendall(f"{head}\r\n\r\n".encode() + body[: 1 << 19])
        time.sleep(0.3)
        codes: list[int] = []
        stopper = threading.Thread(target=lambda: codes.append(server.stop()))
        stopper.start()
        time.sleep(0.5)
        sock.sendall(body[1 << 19 :])
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    stopper.join()
    assert codes == [0]
    with server:
        assert s3.get_object(Bucket="box", Key="slow")["Body"].read() == body


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path, stopping: ExitStack) -> None:
    server = ServedAmur(tmp_path / "data")
    stopping.callback(server.kill)
    server.start()
    children = server.processes()[1:]
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_tls(tmp_path: Path, stopping: ExitStack) -> None:
    assert shutil.which("openssl"), "openssl is missing"
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ["--tls-cert", str(cert), "--tls-key", str(key)]
    server = ServedAmur(tmp_path / "data", workers=1, arguments=files)
    stopping.callback(server.kill)
    server.spawn()
    context = ssl.create_default_context(cafile=cert)
    url = f"https://127.0.0.1:{server.port}"
    deadline = time.monotonic() + 20
    while True:
        try:
            with urlopen(f"{url}/-/health", context=context) as answer:
                assert answer.status == 200
                break
        except OSError:
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.05)
    s3 = boto3.client(
        "s3", endpoint_url=url, region_name="auto", verify=str(cert),
        aws_access_key_id=server.key_id, aws_secret_access_key=server.secret,
    )  # fmt: skip
    s3.create_bucket(Bucket="box")
    s3.put_object(Bucket="box", Key="k", Body=b"over tls")  # with a trailer: it is aws-chunked
    assert s3.get_object(Bucket="box", Key="k")["Body"].read() == b"over tls"
    s3.close()
    assert server.stop() == 0


def _text(server: ServedAmur, page: str) -> str:
    with urlopen(f"{server.endpoint}/-/{page}") as answer:
        content: bytes = answer.read()
        return content.decode()


def _page(server: ServedAmur, page: str) -> Any:
    return json.loads(_text(server, page))
