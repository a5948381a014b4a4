"""Talking to a running process of the cluster: one JSON object each way over a Unix socket.

Who may open the socket is decided by the mode of its directory (0700).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from amur.limits import MIB
from amur.serve.layout import Refusal

Message = dict[str, Any]
Answer = Callable[[Message], Awaitable[Message]]

_PATH_BYTES_MAX = 100  # of a Unix socket's address; the system's own limit is 104 to 108
_MESSAGE_BYTES_MAX = 4 * MIB


class NotRunning(Refusal):
    """Nobody is there to be asked."""


async def serve(path: Path, answer: Answer) -> asyncio.Server:
    """Answer what is asked at `path`; a Refusal becomes one at the asker's."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            try:
                said = await answer(request)
            except Refusal as error:
                said = {"refused": str(error)}
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            pass  # the asker has gone, or is none of ours
        finally:
            writer.close()

    return await asyncio.start_unix_server(talk, sock=_bound(path), limit=_MESSAGE_BYTES_MAX)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    place = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _Address(path) as address:
        place.bind(address)
    return place


def ask(path: Path, request: Message, seconds: float = 60.0) -> Message:
    """The answer. Raises NotRunning when nobody listens, Refusal when the answer is no."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            with _Address(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no cluster runs in {path.parents[1]}: amur cluster up") from None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                said = json.loads(stream.readline(_MESSAGE_BYTES_MAX))
        except (OSError, ValueError):
            raise Refusal(f"{path.stem} of the cluster went away without an answer") from None
    if not isinstance(said, dict) or "refused" in said:
        raise Refusal(str(said.get("refused") if isinstance(said, dict) else said))
    return said


class _Address:
    """The path, or a short one to the same socket where it is too long for the system."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._directory = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _PATH_BYTES_MAX:
            return str(self._path)
        self._directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._directory >= 0:
            os.close(self._directory)
