"""The other regions, from the settings: topology, links to peers, the gate that peers come by."""

from __future__ import annotations

import ssl

from amur.config import Settings
from amur.meta.lmdb_watch import POLL_SECONDS
from amur.regions.credentials import Credentials, Gate
from amur.regions.http_link import HttpLink
from amur.regions.messages import Hello
from amur.regions.topology import Region, Topology
from amur.serve.layout import Layout
from amur.serve.wiring import Opened, open_store


def topology_of(settings: Settings) -> Topology:
    me = Region(settings.region, settings.region_number)
    peers = (
        Region(peer.name, peer.number, peer.gateway.rstrip("/"), peer.block_service.rstrip("/"))
        for peer in settings.peers
    )
    return Topology(me, peers)


def links_of(settings: Settings, topology: Topology) -> dict[str, HttpLink]:
    """One to each peer, by name; on the loop that uses them. Not yet started: see HttpLink.start.
    None in a region alone."""
    if not topology.is_cluster:
        return {}
    credentials = Credentials(settings.cluster_secret, topology.me.name)
    hello = Hello(topology.me.name, topology.me.number, topology.names)
    tls = client_tls(settings)
    return {
        name: HttpLink(peer, credentials, hello, tls=tls) for name, peer in topology.peers.items()
    }


def client_tls(settings: Settings) -> ssl.SSLContext | None:
    """How peers with https addresses are trusted; None: as browsers do, by the system's CAs."""
    if settings.peers_ca is None:
        return None
    context = ssl.create_default_context(cafile=settings.peers_ca)
    if settings.blocks_tls_cert is not None:
        context.load_cert_chain(settings.blocks_tls_cert, settings.blocks_tls_key, password="")
    return context


def gate_of(settings: Settings, topology: Topology) -> Gate:
    return Gate(settings.cluster_secret, topology.me.name, list(topology.peers))


def open_region(
    settings: Settings, layout: Layout, *, poll_seconds: float = POLL_SECONDS
) -> Opened:
    """The store of this process with its links to the peers, on the loop that uses it."""
    topology = topology_of(settings)
    links = links_of(settings, topology)
    opened = open_store(layout, settings.region, topology, links, poll_seconds=poll_seconds)
    opened.core.cache_bytes = settings.cache_bytes
    for link in links.values():
        link.start()
    return opened
