"""Who listens where in a cluster on one machine: decided once, kept in DIR, the same for ever.

DIR/plan.json       the addresses, distances and region numbers
DIR/cluster.json    for people and programs: the same with what runs right now
DIR/NAME.toml       settings of one region, made anew from the plan at each start
DIR/cluster-secret  what the regions sign their calls to each other with, mode 0600
DIR/root-key.json   root access key of all regions, unless it comes from the environment
DIR/NAME/           data directory of one region
DIR/run/            locks, sockets, logs: nothing that is missed when lost
"""

from __future__ import annotations

import itertools
import json
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from amur.config import endpoint_of, host_and_port, region_name
from amur.directories import make_durable
from amur.serve.layout import Refusal, write_durably

FORMAT = 1
REGIONS_MAX = 64  # numbers have six bits
_PORT_MAX = 65535
_SECRET_BYTES = 32
HOST = "127.0.0.1"
"""Of everything but the endpoint: what the regions say to each other stays on this machine."""


class RegionPlan(msgspec.Struct, frozen=True):
    name: str
    number: int
    gateway_port: int
    blocks_port: int


class LinkPlan(msgspec.Struct, frozen=True):
    """What `source` connects to at `port` arrives at `target`'s gateway or block service."""

    source: str
    target: str
    service: str  # gateway or blocks
    port: int


class Distance(msgspec.Struct, frozen=True):
    a: str
    b: str
    round_trip_ms: float


class Plan(msgspec.Struct, frozen=True):
    listen: str
    workers: int
    regions: tuple[RegionPlan, ...] = ()
    links: tuple[LinkPlan, ...] = ()
    distances: tuple[Distance, ...] = ()
    format: int = FORMAT

    def region(self, name: str) -> RegionPlan:
        """Raises Refusal."""
        for region in self.regions:
            if region.name == name:
                return region
        known = ", ".join(region.name for region in self.regions)
        raise Refusal(f"there is no region {name!r}; there are {known}")

    @property
    def address(self) -> tuple[str, int]:
        """Of the endpoint."""
        return host_and_port(self.listen)

    @property
    def endpoint(self) -> str:
        return endpoint_of(self.listen)

    def ports(self) -> Iterator[tuple[str, int, str]]:
        """Host and port of every listener, and what it is."""
        yield *self.address, "the endpoint"
        for region in self.regions:
            yield HOST, region.gateway_port, f"the gateway of {region.name}"
            yield HOST, region.blocks_port, f"the block service of {region.name}"
        for link in self.links:
            yield HOST, link.port, f"the link from {link.source} to {link.target} ({link.service})"


class Places:
    """Paths of a cluster's directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.plan = self.root / "plan.json"
        self.cluster = self.root / "cluster.json"
        self.secret = self.root / "cluster-secret"
        self.run = self.root / "run"
        self.log = self.run / "cluster.log"
        self.keeper = self.run / "keeper.sock"
        self.links = self.run / "links.sock"
        self.front = self.run / "front.sock"

    def data(self, region: str) -> Path:
        return self.root / region

    def config(self, region: str) -> Path:
        return self.root / f"{region}.toml"

    def create(self) -> None:
        """Raises OSError."""
        make_durable(self.root)
        self.run.mkdir(mode=0o700, exist_ok=True)


def read(places: Places) -> Plan:
    """Raises Refusal."""
    try:
        plan = msgspec.json.decode(places.plan.read_bytes(), type=Plan)
    except OSError:
        raise Refusal(
            f"{places.root} is no cluster (it has no plan.json): amur cluster up"
        ) from None
    except msgspec.DecodeError:
        raise Refusal(f"{places.plan} is damaged; restore it from a backup") from None
    if plan.format > FORMAT:
        raise Refusal(f"{places.root} was written by a newer amur; install the newer version")
    return plan


def settle(
    places: Places,
    names: Sequence[str] = (),
    listen: str = "",
    workers: int = 0,
    distances: Mapping[tuple[str, str], float] | None = None,
) -> Plan:
    """The plan that is kept, with what is new, written down. Raises Refusal, OSError."""
    if places.plan.exists():
        kept = read(places)
    elif not names:
        raise Refusal("name the regions of the new cluster: --regions sjc,ord,fra")
    else:
        kept = Plan("127.0.0.1:9000", 1)
    before = tuple(region.name for region in kept.regions)
    _check(names or before, before, listen or kept.listen)
    plan = msgspec.structs.replace(
        kept, listen=listen or kept.listen, workers=workers or kept.workers
    )
    plan = _connected(plan, names or before)
    if distances:
        far = {frozenset((each.a, each.b)): each for each in plan.distances}
        for (a, b), ms in distances.items():
            plan.region(a), plan.region(b)
            far[frozenset((a, b))] = Distance(a, b, ms)
        plan = msgspec.structs.replace(plan, distances=tuple(far.values()))
    text = msgspec.json.format(msgspec.json.encode(plan), indent=2)
    write_durably(places.plan, text + b"\n", 0o600)
    return plan


def _check(names: Sequence[str], before: Sequence[str], listen: str) -> None:
    try:
        host_and_port(listen)
    except ValueError as error:
        raise Refusal(f"--listen: {error}") from None
    try:
        for name in names:
            region_name(name)
    except ValueError as error:
        raise Refusal(f"region {name!r}: {error}") from None
    if len(set(names)) < len(names):
        raise Refusal("each region needs a name of its own")
    if len(names) > REGIONS_MAX:
        raise Refusal(f"a cluster has at most {REGIONS_MAX} regions")
    if missing := [name for name in before if name not in names]:
        raise Refusal(
            f"the cluster has the region {missing[0]}: a region can be added, not left out"
        )
    if taken := {"run"} & set(names):
        raise Refusal(f"a region on one machine can't be named {taken.pop()!r}")


def _connected(plan: Plan, names: Sequence[str]) -> Plan:
    """With addresses for those regions and links that have none yet."""
    used = {port for _, port, _ in plan.ports()}
    ports = _free_ports(plan.address[1] + 1, used)
    regions = list(plan.regions)
    for name in names:
        if name not in {region.name for region in regions}:
            number = max((region.number for region in regions), default=-1) + 1
            regions.append(RegionPlan(name, number, next(ports), next(ports)))
    links = list(plan.links)
    known = {(link.source, link.target) for link in links}
    for a, b in itertools.permutations(names, 2):
        if (a, b) not in known:
            links += [LinkPlan(a, b, service, next(ports)) for service in ("gateway", "blocks")]
    return msgspec.structs.replace(plan, regions=tuple(regions), links=tuple(links))


def _free_ports(first: int, used: set[int]) -> Iterator[int]:
    for port in range(first, _PORT_MAX + 1):
        if port not in used and _is_free(HOST, port):
            yield port
    raise Refusal(f"no ports are free from {first} on; choose a lower one: --listen")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def refuse_taken_ports(plan: Plan) -> None:
    """Raises Refusal, so that one line says it and not many processes."""
    for host, port, what in plan.ports():
        if not _is_free(host, port):
            raise Refusal(
                f"{host}:{port}, kept for {what}, is taken; stop what uses it"
                + (" or choose another: --listen" if what == "the endpoint" else "")
            )


def write_settings(places: Places, plan: Plan) -> None:
    """A TOML file for each region, and the secret that they share. Raises OSError."""
    if not places.secret.exists():
        write_durably(places.secret, secrets.token_urlsafe(_SECRET_BYTES).encode() + b"\n", 0o600)
    for region in plan.regions:
        text = settings_text(places, plan, region)
        write_durably(places.config(region.name), text.encode(), 0o600)


def settings_text(places: Places, plan: Plan, region: RegionPlan) -> str:
    """What `amur serve --config` reads. (A JSON string is a TOML string, too.)"""
    lines = [
        f"# Of region {region.name}; made by amur cluster up, which overwrites it.",
        f"data = {json.dumps(str(places.data(region.name)))}",
        f'listen = "{HOST}:{region.gateway_port}"',
        f'region = "{region.name}"',
        f"region_number = {region.number}",
        f"workers = {plan.workers}",
        "pin_workers = false  # the regions share the CPUs",
        f'blocks_listen = "{HOST}:{region.blocks_port}"',
        f"cluster_secret_file = {json.dumps(str(places.secret))}",
    ]
    ports = {
        (link.target, link.service): link.port for link in plan.links if link.source == region.name
    }
    for peer in plan.regions:
        if peer.name != region.name:
            lines += [
                "",
                "[[peers]]",
                f'name = "{peer.name}"',
                f"number = {peer.number}",
                f'gateway = "http://{HOST}:{ports[peer.name, "gateway"]}"',
                f'block_service = "http://{HOST}:{ports[peer.name, "blocks"]}"',
            ]
    return "\n".join(lines) + "\n"


def parse_distance(text: str) -> tuple[tuple[str, str], float]:
    """`sjc:ord=80ms` to the two names and the round trip in milliseconds. Raises Refusal."""
    names, _, time = text.partition("=")
    a, _, b = names.partition(":")
    if not a or not b or a == b:
        raise Refusal(f"{text!r} is no distance: it looks like sjc:ord=80ms")
    return (a, b), milliseconds(time)


def milliseconds(text: str) -> float:
    """`80ms`, `0.08s` or `80`. Raises Refusal."""
    number, factor = (text[:-2], 1.0) if text.endswith("ms") else (text, 1.0)
    if number.endswith("s"):
        number, factor = number[:-1], 1000.0
    try:
        found = float(number) * factor
    except ValueError:
        found = -1.0
    if not 0 <= found <= 60_000:
        raise Refusal(f"{text!r} is no round-trip time: it looks like 80ms, up to 60s")
    return found
