"""A TCP connection that is led on to another address, over a path with a length of its own.

Bytes are delayed, not held up: each arrives half a round trip after it came, in order, however many
are on their way. The handshake with us takes no time, so a client's first byte waits for the round
trip that the real one would have taken. What the receiver does not take stops the sender.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from enum import Enum
from typing import cast

from amur.limits import MIB

IN_FLIGHT_BYTES_MAX = 64 * MIB  # of a connection in each direction: 1 GB/s over 60 ms one way
STALLED_BYTES_MAX = 1 * MIB  # the same while the receiver takes nothing, as a socket would hold
_RELEASE_BYTES = 1 * MIB  # handed to the kernel at once; then it is asked whether it wants more

_AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time
_CUT = None  # in a line of bytes: the connection broke here


class State(Enum):
    OPEN = "open"
    LOST = "lost"  # nothing arrives, nobody is told: a partition
    RESET = "reset"  # connections break, and new ones, too


class Path:
    """What lies between two places. `forth` is the direction from the first to the second."""

    def __init__(self, round_trip_s: float = 0.0, bytes_per_s: float = 0.0) -> None:
        self.round_trip_s = round_trip_s
        self.bytes_per_s = bytes_per_s  # each way, of all connections together; 0: no limit
        self.state = State.OPEN
        self.ends: set[End] = set()
        self._free_at = {True: 0.0, False: 0.0}  # when the last byte has left, by `forth`
        self._opened = asyncio.Event()
        self._opened.set()

    @property
    def connections(self) -> int:
        return sum(end.is_near for end in self.ends)

    def due(self, forth: bool, not_before: float, count: int) -> float:
        """When `count` bytes that leave now will be there."""
        leaves = max(time.monotonic(), not_before)
        if self.bytes_per_s:
            leaves = max(leaves, self._free_at[forth]) + count / self.bytes_per_s
            self._free_at[forth] = leaves
        return leaves + self.round_trip_s / 2

    def lose(self) -> None:
        """As a partition: what is under way stays under way."""
        self.state = State.LOST
        self._opened.clear()

    def reset(self) -> None:
        """Break all connections; new ones break, too."""
        self.state = State.RESET
        self._opened.set()
        self.abort()

    def heal(self) -> None:
        self.state = State.OPEN
        self._free_at = {True: 0.0, False: 0.0}
        self._opened.set()
        for end in tuple(self.ends):
            end.release()

    def abort(self) -> None:
        """Break all connections that there are."""
        for end in tuple(self.ends):
            end.abort()

    async def until_not_lost(self) -> None:
        await self._opened.wait()


class End(asyncio.Protocol):
    """One end of a connection: what comes in here goes out at the other end, later."""

    def __init__(self, path: Path, *, forth: bool, is_near: bool) -> None:
        self.path = path
        self.is_near = is_near  # the end of who opened the connection
        self.has_ended = False  # it sends no more
        self._forth = forth
        self._other: End | None = None
        self._line: deque[tuple[float, bytes | None]] = deque()  # due; b"" is the end
        self._held = 0  # bytes in the line
        self._is_done = False  # the end has been handed over
        self._is_reading = self._is_writable = True
        self._not_before = time.monotonic() + path.round_trip_s if is_near else 0.0
        self._last_due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._loop = asyncio.get_running_loop()
        self.path.ends.add(self)

    @property
    def is_gone(self) -> bool:
        return self._transport.is_closing()

    def move(self, path: Path) -> None:
        """Over another path, before it is joined."""
        self.path.ends.discard(self)
        self.path = path
        path.ends.add(self)

    def join(self, other: End) -> None:
        """Make the two ends one connection."""
        self._other, other._other = other, self
        self.release()
        other.release()

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        self._queue(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        self._queue(b"")
        return True  # the other direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        self.path.ends.discard(self)
        self._is_reading = True  # there is nothing to resume any more
        if error is not None:
            self._queue(_CUT)

    def pause_writing(self) -> None:
        self._is_writable = False
        if self._other is not None:
            self._other._pace()

    def resume_writing(self) -> None:
        self._is_writable = True
        if self._other is not None:
            self._other.release()

    def abort(self) -> None:
        """Break it: the peer is told by a reset, not by an ordinary end."""
        self._forget()
        if not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE
            )
        self._transport.abort()

    def close(self) -> None:
        """After what was written has gone."""
        self._forget()
        self._transport.close()

    def release(self) -> None:
        """Hand over what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        other = self._other
        if not self._flows() or other is None:
            self._pace()
            return
        due: list[bytes] = []
        count, now = 0, time.monotonic()
        while self._line and self._line[0][0] <= now and count < _RELEASE_BYTES:
            data = self._line[0][1]
            if not data:
                break
            self._line.popleft()
            due.append(data)
            count += len(data)
        self._held -= count
        if due and not other._transport.is_closing():
            other._transport.writelines(due)
        if self._line and not self._line[0][1] and self._line[0][0] <= now:
            self._hand_over_end(other, self._line.popleft()[1])
        elif self._line:
            self._timer = self._loop.call_later(max(0.0, self._line[0][0] - now), self.release)
        self._pace()

    def _queue(self, data: bytes | None) -> None:
        due = self.path.due(self._forth, self._not_before, len(data or b""))
        self._last_due = due = max(due, self._last_due)
        self._line.append((due, data))
        if self._timer is None:
            self.release()
        else:
            self._pace()

    def _flows(self) -> bool:
        other = self._other
        return other is not None and other._is_writable and self.path.state is not State.LOST

    def _hand_over_end(self, other: End, mark: bytes | None) -> None:
        self._is_done = True
        if mark is _CUT:
            other.abort()
        elif other._is_done:
            self.close()
            other.close()
        elif not other._transport.is_closing():
            other._transport.write_eof()

    def _pace(self) -> None:
        """Read on, or don't: the sender must notice when the receiver does not take it."""
        most = IN_FLIGHT_BYTES_MAX if self._flows() else STALLED_BYTES_MAX
        if self._is_reading and self._held > most:
            self._is_reading = False
            self._transport.pause_reading()
        elif not self._is_reading and self._held <= most // 2:
            self._is_reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _forget(self) -> None:
        self._line.clear()
        self._held = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def lead_on(near: End, host: str, port: int, *, is_last: bool = True) -> bool:
    """Open the connection's other half. False when nobody answers there; then `near` is broken,
    if that was the last place to try.

    Over a lost path the client waits; if it goes meanwhile, nobody hears of it.
    """
    path = near.path
    if path.state is State.LOST:
        await path.until_not_lost()
        if near.has_ended:
            near.abort()
    if path.state is State.RESET:
        near.abort()
    if near.is_gone:
        return False
    began = time.monotonic()
    try:
        _, far = await asyncio.get_running_loop().create_connection(
            lambda: End(path, forth=not near._forth, is_near=False), host, port
        )
    except OSError:
        await asyncio.sleep(max(0.0, path.round_trip_s - (time.monotonic() - began)))
        if is_last:
            near.abort()
        return False
    near.join(far)
    return True
