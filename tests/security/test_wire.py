"""S6, S7, S11: what a client can do to a real server with a bare socket."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from amur import limits
from amur.httpd.connection import HEADER_SECONDS
from amur.serve.testing import ServedAmur

HIDDEN = b"GET /smuggled/x HTTP/1.1\r\nHost: x\r\n\r\n"


def head(target: str = "/bucket/key", *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", *headers, "", "")).encode(
        "latin-1"
    )


class Answers:
    """All that came back over one connection."""

    def __init__(self, data: bytes, closed: bool) -> None:
        self.statuses = [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d+) ", data)]
        self.codes = [each.decode() for each in re.findall(rb"<Code>(\w+)</Code>", data)]
        self.ids = data.count(b"x-amz-request-id: ")
        self.data = data
        self.closed = closed


def talk(server: ServedAmur, data: bytes, answers: int = 1) -> Answers:
    """Send it, read until so many answers are there and nothing more comes, or the end."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(10)
        client.sendall(data)
        got = b""
        try:
            while piece := client.recv(65536):
                got += piece
                if got.count(b"</Error>") >= answers:
                    client.settimeout(0.1)
        except TimeoutError:
            return Answers(got, False)
        except ConnectionResetError:
            pass
        return Answers(got, True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    with ServedAmur(tmp_path_factory.mktemp("wire") / "data", workers=1) as served:
        yield served
        assert "Traceback" not in served.output()


@pytest.fixture(scope="module", autouse=True)
def slow_connections(server: ServedAmur) -> Iterator[dict[str, socket.socket]]:
    """Opened before all other tests of this module, looked at by its last."""
    begun = {
        "silent": b"",
        "one byte": b"G",
        "half a header": b"GET /bucket/key HTTP/1.1\r\nHost: x",
        "no empty line": head()[:-2],
        "empty lines": b"\r\n",
    }
    opened = {}
    for name, data in begun.items():
        opened[name] = socket.create_connection(("127.0.0.1", server.port))
        opened[name].sendall(data)
    yield opened
    for client in opened.values():
        client.close()


# the request, the status, and how many answers it may get: one, or none that S3 would know
FRAMING: dict[str, tuple[bytes, int]] = {
    "no host": (b"GET /bucket/key HTTP/1.1\r\n\r\n", 400),
    "empty host": (b"GET /bucket/key HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two hosts": (head("/bucket/key", "Host: y"), 400),
    "host only in the target": (b"GET http://evil/bucket/key HTTP/1.1\r\n\r\n", 400),
    "asterisk": (head("*", method="OPTIONS"), 400),
    "authority": (head("a:80", method="CONNECT"), 400),
    "no UTF-8": (b"GET /bucket/\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "percent no UTF-8": (head("/bucket/%ff"), 400),
    "NUL": (head("/bucket/%00"), 400),
    "HTTP/0.9": (b"GET /bucket/key\r\n\r\n", 400),
    "bare CR": (b"GET /bucket/key HTTP/1.1\r\nHost: x\rX-A: b\r\n\r\n", 400),
    "folded": (head("/bucket/key", "X-A: b\r\n c"), 400),
    "space before the colon": (head("/bucket/key", "X-A : b"), 400),
    "NUL in a header": (head("/bucket/key", "X-A: b\0"), 400),
    "two lengths": (head("/b/k", "Content-Length: 4", "Content-Length: 5") + b"abcd" + HIDDEN, 400),
    "list of lengths": (head("/b/k", "Content-Length: 4, 4") + b"abcd" + HIDDEN, 400),
    "signed length": (head("/b/k", "Content-Length: +4") + b"abcd" + HIDDEN, 400),
    "hex length": (head("/b/k", "Content-Length: 0x4") + b"abcd" + HIDDEN, 400),
    "xchunked": (head("/b/k", "Transfer-Encoding: xchunked") + b"0\r\n\r\n" + HIDDEN, 400),
    "identity": (head("/b/k", "Transfer-Encoding: identity") + HIDDEN, 400),
    "chunked, identity": (
        head("/b/k", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + HIDDEN, 400,
    ),
    "vertical tab": (head("/b/k", "Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n" + HIDDEN, 400),
    "two codings": (
        head("/b/k", "Transfer-Encoding: chunked", "Transfer-Encoding: identity")
        + b"0\r\n\r\n" + HIDDEN, 400,
    ),
    "chunked HTTP/1.0": (
        b"PUT /b/k HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        400,
    ),
    "many headers": (head("/b/k", *(f"x-a{n}: b" for n in range(limits.HEADERS_MAX + 1))), 400),
    # more than twice the server's buffer: below, who refuses depends on how the bytes arrive
    "huge header": (head("/b/k", "x-a: " + "a" * 400_000), 431),
    "large header": (head("/b/k", "x-a: " + "a" * limits.HEADER_BYTES_MAX), 400),
    "long URL": (head("/b/k?" + "a" * limits.URL_BYTES_MAX), 400),
    "very long URL": (head("/b/k?" + "a" * 70_000), 414),
    "bare LF": (b"GET /bucket/key HTTP/1.1\nHost: x\n\n", 400),
    "absolute form": (b"GET http://evil/bucket/key HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "upgrade": (head("/b/k", "Connection: Upgrade", "Upgrade: h2c"), 404),
    "body of a GET": (head("/b/k", f"Content-Length: {len(HIDDEN)}") + HIDDEN, 404),
    "header not ASCII": (head("/bucket/key", "x-a: \xff"), 404),
}  # fmt: skip


@pytest.mark.parametrize("case", FRAMING)
def test_framing(server: ServedAmur, case: str) -> None:
    data, status = FRAMING[case]
    answers = talk(server, data)
    if not answers.data and len(data) > 64 * limits.KIB:
        assert answers.closed  # so hard that the answer was lost
        return
    assert answers.statuses == [status], answers.data
    assert b"smuggled" not in answers.data
    if answers.codes:  # told by us, not by the server below
        assert answers.ids == 1
    elif status >= 400:
        assert answers.closed


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", f"Content-Length: {5 + len(HIDDEN)}"),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding:\tchunked",),
        ("Transfer-Encoding: chunked",),
    ],
)
@pytest.mark.parametrize(
    "chunks", [b"0\r\n\r\n", b"0;a=\nb\r\n\r\n", b"0\n\n", b"f" * 17 + b"\r\n"]
)
@pytest.mark.parametrize("target", ["/bucket/key", "/-/health"])
def test_nothing_follows_a_transfer_encoding(
    server: ServedAmur, method: str, headers: tuple[str, ...], chunks: bytes, target: str
) -> None:
    """What a proxy in front took for the body's end may not be what we take (RFC 9112, 6.1)."""
    answers = talk(server, head(target, *headers, method=method) + chunks + HIDDEN)
    assert answers.closed
    assert len(answers.statuses) == 1
    assert b"smuggled" not in answers.data


def test_two_lengths_are_refused_even_if_they_agree(server: ServedAmur) -> None:
    length = "Content-Length: 4"
    answers = talk(server, head("/b/k", length, length) + b"abcd" + head("/b/next"), 2)
    assert answers.statuses == [400]
    assert answers.closed


def test_many_connections(server: ServedAmur) -> None:
    """Idle ones in any number do not keep a good client out."""
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: talk(server, head()), range(40)))
        assert all(each.statuses == [404] for each in answers)
    finally:
        for client in idle:
            client.close()


def test_slow_connections_are_closed(
    server: ServedAmur, slow_connections: dict[str, socket.socket]
) -> None:
    deadline = time.monotonic() + HEADER_SECONDS + 5
    still_open = set(slow_connections)
    while still_open and time.monotonic() < deadline:
        for name in sorted(still_open):
            client = slow_connections[name]
            client.settimeout(0.05)
            try:
                if not client.recv(65536):
                    still_open.discard(name)
            except TimeoutError:
                continue
            except ConnectionError:
                still_open.discard(name)
    assert not still_open
