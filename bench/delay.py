"""A server that is far away: a TCP proxy that makes every round trip longer.

Each byte arrives half the added round trip late, in both directions, and a client's first byte a
whole one more: the real handshake with the proxy takes no time. The rate is not limited, and there
is no slow start: what is measured is latency alone. At most BUFFER_BYTES are on their way in each
direction of a connection.

Usage: python -m bench.delay HOST PORT MILLISECONDS   (prints the port that it listens on)
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import deque
from types import TracebackType
from typing import cast

import uvloop

BUFFER_BYTES = 64 << 20  # more than 2 GB/s through 30 ms


class Delay:
    """The proxy as a process of its own."""

    def __init__(self, host: str, port: int, round_trip_s: float) -> None:
        self._arguments = [host, str(port), str(round_trip_s * 1000)]

    def __enter__(self) -> Delay:
        command = [sys.executable, "-m", "bench.delay", *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()


class _Side(asyncio.Protocol):
    """One end of a connection: what comes in here goes out at `peer`, later."""

    def __init__(self, lag: float, not_before: float = 0.0) -> None:
        self.peer: _Side | None = None
        self._lag = lag
        self._not_before = not_before
        self._line: deque[tuple[float, bytes]] = deque()  # due, bytes; b"" for the end
        self._held = 0  # bytes
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading = self._is_writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def join(self, peer: _Side) -> None:
        self.peer, peer.peer = peer, self
        self._release()

    def data_received(self, data: bytes) -> None:
        self._line.append((max(time.monotonic(), self._not_before) + self._lag, data))
        self._held += len(data)
        if self._held > BUFFER_BYTES:
            self._is_reading = False
            self.transport.pause_reading()
        self._wait()

    def eof_received(self) -> bool:
        self._end()
        return True  # the other direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        self._is_reading = True
        self._end()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        if self.peer is not None:
            self.peer._release()

    def _end(self) -> None:
        self._line.append((max(time.monotonic(), self._not_before) + self._lag, b""))
        self._wait()

    def _wait(self) -> None:
        if self._timer is None and self._line and self.peer is not None:
            loop = asyncio.get_running_loop()
            left = self._line[0][0] - time.monotonic()
            self._timer = loop.call_later(max(0.0, left), self._release)

    def _release(self) -> None:
        """Send on what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        peer = self.peer
        if peer is None or not peer._is_writable:
            return
        now, due = time.monotonic(), []
        is_ended = False
        while self._line and self._line[0][0] <= now:
            data = self._line.popleft()[1]
            due.append(data)
            is_ended = is_ended or not data
        sent = b"".join(due)
        self._held -= len(sent)
        if not peer.transport.is_closing():
            if sent:
                peer.transport.write(sent)
            if is_ended:
                self._hand_over_end(peer)
        if not self._is_reading and self._held < BUFFER_BYTES // 2:
            self._is_reading = True
            self.transport.resume_reading()
        self._wait()

    def _hand_over_end(self, peer: _Side) -> None:
        if self.transport.is_closing():  # closed, not only ended
            peer.transport.close()
        elif peer.transport.can_write_eof():
            peer.transport.write_eof()


async def _serve(host: str, port: int, round_trip_s: float) -> None:
    loop = asyncio.get_running_loop()
    lag = round_trip_s / 2
    connecting: set[asyncio.Task[None]] = set()

    async def connect(near: _Side) -> None:
        try:
            _, far = await loop.create_connection(lambda: _Side(lag), host, port)
        except OSError:
            near.transport.abort()
        else:
            near.join(far)

    class Near(_Side):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            task = loop.create_task(connect(self))
            connecting.add(task)
            task.add_done_callback(connecting.discard)

    server = await loop.create_server(
        lambda: Near(lag, time.monotonic() + round_trip_s), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 1000))
