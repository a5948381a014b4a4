"""`amur configure`: remember the endpoint and the keys."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from amur.cli import connection
from amur.cli.connection import ENDPOINT_DEFAULT, Stored
from amur.cli.remote import Problem, Remote, command, explained

app = typer.Typer()


def register(main: typer.Typer) -> None:
    command(main, "configure", "c")(configure)


def configure(
    remote: Remote,
    check: Annotated[bool, typer.Option(help="Ask the server whether they work.")] = True,
) -> None:
    """Remember endpoint and keys for the commands that follow; asks for what is not given.

    They stand in a file that only you can read. The environment and the options come before it.
    """
    file = connection.config_file()
    known = connection.load(file)
    endpoint, key, secret = remote.flags
    if not (endpoint and key and secret) and sys.stdin.isatty():
        endpoint = endpoint or typer.prompt(
            "Endpoint", default=known.endpoint or ENDPOINT_DEFAULT, err=True
        )
        key = key or typer.prompt("Access key", default=known.access_key or None, err=True)
        secret = secret or _secret(known if key == known.access_key else Stored())
    else:
        endpoint = endpoint or known.endpoint
    if bool(key) != bool(secret):
        raise Problem("--access-key and --access-secret go together")
    if not key and not endpoint:
        raise Problem("nothing to remember: give --endpoint, --access-key and --access-secret")
    stored = Stored(
        connection.checked_endpoint(endpoint) if endpoint else "",
        key or known.access_key,
        secret or known.access_secret,
    )
    connection.store(file, stored)
    remote.flags = (stored.endpoint or ENDPOINT_DEFAULT, stored.access_key, stored.access_secret)
    answer = _checked(remote) if check and stored.access_key else ""
    remote.out.document(
        {"file": str(file), "endpoint": stored.endpoint or ENDPOINT_DEFAULT,
         "access_key": stored.access_key, "works": answer or "not asked"},
    )  # fmt: skip
    if answer not in ("", "yes"):
        raise typer.Exit(1)


def _secret(known: Stored) -> str:
    """Not shown while it is typed, nor is the one that is known."""
    hint = " [as before]" if known.access_secret else ""
    given: str = typer.prompt(
        f"Access secret{hint}", default="" if hint else None, hide_input=True, show_default=False,
        err=True,
    )  # fmt: skip
    return given or known.access_secret


def _checked(remote: Remote) -> str:
    try:
        remote.s3.list_buckets(MaxBuckets=1)
    except Exception as error:
        said = explained(error, endpoint=remote.connection.endpoint)
        if not said:
            raise
        return f"no: {said}"
    return "yes"
