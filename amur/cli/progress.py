"""Progress bars on a terminal's stderr. Imported only where there is one: rich is slow to load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from amur.cli.output import Bar


@contextmanager
def shown(what: str, total: int | None, unit: str) -> Iterator[Bar]:
    columns = [TextColumn("{task.description}"), BarColumn()]
    if unit == "bytes":
        columns += [DownloadColumn(), TransferSpeedColumn()]
    else:
        columns += [MofNCompleteColumn()]
    columns += [TimeElapsedColumn()] if total is None else [TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Shown(progress, escape(what), total)


class _Shown(Bar):
    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)

    def total(self, count: int) -> None:
        self._progress.update(self._task, total=count)
