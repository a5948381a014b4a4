"""What a command says: JSON, XML or lines on stdout; remarks and progress on stderr.

Progress bars appear on a terminal only, and never beside `--json`. Nothing that is long is held:
the items of a listing are written as they come.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

import msgspec
import typer

from amur.cli.address import printable

Format = Literal["table", "json", "xml"]
Row = Mapping[str, Any]


class Bar:
    """Progress of one long work; does nothing when there is nobody to look at it."""

    def advance(self, count: int) -> None:
        """`count` bytes (or items) more are done; less than 0 when some are sent again."""

    def total(self, count: int) -> None:
        """How much it will be, as soon as it is known."""


class Output:
    def __init__(self, form: Format = "table") -> None:
        self.format = form

    @property
    def is_for_people(self) -> bool:
        return self.format == "table"

    def document(self, values: Row, lines: Iterable[str] | None = None) -> None:
        """One answer: `lines` for people, or its members one below the other."""
        if self.format == "json":
            typer.echo(msgspec.json.format(_json(values), indent=2).decode())
        elif self.format == "xml":
            typer.echo(_xml("result", values))
        else:
            for line in _members(values) if lines is None else lines:
                typer.echo(printable(line))

    def items(
        self, rows: Iterable[Row], line: Callable[[Any], str], rest: Callable[[], Row] = dict
    ) -> int:
        """A listing, written as it comes; `rest()` is what is known behind it. The count."""
        count = 0
        opening, closing = {
            "table": ("", ""), "json": ('{"items": [', ""), "xml": ("<items>", "</items>"),
        }[self.format]  # fmt: skip
        if opening:
            typer.echo(opening, nl=self.format == "xml")
        for row in rows:
            if self.format == "json":
                typer.echo(("," if count else "") + "\n  " + _json(row).decode(), nl=False)
            else:
                shown = printable(line(row)) if self.is_for_people else _xml("item", row)
                typer.echo(shown)
            count += 1
        if self.format == "json":
            tail = "".join(
                f", {_json(name).decode()}: {_json(value).decode()}"
                for name, value in rest().items()
            )
            typer.echo("\n]" + tail + "}")
        elif closing:
            typer.echo(closing)
        return count

    def remark(self, text: str) -> None:
        """Something to know, on stderr."""
        typer.echo(printable(f"amur: {text}"), err=True)

    def is_watched(self) -> bool:
        return self.is_for_people and sys.stderr.isatty()

    @contextmanager
    def progress(self, what: str, total: int | None, unit: str = "bytes") -> Iterator[Bar]:
        """A bar with rate and time left, gone when the work is done."""
        if not self.is_watched():
            yield Bar()
            return
        from amur.cli.progress import shown

        with shown(printable(what), total, unit) as bar:
            yield bar


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _xml(name: str, value: object) -> str:
    from amur.gateway.xml import Markup, tag

    if isinstance(value, Mapping):
        return tag(name, *(Markup(_xml(key, each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tag(name, *(Markup(_xml("item", each)) for each in value))
    if isinstance(value, datetime):
        return tag(name, value.isoformat())
    return tag(name, "" if value is None else value)


def _members(values: Row) -> Iterator[str]:
    width = max(map(len, values), default=0)
    for name, value in values.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            shown = ", ".join(f"{each}={value[each]}" for each in value) or "-"
        elif isinstance(value, list | tuple):
            shown = ", ".join(map(str, value)) or "-"
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        elif isinstance(value, datetime):
            shown = moment(value)
        elif name == "size":
            shown = size(value) + (f" ({value:,} bytes)" if value >= 1000 else "")
        else:
            shown = "-" if value in (None, "") else str(value)
        yield f"{label:<{width}}  {shown}"


def moment(when: datetime) -> str:
    """In the time of the place."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """1,234,567 is `1.2 MB`."""
    from rich.filesize import decimal

    return decimal(count)


def rate(count: int, seconds: float) -> str:
    return f"{size(round(count / seconds))}/s" if seconds > 0 else "-"
