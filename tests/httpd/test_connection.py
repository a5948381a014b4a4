"""The HTTP server over real sockets: what a client, good or bad, can make of a connection."""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from amur.httpd import connection as connection_module
from amur.httpd import server as server_module
from amur.httpd.connection import UNREAD_BYTES_MAX, WRITE_HELD_MAX
from amur.httpd.exchange import BodyBroken, ClientGone, Exchange
from amur.limits import MIB
from tests.support.http_talk import HEAD, address_of, echo, refuse, talking, until

# --- one after the other ---


async def test_a_connection_serves_many_requests() -> None:
    async with talking(echo) as client:
        for number in range(3):
            client.send(b"PUT /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" % number)
            status, headers, body = await client.answer()
            assert (status, headers["x-path"], body) == (200, f"/{number}", b"hi")
            assert headers["content-length"] == "2"
            assert headers["date"].endswith("GMT")
            assert "connection" not in headers


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def slower_first(exchange: Exchange) -> None:
        await asyncio.sleep(0.02 / (1 + int(exchange.path[1:])))
        await echo(exchange)

    async with talking(slower_first) as client:
        client.send(b"".join(HEAD % number for number in range(20)))
        paths = [(await client.answer())[1]["x-path"] for _ in range(20)]
    assert paths == [f"/{number}" for number in range(20)]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_the_last_request_of_a_connection(request_: bytes) -> None:
    async with talking(echo) as client:
        client.send(request_ + HEAD % 1)
        status, headers, _ = await client.answer()
        assert (status, headers["x-path"]) == (200, "/a")
        assert await client.rest() == b""


async def test_half_closed_clients_are_answered() -> None:
    async with talking(echo) as client:
        client.send(HEAD % 1)
        client.writer.write_eof()
        assert (await client.rest()).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%20b/%C3%A4?x=%20&y", "/a b/ä", "x=%20&y"),
        ("/%ff", "/\ufffd", ""),
        ("/a//../b?", "/a//../b", ""),
        ("http://other/b?c", "/b", "c"),
    ],
)
async def test_targets(target: str, path: str, query: str) -> None:
    seen: list[tuple[str, str]] = []

    async def look(exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.query))
        exchange.answer(204, [])

    async with talking(look) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, headers, _ = await client.answer()
    assert (status, seen) == (204, [(path, query)])
    assert "content-length" not in headers


# --- bodies ---


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_bodies_arrive_whole_however_they_are_cut(data: st.DataObject) -> None:
    """Short ones by the parser, long ones directly, with requests before and behind them."""
    sizes = st.sampled_from([0, 1, 1000, 70_000, MIB - 1, MIB, MIB + 1, 2 * MIB + 77_777])
    bodies = [bytes([number]) * data.draw(sizes) for number in range(3)]
    sent = b"".join(
        b"PUT /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (number, len(body), body)
        for number, body in enumerate(bodies)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    got: list[bytes] = []

    async def keep(exchange: Exchange) -> None:
        taken = []
        while piece := await exchange.piece():
            taken.append(piece)
        assert exchange.received == exchange.length == sum(map(len, taken))
        got.append(b"".join(taken))
        exchange.answer(200, [])

    async def run() -> None:
        async with talking(keep) as client:
            for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                client.send(sent[start:end])
                await asyncio.sleep(0)
            for _ in bodies:
                assert (await client.answer())[0] == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert got == bodies


async def test_a_body_in_chunks_and_its_trailers() -> None:
    async with talking(echo) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-path: /evil\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, headers["x-path"], body) == (200, "/a", b"abcde")
        assert await client.rest() == b""  # a proxy may have understood it otherwise


@pytest.mark.parametrize("sent", [10, 100_000, 1_500_000])
async def test_a_body_that_ends_short(sent: int) -> None:
    broken = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        try:
            while await exchange.piece():
                pass
        except BodyBroken:
            broken.set()
            exchange.answer(400, [])

    async with talking(handle) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(sent))
        client.writer.write_eof()
        async with asyncio.timeout(10):
            await broken.wait()
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_no_more_is_read_than_is_taken() -> None:
    """... plus what is held: the client waits while the application does."""
    taking = asyncio.Event()
    exchanges: list[Exchange] = []

    async def handle(exchange: Exchange) -> None:
        exchanges.append(exchange)
        await taking.wait()
        await echo(exchange)

    size = 64 * MIB
    async with talking(handle) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            client.send(bytes(MIB))
        await until(lambda: bool(exchanges) and exchanges[0].held >= MIB)
        await asyncio.sleep(0.1)
        assert exchanges[0].received <= 3 * MIB
        taking.set()
        assert len((await client.answer())[2]) == size


async def test_continue_is_said_when_the_body_is_wanted() -> None:
    async with talking(echo) as client:
        expecting = (
            b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        client.send(expecting)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hi")
        assert (await client.answer())[2] == b"hi"


async def test_no_continue_for_what_is_refused() -> None:
    async with talking(refuse) as client:
        client.send(
            b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (403, "close")
        assert await client.rest() == b""


async def test_a_short_refused_body_is_dropped() -> None:
    async with talking(refuse) as client:
        head = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        client.send(head % UNREAD_BYTES_MAX)
        assert (await client.answer())[0] == 403
        client.send(bytes(UNREAD_BYTES_MAX) + HEAD % 2)
        status, headers, _ = await client.answer()
        assert status == 403
        assert "connection" not in headers


async def test_a_long_refused_body_ends_the_connection() -> None:
    """... and the client, still sending, gets to read why."""
    async with talking(refuse) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + bytes(MIB))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (403, "close", b"no")
        client.send(bytes(MIB))
        assert await client.rest() == b""


# --- answers ---


async def test_a_streamed_answer_in_chunks_with_trailers() -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [])
        await exchange.send(b"abc")
        await exchange.send(b"x" * 17)
        exchange.end([("x-count", "2")])

    async with talking(handle) as client:
        client.send(HEAD % 1)
        _, headers, _ = await client.answer()
        assert headers["transfer-encoding"] == "chunked"
        tail = await client.reader.readuntil(b"\r\n\r\n")
        assert tail == b"3\r\nabc\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\nx-count: 2\r\n\r\n"
        client.send(HEAD % 2)
        assert (await client.answer())[0] == 200


async def test_without_chunks_the_end_is_that_of_the_connection() -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [])
        await exchange.send(b"abc")
        exchange.end([("x-count", "2")])

    async with talking(handle) as client:
        client.send(b"GET /1 HTTP/1.0\r\n\r\n")
        _, headers, _ = await client.answer()
        assert "transfer-encoding" not in headers
        assert await client.rest() == b"abc"


async def test_head_has_no_body() -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.answer(200, [("content-length", "77")])

    async with talking(handle) as client:
        client.send(b"HEAD /1 HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        for _ in range(2):
            status, headers, _ = await client.answer(bodiless=True)
            assert (status, headers["content-length"]) == (200, "77")


@pytest.mark.parametrize("value", ["a\r\nx-evil: b", "a\nb", "a\rb"])
async def test_a_header_cannot_be_split(value: str) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.answer(200, [("x-a", value)])

    async with talking(handle) as client:
        client.send(HEAD % 1)
        assert await client.rest() == b""


async def test_a_slow_reader_holds_the_writer_back() -> None:
    sent = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal sent
        exchange.begin(200, [("content-length", str(100 * MIB))])
        for _ in range(100):
            await exchange.send(bytes(MIB))
            sent += 1
        exchange.end()

    async with talking(handle, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 1)
        await until(lambda: sent > 0)
        await asyncio.sleep(0.2)
        assert sent < 10  # what the kernel holds, and WRITE_HELD_MAX
        assert all(
            each._transport.get_write_buffer_size() <= WRITE_HELD_MAX + MIB
            for each in client.server._connections
        )
        client.resume()
        assert len((await client.answer())[2]) == 100 * MIB


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_reader_that_goes_ends_the_stream(how: str) -> None:
    gone = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [])
        try:
            while True:
                await exchange.send(bytes(MIB))
        except ClientGone:
            gone.set()
            raise

    async with talking(handle) as client:
        client.send(HEAD % 1)
        await client.reader.readexactly(1000)
        client.reset() if how == "reset" else client.writer.close()
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.05)
    gone = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [("content-length", str(100 * MIB))])
        try:
            for _ in range(100):
                await exchange.send(bytes(MIB))
        except ClientGone:
            gone.set()

    async with talking(handle, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 1)
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_slow_reader_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.02)
    size = 2 * MIB

    async def handle(exchange: Exchange) -> None:
        exchange.answer(200, [], bytes(size))

    async with talking(handle, receive_buffer=4096) as client:
        client.send(HEAD % 1)
        await client.reader.readuntil(b"\r\n\r\n")
        got = 0
        while got < size:
            got += len(await client.reader.read(100_000))
            await asyncio.sleep(0.05)
        assert got == size


@pytest.mark.parametrize("begun", [False, True])
async def test_a_failing_stream_breaks_the_connection(
    begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(exchange: Exchange) -> None:
        if begun:
            exchange.begin(200, [("content-length", "10")])
            await exchange.send(b"abc")
        raise RuntimeError("broken")

    async with talking(handle) as client:
        client.send(HEAD % 1)
        assert not (await client.rest()).endswith(b"\r\n\r\n")
    assert "a request failed" in caplog.text


async def test_pipelined_requests_do_not_fill_memory() -> None:
    """A client that sends and never reads: nothing more is begun once answers pile up."""
    begun = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal begun
        begun += 1
        exchange.answer(200, [], bytes(MIB))

    async with talking(handle, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 1 * 2000)
        await until(lambda: begun > 0)
        await asyncio.sleep(0.2)
        assert begun < 20
        client.reset()


# --- time, and the end ---


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x", b"\r\n"])
async def test_slow_heads(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.05)
    async with talking(echo) as client:
        client.send(sent)
        assert await client.rest() == b""


async def test_idle_connections_and_slow_next_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(connection_module, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.05)
    for sent in (b"", b"GET / HT"):
        async with talking(echo) as client:
            client.send(HEAD % 1)
            assert (await client.answer())[0] == 200
            client.send(sent)
            assert await client.rest() == b""


async def test_a_refused_body_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.05)
    async with talking(refuse) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n")
        assert (await client.answer())[0] == 403
        assert await client.rest() == b""


async def test_stopping_answers_what_is_under_way() -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        begun.set()
        await going_on.wait()
        await echo(exchange)

    async with talking(handle) as client:
        client.send(HEAD % 1)
        await begun.wait()
        client.server.stop()
        serving = asyncio.create_task(client.server.serve())
        await asyncio.sleep(0.05)
        assert not serving.done()
        going_on.set()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.rest() == b""
        client.writer.close()
        async with asyncio.timeout(5):
            await serving


async def test_stopping_closes_idle_connections() -> None:
    async with talking(echo) as client:
        client.send(HEAD % 1)
        await client.answer()
        client.server.stop()
        assert await client.rest() == b""


@pytest.mark.parametrize(("own", "files"), [(1, 1000), (4096, 2), (1, resource.RLIM_INFINITY)])
async def test_connections_are_bounded(
    own: int, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a number, and by the files that the process may open."""
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", own)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    async with talking(echo) as client:
        client.send(HEAD % 1)
        assert (await client.answer())[0] == 200
        reader, writer = await asyncio.open_connection(*address_of(client.server))
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        client.send(HEAD % 2)
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 70_000), 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: %s" % (b"a" * 200_000), 431),
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 70_000), 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    ],
)
async def test_nonsense(sent: bytes, status: int) -> None:
    async with talking(echo) as client:
        client.send(sent)
        assert (await client.rest()).startswith(b"HTTP/1.1 %d " % status)
