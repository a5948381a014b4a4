"""Bodies over the real HTTP server, cut short in every way, and over a fake that stalls."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from amur.gateway import body as body_module
from amur.gateway.body import READ_AT_ONCE_MAX, RequestBody
from amur.gateway.errors import S3Error
from amur.gateway.presign import encode_chunks
from amur.gateway.sigv4 import Authentication, ChunkChain, PayloadMode

ANONYMOUS = Authentication("anonymous")
CHUNKED = Authentication("anonymous", payload=PayloadMode.UNSIGNED_CHUNKS_TRAILER)
CHAIN = ChunkChain(b"key", "20260921T000000Z", "scope", "5" * 64)
CHECKSUM = {"x-amz-checksum-crc32": "AAAAAA=="}
BIG = READ_AT_ONCE_MAX + 1


class Pieces:
    """A client that sends these pieces; a number is a pause in seconds."""

    def __init__(self, *pieces: bytes | float) -> None:
        self.pieces = list(pieces)
        self.received = 0
        self.is_whole = False

    async def read(self) -> bytes:
        taken = []
        while piece := await self.piece():
            taken.append(piece)
        return b"".join(taken)

    async def piece(self) -> bytes:
        while self.pieces:
            piece = self.pieces.pop(0)
            if not isinstance(piece, bytes):
                await asyncio.sleep(piece)
            elif piece:
                self.received += len(piece)
                return piece
        self.is_whole = True
        return b""


def body_of(
    *pieces: bytes | float,
    authentication: Authentication = ANONYMOUS,
    length: int | None = None,
    headers: dict[str, str] | None = None,
) -> RequestBody:
    if length is None:
        length = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    sent = {"content-length": str(length)} | (headers or {})
    return RequestBody(Pieces(*pieces), sent, authentication)


async def taken(body: RequestBody) -> bytes:
    return b"".join([piece async for piece in body.stream()])


async def code_of(body: RequestBody) -> str:
    with pytest.raises(S3Error) as caught:
        await taken(body)
    return caught.value.code


# --- framing ---


@pytest.mark.parametrize(
    ("headers", "authentication", "code"),
    [
        ({}, ANONYMOUS, "MissingContentLength"),
        ({"transfer-encoding": "chunked"}, ANONYMOUS, "MissingContentLength"),
        ({"transfer-encoding": "chunked", "content-length": "3"}, ANONYMOUS, "InvalidRequest"),
        ({"transfer-encoding": "gzip, chunked"}, ANONYMOUS, "InvalidRequest"),
        ({"transfer-encoding": "identity"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "3,3"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "3,4"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "-3"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "+3"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": ""}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "0x3"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "9" * 20}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "\u0663"}, ANONYMOUS, "InvalidRequest"),
        ({"content-length": "30"}, CHUNKED, "MissingContentLength"),
        ({"x-amz-decoded-content-length": "3"}, CHUNKED, "MissingContentLength"),
        (
            {"content-length": "30", "x-amz-decoded-content-length": "-1"},
            CHUNKED,
            "InvalidRequest",
        ),
        (
            {
                "content-length": "30",
                "transfer-encoding": "chunked",
                "x-amz-decoded-content-length": "1",
            },
            CHUNKED,
            "InvalidRequest",
        ),
    ],
)
async def test_framing_is_refused(
    headers: dict[str, str], authentication: Authentication, code: str
) -> None:
    body = RequestBody(Pieces(b"abc"), headers, authentication)
    with pytest.raises(S3Error) as caught:
        _ = body.length
    assert caught.value.code == code
    assert await code_of(body) == code
    with pytest.raises(S3Error) as caught:
        await body.read(100)
    assert caught.value.code == code


async def test_no_announced_body_is_an_empty_one() -> None:
    assert await RequestBody(Pieces(), {}, ANONYMOUS).read(10) == b""


@pytest.mark.parametrize("size", [0, 1, READ_AT_ONCE_MAX, BIG])
async def test_whole(size: int) -> None:
    data = b"x" * size
    assert await body_of(data).read(size) == data
    assert await taken(body_of(data[:5], b"", data[5:])) == data
    assert body_of(data).length == size


@pytest.mark.parametrize("size", [10, BIG])
async def test_limit(size: int) -> None:
    with pytest.raises(S3Error) as caught:
        await body_of(b"x" * size).read(size - 1, too_large="MalformedXML")
    assert caught.value.code == "MalformedXML"


@pytest.mark.parametrize("size", [10, BIG])
@pytest.mark.parametrize("error", [-1, 1])
async def test_count_must_be_exact(size: int, error: int) -> None:
    assert await code_of(body_of(b"x" * size, length=size + error)) == "IncompleteBody"
    with pytest.raises(S3Error) as caught:
        await body_of(b"x" * size, length=size + error).read(2 * size)
    assert caught.value.code == "IncompleteBody"


@pytest.mark.parametrize("size", [10, BIG])
async def test_sha256(size: int) -> None:
    data = b"x" * size
    right = Authentication("header", "k", PayloadMode.SHA256, sha256(data).hexdigest())
    wrong = right._replace(sha256=sha256(b"other").hexdigest())
    assert await body_of(data, authentication=right).read(size) == data
    with pytest.raises(S3Error) as caught:
        await body_of(data, authentication=wrong).read(size)
    assert caught.value.code == "XAmzContentSHA256Mismatch"
    unchecked = body_of(data, authentication=wrong)
    assert await unchecked.read(size, check_sha256=False) == data
    assert unchecked.expected_sha256 == wrong.sha256


async def test_chunked_payload_and_trailers() -> None:
    sent = encode_chunks([b"first", b"second"], None, CHECKSUM)
    headers = {"x-amz-decoded-content-length": "11", "x-amz-trailer": "x-amz-checksum-crc32"}
    body = body_of(sent[:9], sent[9:], authentication=CHUNKED, headers=headers)
    assert body.length == 11
    assert await body.read(11) == b"firstsecond"
    assert body.trailers == CHECKSUM
    # boto3 over https sends no Content-Length with it
    headers["transfer-encoding"] = "chunked"
    body = RequestBody(Pieces(sent), headers, CHUNKED)
    assert await taken(body) == b"firstsecond"
    body = RequestBody(Pieces(sent[:-1]), headers, CHUNKED)
    assert await code_of(body) == "IncompleteBody"


async def test_signed_chunks() -> None:
    sent = encode_chunks([b"first", b"second"], CHAIN)
    signed = Authentication("header", "k", PayloadMode.SIGNED_CHUNKS, chain=CHAIN)
    headers = {"x-amz-decoded-content-length": "11"}
    assert await taken(body_of(sent, authentication=signed, headers=headers)) == b"firstsecond"
    other = signed._replace(chain=CHAIN._replace(key=b"other"))
    body = body_of(sent, authentication=other, headers=headers)
    assert await code_of(body) == "SignatureDoesNotMatch"


# --- stalls; the limit is 20 s, here 0.2 s, so that 1 KiB/s is 205 bytes ---


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "STALL_SECONDS", 0.2)


@pytest.mark.usefixtures("_short_patience")
async def test_stalled_body_is_a_timeout() -> None:
    for pieces in ([60.0], [b"x", 60.0], [b"x" * 100_000, 60.0], [b"x", 0.05] * 2000):
        assert await code_of(body_of(*pieces, length=BIG)) == "RequestTimeout"
    with pytest.raises(S3Error) as caught:
        await body_of(b"x", 60.0, length=10).read(10)
    assert caught.value.code == "RequestTimeout"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


@pytest.mark.usefixtures("_short_patience")
async def test_slow_but_fast_enough() -> None:
    pieces: list[bytes | float] = [b"x" * 2000, 0.05] * 12
    assert len(await taken(body_of(*pieces))) == 24_000


@pytest.mark.usefixtures("_short_patience")
async def test_a_slow_consumer_is_not_a_stalled_client() -> None:
    size = 0
    async for piece in body_of(*[b"x"] * 4).stream():
        await asyncio.sleep(0.15)
        size += len(piece)
    assert size == 4


async def test_cancelled_from_outside_stays_cancelled() -> None:
    task = asyncio.create_task(taken(body_of(60.0, length=BIG)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_abandoned_stream_is_no_longer_watched() -> None:
    stream = body_of(b"x", 60.0, length=BIG).stream()
    assert await anext(stream) == b"x"
    assert body_module._sweeper is not None
    assert len(body_module._sweeper.guards) == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert not body_module._sweeper.guards


@pytest.mark.usefixtures("_short_patience")
async def test_one_timer_watches_many_bodies() -> None:
    slow = [body_of(b"x", 60.0, length=BIG) for _ in range(20)]
    fine = [body_of(b"x", 0.3, b"y", 0.001) for _ in range(5)]
    fine += [body_of(b"x" * 4000, 0.25, b"y" * 4000, 0.25, b"z" * BIG) for _ in range(5)]
    outcomes = await asyncio.gather(*map(taken, slow + fine), return_exceptions=True)
    codes = [one.code if isinstance(one, S3Error) else len(one) for one in outcomes]  # type: ignore[arg-type]
    assert codes == ["RequestTimeout"] * 25 + [8000 + BIG] * 5


# --- a real server; every answer that is not `stored` is right ---

APP = """
    import asyncio
    import os
    import sys

    import uvloop

    from amur.gateway import body
    from amur.gateway.errors import S3Error
    from amur.gateway.sigv4 import Authentication, PayloadMode
    from amur.httpd.server import Server

    body.STALL_SECONDS = 0.3

    async def app(http):
        chunked = http.path.startswith("/chunked")
        mode = PayloadMode.UNSIGNED_CHUNKS_TRAILER if chunked else PayloadMode.UNSIGNED
        request = body.RequestBody(
            http, dict(http.pairs), Authentication("anonymous", payload=mode)
        )
        try:
            if http.path.endswith("read"):
                size = len(await request.read(1 << 30))
            else:
                size = 0
                async for piece in request.stream():
                    size += len(piece)
            outcome = f"stored {size}"
        except S3Error as error:
            outcome = error.code
        with open(os.environ["OUTCOMES"], "a") as log:
            log.write(f"{http.path} {outcome}\\n")
        http.answer(200, [], outcome.encode())

    async def main():
        server = Server(app)
        await server.listen("127.0.0.1", int(sys.argv[1]))
        await server.serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
"""


class Server:
    def __init__(self, port: int, outcomes: Path) -> None:
        self.port = port
        self.outcomes = outcomes

    def send(self, request: bytes, *, end: str = "close") -> bytes:
        """`end`: "wait" for an answer first, "close", "half" close, or "reset"."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.settimeout(5)
            client.sendall(request)
            if end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return b""
            if end == "close":
                return b""
            if end == "half":
                client.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while piece := client.recv(65536):
                    answer += piece
                    if b"\r\n\r\n" in answer:
                        break
            except (TimeoutError, ConnectionError):
                pass
            return answer

    def outcome(self, path: str) -> str:
        """Once the handler of `path` has ended; "" when it never began.

        A client that is gone at once may go unnoticed by the server.
        """
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            for line in self.outcomes.read_text().splitlines():
                if line.startswith(path + " "):
                    return line.partition(" ")[2]
            time.sleep(0.01)
        return ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny_app.py").write_text(textwrap.dedent(APP))
    outcomes = folder / "outcomes"
    outcomes.touch()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "tiny_app.py", str(port)],
        cwd=folder,
        env={"PYTHONPATH": str(root), "OUTCOMES": str(outcomes), "PATH": "/usr/bin:/bin"},
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield Server(port, outcomes)
    finally:
        process.terminate()
        process.wait(10)


def request(path: str, headers: list[str], data: bytes) -> bytes:
    lines = [f"PUT {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


CL = "Content-Length: {}".format
TE = "Transfer-Encoding: chunked"
PAYLOAD = b"p" * 30_000
AWS = encode_chunks([PAYLOAD[:20_000], PAYLOAD[20_000:]])
DECODED = f"x-amz-decoded-content-length: {len(PAYLOAD)}"

SHAPES: dict[str, tuple[list[str], bytes, str]] = {
    "nothing-sent": ([CL(30_000)], b"", "half"),
    "nothing-sent-reset": ([CL(30_000)], b"", "reset"),
    "small-short": ([CL(10)], b"p" * 9, "half"),
    "small-short-closed": ([CL(10)], b"p" * 9, "close"),
    "small-short-reset": ([CL(10)], b"p" * 9, "reset"),
    "small-stalled": ([CL(10)], b"p" * 9, "wait"),
    "short": ([CL(30_001)], PAYLOAD, "half"),
    "short-closed": ([CL(30_001)], PAYLOAD, "close"),
    "short-reset": ([CL(30_001)], PAYLOAD, "reset"),
    "stalled": ([CL(30_001)], PAYLOAD, "wait"),
    "large-short": ([CL(3_000_001)], PAYLOAD * 100, "half"),
    "large-reset": ([CL(3_000_001)], PAYLOAD * 100, "reset"),
    "expect-short": ([CL(30_001), "Expect: 100-continue"], PAYLOAD, "half"),
    "negative": ([CL(-5)], b"ppppp", "half"),
    "huge": ([CL("9" * 30)], b"ppppp", "half"),
    "hex": ([CL("0x5")], b"ppppp", "half"),
    "empty-number": ([CL("")], b"ppppp", "half"),
    "two-lengths": ([CL(5), CL(6)], b"pppppp", "half"),
    "list-of-lengths": ([CL("5, 6")], b"pppppp", "half"),
    "no-length": ([], b"", "wait"),
    "te": ([TE], b"5\r\nppppp\r\n0\r\n\r\n", "half"),
    "te-short": ([TE], b"5\r\nppppp\r\n", "half"),
    "te-malformed": ([TE], b"5\r\nppppp\r\nzz\r\n", "half"),
    "te-and-length": ([TE, CL(5)], b"5\r\nppppp\r\n0\r\n\r\n", "half"),
    "length-and-te": ([CL(5), TE], b"5\r\nppppp\r\n0\r\n\r\n", "half"),
    "te-twice": ([TE, TE], b"5\r\nppppp\r\n0\r\n\r\n", "half"),
    "te-gzip": (["Transfer-Encoding: gzip, chunked"], b"5\r\nppppp\r\n0\r\n\r\n", "half"),
    "te-obscured": (["Transfer-Encoding: xchunked", CL(5)], b"ppppp", "half"),
}
CHUNKED_SHAPES: dict[str, tuple[list[str], bytes, str]] = {
    "short": ([CL(len(AWS)), DECODED], AWS[:-5], "half"),
    "short-reset": ([CL(len(AWS)), DECODED], AWS[:-5], "reset"),
    "short-stalled": ([CL(len(AWS)), DECODED], AWS[:-5], "wait"),
    "length-fits-but-no-end": ([CL(len(AWS) - 5), DECODED], AWS[:-5], "half"),
    "no-last-chunk": ([CL(len(AWS) - 5), DECODED], AWS[:-5], "half"),
    "more-behind-the-end": ([CL(len(AWS) + 1), DECODED], AWS + b"x", "half"),
    "decoded-less": ([CL(len(AWS)), "x-amz-decoded-content-length: 29999"], AWS, "half"),
    "decoded-more": ([CL(len(AWS)), "x-amz-decoded-content-length: 30001"], AWS, "half"),
    "no-decoded": ([CL(len(AWS))], AWS, "half"),
    "no-length": ([DECODED], b"", "wait"),
    "not-chunked": ([CL(30_000), DECODED], PAYLOAD, "half"),
    "te-short": ([TE, DECODED], b"5\r\n5\r\npp\r\n", "half"),
    "te-ends-early": ([TE, DECODED], b"5\r\n5\r\npp\r\n0\r\n\r\n", "half"),
}


@pytest.mark.parametrize("way", ["stream", "read"])
@pytest.mark.parametrize("shape", SHAPES)
def test_never_stored(server: Server, shape: str, way: str) -> None:
    path = f"/{shape}/{way}"
    headers, data, end = SHAPES[shape]
    if shape == "no-length" and way == "read":
        pytest.skip("a document may be absent")
    answer = server.send(request(path, headers, data), end=end)
    assert b"stored" not in answer
    if answer.startswith(b"HTTP/1.1 400"):
        return  # refused before the application saw it
    outcome = server.outcome(path)
    assert outcome or end in ("close", "half", "reset")
    assert not outcome.startswith("stored")


@pytest.mark.parametrize("way", ["stream", "read"])
@pytest.mark.parametrize("shape", CHUNKED_SHAPES)
def test_never_stored_of_aws_chunks(server: Server, shape: str, way: str) -> None:
    if shape == "no-length" and way == "read":
        pytest.skip("a document may be absent")
    path = f"/chunked/{shape}/{way}"
    headers, data, end = CHUNKED_SHAPES[shape]
    assert b"stored" not in server.send(request(path, headers, data), end=end)
    outcome = server.outcome(path)
    assert outcome or end in ("close", "half", "reset")
    assert not outcome.startswith("stored")


@pytest.mark.parametrize("way", ["stream", "read"])
def test_whole_uploads_are_stored(server: Server, way: str) -> None:
    te_aws = b"".join(
        f"{len(AWS[at : at + 7000]):x}\r\n".encode() + AWS[at : at + 7000] + b"\r\n"
        for at in range(0, len(AWS), 7000)
    )
    sent = {
        "/good-small": ([CL(10)], b"p" * 10, 10),
        "/good-empty": ([CL(0)], b"", 0),
        "/good": ([CL(30_000)], PAYLOAD, 30_000),
        "/good-large": ([CL(3_000_000)], PAYLOAD * 100, 3_000_000),
        "/good-expect": ([CL(30_000), "Expect: 100-continue"], PAYLOAD, 30_000),
        "/chunked/good": ([CL(len(AWS)), DECODED], AWS, 30_000),
        "/chunked/good-te": ([TE, DECODED], te_aws + b"0\r\n\r\n", 30_000),
    }
    for path, (headers, data, size) in sent.items():
        server.send(request(f"{path}/{way}", headers, data), end="wait")
        assert server.outcome(f"{path}/{way}") == f"stored {size}"
