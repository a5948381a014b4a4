"""How a command says no."""

from __future__ import annotations

from typing import Any

import typer

from amur.cli.address import printable

UsageError: Any = typer.BadParameter.__mro__[1]  # typer has it, but does not export it


def refuse(message: str) -> typer.Exit:
    """Say one line (or a list, of a line each); raise the answer."""
    typer.echo("\n".join(map(printable, f"amur: {message}".split("\n"))), err=True)
    return typer.Exit(1)
