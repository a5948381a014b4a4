"""Listings of several columns, which fit the terminal: what must not be cut keeps its width.

Where there is no terminal, and COLUMNS does not say how wide, nothing is cut or wrapped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from typing import Any, Literal, NamedTuple

import typer

from amur.cli.address import printable
from amur.cli.output import Output, Row

_UNBOUNDED = 4000  # columns


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

    columns = list(columns)
    table = Table(box=None, pad_edge=False, show_header=titles)
    for column in columns:
        table.add_column(
            Text(column.title.upper()),
            no_wrap=column.fit != "fold",
            overflow="fold" if column.fit == "fold" else "ellipsis",
            min_width=max((len(column.of(row)) for row in rows), default=0)
            if column.fit == "keep"
            else None,
        )
    for row in rows:
        table.add_row(*(Text(_printable(column.of(row))) for column in columns))
    file = StringIO()
    Console(file=file, width=wide, no_color=True, highlight=False).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def _printable(text: str) -> str:
    """Lines of a cell stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def wrapped(text: str) -> list[str]:
    """Lines of plain text."""
    import textwrap

    return textwrap.wrap(printable(text), max(width(), 20)) or [""]
