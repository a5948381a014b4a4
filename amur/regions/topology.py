"""The regions of a cluster, and what a restriction (`X-Tigris-Regions`) allows. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

GEOGRAPHIES: dict[str, tuple[str, ...]] = {
    "usa": ("sjc", "ord", "iad"),
    "eur": ("ams", "fra"),
}
"""As Tigris has them (tigris-facts 7.1)."""


class UnknownRegion(ValueError):
    """A restriction names what is no region of this cluster; `args[0]` is the name."""


class Region(NamedTuple):
    """`number` is in every version that the region makes; addresses are URLs, "" when unknown."""

    name: str
    number: int
    gateway: str = ""
    block_service: str = ""


class Topology:
    """Our own region and its peers."""

    def __init__(self, me: Region, peers: Iterable[Region] = ()) -> None:
        self.me = me
        self.peers = {peer.name: peer for peer in peers}
        self.regions = {me.name: me, **self.peers}
        self.names = sorted(self.regions)
        self._by_number = {region.number: region for region in self.regions.values()}
        assert len(self._by_number) == 1 + len(self.peers), "two regions of one name or number"
        self._allowed: dict[str, frozenset[str]] = {}

    @classmethod
    def of_numbers(cls, me: str, numbers: Mapping[str, int]) -> Topology:
        """Of regions whose addresses nobody needs; without any, of `me` alone."""
        others = [Region(name, number) for name, number in numbers.items() if name != me]
        return cls(Region(me, numbers.get(me, 0)), others)

    @property
    def is_cluster(self) -> bool:
        return bool(self.peers)

    def of_number(self, number: int) -> Region | None:
        return self._by_number.get(number)

    def parse(self, restriction: str) -> tuple[str, ...]:
        """The regions that a restriction allows, () for all, sorted by number: the first leads.

        Raises UnknownRegion for a code that this cluster does not have.
        """
        names: set[str] = set()
        for part in restriction.split(","):
            code = part.strip().lower()
            if not code:
                continue
            if code in self.regions:
                names.add(code)
            elif here := [name for name in GEOGRAPHIES.get(code, ()) if name in self.regions]:
                names.update(here)
            else:
                raise UnknownRegion(code)
        return tuple(sorted(names, key=lambda name: self.regions[name].number))

    def allowed(self, restriction: str) -> frozenset[str]:
        """As `parse`, of a restriction that was accepted once; all regions for "".

        A region that has left the cluster since allows nothing.
        """
        if not restriction:
            return frozenset(self.regions)
        found = self._allowed.get(restriction)
        if found is None:
            codes = [code.strip().lower() for code in restriction.split(",")]
            known = {name for code in codes for name in GEOGRAPHIES.get(code, (code,))}
            found = self._allowed[restriction] = frozenset(known & self.regions.keys())
        return found

    def may_hold(self, restriction: str) -> bool:
        """Whether bytes under this restriction may lie in our region."""
        return not restriction or self.me.name in self.allowed(restriction)

    def kind(self, restriction: str) -> str:
        """The location type (tigris-facts 7.2): global, single, dual or multi."""
        if not restriction:
            return "global"
        codes = [code.strip().lower() for code in restriction.split(",") if code.strip()]
        if any(code in GEOGRAPHIES for code in codes):
            return "multi"
        return "single" if len(codes) == 1 else "dual"

    def leader(self, restriction: str) -> str:
        """The region that answers all requests of a single or multi bucket."""
        allowed = self.allowed(restriction)
        return min(allowed, key=lambda name: self.regions[name].number) if allowed else ""
