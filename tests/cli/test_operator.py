"""What an operator does to a server: kill parts of it, stop it, rotate its log, copy it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from prometheus_client.parser import text_string_to_metric_families

from amur.serve.testing import ServedAmur

Connect = Callable[[ServedAmur], Any]
SIZES = (0, 100, 5_000, 60_000, 1_500_000)  # every tier


@pytest.fixture
def stopping() -> Iterator[ExitStack]:
    """What must end with the test, whatever becomes of it."""
    with ExitStack() as stack:
        yield stack


def _soon(true: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _text(server: ServedAmur, page: str) -> str:
    with urlopen(f"{server.endpoint}/-/{page}") as answer:
        content: bytes = answer.read()
        return content.decode()


def _samples(server: ServedAmur) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(_text(server, "metrics"))
        for sample in family.samples
    }


def test_metrics_are_well_formed(server: ServedAmur) -> None:
    text = _text(server, "metrics")
    names: set[str] = set()
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        assert family.name.startswith("amur_")
        assert family.name not in names
        names.add(family.name)
    assert "amur_request_duration_seconds" in names


def test_counters_of_killed_processes_stay(tmp_path: Path, connect: Connect) -> None:
    with ServedAmur(tmp_path / "data", workers=2) as server:
        s3 = connect(server)
        s3.create_bucket(Bucket="box")
        for n in range(20):
            s3.put_object(Bucket="box", Key=str(n), Body=b"x")
        puts = ("amur_request_duration_seconds_count", "operation=PutObject", "status=2xx")
        _soon(lambda: _samples(server).get(puts) == 20)
        time.sleep(1.2)  # what was counted is on disk
        before = server.processes()
        for child in before[1:]:  # both workers and the jobs process
            os.kill(child, signal.SIGKILL)
        _soon(lambda: len(server.processes()) == 4 and server.answers())
        assert set(server.processes()) & set(before) == {server.pid}
        _soon(lambda: json.loads(_text(server, "health"))["status"] == "ok")
        s3.put_object(Bucket="box", Key="again", Body=b"x")
        _soon(lambda: _samples(server).get(puts) == 21)
        assert s3.get_object(Bucket="box", Key="7")["Body"].read() == b"x"


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_drain(tmp_path: Path, connect: Connect, stopping: ExitStack, which: int) -> None:
    """A slow upload and a slow download are finished; whoever comes now is refused."""
    server = ServedAmur(tmp_path / "data")
    stopping.callback(server.kill)
    server.start()
    s3 = connect(server)
    s3.create_bucket(Bucket="box")
    body = os.urandom(32 << 20)  # more than the buffers of both sockets hold
    s3.put_object(Bucket="box", Key="big", Body=body)
    upload, download = stopping.enter_context(_dial(server)), stopping.enter_context(_dial(server))
    path = _presigned(s3, server, "put_object", "slow")
    upload.sendall(f"PUT {path} HTTP/1.1\r\nHost: {_host(server)}\r\n".encode())
    upload.sendall(b"Content-Length: 100000\r\n\r\n" + body[:50_000])
    path = _presigned(s3, server, "get_object", "big")
    download.sendall(f"GET {path} HTTP/1.1\r\nHost: {_host(server)}\r\n\r\n".encode())
    got = bytearray(download.recv(1000))
    time.sleep(0.3)
    began = time.monotonic()
    codes: list[int] = []
    os.kill(server.pid, which)
    stopper = threading.Thread(target=lambda: codes.append(server.stop()))
    stopper.start()
    _soon(lambda: _refuses(server))
    upload.sendall(body[50_000:100_000])
    assert upload.recv(1000).startswith(b"HTTP/1.1 200")
    while piece := download.recv(1 << 20):
        got += piece
    assert bytes(got).partition(b"\r\n\r\n")[2] == body
    stopper.join()
    assert codes == [0]
    assert time.monotonic() - began < 30
    with server:
        assert s3.get_object(Bucket="box", Key="slow")["Body"].read() == body[:100_000]


def test_log_lines_and_rotation(tmp_path: Path, connect: Connect) -> None:
    """Each request is one line of JSON, found by the id that its client saw; a moved log stays."""
    with ServedAmur(tmp_path / "data") as server:
        s3 = connect(server)
        path = server.directory / "run" / "access.log"
        made = s3.create_bucket(Bucket="box")["ResponseMetadata"]["HTTPHeaders"]
        _soon(lambda: path.exists() and made["x-amz-request-id"] in path.read_text())
        path.rename(moved := path.with_name("access.log.old"))
        ids = set()
        for n in range(10):
            put = s3.put_object(Bucket="box", Key=str(n), Body=b"x")["ResponseMetadata"]
            ids.add(put["HTTPHeaders"]["x-amz-request-id"])
        lines: list[Any] = []

        def complete() -> bool:
            lines[:] = [json.loads(line) for line in path.read_text().splitlines()]
            return ids <= {line["request_id"] for line in lines}

        _soon(lambda: path.exists() and complete())
        assert not any(seen in moved.read_text() for seen in ids)


def test_log_to_stdout_and_settings_from_everywhere(tmp_path: Path, connect: Connect) -> None:
    """Flags win over variables, variables over the file."""
    file = tmp_path / "amur.toml"
    file.write_text('region = "fra"\naccess_log = "off"\nworkers = 7\ndomains = ["s3.test"]\n')
    server = ServedAmur(
        tmp_path / "data", workers=1, arguments=["--config", str(file), "--access-log", "stdout"],
        environment={"AMUR_REGION": "ord", "AMUR_ACCESS_LOG": "file", "AMUR_WOKERS": "3"},
    )  # fmt: skip
    with server:
        assert len(server.processes()) == 3  # parent, one worker, jobs
        s3 = connect(server)
        s3.create_bucket(Bucket="box")
        s3.put_object(Bucket="box", Key="k", Body=b"by its own host")
        _soon(lambda: "as region ord" in server.output())
        assert "no such setting, ignored: AMUR_WOKERS" in server.output()
        _soon(lambda: '"operation":"PutObject"' in server.output())
        assert not (server.directory / "run" / "access.log").exists()
        virtual = boto3.client(
            "s3", endpoint_url="http://s3.test", region_name="auto",
            aws_access_key_id=server.key_id, aws_secret_access_key=server.secret,
            config=Config(s3={"addressing_style": "virtual"}),
        )  # fmt: skip
        link = virtual.generate_presigned_url("get_object", Params={"Bucket": "box", "Key": "k"})
        virtual.close()
        path = link.removeprefix("http://box.s3.test")
        assert path.startswith("/k?")
        with _dial(server) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: box.s3.test\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"by its own host"):
                piece = sock.recv(4096)
                assert piece, answer
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200")


def test_listen_on_ipv6(tmp_path: Path) -> None:
    server = ServedAmur(tmp_path / "data", workers=1)
    server._command[server._command.index("--listen") + 1] = f"[::1]:{server.port}"
    server.endpoint = f"http://[::1]:{server.port}"
    with server:
        _soon(lambda: f"endpoint           http://[::1]:{server.port}\n" in server.output())


def test_backup_under_load_is_one_moment(
    tmp_path: Path, connect: Connect, amur: Any, stopping: ExitStack
) -> None:
    """One client writes; what is restored is exactly what its first N requests made, and N lies
    between the requests answered when the backup began and those sent when it ended."""
    rng = random.Random(20261120)
    server = stopping.enter_context(ServedAmur(tmp_path / "data"))
    s3 = connect(server)
    s3.create_bucket(Bucket="box")
    done: list[tuple[str, bytes | None]] = []  # key and body (None: deleted), in order
    enough, stop = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            while not stop.is_set():
                key = f"k{rng.randrange(30)}"
                body = None if rng.random() < 0.2 else rng.randbytes(rng.choice(SIZES))
                done.append((key, body))  # sent; all but the last are answered
                if body is None:
                    s3.delete_object(Bucket="box", Key=key)
                else:
                    s3.put_object(Bucket="box", Key=key, Body=body)
                if len(done) >= 40:
                    enough.set()
        except BaseException as error:
            failed.append(error)
            enough.set()

    writer = threading.Thread(target=write)
    stopping.callback(stop.set)
    writer.start()
    assert enough.wait(30)
    answered = len(done) - 1
    backed = amur("backup", "--data", server.directory, tmp_path / "backup")
    sent = len(done)
    stop.set()
    writer.join()
    assert not failed
    assert backed.returncode == 0, backed.stderr
    assert amur("restore", tmp_path / "backup", tmp_path / "restored").returncode == 0
    checked = amur("fsck", tmp_path / "restored")
    assert checked.returncode == 0, checked.stdout
    with ServedAmur(tmp_path / "restored") as restored:
        s3 = connect(restored)
        listed = s3.list_objects_v2(Bucket="box").get("Contents", [])
        have = {o["Key"]: s3.get_object(Bucket="box", Key=o["Key"])["Body"].read() for o in listed}
    model: dict[str, bytes] = {}
    moments = []
    for count, (key, body) in enumerate(done[:sent], 1):
        if body is None:
            model.pop(key, None)
        else:
            model[key] = body
        if model == have:
            moments.append(count)
    assert any(answered <= count <= sent for count in moments), (answered, sent, moments)


def test_dangerous_uses_are_refused(server: ServedAmur, amur: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    for arguments, said in (
        (("restore", server.directory, tmp_path / "full"), "exists; name a directory"),
        (("backup", "--data", server.directory, tmp_path / "full"), "exists; name a directory"),
        (("backup", "--data", server.directory, server.directory / "data" / "b"), "is inside"),
        (("fsck", "--repair", server.directory), "stop it first"),
        (("fsck", "--accept-loss", server.directory), "goes with --repair"),
    ):
        done = amur(*arguments)
        assert done.returncode == 1, arguments
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["precious"]


def _dial(server: ServedAmur) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def _host(server: ServedAmur) -> str:
    return f"127.0.0.1:{server.port}"


def _presigned(s3: Any, server: ServedAmur, operation: str, key: str) -> str:
    link: str = s3.generate_presigned_url(operation, Params={"Bucket": "box", "Key": key})
    return link.removeprefix(server.endpoint)


def _refuses(server: ServedAmur) -> bool:
    with suppress(ConnectionRefusedError):
        _dial(server).close()
        return False
    return True
