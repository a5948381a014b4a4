"""A small server that speaks bundles by the published facts, and fails when it is told to."""

from __future__ import annotations

import gzip
import io
import json
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
import zstandard
from botocore.config import Config

ERRORS_NAME = "__bundle_errors.json"


class Stub:
    """`objects` is the one bucket; `plan` says what happens to the next requests, one each.

    A plan is a status (answered with an error document), a fraction of the body after which the
    connection is cut, or a function of the archive's bytes.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.plan: list[int | float | Callable[[bytes], bytes]] = []
        self.asked: list[list[str]] = []  # keys of each bundle request
        self.headers: list[dict[str, str]] = []  # of each request
        self.has_counts = True
        self.has_length = False
        self.before: Callable[[], None] = lambda: None  # called at each request
        self.lock = Lock()
        self.endpoint = ""


def archive(objects: dict[str, bytes], keys: list[str]) -> tuple[bytes, list[str], int]:
    """The tar, the keys that are not in it, and bytes of the objects."""
    out, missing, size = io.BytesIO(), [], 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, body: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))

        for key in keys:
            if key in objects:
                add(key, objects[key])
                size += len(objects[key])
            else:
                missing.append(key)
        if missing:
            listed = [{"key": key, "reason": "NoSuchKey"} for key in missing]
            add(ERRORS_NAME, json.dumps({"skipped": listed}).encode())
    return out.getvalue(), missing, size


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    stub: Stub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        """A listing, in pages of three."""
        assert "list-type=2" in self.path
        query = dict(parse_qsl(self.path.partition("?")[2]))
        keys = [key for key in sorted(self.stub.objects) if key.startswith(query["prefix"])]
        left = [key for key in keys if key > query.get("continuation-token", "")]
        page = left[:3]
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if left[3:] else ""
        rows = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in page)
        truncated = str(bool(left[3:])).lower()
        self.document(
            200, f"<IsTruncated>{truncated}</IsTruncated>{more}{rows}", "ListBucketResult"
        )

    def do_POST(self) -> None:
        keys = json.loads(self.rfile.read(int(self.headers["content-length"])))["keys"]
        stub = self.stub
        assert self.path == "/photos?bundle="
        with stub.lock:
            stub.asked.append(keys)
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            planned = stub.plan.pop(0) if stub.plan else 1.0
        stub.before()
        body, missing, size = archive(stub.objects, keys)
        if missing and self.headers["x-tigris-bundle-on-error"] == "fail":
            listed = "".join(f"<Key>{key.replace('&', '&amp;')}</Key>" for key in missing)
            text = f"<Message>One or more keys could not be resolved</Message>{listed}"
            self.document(404, f"<Code>BundleKeyNotFound</Code><MissingKeys>{text}</MissingKeys>")
        elif isinstance(planned, int):
            self.document(planned, "<Code>SlowDown</Code><RequestId>r1</RequestId>")
        else:
            cut = planned if isinstance(planned, float) else 1.0
            self.bundle(planned(body) if callable(planned) else body, cut, len(keys) - len(missing),
                        len(missing), size)  # fmt: skip

    def document(self, status: int, inner: str, root: str = "Error") -> None:
        body = f"<{root}>{inner}</{root}>".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def bundle(self, body: bytes, cut: float, count: int, skipped: int, size: int) -> None:
        kind, body = {
            "none": lambda: ("application/x-tar", body),
            "gzip": lambda: ("application/gzip", gzip.compress(body)),
            "zstd": lambda: ("application/zstd", zstandard.compress(body)),
        }[self.headers["x-tigris-bundle-compression"]]()
        self.send_response(200)
        self.send_header("content-type", kind)
        if self.stub.has_counts:
            self.send_header("X-Tigris-Bundle-Count", str(count))
            self.send_header("X-Tigris-Bundle-Bytes", str(size))
            self.send_header("X-Tigris-Bundle-Skipped", str(skipped))
        if self.stub.has_length:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: int(len(body) * cut)])
        else:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for at in range(0, int(len(body) * cut), 1000):
                piece = body[at : at + 1000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if cut == 1.0:
                self.wfile.write(b"0\r\n\r\n")
        if cut < 1.0:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = False  # waited for at the end

    def __init__(self, stub: Stub) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (Handler,), {"stub": stub}))
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that leave are part of the tests


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    server = Server(stub)
    stub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stub
    server.shutdown()
    thread.join()
    for connection in list(server.open):
        with suppress(OSError):  # its client has gone
            connection.shutdown(socket.SHUT_RDWR)
    server.server_close()


@pytest.fixture
def access(stub: Stub) -> dict[str, Any]:
    """Keyword arguments of boto3.client("s3", ...); can be pickled."""
    return {
        "endpoint_url": stub.endpoint,
        "region_name": "auto",
        "aws_access_key_id": "tid_test",
        "aws_secret_access_key": "tsec_test",
        "config": Config(retries={"total_max_attempts": 1}),
    }


@pytest.fixture
def s3(access: dict[str, Any]) -> Iterator[Any]:
    client = boto3.client("s3", **access)
    yield client
    client.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses before attempts."""
    monkeypatch.setattr("amur.client.fetch._BACKOFF_SECONDS_MAX", 0.0)
