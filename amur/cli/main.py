"""The `amur` command. Each error is one line on stderr and a non-zero exit.

Subcommands import what they need when they run, so that `amur --help` is quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from amur.cli import (
    access_keys,
    audit,
    buckets,
    bundle,
    changing,
    cluster,
    configure,
    copying,
    edge,
    iam,
    listing,
    objects,
)
from amur.cli.errors import UsageError, refuse

app = typer.Typer(
    name="amur",
    help="An S3-compatible object store that anyone can run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Directory = Annotated[Path, typer.Argument(help="The data directory.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings, if the bytes are in a bucket."),
]
_DATA = Path("amur-data")


def main() -> None:
    """Entry point of the console script."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = 130
    except UsageError as error:
        asked = error.ctx.command_path if error.ctx else "amur"
        message = error.format_message()
        said = f"amur: {message.rstrip('.')}; see {asked} --help"
        typer.echo(message if "\n" in message else said, err=True)  # `amur` alone: the help
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def serve(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The data directory [amur-data].")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen [127.0.0.1:9000].")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this region [local].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Gateway processes [one per core].")
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(metavar="R,...", help="Of gateway, blocks, replicate, jobs [all]."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings in TOML (docs/operations.md).")
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="D", help="Serve BUCKET.D too; may be given several times."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain in PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key in PEM.")] = None,
    access_log: Annotated[
        str | None, typer.Option(metavar="WHERE", help="file, stdout or off [file: DIR/run].")
    ] = None,
) -> None:
    """Serve S3 from a data directory."""
    from amur import config as settings
    from amur.serve import start
    from amur.serve.layout import Refusal

    try:
        chosen = settings.load(
            config, data=data, listen=listen, region=region, workers=workers, roles=roles,
            domains=domain, tls_cert=tls_cert, tls_key=tls_key, access_log=access_log,
        )  # fmt: skip
        if unknown := settings.unknown_variables():
            typer.echo(f"amur: no such setting, ignored: {', '.join(unknown)}", err=True)
        code = start.serve(chosen)
    except (settings.ConfigError, Refusal) as error:
        raise refuse(str(error)) from None
    except OSError as error:
        where = error.filename or data or "the data directory"
        raise refuse(f"can't use {where}: {error.strerror or error}") from None
    raise typer.Exit(code)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"amur {installed('amur')}")


@app.command()
def info(data: Directory = _DATA, config: Config = None) -> None:
    """What is stored: buckets, objects, versions, bytes, files."""
    from amur.cli import inspect

    inspect.info(data, config)


@app.command()
def fsck(
    data: Directory = _DATA,
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is safe.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="With --repair: drop what can't be read.")
    ] = False,
    config: Config = None,
) -> None:
    """Check that records, references and bytes agree. Stop the server first to repair."""
    from amur.cli import inspect

    inspect.fsck(data, config, repair=repair, accept_loss=accept_loss)


@app.command()
def scrub(data: Directory = _DATA, config: Config = None) -> None:
    """Read every stored byte and verify its checksum."""
    from amur.cli import inspect

    inspect.scrub(data, config)


@app.command()
def backup(destination: Path, data: Annotated[Path, typer.Option()] = _DATA) -> None:
    """Copy metadata (one moment of it) and data to a new directory, while serving."""
    from amur.cli import copies

    copies.backup(data, destination)


@app.command()
def restore(
    source: Path,
    data: Annotated[Path, typer.Argument(metavar="DIR")],
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="The directory that its bucket belonged to is gone."),
    ] = False,
) -> None:
    """Make a new data directory from a backup."""
    from amur.cli import copies

    copies.restore(source, data, take_over=take_over)


for _commands in (
    configure, listing, copying, changing, bundle, buckets, objects, access_keys, iam, audit,
    cluster, edge,
):  # fmt: skip
    _commands.register(app)


if __name__ == "__main__":
    main()
