"""Who the client is behind proxies that we were told to believe, and nobody else.

A trusted proxy appends the address that it saw to X-Forwarded-For: the last one there that is
no trusted proxy itself is the client. What stands before it, anybody can have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from amur.gateway.request import Request

Network = IPv4Network | IPv6Network


class Proxies:
    def __init__(self, networks: Sequence[str]) -> None:
        """Addresses or networks. Raises ValueError."""
        self._networks: tuple[Network, ...] = tuple(ip_network(text) for text in networks)

    def apply(self, request: Request) -> None:
        """Give the request the client and the scheme that its proxy tells of."""
        if not self._trusts(request.address):
            return
        headers = dict(request.headers)
        for seen in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = seen.strip()
            if not address:
                break
            request.client = f"{address}:0"  # its port is not told
            if not self._trusts(address):
                break
        scheme = headers.get("x-forwarded-proto", "").strip().lower()
        if scheme in ("http", "https"):
            request.scheme = scheme

    def _trusts(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # of a socket for both protocols
        return any(address in network for network in self._networks)
