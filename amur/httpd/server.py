"""A listener and its connections: accepts, bounds, sweeps, drains."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Coroutine

from amur.httpd.connection import Connection, date_line
from amur.httpd.exchange import Exchange
from amur.httpd.tls import CLOSE_SECONDS, HANDSHAKE_SECONDS, Tls
from amur.limits import KIB

log = logging.getLogger("amur.httpd")

BACKLOG = 1024  # connections that wait to be accepted
CONNECTIONS_MAX = 4096  # of one worker; more are closed at once
READ_BYTES = 256 * KIB  # at most at once, of what is not a long body
_SWEEP_SECONDS = 1.0

App = Callable[[Exchange], Coroutine[None, None, None]]


class Server:
    """Serves `app` on the running loop. Several processes may listen on the same port."""

    def __init__(self, app: App) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.is_stopping = False
        self.date_line = ""
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._app = app
        self._connections: set[Connection] = set()
        self._connections_max = _connections_max()
        self._running: set[Exchange] = set()  # whether or not their connections still are
        self._batch: list[tuple[Connection, bytes]] = []
        self._listener: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int, tls: Tls | None = None) -> None:
        self._sweep()
        self._listener = await self.loop.create_server(
            lambda: Connection(self),
            host,
            port,
            backlog=BACKLOG,
            reuse_port=True,
            ssl=tls.context if tls else None,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
            ssl_shutdown_timeout=CLOSE_SECONDS if tls else None,
        )

    async def serve(self) -> None:
        """Until `stop` was called and all that was under way is answered."""
        await self._stopped.wait()
        if self._tick is not None:
            self._tick.cancel()

    def stop(self) -> None:
        """Accept no more, finish what is under way."""
        self.is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.stop()
        self._look_whether_done()

    # --- by the connections ---

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        if len(self._connections) > self._connections_max:
            connection.abort()

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._look_whether_done()

    def write_soon(self, connection: Connection, data: bytes) -> None:
        """Before the loop looks for new data."""
        if not self._batch:
            self.loop.call_soon(self.write_batch)
        self._batch.append((connection, data))

    def write_batch(self) -> None:
        batch, self._batch = self._batch, []
        for connection, data in batch:
            try:
                connection.write_batched(data)
            except Exception:  # of one connection: the others' answers must go out
                log.exception("an answer could not be written")
                connection.abort()

    def run(self, exchange: Exchange) -> None:
        self._running.add(exchange)
        exchange.task = self.loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange)
        except Exception:
            log.exception("a request failed")
        finally:
            self._running.discard(exchange)
            if not exchange.is_answered:
                exchange.abort()

    def _look_whether_done(self) -> None:
        if self.is_stopping and not self._connections and not self._running:
            self._stopped.set()

    def _sweep(self) -> None:
        self._tick = self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        self.date_line = date_line(time.time())
        now = self.now()
        for connection in list(self._connections):
            try:
                connection.sweep(now)
            except Exception:
                log.exception("a connection could not be looked after")
                connection.abort()
        self._look_whether_done()


def _connections_max() -> int:
    """Some of the files that the process may open are left for the data."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if files < 0 else min(CONNECTIONS_MAX, files * 3 // 4)
