"""The table as a picture: how much CPU a request costs, and how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from PIL import Image

from bench.bundles import Way
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


def draw_bundles(ways: list[Way], machine: dict[str, Any], path: Path) -> None:
    """A PNG of some 40 KB: seconds of each way to read the same objects, a panel for each group."""
    groups = list(dict.fromkeys(way.group for way in ways))
    heights = [sum(way.group == group for way in ways) + 1 for group in groups]
    figure, panels = plt.subplots(
        len(groups), 1, figsize=(9, 1 + sum(heights) * 0.27), layout="constrained", squeeze=False,
        height_ratios=heights, sharex=True,
    )  # fmt: skip
    for axes, group in zip(panels[:, 0], groups, strict=True):
        some = sorted((way for way in ways if way.group == group), key=lambda way: -way.seconds)
        colors = [_AMUR if way.name.startswith("bundle") else _BARE for way in some]
        bars = axes.barh([way.name for way in some], [way.seconds for way in some], color=colors)
        labels = [f"{way.seconds:.3g} s, {way.rate:,.0f}/s" for way in some]
        axes.bar_label(bars, labels, padding=3, fontsize=8)
        axes.set_title(group, fontsize=9, loc="left")
        axes.set_xscale("log")
        axes.set_xlim(0.01, max(way.seconds for way in ways) * 10)
        axes.tick_params(labelsize=8)
    panels[-1, 0].set_xlabel(
        f"seconds, on a logarithmic scale; {machine['cores']} cores for server and client",
        fontsize=9,
    )
    figure.savefig(path, dpi=80)
    plt.close(figure)
    Image.open(path).quantize(32).save(path, optimize=True)
