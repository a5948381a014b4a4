"""Which region answers a request. Pure: a table of facts in, names of regions out.

| bucket | object reads | object writes | settings, listings |
|---|---|---|---|
| global | here | here | here |
| single | its region | its region | its region |
| multi | its leader | its leader | its leader |
| dual | here | here if allowed, else the nearest allowed region | here |

On top of it, in global and dual buckets: a request of a multipart upload goes to where the upload
began; X-Tigris-Regions pins a read, and restricts what is written; X-Tigris-Consistent and
X-Tigris-CAS ask the object's home. A copy goes where its source's bytes may lie, if what it writes
may, too. A bucket is created where it will be answered for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from amur.meta.keys import ID_BYTES
from amur.meta.stamping import region_number
from amur.regions.topology import Topology

if TYPE_CHECKING:
    from amur.gateway.endpoints import Endpoint

Distance = Callable[[str], float]
"""Round trip to a peer in seconds; infinite while it does not answer."""

LED = frozenset({"single", "multi"})
"""Location types of which one region answers every request."""

_AT_A_BUCKET = frozenset({"DeleteObjects", "PostObject", "ListMultipartUploads"})
"""Requests that write objects, or ask for what only a writing region has, without a key."""


class NoRegionLeft(Exception):
    """No region of the restriction is (still) in this cluster."""


class Touch(Enum):
    """What a request is about."""

    SERVICE = 0
    CREATION = 1  # of a bucket
    BUCKET = 2  # its settings, what is in it
    READ = 3  # of objects
    WRITE = 4


class Facts(NamedTuple):
    """What decides. `restriction` is the bucket's, `asked` the request's X-Tigris-Regions."""

    touch: Touch
    restriction: str = ""
    asked: str = ""
    upload_id: str = ""
    is_strong: bool = False  # X-Tigris-Consistent or X-Tigris-CAS, of a request with a key
    home: str = ""  # of the key's version as this region knows it, "" when it knows none
    source: str = ""  # restriction of the bucket that a copy reads from


def touch_of(endpoint: Endpoint) -> Touch:
    if endpoint.level == "service":
        return Touch.SERVICE
    if endpoint.name == "CreateBucket":
        return Touch.CREATION
    if endpoint.name in _AT_A_BUCKET:
        return Touch.WRITE
    if endpoint.name == "BundleObjects":
        return Touch.READ
    if endpoint.level == "bucket":
        return Touch.BUCKET
    return Touch.READ if endpoint.method in ("GET", "HEAD") else Touch.WRITE


def normal(topology: Topology, restriction: str) -> str:
    """A restriction as it is stored: codes in lower case, each once. Raises UnknownRegion."""
    topology.parse(restriction)
    codes = (code.strip().lower() for code in restriction.split(","))
    return ",".join(dict.fromkeys(code for code in codes if code))


def target_regions(topology: Topology, facts: Facts, distance: Distance) -> tuple[str, ...]:
    """The regions that can answer, the best first; none when it is ours to answer.

    Raises UnknownRegion of a code in `asked`, NoRegionLeft.
    """
    asked = topology.parse(facts.asked) if facts.asked else ()
    if facts.touch is Touch.SERVICE:
        return ()
    if facts.touch is Touch.CREATION:
        return _of_creation(topology, facts.asked, asked)
    if topology.kind(facts.restriction) in LED:
        leader = topology.leader(facts.restriction)
        if not leader:
            raise NoRegionLeft(facts.restriction)
        return _unless_here(topology, (leader,))
    if facts.touch is Touch.BUCKET:
        return ()
    if facts.upload_id and (began := upload_region(topology, facts.upload_id)):
        return _unless_here(topology, (began,))
    if facts.touch is Touch.READ:
        return _of_read(topology, facts, asked, distance)
    return _of_write(topology, facts, asked, distance)


def _of_creation(topology: Topology, restriction: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    if not asked:
        return ()
    if topology.kind(normal(topology, restriction)) not in LED and topology.me.name in asked:
        return ()
    return _unless_here(topology, asked[:1])


def _of_read(
    topology: Topology, facts: Facts, pinned: tuple[str, ...], distance: Distance
) -> tuple[str, ...]:
    if pinned:
        return _nearest(topology, pinned, distance)
    if not facts.is_strong:
        return ()
    allowed = topology.allowed(facts.restriction)
    return _unless_here(topology, _home(topology, facts, allowed) if allowed else ())


def _of_write(
    topology: Topology, facts: Facts, asked: tuple[str, ...], distance: Distance
) -> tuple[str, ...]:
    allowed = topology.allowed(facts.restriction)
    if not allowed:
        raise NoRegionLeft(facts.restriction)
    if asked:
        if not allowed.issuperset(asked):
            return ()  # to be refused
        allowed = frozenset(asked)
    if facts.source:
        allowed = allowed & _readers(topology, facts.source) or allowed  # else to be refused
    if facts.is_strong:
        return _unless_here(topology, _home(topology, facts, allowed))
    return _nearest(topology, allowed, distance)


def _readers(topology: Topology, source: str) -> frozenset[str]:
    """The regions that may copy from a bucket, whose bytes then lie in them."""
    if topology.kind(source) in LED:
        return frozenset((topology.leader(source),))
    return topology.allowed(source)


def _home(topology: Topology, facts: Facts, allowed: frozenset[str]) -> tuple[str, ...]:
    """The home, or for a key that is new here the region which all others would take, too."""
    if facts.home in allowed:
        return (facts.home,)
    return (min(allowed, key=lambda name: topology.regions[name].number),)


def _unless_here(topology: Topology, names: tuple[str, ...]) -> tuple[str, ...]:
    return () if topology.me.name in names else names


def _nearest(topology: Topology, names: Iterable[str], distance: Distance) -> tuple[str, ...]:
    found = tuple(names)
    if topology.me.name in found:
        return ()
    return tuple(sorted(found, key=lambda name: (distance(name), topology.regions[name].number)))


def upload_region(topology: Topology, upload_id: str) -> str:
    """The region in which an upload began, whose number is in its id; "" of what is no id."""
    try:
        raw = bytes.fromhex(upload_id)
    except ValueError:
        return ""
    if len(raw) != ID_BYTES:
        return ""
    region = topology.of_number(region_number(int.from_bytes(raw[:8], "big")))
    return region.name if region is not None else ""
