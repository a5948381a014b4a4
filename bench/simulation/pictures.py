"""The figures as pictures: SVG with its text as text, on no ground, in tones for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.simulation.geography import NAMES, REGIONS
from bench.simulation.run import CURVE, Told
from bench.simulation.traffic import DAY_S, Plan, Requests

_INK = "#7d8590"  # contrast of 4 or more on white and on near black
_COLORS = {
    "pull": "#2f81f7",
    "pull and move": "#2da44e",
    "accelerate": "#c2710c",
    "single region": "#d1477a",
}
_CONTINENTS = {"Americas": "#2f81f7", "Europe and Africa": "#2da44e", "Asia and Pacific": "#c2710c"}
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9)
GIB = 1 << 30


def draw(
    told: Sequence[Told], sweep: Sequence[Told], requests: Requests, plan: Plan, to: Path
) -> None:
    """Three files in the directory `to`."""
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "amur",
            "font.size": 10,
            "font.family": "sans-serif",
            "text.color": _INK,
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "grid.color": _INK,
            "grid.alpha": 0.25,
            "legend.frameon": False,
        }
    )
    to.mkdir(parents=True, exist_ok=True)
    _latency(told, to / "regions-latency.svg")
    _hours(told, requests, plan, to / "regions-hours.svg")
    if sweep:
        _caches(sweep, to / "regions-cache.svg")


def _latency(told: Sequence[Told], path: Path) -> None:
    figure, (curve, regions) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for each in told:
        dashes = "--" if each.policy == "pull and move" else "-"
        tail = [_tail(percent) for percent in CURVE]
        curve.plot(tail, each.curve_ms, dashes, color=_COLORS[each.policy], label=each.policy, lw=2)
    curve.set_xticks([_tail(percent) for percent in _TICKS], [f"p{tick:g}" for tick in _TICKS])
    curve.set_title("GET to the last byte, ms, by percentile of all requests")
    _log_ms(curve)
    curve.legend(loc="lower right", fontsize=9)
    _by_region(regions, [each for each in told if each.policy in ("pull", "single region")])
    _save(figure, path)


def _by_region(axes: Axes, told: Sequence[Told]) -> None:
    for shift, each in zip((-0.12, 0.12), told, strict=True):
        at = np.arange(len(NAMES)) + shift
        color = _COLORS[each.policy]
        means = [each.regions_ms[name]["mean"] for name in NAMES]
        tails = [each.regions_ms[name]["p99"] for name in NAMES]
        axes.vlines(at, means, tails, color=color, lw=1.5)
        axes.plot(at, means, "o", color=color, ms=5, label=f"{each.policy}: mean")
        axes.plot(at, tails, "_", color=color, ms=9, mew=2, label=f"{each.policy}: p99")
    axes.set_xticks(range(len(NAMES)), NAMES)
    axes.set_title("GET by the region that is asked, ms: mean and p99")
    _log_ms(axes)
    axes.set_ylim(1, 3000)
    axes.legend(loc="upper center", ncols=2, fontsize=8)


def _hours(told: Sequence[Told], requests: Requests, plan: Plan, path: Path) -> None:
    figure, (load, local) = plt.subplots(
        2, 1, figsize=(10, 5), sharex=True, layout="constrained", height_ratios=(1, 1.2)
    )
    hours = plan.days * 24
    at = np.arange(hours) + 0.5
    hour = (requests.time // 3600).astype(np.int64)
    below = np.zeros(hours)
    for continent, color in _CONTINENTS.items():
        members = [row for row, region in enumerate(REGIONS) if region.continent == continent]
        some = np.isin(requests.region, members)
        rate = np.bincount(hour[some], minlength=hours) / 3600
        load.fill_between(at, below, below + rate, color=color, alpha=0.75, lw=0, label=continent)
        below = below + rate
    load.set_title("requests per second, one upon another")
    load.legend(loc="upper left", ncols=3, fontsize=8)
    load.set_ylim(0, below.max() * 1.35)
    for each in told:
        if each.policy != "accelerate":
            dashes = "--" if each.policy == "pull and move" else "-"
            values = [100 * share for share in each.hourly]
            local.plot(at, values, dashes, color=_COLORS[each.policy], label=each.policy, lw=2)
    local.set_title("% of the GETs of bodies answered in the region they came to (accelerate: 100)")
    local.set_ylim(0, 100)
    local.set_xlim(0, hours)
    local.set_xticks(range(0, hours + 1, 12))
    local.set_xlabel("hours UTC; caches are empty at 0, figures count from the mark on")
    local.axvline(plan.warm_days * DAY_S / 3600, color=_INK, lw=1, ls=":")
    local.grid(axis="y")
    local.legend(loc="center right", fontsize=9)
    _save(figure, path)


def _caches(sweep: Sequence[Told], path: Path) -> None:
    panels = {
        "% of body GETs answered in the region": _local,
        "of these, % from a durable copy": _durable,
        "bytes moved for each byte read": _moved,
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for panel, (title, value) in zip(axes, panels.items(), strict=True):
        for policy, dashes in (("pull", "o-"), ("pull and move", "o--")):
            some = sorted((each for each in sweep if each.policy == policy), key=_budget)
            budgets = [each.cache_bytes / GIB for each in some]
            values = [value(each) for each in some]
            panel.plot(budgets, values, dashes, color=_COLORS[policy], label=policy, lw=2, ms=5)
        panel.set_title(title)
        panel.set_xscale("log", base=2)
        panel.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
        panel.set_xlabel("GiB of cache in each region")
        panel.set_ylim(0, 0.5 if value is _moved else 100)
        panel.grid(axis="y")
        panel.legend(loc="lower right", fontsize=9)
    _save(figure, path)


def _local(told: Told) -> float:
    return 100 * told.bodies_in_region


def _durable(told: Told) -> float:
    local = told.outcomes["durable"] + told.outcomes["cached"]
    return 100 * told.outcomes["durable"] / local


def _moved(told: Told) -> float:
    return told.moved_bytes / told.read_bytes


def _budget(told: Told) -> int:
    return told.cache_bytes


def _tail(percent: float) -> float:
    """Nines: 0 at p0, 1 at p90, 2 at p99."""
    return float(-np.log10(1 - percent / 100))


def _log_ms(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_yticks([1, 3, 10, 30, 100, 300, 1000], ["1", "3", "10", "30", "100", "300", "1000"])
    axes.minorticks_off()
    axes.grid(axis="y")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, transparent=True)
    plt.close(figure)
