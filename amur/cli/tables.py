"""Listings of several columns, which fit the terminal: what must not be cut keeps its width.

Where there is no terminal, and COLUMNS does not say how wide, nothing is cut or wrapped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, Literal, NamedTuple

import typer

from amur.cli.address import printable
from amur.cli.output import Output, Row

_UNBOUNDED = 4000  # columns
_FOLD_MIN = 6
_CUT_MIN = 10
_GAP = "  "


class Column(NamedTuple):
    """`fit` says what happens when the place is short."""

    title: str
    of: Callable[[Any], str]
    fit: Literal["keep", "fold", "cut"] = "keep"


def show(
    out: Output,
    rows: Iterable[Row],
    columns: Iterable[Column],
    what: str,
    rest: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """`what` names them in the plural, for when there are none."""
    if not out.is_for_people:
        out.items(rows, str, rest)
        return
    found = list(rows)
    if found:
        for line in lines(found, columns, width()):
            typer.echo(line)
    else:
        out.remark(f"no {what}")
    token = rest().get("next_page_token")
    if token:
        out.remark(f"there are more; go on with --page-token {token}")


def width() -> int:
    """Of what is written to."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        return int(given)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED


def lines(
    rows: Iterable[Row], columns: Iterable[Column], wide: int, *, titles: bool = True
) -> list[str]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns, rows = list(columns), list(rows)
    cells = [[_printable(column.of(row)) for column in columns] for row in rows]
    _cut(columns, cells, wide)
    table = Table(box=None, padding=(0, len(_GAP), 0, 0), pad_edge=False, show_header=titles)
    for at, column in enumerate(columns):
        is_fold = column.fit == "fold"
        natural = _natural(column, [row[at] for row in cells])
        table.add_column(
            Text(column.title.upper()),
            no_wrap=not is_fold,
            overflow="fold" if is_fold else "ellipsis",
            min_width=min(natural, _FOLD_MIN) if is_fold else natural,
        )
    for row_cells in cells:
        table.add_row(*map(Text, row_cells))
    file = StringIO()
    Console(file=file, width=wide, no_color=True, highlight=False).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def _natural(column: Column, cells: Sequence[str]) -> int:
    """Columns of its longest line."""
    found = [len(line) for cell in cells for line in cell.split("\n")]
    return max([len(column.title), *found])


def _cut(columns: Sequence[Column], cells: list[list[str]], wide: int) -> None:
    """In place: the one column that may be cut takes what the others leave."""
    fits = [column.fit for column in columns]
    if "cut" not in fits:
        return
    at = fits.index("cut")
    widths = [_natural(column, [row[n] for row in cells]) for n, column in enumerate(columns)]
    left = max(wide - sum(widths) + widths[at] - len(_GAP) * (len(columns) - 1), _CUT_MIN)
    for row in cells:
        if len(row[at]) > left:
            row[at] = row[at][: left - 1] + "…"


def _printable(text: str) -> str:
    """Lines of a cell stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def wrapped(text: str, indent: int = 0) -> list[str]:
    """Lines of plain text."""
    import textwrap

    margin = " " * indent
    return textwrap.wrap(
        printable(text), max(width(), 20), initial_indent=margin, subsequent_indent=margin
    )
