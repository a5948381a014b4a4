"""Streams wait for their reader, and notice that it has gone."""

from __future__ import annotations

import asyncio
import glob
import os
import tempfile
import threading
from collections.abc import AsyncIterator

import pytest

from amur.gateway import outflow
from amur.gateway.outflow import ClientGone, Outflow

PIECE = os.urandom(300_000)


class Reader:
    """Reads the file in a thread, as granian does, when it is told to."""

    def __init__(self, *, limit: int = -1, delay: threading.Event | None = None) -> None:
        self.limit = limit
        self.delay = delay
        self.data = b""
        self.thread: threading.Thread | None = None

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        self.thread = threading.Thread(target=self._read, args=(file,))
        self.thread.start()

    def _read(self, path: str) -> None:
        if self.delay is not None:
            self.delay.wait()
        with open(path, "rb") as file:
            self.data = file.read(self.limit)


async def pieces(count: int, produced: list[int]) -> AsyncIterator[bytes]:
    for number in range(count):
        produced.append(number)
        yield PIECE


def leftovers() -> list[str]:
    return glob.glob(f"{tempfile.gettempdir()}/amur-{os.getpid()}-*")


@pytest.mark.parametrize("count", [0, 1, 30])
async def test_everything_arrives(count: int) -> None:
    reader = Reader()
    flow = Outflow()
    await flow.send(reader, 200, [], [b"first"], pieces(count, []))
    assert reader.thread is not None
    await asyncio.to_thread(reader.thread.join)
    assert reader.data == b"first" + PIECE * count
    assert flow.sent == len(reader.data)
    assert leftovers() == []


async def test_a_slow_reader_holds_the_writer_back() -> None:
    go = threading.Event()
    reader = Reader(delay=go)
    produced: list[int] = []
    sending = asyncio.create_task(Outflow().send(reader, 200, [], [b"x"], pieces(100, produced)))
    for _ in range(20):
        await asyncio.sleep(0)
    held = len(produced)
    assert held * len(PIECE) <= outflow.PIPE_BYTES + 2 * len(PIECE)
    go.set()
    await sending
    assert reader.thread is not None
    await asyncio.to_thread(reader.thread.join)
    assert len(reader.data) == 1 + 100 * len(PIECE)


async def test_a_reader_that_goes_ends_the_stream() -> None:
    produced: list[int] = []
    with pytest.raises(ClientGone):
        await Outflow().send(Reader(limit=1000), 200, [], [b"x"], pieces(1000, produced))
    assert len(produced) < 20
    assert leftovers() == []


async def test_a_reader_that_stalls_and_then_goes_is_noticed() -> None:
    go = threading.Event()

    class Stalling(Reader):
        def _read(self, path: str) -> None:
            with open(path, "rb") as file:
                file.read(1)
                go.wait()

    produced: list[int] = []
    reader = Stalling()
    sending = asyncio.create_task(Outflow().send(reader, 200, [], [b"x"], pieces(100, produced)))
    while len(produced) * len(PIECE) < outflow.PIPE_BYTES:  # noqa: ASYNC110 - polled
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    go.set()
    with pytest.raises(ClientGone):
        await sending
    assert leftovers() == []


async def test_nobody_ever_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outflow, "OPEN_SECONDS", 0.02)

    class Nobody:
        def response_file(self, *_: object) -> None: ...

    for count in (1, 100):
        with pytest.raises(ClientGone):
            await Outflow().send(Nobody(), 200, [], [b"x"], pieces(count, []))
    assert leftovers() == []


async def test_a_failing_stream_leaves_nothing_open() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield PIECE
        raise ValueError("broken")

    before = len(os.listdir("/proc/self/fd"))
    reader = Reader()
    with pytest.raises(ValueError, match="broken"):
        await Outflow().send(reader, 200, [], [PIECE], broken())
    assert reader.thread is not None
    await asyncio.to_thread(reader.thread.join)
    assert reader.data == PIECE * 2
    assert leftovers() == []
    assert len(os.listdir("/proc/self/fd")) == before
