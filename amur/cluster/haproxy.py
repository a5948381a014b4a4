"""An HAProxy configuration for the endpoint: to the nearest healthy region. Sans-IO."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from amur.config import endpoint_of, host_and_port
from amur.limits import HEADER_BYTES_MAX, KIB, URL_BYTES_MAX
from amur.serve.layout import Refusal

Network = IPv4Network | IPv6Network
Order = tuple[str, ...]

_HEAD_BYTES = 32 * KIB
"""Of a request's head: HAProxy refuses longer ones, Amur allows 24 KiB."""
assert _HEAD_BYTES >= URL_BYTES_MAX + HEADER_BYTES_MAX + 4 * KIB

_TOP = f"""\
# Written by amur edge; docs/regions.md says what it does. Change the command, not this file.

global
    log stdout format raw local0
    fd-hard-limit 65536           # two for each connection; less where the system allows less
    tune.bufsize {_HEAD_BYTES}        # the head of a request must fit
    hard-stop-after 1h            # a reload lets long transfers end

defaults
    mode http
    log global
    option httplog
    option dontlognull
    option forwardfor
    # Which region answers may change between two tries of the same request, but not half-way:
    # only what could not even be sent is tried again, at the next region.
    retries 3
    option redispatch 1
    retry-on conn-failure
    timeout connect 500ms         # of a region; below it a try is given up
    timeout http-request 10s      # for the head of a request
    timeout http-keep-alive 55s   # Amur closes idle connections after 60
    timeout queue 5s
    # Between two pieces of a body, whatever its size; completing an upload of 10,000 parts and
    # copying 5 GiB are silent for a while.
    timeout client 5m
    timeout server 5m
    timeout tunnel 5m
    # A region that is gone is out of use after 0.5 + 0.5 + 0.25 + 0.5 = 1.75 s at most, one that
    # refuses connections sooner; what it still has open is cut, so that clients try elsewhere.
    timeout check 500ms
    default-server inter 500ms fastinter 250ms downinter 1s fall 2 rise 2
    default-server on-marked-down shutdown-sessions init-addr last,libc,none resolvers system

resolvers system
    parse-resolv-conf
    hold valid 10s
"""


@dataclass(frozen=True)
class Edge:
    """`regions` are names and the gateways' URLs, in the order of preference of those clients that
    are in no network of `near`."""

    listen: str
    regions: dict[str, str]
    near: list[tuple[Network, Order]] = field(default_factory=list)
    tls_cert: str = ""  # chain and key in one PEM file
    domains: Sequence[str] = ()  # BUCKET.domain is served: there every path is an object's


def parse_near(text: str, regions: Iterable[str]) -> tuple[Network, Order]:
    """`10.0.0.0/8=fra,ams`: the regions for a network, nearest first. Raises Refusal."""
    network, _, names = text.partition("=")
    order = tuple(name.strip() for name in names.split(",") if name.strip())
    try:
        found = ip_network(network.strip())
    except ValueError as error:
        raise Refusal(f"--near {text}: {error}; it looks like 10.0.0.0/8=fra") from None
    if not order:
        raise Refusal(f"--near {text}: it looks like 10.0.0.0/8=fra or 10.0.0.0/8=fra,ams")
    known = list(regions)
    for name in order:
        if name not in known:
            raise Refusal(
                f"--near {text}: there is no region {name!r}; there are {', '.join(known)}"
            )
    return found, order


def configuration(edge: Edge) -> str:
    """The text of haproxy.cfg. Raises Refusal."""
    if not edge.regions:
        raise Refusal("name the regions: --config cluster.json, or --region fra=https://...")
    try:
        host_and_port(edge.listen)
    except ValueError as error:
        raise Refusal(f"--listen: {error}") from None
    orders = {network: _whole(order, edge.regions) for network, order in edge.near}
    default = _whole((), edge.regions)
    parts = [_TOP, _frontend(edge, orders, default), _checks(edge.regions)]
    parts += [_backend(order, edge.regions) for order in dict.fromkeys([*orders.values(), default])]
    return "\n".join(parts)


def _whole(order: Order, regions: Iterable[str]) -> Order:
    """With the regions that were not named behind those that were."""
    return tuple(dict.fromkeys([*order, *regions]))


def _frontend(edge: Edge, orders: dict[Network, Order], default: Order) -> str:
    tls = f" ssl crt {_quoted(edge.tls_cert)} alpn h2,http/1.1" if edge.tls_cert else ""
    lines = [
        "frontend amur",
        f"    bind {edge.listen}{tls}",
        "    # pages about the regions are not for everybody",
        f"    http-request deny if {{ path /-/metrics /-/region }}{_unless_bucket(edge.domains)}",
    ]
    # the smallest network that has the client decides, so it stands first
    ordered = sorted(orders.items(), key=lambda each: -each[0].prefixlen)
    for order, group in itertools.groupby(ordered, key=lambda each: each[1]):
        for networks in _batches([str(network) for network, _ in group]):
            lines += [f"    use_backend {_name(order)} if {{ src {' '.join(networks)} }}"]
    lines.append(f"    default_backend {_name(default)}")
    return "\n".join(lines) + "\n"


def _unless_bucket(domains: Sequence[str]) -> str:
    """Raises Refusal."""
    for domain in domains:
        if not domain or not set(domain) <= _HOST_CHARACTERS - {":"}:
            raise Refusal(f"{domain!r} is no domain name")
    ends = " ".join(f".{domain}" for domain in domains)
    return f" !{{ req.hdr(host),field(1,:) -m end {ends} }}" if ends else ""


def _batches(networks: Sequence[str], count: int = 50) -> list[Sequence[str]]:
    """A line of a configuration has at most 64 words."""
    return [networks[at : at + count] for at in range(0, len(networks), count)]


def _checks(regions: dict[str, str]) -> str:
    """Each region is looked at once, however many orders it stands in."""
    lines = [
        "backend regions",
        "    option httpchk",
        "    http-check send meth GET uri /-/health ver HTTP/1.1 hdr Host health",
        "    http-check expect status 200",
    ]
    lines += [f"    server {name} {_address(url)} check" for name, url in regions.items()]
    return "\n".join(lines) + "\n"


def _backend(order: Order, regions: dict[str, str]) -> str:
    """The first that is well; the others are there in case, in this order."""
    lines = [f"backend {_name(order)}"]
    for position, name in enumerate(order):
        spare = " backup" if position else ""
        lines.append(f"    server {name} {_address(regions[name])} track regions/{name}{spare}")
    return "\n".join(lines) + "\n"


def _name(order: Order) -> str:
    return "near_" + "_".join(order)


def _address(url: str) -> str:
    """Where a region is, as HAProxy says it. Raises Refusal."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        host = parts.hostname or ""
    except (ValueError, KeyError):
        host, port = "", 0
    if not host or not set(host) <= _HOST_CHARACTERS:
        raise Refusal(f"{url!r} is no URL of a gateway; it looks like https://fra.example.com")
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.scheme == "http":
        return where
    name = "" if _is_ip(host) else f" sni str({host}) check-sni {host} verifyhost {host}"
    return f"{where} ssl verify required ca-file @system-ca{name}"


_HOST_CHARACTERS = set("abcdefghijklmnopqrstuvwxyz0123456789.-:")


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _quoted(path: str) -> str:
    """A word of the configuration. Raises Refusal."""
    if not path.isprintable() or "'" in path:
        raise Refusal(f"{path!r} can't stand in a configuration of HAProxy: rename it")
    return f"'{path}'"


def endpoint(edge: Edge) -> str:
    """What a client on this machine would use."""
    return endpoint_of(edge.listen, "https" if edge.tls_cert else "http")
