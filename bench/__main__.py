"""Run the tables, print them, write bench/results/<name>.json and .svg, <name>-bundles.json and
.png, <name>-regions.json and <name>-permissions.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from bench.bundles import Bundles
from bench.bundles import Plan as BundlesPlan
from bench.permissions import Permissions
from bench.picture import draw, draw_bundles
from bench.regions import Plan as RegionsPlan
from bench.regions import Regions
from bench.report import (
    printed_costs,
    printed_rows,
    printed_targets,
    printed_ways,
    publish,
    publish_costs,
    publish_rows,
)
from bench.rows import MIB, Plan, Row, Table

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).parents[1] / "docs"
GUIDE = DOCS / "bundles.md"  # holds the table of `latest`
REGIONS_GUIDE = DOCS / "regions.md"  # the same
IAM_GUIDE = DOCS / "iam.md"
TABLES = ("server", "bundles", "regions", "permissions")


def main() -> None:
    arguments = _arguments()
    console = Console(width=150)
    quick = arguments.quick
    plan = Plan(
        seconds=2 if quick else 8,
        records=arguments.records or (20_000 if quick else 200_000),
        big_bytes=(256 if quick else 1024) * MIB,
        streams=16 if quick else 64,
        workers=arguments.workers,
    )
    work = Path(tempfile.mkdtemp(prefix="amur-bench-", dir=arguments.directory))
    try:
        machine = _machine(work)
        console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
        if arguments.only in (None, "server"):
            table = Table(plan, work, lambda row: console.print(f"  {row.name}: {_value(row)}"))
            table.fill()
            console.print(_printed(table.rows))
            _write(arguments.name, machine, table.rows)
        if arguments.only in (None, "bundles"):
            _bundles(arguments, machine, work, console)
        if arguments.only in (None, "regions"):
            _regions(arguments, machine, work, console)
        if arguments.only in (None, "permissions"):
            _permissions(arguments, machine, work, console)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    console.print(f"written to {RESULTS}/{arguments.name}*")


def _bundles(
    arguments: argparse.Namespace, machine: dict[str, Any], work: Path, console: Console
) -> None:
    quick = arguments.quick
    samples = 2_000 if quick else 10_000
    plan = BundlesPlan(
        seconds=0.5 if quick else 3,
        samples=arguments.samples if arguments.samples >= 0 else samples,
        workers=arguments.workers,
    )
    bundles = Bundles(plan, work, lambda told: console.print(f"  {told}", highlight=False))
    bundles.fill()
    console.print(printed_ways(bundles.ways), printed_targets(bundles.targets))
    machine |= {"load_after": round(os.getloadavg()[0], 2)}
    told = {
        "machine": machine,
        "ways": [way.as_dict() for way in bundles.ways],
        "targets": [target.as_dict() for target in bundles.targets],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}-bundles.json").write_text(json.dumps(told, indent=1) + "\n")
    draw_bundles(bundles.ways, machine, RESULTS / f"{arguments.name}-bundles.png")
    if arguments.name == "latest" and not quick:
        publish(GUIDE, machine, bundles.ways, bundles.targets)


def _regions(
    arguments: argparse.Namespace, machine: dict[str, Any], work: Path, console: Console
) -> None:
    quick = arguments.quick
    plan = RegionsPlan(
        seconds=6 if quick else 30,
        drained=20_000 if quick else 100_000,
        puts=8_000 if quick else 20_000,
        big_bytes=(64 if quick else 1024) * MIB,
        rounds=2 if quick else 3,
    )
    regions = Regions(plan, work, lambda row: console.print(f"  {row.name}: {_value(row)}"))
    regions.fill()
    console.print(printed_rows(regions.rows))
    machine |= {"load_after": round(os.getloadavg()[0], 2)}
    told = {"machine": machine, "rows": [row.as_dict() for row in regions.rows]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}-regions.json").write_text(json.dumps(told, indent=1) + "\n")
    if arguments.name == "latest" and not quick:
        publish_rows(REGIONS_GUIDE, machine, regions.rows)


def _permissions(
    arguments: argparse.Namespace, machine: dict[str, Any], work: Path, console: Console
) -> None:
    permissions = Permissions(work, rounds=3 if arguments.quick else 30)
    permissions.fill()
    console.print(printed_costs(permissions.rows))
    machine |= {"load_after": round(os.getloadavg()[0], 2)}
    told = {"machine": machine, "rows": [row.as_dict() for row in permissions.rows]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}-permissions.json").write_text(json.dumps(told, indent=1) + "\n")
    if arguments.name == "latest" and not arguments.quick:
        publish_costs(IAM_GUIDE, machine, permissions.rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="everything smaller: under 2 minutes")
    parser.add_argument("--records", type=int, default=0, help="of YCSB and LIST [200,000]")
    parser.add_argument("--only", choices=TABLES, help="one table")
    parser.add_argument("--samples", type=int, default=-1, help="of the PyTorch loaders [10,000]")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--name", default="latest", help="of the result files")
    parser.add_argument("--directory", default="/var/tmp", help="a disk to measure on, not tmpfs")
    return parser.parse_args()


def _machine(work: Path) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "commit": _commit(),
        "fdatasync_us": round(_sync_us(work)),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def _sync_us(work: Path) -> float:
    """What one durable append costs on this disk: the floor of a lone PUT."""
    spent = []
    with (work / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1e6


def _value(row: Row) -> str:
    number = f"{row.value:,.2f}" if row.value < 10 else f"{row.value:,.0f}"
    cost = f", {row.cpu_us:.0f} us CPU" if row.cpu_us is not None and not row.target else ""
    return f"{number} {row.unit}{cost}" + (f", {row.bad} FAILED" if row.bad else "")


def _printed(rows: list[Row]) -> RichTable:
    table = RichTable(title="Amur, against a bare server in the same run")
    for name in ("work", "measured", "of bare", "CPU us", "p50 ms", "p90", "p99", "target", ""):
        table.add_column(name, justify="left" if name in ("work", "target") else "right")
    for row in rows:
        table.add_row(
            row.name,
            _value(row),
            f"{row.ratio:.0%}" if row.ratio else "",
            f"{row.cpu_us:,.0f}" if row.cpu_us is not None else "",
            *("" if number is None else f"{number:.2f}" for number in (row.p50, row.p90, row.p99)),
            row.target,
            "" if row.holds is None else "holds" if row.holds else "MISSED",
        )
    return table


def _write(name: str, machine: dict[str, Any], rows: list[Row]) -> None:
    RESULTS.mkdir(exist_ok=True)
    told = {"machine": machine, "rows": [row.as_dict() for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    draw(rows, machine, RESULTS / f"{name}.svg")


if __name__ == "__main__":
    main()
