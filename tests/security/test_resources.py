"""S8 and the crashes of B5: memory, descriptors and time stay bounded, whoever asks."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from amur import limits
from amur.gateway import sigv4
from amur.gateway.errors import S3Error
from amur.gateway.postpolicy import FormReader
from amur.serve.testing import ServedAmur

BIG_BYTES = 24 * limits.MIB
RESIDENT_STREAMING_MAX = 400 * limits.MIB  # a worker with 64 stalled readers; 4 MiB for each
DESCRIPTORS_IDLE_MAX = 60  # about 30, and threads that are still going
FORM = {"content-type": "multipart/form-data; boundary=b"}


def form_of(fields: list[tuple[str, str]], filename: str) -> bytes:
    data = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    data += f'--b\r\nContent-Disposition: form-data; name="file"; filename="{filename}"'
    return f"{data}\r\n\r\nx\r\n--b--\r\n".encode()


async def test_a_forms_filename_cannot_be_multiplied(client: Any) -> None:
    """20 KiB of `${filename}` times 4 KB of name: 7 MiB for each field, before anybody is asked."""
    body = form_of([("key", "k"), ("x-ignore-a", "${filename}" * 1800)], "f" * 4000)
    answer = await client.as_("nobody")("POST", "/bucket", body, FORM)
    assert answer.code == "MaxPostPreDataLengthExceededError"


async def test_a_filename_that_fits_is_put_in(client: Any) -> None:
    await client("PUT", "/bucket", headers={"x-amz-acl": "public-read-write"})
    body = form_of([("key", "${filename}/${filename}")], "f" * 400)
    assert (await client.as_("nobody")("POST", "/bucket", body, FORM)).status == 204
    assert (await client("HEAD", f"/bucket/{'f' * 400}/{'f' * 400}")).status == 200


def test_a_form_is_bounded_as_a_whole() -> None:
    count = limits.FORM_BYTES_MAX // 20_000 + 1
    body = form_of([(f"x-ignore-{number}", "x" * 20_000) for number in range(count)], "f")
    reader = FormReader(FORM["content-type"])
    with pytest.raises(S3Error, match="MaxPostPreDataLengthExceededError"):
        list(reader.feed(body))


def test_regions_do_not_fill_the_cache_of_keys() -> None:
    credential = f"key/20260101/{'r' * 65}/s3/aws4_request"
    with pytest.raises(S3Error, match="AuthorizationHeaderMalformed"):
        sigv4.split_credential(credential, "20260101T000000Z", ("s3",), sigv4._malformed)


async def test_too_many_large_downloads_are_told_to_wait(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client("PUT", "/bucket")
    await client("PUT", "/bucket/big", bytes(3 * limits.MIB))
    monkeypatch.setattr(limits, "STREAMS_MAX", 0)
    answer = await client("GET", "/bucket/big")
    assert (answer.status, answer.code) == (503, "SlowDown")
    assert (await client("HEAD", "/bucket/big")).status == 200


HEADER_BOMBS = {
    "authorization": (
        "AWS4-HMAC-SHA256 " + "Credential=," * 1300, "AWS4-HMAC-SHA256 " + "a=" * 8000,
    ),
    "date": (
        "Mon, " * 3000, "1" * 16_000, ", " * 8000, "(" * 16_000, "Mon, 01 Jan " + ":" * 15_000,
    ),
    "range": ("bytes=" + "0-1," * 4000, "bytes=" + "-" * 16_000),
    "if-match": ('"",' * 5000, "W/" * 8000),
    "if-modified-since": ("Mon, " * 3000, "-" * 16_000),
    "x-amz-tagging": ("a=b&" * 4000, "%41" * 5000, "=" * 16_000),
    "content-type": (
        'multipart/form-data; a="' + "\\" * 16_000, "multipart/form-data" + "; a=b" * 3000,
        "multipart/form-data; " + " " * 16_000, "multipart/form-data; boundary=" + "b" * 16_000,
    ),
    "x-amz-copy-source": ("%41" * 5000, "/" * 16_000, "?versionId=" * 1400),
    "content-encoding": ("aws-chunked," * 1300,),
    "x-amz-trailer": ("x-amz-checksum-crc32," * 700,),
    "access-control-request-headers": ("a," * 8000,),
    "cookie": ("a=b;" * 4000,),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADER_BOMBS)
async def test_no_header_costs_much(client: Any, name: str) -> None:
    """S10: CPU of this process, the best of three, for everything that reads the header."""
    await client("PUT", "/bucket", headers={"x-amz-acl": "public-read-write"})
    nobody = client.as_("nobody")
    for value in HEADER_BOMBS[name]:
        for method, target in (("GET", "/bucket/k"), ("PUT", "/bucket/k"), ("POST", "/bucket")):
            spent = []
            for _ in range(3):
                begun = time.process_time()
                answer = await nobody(method, target, headers={name: value[:15_000]})
                spent.append(time.process_time() - begun)
            assert answer.status < 500 or answer.code == "NotImplemented"
            assert min(spent) < 0.05


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    folder = tmp_path_factory.mktemp("resources")
    with ServedAmur(folder / "data", workers=1) as served:
        s3 = boto3.client(
            "s3", endpoint_url=served.endpoint, region_name="auto",
            aws_access_key_id=served.key_id, aws_secret_access_key=served.secret,
        )  # fmt: skip
        s3.create_bucket(Bucket="bucket", ACL="public-read-write")
        s3.put_object(Bucket="bucket", Key="big", Body=os.urandom(BIG_BYTES))
        s3.close()
        yield served
        assert "Traceback" not in served.output()


def worker_of(server: ServedAmur) -> Path:
    """/proc of the process that serves: the one with connections to lose."""
    found = [Path(f"/proc/{pid}") for pid in server.processes()]
    serving = {path: len(os.listdir(path / "task")) for path in found[1:]}
    return max(serving, key=lambda path: serving[path])


def resident(process: Path) -> int:
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(process: Path) -> int:
    return len(os.listdir(process / "fd"))


def opened(server: ServedAmur, request: bytes, buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect(("127.0.0.1", server.port))
    client.sendall(request)
    return client


GET = b"GET /bucket/big HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /bucket/never HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(200_000)
FORM_POST = (
    b"POST /bucket HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 3000000\r\n\r\n" + form_of([("key", "never")], "f")[:-9] + bytes(100_000)
)
RESET = struct.pack("ii", 1, 0)


def test_memory_while_64_readers_stall(server: ServedAmur) -> None:
    worker = worker_of(server)
    clients = [opened(server, GET, 4096) for _ in range(64)]
    try:
        for client in clients:
            client.settimeout(20)
            assert client.recv(12) == b"HTTP/1.1 200"
        most = max(resident(worker) for _ in range(20) if not time.sleep(0.05))  # type: ignore[func-returns-value]
        assert most < RESIDENT_STREAMING_MAX
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("request_", [GET, PUT, FORM_POST], ids=["get", "put", "form"])
def test_clients_that_break_off_leave_nothing_open(server: ServedAmur, request_: bytes) -> None:
    """... nor stored: Ceph CVE-2019-3821, MinIO CVE-2022-31028, Swift CVE-2016-0737.

    A GET that is gone before its answer begins was once noticed after a minute only.
    """
    worker = worker_of(server)
    for round_ in range(10):
        clients = [opened(server, request_) for _ in range(30)]
        for client in clients:
            if round_ % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
    deadline = time.monotonic() + 10
    while descriptors(worker) > DESCRIPTORS_IDLE_MAX:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    list_ = b"GET /bucket?list-type=2&prefix=never HTTP/1.1\r\nHost: x\r\n\r\n"
    with opened(server, list_) as client:
        client.settimeout(10)
        answer = client.recv(65536)
    assert b"<KeyCount>0</KeyCount>" in answer
