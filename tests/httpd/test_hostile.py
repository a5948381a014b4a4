"""What a client must not make of a connection: hang it, shift its answers, fill its memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from amur.httpd import connection as connection_module
from amur.httpd import server as server_module
from amur.httpd.connection import HEAD_BYTES_MAX, PIPELINED_MAX
from amur.httpd.exchange import ClientGone, Exchange
from amur.limits import KIB, MIB
from tests.support.http_talk import HEAD, echo, refuse, talking, until

CHUNKED = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No traceback, no "Fatal error on transport"."""
    yield
    assert not [each for each in caplog.get_records("call") if each.levelname != "DEBUG"]


async def large(exchange: Exchange) -> None:
    """/0 is answered at length."""
    body = bytes(4 * MIB) if exchange.path == "/0" else b""
    exchange.answer(200, [("x-path", exchange.path)], body)


# --- answers in their order, and all of them ---


async def test_reading_goes_on_behind_a_slow_reader() -> None:
    """The second request is begun when the first answer has been taken; the third is read then."""
    async with talking(large, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 0)
        await asyncio.sleep(0.1)
        client.send(HEAD % 1)
        await asyncio.sleep(0.1)
        client.resume()
        for number in range(2):
            assert (await client.answer())[1]["x-path"] == f"/{number}"
        client.send(HEAD % 2)
        assert (await client.answer())[1]["x-path"] == "/2"


async def test_stopping_behind_a_slow_reader() -> None:
    async with talking(large, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 0)
        await asyncio.sleep(0.1)
        client.send(HEAD % 1)
        await asyncio.sleep(0.1)
        client.server.stop()
        client.resume()
        assert len((await client.answer())[2]) == 4 * MIB
        await client.rest()


async def test_nonsense_behind_a_slow_reader() -> None:
    """It is no answer to the request before it."""
    async with talking(large, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 0)
        await asyncio.sleep(0.1)
        client.send(HEAD % 1 + b"\x00\x00\r\n\r\n")
        await asyncio.sleep(0.1)
        client.resume()
        for number in range(2):
            status, headers, _ = await client.answer()
            assert (status, headers["x-path"]) == (200, f"/{number}")
        assert await client.rest() == b""


async def test_half_closed_behind_a_slow_reader() -> None:
    async with talking(large, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 0)
        await asyncio.sleep(0.1)
        client.send(HEAD % 1)
        client.writer.write_eof()
        await asyncio.sleep(0.1)
        client.resume()
        assert len((await client.answer())[2]) == 4 * MIB
        assert (await client.answer())[1]["x-path"] == "/1"
        assert await client.rest() == b""


async def test_a_half_closed_refused_body() -> None:
    """... is waited for no longer."""
    async with talking(refuse) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n")
        assert (await client.answer())[0] == 403
        client.writer.write_eof()
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_answer_without_a_body_has_none(method: str) -> None:
    """Whatever the application says: it would be read as the next answer."""

    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/1":
            exchange.answer(200 if method == "HEAD" else 304, [], b"evil")
            return
        exchange.begin(200 if method == "HEAD" else 204, [])
        await exchange.send(b"evil")
        exchange.end([("x-evil", "1")])

    async with talking(handle) as client:
        for number in (1, 2, 1):
            client.send(b"%s /%d HTTP/1.1\r\nHost: x\r\n\r\n" % (method.encode(), number))
            assert (await client.answer(bodiless=True))[0] in (200, 204, 304)
        client.writer.write_eof()
        assert await client.rest() == b""


@pytest.mark.parametrize("value", ["a\r\nx-evil: b", "a\nb", "a\rb"])
async def test_a_trailer_cannot_be_split(value: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [])
        await exchange.send(b"abc")
        exchange.end([("x-a", value)])

    async with talking(handle) as client:
        client.send(HEAD % 1)
        assert (await client.rest()).endswith(b"3\r\nabc\r\n")
    caplog.clear()


async def test_continue_is_not_said_in_the_middle_of_an_answer() -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [("content-length", "4")])
        await exchange.send(b"ab")
        body = await exchange.read()
        await exchange.send(body)
        exchange.end()

    async with talking(handle) as client:
        head = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        client.send(head)
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(2) == b"ab"
        await asyncio.sleep(0.05)
        client.send(b"cd")
        assert await client.rest() == b"cd"


async def test_continue_is_not_said_to_http_1_0() -> None:
    async with talking(echo) as client:
        client.send(b"PUT /a HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        await asyncio.sleep(0.05)
        client.send(b"hi")
        status, _, body = await client.answer()
        assert (status, body) == (200, b"hi")


@pytest.mark.parametrize("size", [2, 60_000, 100_000, 3 * MIB])
@pytest.mark.parametrize("cut", [0, 1, 5_000])
async def test_a_request_to_upgrade_keeps_its_body(size: int, cut: int) -> None:
    """We answer as if it had not asked, and its body is no request."""
    body = (HEAD % 9 * (size // len(HEAD % 9) + 1))[:size]
    async with talking(echo) as client:
        client.send(
            b"PUT /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"Content-Length: %d\r\n\r\n" % size + body[:cut]
        )
        if cut:
            await asyncio.sleep(0.02)
        client.send(body[cut:] + HEAD % 2)
        status, headers, got = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert got == body
        assert await client.rest() == b""


@pytest.mark.parametrize("request_", [
    b"PUT /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
])  # fmt: skip
async def test_upgrades_that_are_not_understood(request_: bytes) -> None:
    async with talking(echo) as client:
        client.send(request_ + HEAD % 1)
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_connect_is_a_request_without_a_body() -> None:
    async with talking(echo) as client:
        client.send(b"CONNECT a:80 HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + HEAD % 1)
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"")
        assert await client.rest() == b""


# --- memory ---


@pytest.mark.parametrize("endless", [b"X: ", b"3;x=", b'3;x="'])
async def test_what_surrounds_chunks_is_bounded(endless: bytes) -> None:
    """A trailer or an extension without end, of which the application sees nothing."""
    broken = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal broken
        try:
            await exchange.read()
        except Exception:
            broken += 1
            exchange.answer(400, [])

    async with talking(handle) as client:
        client.send(CHUNKED + (b"0\r\n" if endless == b"X: " else b"") + endless)
        await asyncio.sleep(0.05)
        for _ in range(HEAD_BYTES_MAX * 2 // KIB):
            client.send(b"a" * KIB)
            await asyncio.sleep(0)
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
    assert broken == 1


async def test_tiny_chunks_are_no_such_thing() -> None:
    async with talking(echo) as client:
        client.send(CHUNKED + b"1;x=yyyyyyyyyyyyyyyyyyyyy\r\na\r\n" * 20_000 + b"0\r\n\r\n")
        assert (await client.answer())[2] == b"a" * 20_000


async def test_a_flood_of_pipelined_requests_is_cut() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        exchange.answer(200, [("x-path", exchange.path)])

    async with talking(handle) as client:
        client.send(b"".join(HEAD % number for number in range(5000)))
        for number in range(PIPELINED_MAX + 1):
            status, headers, _ = await client.answer()
            assert (status, headers["x-path"]) == (200, f"/{number}")
        assert headers["connection"] == "close"
        assert await client.rest() == b""


async def test_an_announced_body_costs_little_until_it_comes() -> None:
    """... and the buffers end where the store's chunks do."""
    pieces: list[int] = []

    async def handle(exchange: Exchange) -> None:
        while piece := await exchange.piece():
            pieces.append(len(piece))
        exchange.answer(200, [])

    size = 5 * MIB + 1
    async with talking(handle) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(bytes(65 * KIB))
        (connection,) = client.server._connections
        await until(lambda: connection._direct is not None and connection._filled == 65 * KIB)
        assert connection._direct is not None
        assert len(connection._direct) == 128 * KIB
        client.send(bytes(size - 65 * KIB))
        assert (await client.answer())[0] == 200
    ends = [sum(pieces[: number + 1]) for number in range(len(pieces))]
    assert ends == [each * KIB for each in (128, 256, 512, 1024, 2048, 3072, 4096, 5120)] + [size]


# --- time ---


async def test_a_reader_that_takes_a_drop_now_and_then_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(connection_module, "STALL_BYTES", 16 * MIB)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.02)
    gone = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [])
        try:
            while True:
                await exchange.send(bytes(MIB))
        except ClientGone:
            gone.set()

    async with talking(handle, receive_buffer=4096) as client:
        client.send(HEAD % 1)
        async with asyncio.timeout(10):
            while not gone.is_set():
                client.resume()
                await client.reader.read(1000)
                client.pause()
                await asyncio.sleep(0.02)


async def test_one_failing_sweep_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection_module, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.05)
    sweep, failures = connection_module.Connection.sweep, [RuntimeError("once")]

    def failing(self: connection_module.Connection, now: float) -> None:
        if failures:
            raise failures.pop()
        sweep(self, now)

    monkeypatch.setattr(connection_module.Connection, "sweep", failing)
    async with talking(echo) as client:
        assert await client.rest() == b""
    assert "once" in caplog.text
    caplog.clear()


async def test_continue_is_said_of_an_empty_body() -> None:
    """It need not be, but botocore takes its next answer on the connection for headers else."""
    async with talking(echo) as client:
        for number in range(2):
            client.send(
                b"PUT /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n"
                % number
            )
            assert (await client.answer())[0] == 100
            status, headers, _ = await client.answer()
            assert (status, headers["x-path"]) == (200, f"/{number}")
