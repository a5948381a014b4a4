"""`amur cluster up` and `down`: the cluster in the foreground, in the background, and gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial

import typer
from rich.console import Console
from rich.table import Table

from amur.cluster import control, plan
from amur.cluster.keeper import START_SECONDS, Keeper, lock
from amur.cluster.plan import HOST, Places, Plan
from amur.config import ConfigError, load, unknown_variables
from amur.serve.layout import Layout, Refusal, RootKey
from amur.serve.start import shown_secret

_DOWN_SECONDS = 60.0  # regions drain for up to 35
_POLL_SECONDS = 0.05


def up(
    places: Places,
    names: Sequence[str],
    listen: str,
    workers: int,
    distances: Mapping[tuple[str, str], float],
) -> int:
    """Run it here until it is stopped. The exit code; raises Refusal, OSError."""
    taken = lock(places)
    try:
        of = plan.settle(places, names, listen, workers, distances)
        key = _root_key(places)
        if unknown := unknown_variables():
            _say(f"amur: no such setting, ignored: {', '.join(unknown)}")
        keeper = Keeper(places, of, key, _say)
        began = time.monotonic()
        return asyncio.run(keeper.run(lambda: _map(places, of, key, time.monotonic() - began)))
    finally:
        taken.close()


def detached(places: Places, arguments: Sequence[str]) -> int:
    """Run `amur cluster ARGUMENTS` in the background; returns when it is ready, or has failed."""
    places.create()
    with places.log.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "amur.cli.main", "cluster", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    until = time.monotonic() + 3 * START_SECONDS
    while not _is_ready(places, process.pid):
        if process.poll() is not None:
            said = places.log.read_bytes()[start:].decode(errors="replace").strip()
            raise Refusal(said.rpartition("\n")[2].removeprefix("amur: ") or "it did not start")
        if time.monotonic() > until:
            process.terminate()
            raise Refusal(f"the cluster does not answer; see {places.log}")
        time.sleep(_POLL_SECONDS)
    typer.echo(places.log.read_bytes()[start:].decode(errors="replace"), nl=False)
    typer.echo(f"it goes on in the background; to stop it: amur cluster down --dir {places.root}")
    return 0


def down(places: Places) -> None:
    """Stop the whole cluster; returns when it is gone. Raises Refusal."""
    plan.read(places)
    control.ask(places.keeper, {"do": "down"})
    until = time.monotonic() + _DOWN_SECONDS
    while time.monotonic() < until:
        try:
            lock(places).close()
        except Refusal:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise Refusal(f"the cluster did not stop; see {places.log}")


def _is_ready(places: Places, pid: int) -> bool:
    try:
        said = control.ask(places.keeper, {"do": "status"})
    except Refusal:
        return False
    return said["pid"] == pid and bool(said["ready"])


def _root_key(places: Places) -> RootKey:
    """Of the environment, as `amur serve` takes it, else the cluster's own. Raises Refusal."""
    key_id = os.environ.get("AMUR_ROOT_ACCESS_KEY_ID", "")
    secret = os.environ.get("AMUR_ROOT_SECRET_ACCESS_KEY", "")
    try:
        load(root_access_key_id=key_id, root_secret_access_key=secret)
    except ConfigError as error:
        raise Refusal(str(error)) from None
    return Layout(places.root).take_root_key(key_id, secret)


def _map(places: Places, of: Plan, key: RootKey, seconds: float) -> None:
    """Who listens where, and what to paste."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(title=f"{places.root}: up in {seconds:.1f} s", title_justify="left")
    for name in ("", "endpoint", "block service", "data", "distances"):
        table.add_column(name, overflow="fold")
    table.add_row("all", of.endpoint, "", "", "")
    for region in of.regions:
        far = [
            f"{each.b if each.a == region.name else each.a} {each.round_trip_ms:g} ms"
            for each in of.distances
            if region.name in (each.a, each.b)
        ]
        table.add_row(
            region.name, f"http://{HOST}:{region.gateway_port}",
            f"http://{HOST}:{region.blocks_port}", region.name, ", ".join(far),
        )  # fmt: skip
    console.print(table)
    say = partial(console.print, soft_wrap=True, markup=False)
    _, pasted = shown_secret(key, is_new=False)  # our output may be the log in DIR
    say("to use it, paste:")
    say(
        f"  export AWS_ENDPOINT_URL={of.endpoint} AWS_DEFAULT_REGION=auto"
        f" AWS_ACCESS_KEY_ID={key.id} AWS_SECRET_ACCESS_KEY={pasted}"
    )
    say(f"  amur cluster status {places.root} --watch")
    sys.stdout.flush()


def _say(message: str) -> None:
    typer.echo(message, err=True)
