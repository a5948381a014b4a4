"""A signed HTTP/1.1 client of one connection, which tells an answer from the lack of one."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote

from amur.gateway.presign import sign_request
from amur.gateway.sigv4 import UNSIGNED_PAYLOAD

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class UnansweredError(Exception):
    """The connection broke: the request may have been carried out, or not."""


class Server(Protocol):
    """A gateway on 127.0.0.1, and its root key."""

    port: int
    key_id: str
    secret: str


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Talks to a server that may be killed at any moment."""

    def __init__(self, server: Server, *, seconds: float = 30.0, clock_s: int = 0) -> None:
        """`clock_s` is how far its clock is ahead."""
        self._server = server
        self._seconds = seconds
        self._clock_s = clock_s
        self._connection: http.client.HTTPConnection | None = None

    def call(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Raises UnansweredError unless the whole answer came."""
        signed = self.signed(method, path, query, headers)
        target = quote(path) + (f"?{query}" if query else "")
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self._server.port, timeout=self._seconds
            )
            self._connection = connection
        try:
            connection.request(method, target, body, signed)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise UnansweredError(f"{method} {target}: {error!r}") from error
        if response.will_close:
            self.close()
        return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, content)

    def signed(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        payload: str = UNSIGNED_PAYLOAD,
    ) -> dict[str, str]:
        host = {"host": f"127.0.0.1:{self._server.port}"}
        return sign_request(
            method, path, query, host | dict(headers or {}), key_id=self._server.key_id,
            secret=self._server.secret, now_s=int(time.time()) + self._clock_s, payload=payload,
        )  # fmt: skip

    def ok(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """`call`, which must succeed."""
        answer = self.call(method, path, query, headers, body)
        assert answer.status < 300, f"{method} {path}?{query}: {answer.status} {answer.body!r}"
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
