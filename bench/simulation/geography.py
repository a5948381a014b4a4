"""Eleven regions: where they are, when their people are awake, how far apart they are.

The round-trip times are not ours. They are the medians that Microsoft publishes for the backbone
between its regions in the same cities or next to them, for the 30 days to 29 June 2025:
"Azure network round-trip latency statistics", https://learn.microsoft.com/azure/networking/
azure-network-latency (MicrosoftDocs/azure-docs, CC BY 4.0), the column of the first region, the row
of the second; the two directions differ by 4 ms at most. West US stands for sjc, North Central US
ord, East US iad, West Europe ams, Germany West Central fra, UK South lhr, Southeast Asia sin,
Japan East nrt, Australia East syd, Brazil South gru, South Africa North jnb.

Two checks on them are in `tests/bench/test_geography.py`: none is faster than light in fibre along
the great circle, and IBM's figures for ten of the pairs agree within a fifth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt


@dataclass(frozen=True)
class Region:
    """`weight` is its share of all requests, `utc_hours` its standard time. Weights are assumed."""

    name: str
    city: str
    latitude: float
    longitude: float
    utc_hours: int
    weight: float
    continent: str


REGIONS = (
    Region("sjc", "San Jose", 37.4, -121.9, -8, 0.12, "Americas"),
    Region("ord", "Chicago", 42.0, -87.9, -6, 0.08, "Americas"),
    Region("iad", "Ashburn", 39.0, -77.5, -5, 0.18, "Americas"),
    Region("ams", "Amsterdam", 52.3, 4.8, 1, 0.06, "Europe and Africa"),
    Region("fra", "Frankfurt", 50.0, 8.6, 1, 0.12, "Europe and Africa"),
    Region("lhr", "London", 51.5, -0.5, 0, 0.10, "Europe and Africa"),
    Region("sin", "Singapore", 1.4, 104.0, 8, 0.09, "Asia and Pacific"),
    Region("nrt", "Tokyo", 35.8, 140.4, 9, 0.10, "Asia and Pacific"),
    Region("syd", "Sydney", -33.9, 151.2, 10, 0.05, "Asia and Pacific"),
    Region("gru", "Sao Paulo", -23.4, -46.5, -3, 0.06, "Americas"),
    Region("jnb", "Johannesburg", -26.1, 28.2, 2, 0.04, "Europe and Africa"),
)
NAMES = tuple(region.name for region in REGIONS)
COUNT = len(REGIONS)

_PUBLISHED_MS = {
    "sjc": (51, 71, 153, 159, 147, 171, 107, 141, 176, 274),
    "ord": (19, 104, 110, 97, 209, 145, 184, 138, 235),
    "iad": (85, 94, 79, 224, 164, 199, 119, 218),
    "ams": (12, 12, 160, 234, 250, 186, 164),
    "fra": (17, 157, 219, 247, 195, 162),
    "lhr": (155, 230, 247, 180, 161),
    "sin": (73, 94, 332, 180),
    "nrt": (104, 271, 249),
    "syd": (298, 269),
    "gru": (319,),
}
"""From a region to each that follows it in `REGIONS`."""

LIGHT_KM_PER_MS = 200.0  # in fibre: two thirds of that in a vacuum
EARTH_RADIUS_KM = 6371.0


def round_trips_s() -> tuple[tuple[float, ...], ...]:
    """Seconds between any two, by their positions in `REGIONS`; 0 to itself."""
    table = [[0.0] * COUNT for _ in REGIONS]
    for here, name in enumerate(NAMES[:-1]):
        for there, value in enumerate(_PUBLISHED_MS[name], start=here + 1):
            table[here][there] = table[there][here] = value / 1000
    return tuple(tuple(row) for row in table)


def distance_km(one: Region, other: Region) -> float:
    """Along the great circle."""
    up, down = radians(one.latitude), radians(other.latitude)
    across = radians(other.longitude - one.longitude)
    chord = sin((down - up) / 2) ** 2 + cos(up) * cos(down) * sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(chord))
