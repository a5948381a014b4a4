"""Bytes over a path: all of them, in order, late, and no more in memory than there may be."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from amur.cluster.pipe import IN_FLIGHT_BYTES_MAX, STALLED_BYTES_MAX, Path, State
from amur.limits import KIB, MIB
from tests.cluster.conftest import Piped, echo

Make = Callable[..., Awaitable[Piped]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
SOCKET_BYTES_MAX = 16 * MIB  # what the kernel and asyncio hold of a connection, generously


async def _send(writer: asyncio.StreamWriter, content: bytes) -> None:
    sizes = (1, 100, 65_537, 3, 1 << 20)
    at = turn = 0
    while at < len(content):
        size = sizes[turn % len(sizes)]
        writer.write(content[at : at + size])
        await writer.drain()
        at, turn = at + size, turn + 1
    writer.write_eof()


@pytest.mark.parametrize("round_trip_s", [0.0, 0.02])
async def test_all_bytes_in_order_both_ways(piped: Make, round_trip_s: float) -> None:
    proxy = await piped(echo, round_trip_s)
    contents = [os.urandom(n) for n in (0, 1, 70_000, 12 * MIB)]

    async def talk(content: bytes) -> bytes:
        reader, writer = await proxy.connect()
        sending = asyncio.create_task(_send(writer, content))
        back = await reader.read()
        await sending
        return back

    came_back = await asyncio.gather(*map(talk, contents))
    assert [hashlib.sha256(each).digest() for each in came_back] == [
        hashlib.sha256(each).digest() for each in contents
    ]


async def test_connections_end_with_their_ends(piped: Make, until: Until) -> None:
    proxy = await piped(echo)
    reader, writer = await proxy.connect()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert proxy.path.connections == 1
    writer.write_eof()
    assert await reader.read() == b""
    await until(lambda: not proxy.path.ends)


async def test_half_closed_goes_on_the_other_way(piped: Make) -> None:
    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = await reader.read()  # until the end: the answer comes after it
        writer.write(hashlib.sha256(whole).digest())

    proxy = await piped(answer_late, 0.02)
    reader, writer = await proxy.connect()
    writer.write(b"x" * 300_000)
    writer.write_eof()
    assert await reader.read() == hashlib.sha256(b"x" * 300_000).digest()


async def test_a_new_connection_costs_a_round_trip_more(piped: Make) -> None:
    proxy = await piped(echo, 0.1)
    began = time.monotonic()
    reader, writer = await proxy.connect()
    writer.write(b"1")
    await reader.readexactly(1)
    assert time.monotonic() - began >= 0.2  # never faster, however fast the machine
    again = time.monotonic()
    writer.write(b"2")
    await reader.readexactly(1)
    assert time.monotonic() - again >= 0.1


async def test_distance_does_not_limit_the_rate(piped: Make, until: Until) -> None:
    """All is under way long before the first byte is there: nothing waits for an answer."""
    proxy = await piped(echo, 3600.0)
    _, writer = await proxy.connect()
    for _ in range(20):
        writer.write(b"x" * MIB)
        await writer.drain()
    await until(lambda: proxy.nears[0]._held == 20 * MIB)
    line = proxy.nears[0]._line
    assert line[-1][0] - line[0][0] < 1800.0


async def test_a_reader_that_takes_nothing_stops_the_sender(piped: Make) -> None:
    go_on = asyncio.Event()
    digest = hashlib.sha256()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        while data := await reader.read(MIB):
            digest.update(data)
        writer.write(b"done")

    proxy = await piped(wait)
    reader, writer = await proxy.connect()
    piece, sent, is_stopped = os.urandom(256 * KIB), 0, False
    while not is_stopped:
        writer.write(piece)
        sent += len(piece)
        try:
            async with asyncio.timeout(1.0):
                await writer.drain()
        except TimeoutError:
            is_stopped = True
        assert sent < STALLED_BYTES_MAX + SOCKET_BYTES_MAX
    assert proxy.nears[0]._held <= STALLED_BYTES_MAX + MIB
    go_on.set()
    await writer.drain()
    writer.write_eof()
    assert await reader.read() == b"done"
    assert digest.digest() == hashlib.sha256(piece * (sent // len(piece))).digest()


async def test_what_is_under_way_is_bounded(piped: Make, until: Until) -> None:
    proxy = await piped(echo, 3600.0)
    _, writer = await proxy.connect()
    sending = asyncio.create_task(_send(writer, b"x" * (IN_FLIGHT_BYTES_MAX + 32 * MIB)))
    await until(lambda: bool(proxy.nears) and not proxy.nears[0]._is_reading)
    assert IN_FLIGHT_BYTES_MAX <= proxy.nears[0]._held <= IN_FLIGHT_BYTES_MAX + MIB
    sending.cancel()


async def test_a_partition_loses_nothing_and_tells_nobody(piped: Make, until: Until) -> None:
    proxy = await piped(echo)
    reader, writer = await proxy.connect()
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    proxy.path.lose()
    writer.write(b"b")
    new_reader, new_writer = await proxy.connect()
    new_writer.write(b"c")
    await until(lambda: len(proxy.nears) == 2 and all(near._held == 1 for near in proxy.nears))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.readexactly(1)
    assert proxy.arrived == 1
    proxy.path.heal()
    assert await reader.readexactly(1) == b"b"
    assert await new_reader.readexactly(1) == b"c"


async def test_who_gave_up_during_a_partition_never_arrives(piped: Make, until: Until) -> None:
    proxy = await piped(echo)
    proxy.path.lose()
    _, writer = await proxy.connect()
    writer.write(b"never mind")
    writer.close()
    await until(lambda: bool(proxy.nears) and proxy.nears[0].has_ended)
    proxy.path.heal()
    await until(lambda: not proxy.path.ends)
    reader, writer = await proxy.connect()
    writer.write(b"x")
    await reader.readexactly(1)
    assert proxy.arrived == 1


async def test_a_reset_breaks_what_is_there_and_what_comes(piped: Make) -> None:
    proxy = await piped(echo)
    reader, writer = await proxy.connect()
    writer.write(b"a")
    await reader.readexactly(1)
    proxy.path.reset()
    assert proxy.path.state is State.RESET
    for _ in range(2):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        reader, writer = await proxy.connect()
    proxy.path.heal()
    reader, writer = await proxy.connect()
    writer.write(b"b")
    assert await reader.readexactly(1) == b"b"


async def test_a_closed_port_breaks_the_connection(piped: Make) -> None:
    proxy = await piped(echo)
    proxy.stop_target()
    reader, _ = await proxy.connect()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_a_broken_connection_breaks_at_the_other_end(piped: Make) -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()

    async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(10):
                seen.put_nowait(data)
            seen.put_nowait("an ordinary end")
        except ConnectionResetError:
            seen.put_nowait("broken")

    proxy = await piped(note)
    _, writer = await proxy.connect()
    writer.write(b"x")
    assert await seen.get() == b"x"
    near = writer.get_extra_info("socket")
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    assert await seen.get() == "broken"


def test_a_limited_rate_is_shared_and_each_way() -> None:
    path = Path(round_trip_s=2.0, bytes_per_s=1000.0)
    began = time.monotonic()
    first, second = path.due(True, 0.0, 1000), path.due(True, 0.0, 1000)
    assert first >= began + 2.0  # a second to send, a second to arrive
    assert second - first == pytest.approx(1.0)
    assert path.due(False, 0.0, 1000) < second  # the other way is free
    path.bytes_per_s = 0.0
    assert path.due(True, 0.0, 10**9) < second


async def test_shorter_distances_keep_the_order(piped: Make, until: Until) -> None:
    proxy = await piped(echo, 0.2)
    reader, writer = await proxy.connect()
    writer.write(b"far ")
    await until(lambda: bool(proxy.nears) and proxy.nears[0]._held == 4)
    proxy.path.round_trip_s = 0.0
    writer.write(b"near")
    assert await reader.readexactly(8) == b"far near"
