"""`amur cluster`: many regions on one machine, to develop with and to play with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amur.cli.errors import refuse

if TYPE_CHECKING:
    from amur.cluster.plan import Places

cluster = typer.Typer(no_args_is_help=True, help="Many regions on one machine, to play with.")

_DIR = Path("amur-cluster")
Positional = Annotated[Path, typer.Argument(metavar="[DIR]", help="The cluster's directory.")]
Directory = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The cluster's directory.")]
Region = Annotated[str, typer.Argument(metavar="REGION")]


@cluster.command()
def up(
    directory: Positional = _DIR,
    regions: Annotated[
        str, typer.Option(metavar="A,B,...", help="Names; needed the first time.")
    ] = "",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The endpoint [127.0.0.1:9000].")
    ] = "",
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Gateway processes of each region [1].")
    ] = 0,
    latency: Annotated[
        list[str] | None,
        typer.Option(metavar="A:B=TIME", help="Round trip between two regions, like sjc:ord=80ms."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on in the background once all answers.")
    ] = False,
) -> None:
    """Start regions, the links between them and an endpoint in front; Ctrl-C stops them.

    DIR keeps data, ports and keys: the next start has them again.
    """
    from amur.cli import cluster_up
    from amur.cluster import plan

    names = [name.strip() for name in regions.split(",") if name.strip()]
    with _explained():
        distances = dict(plan.parse_distance(each) for each in latency or ())
        if detach:
            asked = ["up", str(directory), "--workers", str(workers)]
            asked += ["--regions", regions] if regions else []
            asked += ["--listen", listen] if listen else []
            asked += [f"--latency={each}" for each in latency or ()]
            code = cluster_up.detached(plan.Places(directory), asked)
        else:
            code = cluster_up.up(plan.Places(directory), names, listen, workers, distances)
    raise typer.Exit(code)


@cluster.command()
def status(
    directory: Positional = _DIR,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again each second.")] = False,
) -> None:
    """How each region is: health, lag and backlog to its peers, where the bytes are."""
    from amur.cli import cluster_status

    with _explained():
        cluster_status.show(_places(directory), as_json=as_json, watch=watch)


@cluster.command()
def down(
    region: Annotated[str, typer.Argument(metavar="[REGION]")] = "",
    directory: Directory = _DIR,
) -> None:
    """Stop a region, or the whole cluster; requests under way end first."""
    from amur.cli import cluster_up

    with _explained():
        if region:
            _told(directory, {"do": "stop", "region": region})
        else:
            cluster_up.down(_places(directory))


@cluster.command()
def kill(
    region: Region,
    role: Annotated[
        str, typer.Option(metavar="R", help="gateway, blocks, replicate, jobs or all.")
    ] = "all",
    directory: Directory = _DIR,
) -> None:
    """SIGKILL a region or a role of it (the jobs go with the gateway). It stays down."""
    _told(directory, {"do": "kill", "region": region, "role": role})


@cluster.command()
def start(region: Region, directory: Directory = _DIR) -> None:
    """Start what is down of a region; returns when it answers."""
    _told(directory, {"do": "start", "region": region}, seconds=120)


@cluster.command()
def partition(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="[B]")] = "",
    reset: Annotated[
        bool, typer.Option("--reset", help="Break connections instead of losing them.")
    ] = False,
    directory: Directory = _DIR,
) -> None:
    """Lose all that two regions say to each other; of A and everyone, without B."""
    _linked(directory, {"do": "partition", "a": a, "b": b, "reset": reset})


@cluster.command()
def heal(
    a: Annotated[str, typer.Argument(metavar="[A]")] = "",
    b: Annotated[str, typer.Argument(metavar="[B]")] = "",
    directory: Directory = _DIR,
) -> None:
    """End partitions: between two regions, around one, or all."""
    _linked(directory, {"do": "heal", "a": a, "b": b})


@cluster.command()
def latency(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="Like 80ms.")],
    directory: Directory = _DIR,
) -> None:
    """Set the round-trip time between two regions, until the cluster stops."""
    from amur.cluster import plan

    with _explained():
        ms = plan.milliseconds(time)
    _linked(directory, {"do": "latency", "a": a, "b": b, "ms": ms})


@cluster.command()
def bandwidth(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    megabytes: Annotated[
        float, typer.Argument(metavar="MB/s", min=0, help="Each way; 0: no limit.")
    ],
    directory: Directory = _DIR,
) -> None:
    """Limit the rate between two regions, until the cluster stops."""
    _linked(directory, {"do": "bandwidth", "a": a, "b": b, "bytes_per_s": megabytes * 1e6})


def register(app: typer.Typer) -> None:
    app.add_typer(cluster, name="cluster")


def _told(directory: Path, request: dict[str, Any], seconds: float = 60) -> None:
    from amur.cluster import control

    with _explained():
        control.ask(_places(directory).keeper, request, seconds)


def _linked(directory: Path, request: dict[str, Any]) -> None:
    from amur.cluster import control

    with _explained():
        control.ask(_places(directory).links, request)


def _places(directory: Path) -> Places:
    from amur.cluster.plan import Places

    return Places(directory)


@contextmanager
def _explained() -> Iterator[None]:
    """What a person can put right is one line."""
    from amur.serve.layout import Refusal

    try:
        yield
    except Refusal as error:
        raise refuse(str(error)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise refuse(f"{where}{error.strerror or error}") from None
