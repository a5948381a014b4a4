"""How a command says no."""

from __future__ import annotations

import typer


def refuse(message: str) -> typer.Exit:
    """Say one line; raise the answer."""
    typer.echo(f"amur: {message}", err=True)
    return typer.Exit(1)
