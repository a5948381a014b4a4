"""Connections to the other regions' gateways, kept for the next request."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from amur.gateway.forward.connection import GatewayConnection
from amur.regions.topology import Region

CONNECT_SECONDS = 2.0  # TCP and TLS; what takes longer is no region that serves anybody
IDLE_SECONDS = 20.0  # less than the server's own patience, so that it seldom closes first
IDLE_MAX = 64  # connections kept to one region


class Pool:
    """Of one process. `trust` verifies the peers' certificates; the system's by default."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self._trust = trust
        self._idle: dict[str, list[GatewayConnection]] = {}

    def idle(self, region: str) -> GatewayConnection | None:
        """One that was used before, the freshest."""
        kept = self._idle.get(region, [])
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while kept:
            connection = kept.pop()
            if not connection.is_lost and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def fresh(self, region: Region) -> GatewayConnection:
        """A new one. Raises OSError, TimeoutError."""
        address = urlsplit(region.gateway)
        is_tls = address.scheme == "https"
        host, port = address.hostname, address.port or (443 if is_tls else 80)
        if not host:
            raise OSError(f"region {region.name} has no gateway")
        if is_tls and self._trust is None:
            self._trust = ssl.create_default_context()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(
                GatewayConnection, host, port, ssl=self._trust if is_tls else None
            )
        return connection

    def give_back(self, region: str, connection: GatewayConnection) -> None:
        """Kept if its last exchange has ended well, else closed."""
        kept = self._idle.setdefault(region, [])
        kept[:] = [each for each in kept if not each.is_lost]
        if connection.is_reusable and len(kept) < IDLE_MAX:
            connection.idle_since = asyncio.get_running_loop().time()
            kept.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        for kept in self._idle.values():
            for connection in kept:
                connection.abort()
        self._idle.clear()
