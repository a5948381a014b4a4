"""`amur edge`: the endpoint of many regions, by HAProxy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from amur.cli.errors import refuse


def edge(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A cluster.json with the regions.")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A region's gateway; nearest first."),
    ] = None,
    near: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR=A,B", help="Regions for clients of a network, nearest first."),
    ] = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT")] = "127.0.0.1:9080",
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Chain and key in one PEM file.")
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="D", help="As of amur serve; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it [standard output].")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run haproxy with it [--output: haproxy.cfg].")
    ] = False,
) -> None:
    """Write an HAProxy configuration: each client to its nearest healthy region."""
    from amur.cluster import haproxy
    from amur.serve.layout import Refusal

    try:
        regions = _regions(config, region or [])
        networks = [haproxy.parse_near(text, regions) for text in near or ()]
        certificate = str(tls_cert.absolute()) if tls_cert else ""
        made = haproxy.Edge(listen, regions, networks, certificate, domain or ())
        text = haproxy.configuration(made)
    except Refusal as error:
        raise refuse(str(error)) from None
    if output is None and run:
        output = Path("haproxy.cfg")
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise refuse(f"can't write {output}: {error.strerror}") from None
    if run:
        _run(output, haproxy.endpoint(made))


def _regions(config: Path | None, given: list[str]) -> dict[str, str]:
    """Names and URLs. Raises Refusal."""
    from amur.cluster.plan import Places
    from amur.cluster.status import written
    from amur.serve.layout import Refusal

    regions: dict[str, str] = {}
    if config is not None:
        places = Places(config.parent)
        places.cluster = config
        for name, facts in written(places)["regions"].items():
            regions[name] = str(facts["endpoint"])
    for text in given:
        name, _, url = text.partition("=")
        _check(name)
        if not url:
            raise Refusal(f"--region {text}: it looks like fra=https://fra.example.com")
        regions[name] = url
    return regions


def _check(name: str) -> None:
    """Raises Refusal."""
    from amur.config import region_name
    from amur.serve.layout import Refusal

    try:
        region_name(name)
    except ValueError as error:
        raise Refusal(f"region {name!r}: {error}") from None


def _run(path: Path, endpoint: str) -> None:
    """Become haproxy."""
    # Debian has it where the path of ordinary users does not lead
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise refuse(f"haproxy is not installed (apt-get install haproxy); {path} is written")
    typer.echo(f"amur: haproxy serves {endpoint} as {path} says", err=True)
    os.execv(program, [program, "-db", "-f", str(path)])  # noqa: S606 - a fixed argument list


def register(app: typer.Typer) -> None:
    app.command()(edge)
