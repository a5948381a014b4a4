"""The table as a picture: how much CPU a request costs, and how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from bench.rows import Row

_BARE, _AMUR = "#b0b7bf", "#2b6cb0"


def draw(rows: list[Row], machine: dict[str, Any], path: Path) -> None:
    """An SVG of some 30 KB, with its text as text."""
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "amur"
    small = [row for row in rows if row.p50 is not None and not row.name.startswith("LIST")][::-1]
    large = [row for row in rows if row.unit == "MB/s"][::-1]
    figure, (cost, latency, streams) = plt.subplots(3, 1, figsize=(9, 8), layout="constrained")
    names = [row.name for row in small]
    colors = [_BARE if name.startswith("bare") else _AMUR for name in names]
    bars = cost.barh(names, [row.cpu_us or 0 for row in small], color=colors)
    cost.bar_label(bars, [f"{row.cpu_us:.0f} us, {row.value:,.0f}/s" for row in small], padding=3)
    cost.set_title(f"CPU us of the server for each request ({machine['cores']} cores)")
    for shade, field in ((1.0, "p50"), (0.6, "p90"), (0.3, "p99")):
        values = [getattr(row, field) for row in small]
        latency.plot(values, names, "o", color=_AMUR, alpha=shade, label=field)
    latency.set_title("latency in ms, the load on the same cores")
    latency.set_xlim(left=0)
    latency.legend()
    bars = streams.barh(
        [row.name for row in large], [row.value for row in large],
        color=[_BARE if row.name.startswith("bare") else _AMUR for row in large],
    )  # fmt: skip
    streams.bar_label(bars, fmt="%.0f", padding=3)
    streams.set_title("MB/s")
    for axes in (cost, streams):
        axes.margins(x=0.2)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
