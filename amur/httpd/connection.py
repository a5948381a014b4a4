"""The protocol of one connection: exchanges in turn, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import sys
import termios
from collections import deque
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_to_bytes

import httptools

from amur.httpd.exchange import ClientGone, Exchange, HeaderPairs
from amur.limits import KIB, MIB

if TYPE_CHECKING:
    from amur.httpd.server import Server

HEAD_BYTES_MAX = 64 * KIB  # request line and headers; the application has its own, lower limits
HEADERS_MAX = 256
BODY_HELD_MAX = 1 * MIB  # of a body, not yet taken: no more is read then
DIRECT_BYTES = 1 * MIB  # of a long body, given to the application at once: a chunk of the store's
DIRECT_BYTES_FIRST = 128 * KIB  # the first of them: who sends slowly costs no more than he sent
DIRECT_BYTES_MIN = 64 * KIB  # a body of which more than this is still to come is a long one
PIPELINED_MAX = 128  # requests that wait for one before them: those beyond must be sent again
UNREAD_BYTES_MAX = 64 * KIB  # of a body nobody wants, read so that the connection lives on
WRITE_HELD_MAX = 256 * KIB  # of an answer, not yet taken by the kernel: the sender waits then
BATCHED_BYTES_MAX = 64 * KIB
"""Answers up to this long are sent together with those of other connections: each write wakes a
client that sleeps, which costs more than the rest of the write (GET of 1 KiB: 77 us of CPU without,
64 with; PUT 147 and 145)."""
HEADER_SECONDS = 10.0  # for the head of a request, from its first byte or the connection's start
IDLE_SECONDS = 60.0  # between two requests
STALL_SECONDS = 60.0  # a client that takes no more of an answer in this time than ...
STALL_BYTES = 16 * KIB  # ... this much has gone
LINGER_SECONDS = 2.0  # after the last answer, for a client that still sends

_STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS = frozenset((204, 304))
_NAMES: dict[bytes, str] = {}  # header names as sent, to ours
_NAMES_MAX = 4096
_NAME_BYTES_MAX = 64
_BYTES_ACKED = struct.Struct("120xQ")  # tcpi_bytes_acked in struct tcp_info, linux/tcp.h

log = logging.getLogger("amur.httpd")


class Connection(asyncio.BufferedProtocol):
    """Parses what arrives, runs one exchange at a time in the order of the requests."""

    __slots__ = (
        "_active", "_direct", "_drain", "_filled", "_has_eof", "_head_bytes", "_is_batched",
        "_is_ending", "_is_lost", "_is_open", "_is_writing", "_pairs", "_parser", "_patience",
        "_paused",
        "_receiving", "_server", "_since", "_taken", "_target", "_transport", "_unread",
        "_waiting", "client", "scheme",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._active: Exchange | None = None  # being answered
        self._waiting: deque[Exchange] = deque()  # pipelined behind it
        self._receiving: Exchange | None = None  # whose body is arriving
        self._pairs: HeaderPairs = []
        self._target = b""
        self._head_bytes = 0  # of a head, or between the chunks of a body; 0 between requests
        self._direct: bytearray | None = None  # where the body goes without the parser
        self._filled = 0  # of it
        self._unread = 0  # bytes dropped of the body of an answered exchange
        self._is_open = True  # for another request
        self._is_ending = False  # the last byte of the last answer is written
        self._is_lost = False
        self._has_eof = False
        self._is_batched = False  # an answer waits in the server's batch
        self._paused = False  # reading
        self._drain: asyncio.Future[None] | None = None  # a sender waits
        self._since = 0.0  # when the client's turn began ...
        self._patience = HEADER_SECONDS  # ... and how long it may take
        self._is_writing = False  # the client has yet to take something
        self._taken = 0  # bytes that the client had taken when its turn began
        self.client = ""
        self.scheme = "http"

    # --- the connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by inheritance
        self._transport = transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.client = f"{peer[0]}:{peer[1]}" if peer else ""
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        transport.set_write_buffer_limits(WRITE_HELD_MAX)
        self._since = self._server.now()
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()
        self._server.closed(self)

    def _lose(self) -> None:
        """Nothing more can be said to the client."""
        self._is_lost = True
        self._is_open = False
        self._waiting.clear()
        for exchange in (self._receiving, self._active):
            if exchange is not None and not exchange.is_whole:
                exchange.feed_end(is_broken=True)
        self._direct = None
        self._wake_sender()

    def eof_received(self) -> bool:
        """The client sends no more; it may still read."""
        self._has_eof = True
        self._is_open = False
        if self._is_batched:  # on False the transport closes
            self._server.write_batch()
        if self.scheme == "https":  # uvloop ends both directions
            self._lose()
            return False
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.feed_end(is_broken=True)
            if receiving.is_answered:
                self._finish()
        return self._active is not None or bool(self._waiting)

    def get_buffer(self, sizehint: int) -> memoryview:
        direct = self._direct
        # one for all connections: what was read is parsed before anything else is read
        return self._server.buffer if direct is None else memoryview(direct)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._direct is not None:
            self._take_directly(nbytes)
            return
        receiving = self._receiving
        if receiving is None:
            if not self._is_open:
                return  # after the last request: read and dropped until the client closes
            if self._patience == IDLE_SECONDS:
                self._patience = HEADER_SECONDS
                self._since = self._server.now()
        received = 0 if receiving is None else receiving.received
        self._head_bytes += nbytes
        self._parse(self._server.buffer[:nbytes])
        if receiving is not None and receiving.received > received:
            self._head_bytes = 0
        if self._head_bytes > HEAD_BYTES_MAX and self._direct is None:
            self._broken(431)  # of a body in chunks: extensions and trailers without end
        now_receiving = self._receiving
        if (
            now_receiving is not None
            and self._direct is None
            and now_receiving.length - now_receiving.received > DIRECT_BYTES_MIN
        ):
            self._go_direct(now_receiving)
        if self._waiting or now_receiving is not None:
            self._hold()

    def _parse(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_unparsed(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            log.error("a request could not be read", exc_info=error)
            self._broken(400)
        except httptools.HttpParserError:
            self._broken(400)

    def _take_unparsed(self, data: memoryview) -> None:
        """Of a request to upgrade, which we ignore, the parser leaves the body to us."""
        self._is_open = False
        exchange = self._receiving
        if exchange is None:
            return
        if data:
            self.on_body(bytes(data[: exchange.length]))
        if exchange.received == exchange.length:
            self.on_message_complete()
        elif self._receiving is not None:
            self._go_direct(exchange)

    def _go_direct(self, exchange: Exchange) -> None:
        """The rest of a long body is read to where it is used, in pieces that double in size.

        They end where the store's chunks do.
        """
        begun = exchange.taken_back()
        rest = exchange.length - exchange.received
        size = DIRECT_BYTES_FIRST
        while size <= len(begun):
            size *= 2
        self._direct = bytearray(min(size, len(begun) + rest))
        self._direct[: len(begun)] = begun
        self._filled = len(begun)

    def _take_directly(self, nbytes: int) -> None:
        exchange, direct = self._receiving, self._direct
        if exchange is None or direct is None:  # refused in the middle
            self._direct = None
            return
        exchange.received += nbytes
        self._filled += nbytes
        if self._filled < len(direct):
            return
        exchange.feed(direct)
        rest = exchange.length - exchange.received
        self._filled = 0
        if rest:
            self._direct = bytearray(min(DIRECT_BYTES, max(len(direct), exchange.received), rest))
            self._hold()
        else:
            self._direct = None
            self._parser = httptools.HttpRequestParser(self)
            self.on_message_complete()

    def pause_writing(self) -> None:
        if self._drain is None:
            self._drain = self._server.loop.create_future()

    def resume_writing(self) -> None:
        self._wake_sender()
        self._next()

    def _wake_sender(self) -> None:
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)

    # --- what the parser finds ---

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is not None:
            return  # a trailer of chunked encoding: nothing that we know of comes there
        known = _NAMES.get(name)
        if known is None:
            known = name.decode("latin-1").lower()
            if len(_NAMES) < _NAMES_MAX and len(name) <= _NAME_BYTES_MAX:
                _NAMES[name] = known
        if len(self._pairs) <= HEADERS_MAX:
            self._pairs.append((known, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        target, pairs = self._target, self._pairs
        self._target, self._pairs = b"", []
        self._head_bytes = 0
        parser = self._parser
        if not self._is_open:
            return
        if len(self._waiting) >= PIPELINED_MAX:
            self._waiting[-1].is_last = True
            self._is_open = False
            return
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._broken(400)
            return
        if len(target) > HEAD_BYTES_MAX:
            self._broken(414)
            return
        if len(pairs) > HEADERS_MAX or sum(len(value) for _, value in pairs) > HEAD_BYTES_MAX:
            self._broken(431)
            return
        path, query = _split(target)
        exchange = Exchange(self, parser.get_method().decode("ascii"), path, query, pairs)
        exchange.target = target
        exchange.takes_chunks = version == "1.1"
        exchange.is_last = not parser.should_keep_alive() or self._server.is_stopping
        for name, value in pairs:
            if name == "transfer-encoding":
                if value.lower() != "chunked" or version != "1.1" or parser.should_upgrade():
                    self._broken(400)
                    return
                exchange.is_last = True  # a proxy in front may have understood it otherwise
            elif name == "content-length":
                exchange.length = int(value)
            elif name == "expect":
                exchange.wants_continue = value.lower() == "100-continue" and version == "1.1"
        if parser.should_upgrade():
            exchange.is_last = True
            if exchange.method == "CONNECT":
                exchange.length = -1
        self._receiving = exchange
        if self._active is None and self._drain is None:
            self._start(exchange)
        else:
            self._waiting.append(exchange)

    def on_body(self, piece: bytes) -> None:
        exchange = self._receiving
        if exchange is None:
            return
        exchange.wants_continue = False
        exchange.received += len(piece)
        if not exchange.is_answered:
            exchange.feed(piece)
            return
        self._unread += len(piece)
        if self._unread > UNREAD_BYTES_MAX:
            self._receiving = None
            self._finish()

    def on_message_complete(self) -> None:
        exchange = self._receiving
        if exchange is None or exchange.received < exchange.length:
            return
        self._receiving = None
        self._head_bytes = 0
        if exchange.is_last:
            self._is_open = False
        if not exchange.is_answered:
            exchange.feed_end()
            return
        self._unread = 0
        self._settle(exchange)

    def _broken(self, status: int) -> None:
        """The bytes make no sense any more: answer what was whole, or say so, then close."""
        self._is_open = False
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.is_last = True
            exchange.feed_end(is_broken=True)
        elif self._active is None and not self._waiting and not self._is_ending:
            self.write(f"{_STATUS[status]}connection: close\r\ncontent-length: 0\r\n\r\n".encode())
            self._finish()

    # --- exchanges ---

    def _start(self, exchange: Exchange) -> None:
        self._active = exchange
        self._server.run(exchange)

    def _next(self) -> None:
        if self._waiting and self._active is None and self._drain is None:
            self._start(self._waiting.popleft())
        self._hold()

    def wants_body(self, exchange: Exchange) -> None:
        """The application waits for it."""
        if exchange.wants_continue:
            exchange.wants_continue = False
            self.write(_CONTINUE)
        self._hold()

    def _hold(self) -> None:
        """Read on, or not: no more than what is bounded is held of what nobody takes."""
        receiving = self._receiving
        full = bool(self._waiting) or (receiving is not None and receiving.held >= BODY_HELD_MAX)
        if full != self._paused and not self._transport.is_closing():
            self._paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        """The last byte of the answer is written."""
        exchange.is_answered = True
        if exchange is self._receiving and not exchange.is_last:
            self._since = self._server.now()
            self._patience = HEADER_SECONDS
            self._hold()
            return  # what is left of the body is dropped as it comes
        self._settle(exchange)

    def _settle(self, exchange: Exchange) -> None:
        """Answered, and its body has been read or never will be."""
        self._active = None
        self._since = self._server.now()
        self._patience = IDLE_SECONDS
        if exchange.is_last or not (self._is_open or self._waiting):
            self._finish()
        else:
            self._next()

    def _finish(self) -> None:
        """Close, but let the client read the answer before it learns that nobody listens."""
        self._is_open = False
        self._receiving = self._active = self._direct = None
        self._waiting.clear()
        self._since = self._server.now()
        self._patience = LINGER_SECONDS
        if self._is_lost or self._is_ending:
            return
        self._is_ending = True
        if self._is_batched:
            self._server.write_batch()
        if not self._has_eof and self._transport.can_write_eof():
            with suppress(OSError):
                self._transport.write_eof()
            self._hold()
        else:
            self._transport.close()

    def abort(self) -> None:
        self._is_open = False
        self._is_lost = True
        self._transport.abort()

    # --- writing ---

    def write_head(
        self, exchange: Exchange, status: int, headers: HeaderPairs, body: bytes | None
    ) -> bool:
        """With the body if it is there whole. Answers whether what follows goes in chunks."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"{_STATUS[status]}{self._server.date_line}{lines}"
        if head.count("\r") != len(headers) + 2 or head.count("\n") != len(headers) + 2:
            raise ValueError("a header holds a line break")
        chunked = False
        exchange.is_bodiless = exchange.method == "HEAD" or status in _BODILESS
        if not exchange.is_whole and exchange is self._receiving:
            # a body that nobody will read: does the connection outlive it?
            unread = exchange.length - exchange.received
            is_short = 0 <= unread <= UNREAD_BYTES_MAX and self._direct is None
            if exchange.wants_continue or not is_short:
                exchange.is_last = True
            exchange.wants_continue = False  # too late to say so
        if "\r\nconnection: close\r\n" in head:
            exchange.is_last = True
        elif exchange.is_last:
            head += "connection: close\r\n"
        if "\r\ncontent-length: " not in head and status not in _BODILESS:
            if exchange.is_bodiless:
                if body:
                    head += f"content-length: {len(body)}\r\n"
            elif body is None and exchange.takes_chunks:
                chunked = True
                head += "transfer-encoding: chunked\r\n"
            elif body is None:
                exchange.is_last = True  # HTTP/1.0: the end of the connection is that of the body
            else:
                head += f"content-length: {len(body)}\r\n"
        data = (head + "\r\n").encode("latin-1")
        if exchange.wants_continue and exchange.length == 0:  # botocore stumbles without it
            data = _CONTINUE + data
        if body and not exchange.is_bodiless:
            data += body
        if body is not None and len(data) <= BATCHED_BYTES_MAX:
            self._is_batched = True
            self._server.write_soon(self, data)
        else:
            self.write(data)
        return chunked

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_batched:
            self._server.write_batch()
        if not self._is_lost:
            self._transport.write(data)

    def write_batched(self, data: bytes) -> None:
        """By the server, in the order of `write_soon`."""
        self._is_batched = False
        if not self._is_lost:
            self._transport.write(data)

    async def drained(self) -> None:
        if self._drain is not None:
            await self._drain
        if self._is_lost:
            raise ClientGone

    # --- time ---

    def sweep(self, now: float) -> None:
        """Called every second or so."""
        if self._unsent():
            # the transport's own numbers stand still while the kernel sends from its buffer
            taken = self._acknowledged()
            if not self._is_writing or taken - self._taken >= STALL_BYTES:
                self._is_writing = True
                self._taken = taken
                self._since = now
            elif now - self._since > STALL_SECONDS:
                self.abort()
            return
        if self._is_writing:
            self._is_writing = False
            self._since = now
        if self._active is not None and not self._active.is_answered:
            self._since = now  # the application watches over the body itself
        elif now - self._since > self._patience:
            self.abort()

    def _unsent(self) -> int:
        """Bytes of answers that wait for the client. Over TLS all that it has not acknowledged:
        what waits in the transport below is not told, but then the kernel's buffer is not empty."""
        held = self._transport.get_write_buffer_size()
        if self.scheme == "https" and (sock := self._transport.get_extra_info("socket")):
            raw = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
            held += int.from_bytes(raw, sys.byteorder)
        return held

    def _acknowledged(self) -> int:
        """Bytes that the client's kernel has taken of this connection, ever."""
        sock = self._transport.get_extra_info("socket")
        raw = (
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size) if sock else b""
        )
        return int(_BYTES_ACKED.unpack(raw)[0]) if len(raw) == _BYTES_ACKED.size else 0

    def stop(self) -> None:
        """Answer what is under way, take nothing more."""
        if self._active is not None:
            self._active.is_last = True
        elif self._head_bytes == 0:
            self._finish()


def _split(target: bytes) -> tuple[str, str]:
    """Path, decoded, and query, as sent. Of the absolute form the path counts."""
    if not target.startswith(b"/") and b"://" in target:
        url = httptools.parse_url(target)
        target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
    path, _, query = target.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace"), query.decode("latin-1")


def date_line(seconds: float) -> str:
    return f"date: {formatdate(seconds, usegmt=True)}\r\n"
