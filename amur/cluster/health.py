"""Is a gateway well? Is anybody there?"""

from __future__ import annotations

import asyncio
import contextlib

_REQUEST = b"GET /-/health HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n"


async def is_well(host: str, port: int) -> bool:
    """Whether the gateway says so. Raises OSError when it says nothing; waits without end."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_REQUEST)
        return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
