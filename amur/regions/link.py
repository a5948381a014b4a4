"""A link to a peer region: the one edge that talks to other regions. `http_link.py` is the real
one; simulations have theirs in one process, which loses, delays and repeats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from amur.regions.messages import BodyName, Reply, Request
from amur.regions.topology import Region


class LinkError(Exception):
    """Base of what a link raises."""


class PeerUnreachable(LinkError):
    """No answer: down, cut off, or too slow. Whether the request was carried out is open."""


class PeerRefused(LinkError):
    """The peer answered that it can't: wrong secret, wrong clock, not the region we mean, newer."""


class BodyMissing(LinkError):
    """The peer has not got (all of) these bytes, or not any more, or they are damaged there."""


class Link(ABC):
    """To one peer. Its methods may be called by many tasks at once."""

    region: Region

    @abstractmethod
    async def call(self, request: Request, *, timeout_s: float = 0) -> Reply:
        """One question, one answer. Raises PeerUnreachable, PeerRefused."""

    @abstractmethod
    def read(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        """Bytes [start, end) of a body, in pieces of at most CHUNK_BYTES, each verified on the way.

        Raises BodyMissing before the first piece, PeerUnreachable at any time (also when the peer
        stops sending); closing the generator ends the transfer.
        """

    @property
    @abstractmethod
    def rtt_s(self) -> float:
        """Smoothed round-trip time, seconds; infinite while the peer does not answer."""

    @abstractmethod
    async def close(self) -> None: ...
