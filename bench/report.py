"""The tables of bundles and of regions on the terminal, and as Markdown in the user's guides."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.bundles import Target, Way
from bench.rows import Row

_BEGIN, _END = "<!-- make bench: begin -->\n", "<!-- make bench: end -->\n"


def printed_ways(ways: list[Way]) -> Table:
    table = Table(title="Many objects: one bundle, or a GET for each")
    for name in ("objects", "way", "seconds", "objects/s", "MB/s", "server us CPU", ""):
        table.add_column(name, justify="left" if name in ("objects", "way", "") else "right")
    group = ""
    for way in ways:
        if group and way.group != group:
            table.add_section()
        table.add_row(
            way.group if way.group != group else "",
            way.name,
            f"{way.seconds:.3f}",
            f"{way.rate:,.0f}",
            f"{way.rate * way.size / 1e6:,.1f}",
            "" if way.cpu_us is None else f"{way.cpu_us:,.1f}",
            way.note,
        )
        group = way.group
    return table


def printed_targets(targets: list[Target]) -> Table:
    table = Table()
    for name in ("target", "measured", "wanted", ""):
        table.add_column(name, justify="right" if name == "measured" else "left")
    for each in targets:
        value = f"{each.value:.2f} {each.unit}"
        table.add_row(each.name, value, each.bound, "holds" if each.holds else "MISSED")
    return table


def publish(page: Path, machine: dict[str, Any], ways: list[Way], targets: list[Target]) -> None:
    """Put the figures between the two marks of the page."""
    _put(page, _markdown(machine, ways, targets))


def _put(page: Path, lines: Iterator[str]) -> None:
    before, _, rest = page.read_text().partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    assert mark, f"{page} has no place for the table"
    table = "\n".join(lines)
    page.write_text(f"{before}{_BEGIN}{table}\n{_END}{after}")


def _told(machine: dict[str, Any]) -> str:
    return (
        f"{machine['date']}, {machine['cores']} cores for server and client together, load average "
        f"{machine['load_before']} before and {machine['load_after']} after, commit "
        f"{machine['commit']}:"
    )


def _markdown(machine: dict[str, Any], ways: list[Way], targets: list[Target]) -> Iterator[str]:
    yield _told(machine)
    for group, some in groupby(ways, lambda way: way.group):
        yield from ("", f"**{group}**", "", "| way | seconds | objects/s | MB/s | server CPU |  |")
        yield "|---|---:|---:|---:|---:|---|"
        for way in some:
            cost = "" if way.cpu_us is None else f"{way.cpu_us:,.0f} us"
            rate = way.rate * way.size / 1e6
            number = f"{way.seconds:.3f}" if way.seconds < 10 else f"{way.seconds:.0f}"
            yield f"| {way.name} | {number} | {way.rate:,.0f} | {rate:,.1f} | {cost} | {way.note} |"
    yield from ("", "| target | wanted | measured | |", "|---|---|---:|---|")
    for each in targets:
        holds = "holds" if each.holds else "**missed**"
        yield f"| {each.name} | {each.bound} | {each.value:.2f} {each.unit} | {holds} |"


# --- regions ---


def _cells(row: Row) -> list[str]:
    """work, measured, ratio, CPU, p50, p90, p99."""
    number = f"{row.value:,.2f}" if row.value < 100 else f"{row.value:,.0f}"
    failed = f", {row.bad} FAILED" if row.bad else ""
    times = (None if value is None else f"{value:.2f}" for value in (row.p50, row.p90, row.p99))
    return [
        row.name,
        f"{number} {row.unit}{failed}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.cpu_us is None else f"{row.cpu_us:,.0f}",
        *(cell or "" for cell in times),
    ]


def printed_rows(rows: list[Row]) -> Table:
    table = Table(title="Many regions on this machine")
    for name in ("work", "measured", "of home", "CPU us", "p50 ms", "p90", "p99", "target", ""):
        table.add_column(name, justify="left" if name in ("work", "target") else "right")
    for row in rows:
        holds = "" if row.holds is None else "holds" if row.holds else "MISSED"
        table.add_row(*_cells(row), row.target, holds)
    return table


def publish_rows(page: Path, machine: dict[str, Any], rows: list[Row]) -> None:
    """As `publish`, of the rows of regions."""
    _put(page, _rows_markdown(machine, rows))


def _rows_markdown(machine: dict[str, Any], rows: list[Row]) -> Iterator[str]:
    yield _told(machine)
    yield from ("", "| work | measured | of home | CPU us | p50 ms | p90 | p99 | target | |")
    yield "|---|---:|---:|---:|---:|---:|---:|---|---|"
    for row in rows:
        holds = "" if row.holds is None else "holds" if row.holds else "**missed**"
        yield f"| {' | '.join([*_cells(row), row.target, holds])} |"


# --- permissions ---


def _costs(row: Row) -> list[str]:
    """Whose, microseconds, more than root, target, whether it holds."""
    more = "" if row.ratio is None else f"{row.ratio:.1f}"
    holds = "" if row.holds is None else "holds" if row.holds else "**missed**"
    return [row.name, f"{row.value:.1f}", more, row.target, holds]


def printed_costs(rows: list[Row]) -> Table:
    table = Table(title="Who asks, and what they may: CPU of one GET's decision")
    for name in ("whose GET", "us CPU", "more than root", "target", ""):
        table.add_column(name, justify="right" if name in ("us CPU", "more than root") else "left")
    for row in rows:
        table.add_row(*_costs(row))
    return table


def publish_costs(page: Path, machine: dict[str, Any], rows: list[Row]) -> None:
    """As `publish`, of the costs of permissions."""
    lines = (f"| {' | '.join(_costs(row))} |" for row in rows)
    head = ("", "| whose GET | us CPU | more than root | target | |", "|---|---:|---:|---|---|")
    _put(page, iter([_told(machine), *head, *lines]))
