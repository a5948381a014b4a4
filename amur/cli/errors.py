"""How a command says no."""

from __future__ import annotations

from typing import Any

import typer

UsageError: Any = typer.BadParameter.__mro__[1]  # typer has it, but does not export it


def refuse(message: str) -> typer.Exit:
    """Say one line; raise the answer."""
    typer.echo(f"amur: {message}", err=True)
    return typer.Exit(1)
