"""Simulate eleven regions with 10^8 objects: `python -m bench.simulate`, `--quick` for seconds.

Prints a table; the full run writes bench/results/simulate.json, docs/pictures/regions-*.svg and the
table in docs/regions-simulation.md, which says what is modelled. The same seed gives the same
figures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.simulation.pictures import GIB, draw
from bench.simulation.policies import Accelerate, Policy, Pull, PullAndMove, SingleRegion
from bench.simulation.run import Told, tell
from bench.simulation.traffic import Plan, Requests, generate

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "simulate.json"
PICTURES = ROOT / "docs" / "pictures"
PAGE = ROOT / "docs" / "regions-simulation.md"
SWEEP_GIB = (0.5, 2, 8, 32)
CACHE_GIB = 8
QUICK_REQUESTS = 300_000

_BEGIN, _END = "<!-- bench.simulate: begin -->\n", "<!-- bench.simulate: end -->\n"
_COLUMNS = (
    "policy", "GET p50 ms", "p90", "p99", "p99.9", "PUT p50 ms", "p99", "GETs in region",
    "bodies in region", "cache hits", "moved GB", "moved / read", "stored / written",
)  # fmt: skip


def main() -> None:
    arguments = _arguments()
    console = Console(width=180)
    plan = Plan(
        seed=arguments.seed,
        requests=QUICK_REQUESTS if arguments.quick else arguments.requests,
        objects=1_000_000 if arguments.quick else 100_000_000,
    )
    cache = (arguments.cache_gib * GIB) // (64 if arguments.quick else 1)
    began = time.perf_counter()
    requests = generate(plan)
    told = [_told(policy, plan, requests, cache, console) for policy in _policies(cache)]
    sweep: list[Told] = []
    if not arguments.quick:
        sweep = [each for each in told if each.cache_bytes]
        for budget in (int(gib * GIB) for gib in SWEEP_GIB if gib * GIB != cache):
            for policy in (Pull(budget), PullAndMove(budget)):
                sweep.append(_told(policy, plan, requests, budget, console))
    console.print(_table(told))
    if not arguments.quick:
        _write(plan, told, sweep)
        draw(told, sweep, requests, plan, PICTURES)
        _publish(plan, told)
        console.print(f"written: {RESULTS}, {PICTURES}/regions-*.svg, {PAGE}")
    console.print(f"{time.perf_counter() - began:.0f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10^6 objects, prints only")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--requests", type=int, default=Plan.requests)
    parser.add_argument("--cache-gib", type=int, default=CACHE_GIB, help="of each region")
    return parser.parse_args()


def _policies(cache: int) -> tuple[Policy, ...]:
    return (Pull(cache), PullAndMove(cache), Accelerate(), SingleRegion())


def _told(policy: Policy, plan: Plan, requests: Requests, cache: int, console: Console) -> Told:
    has_cache = isinstance(policy, Pull)
    began = time.perf_counter()
    told = tell(policy, plan, requests, cache if has_cache else 0)
    size = f", {cache / GIB:g} GiB of cache" if has_cache else ""
    console.print(f"  {policy.name}{size}: {time.perf_counter() - began:.0f} s", highlight=False)
    return told


def _cells(told: Told) -> tuple[str, ...]:
    return (
        told.policy,
        *(f"{told.get_ms[name]:,.1f}" for name in ("p50", "p90", "p99", "p99.9")),
        *(f"{told.put_ms[name]:,.1f}" for name in ("p50", "p99")),
        f"{told.served_in_region:.1%}",
        f"{told.bodies_in_region:.1%}",
        f"{told.cache_hits:.1%}" if told.cache_bytes else "",
        f"{told.moved_bytes / 1e9:,.0f}",
        f"{told.moved_bytes / told.read_bytes:.2f}",
        f"{told.stored_over_written:.3f}",
    )


def _table(told: list[Told]) -> Table:
    table = Table(title="Eleven regions")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "policy" else "right")
    for each in told:
        table.add_row(*_cells(each))
    return table


def _write(plan: Plan, told: list[Told], sweep: list[Told]) -> None:
    short = ("policy", "cache_bytes", "get_ms", "bodies_in_region", "cache_hits", "moved_bytes",
             "read_bytes", "cached_bytes", "outcomes", "stored_over_written", "moves")  # fmt: skip
    whole = {
        "plan": asdict(plan),
        "policies": [each.as_dict() for each in told],
        "caches": [{name: getattr(each, name) for name in short} for each in sweep],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(whole, indent=1) + "\n")


def _publish(plan: Plan, told: list[Told]) -> None:
    """Put the table between the two marks of the page."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    assert mark, f"{PAGE} has no place for the table"
    PAGE.write_text(f"{before}{_BEGIN}" + "\n".join(_markdown(plan, told)) + f"\n{_END}{after}")


def _markdown(plan: Plan, told: list[Told]) -> Iterator[str]:
    cache = max(each.cache_bytes for each in told)
    yield (
        f"{plan.requests:,} requests over {plan.days} days to {plan.objects:,} objects, the last "
        f"{plan.days - plan.warm_days} days counted ({told[0].gets:,} GETs, {told[0].puts:,} PUTs, "
        f"{told[0].read_bytes / 1e12:.2f} TB read); {cache / GIB:g} GiB of cache in each region, "
        f"seed {plan.seed}:"
    )
    yield ""
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---|" + "---:|" * (len(_COLUMNS) - 1)
    for each in told:
        yield f"| {' | '.join(_cells(each))} |"


if __name__ == "__main__":
    main()
