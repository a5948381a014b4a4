"""`amur iam ...`."""

from __future__ import annotations

import typer

from amur.cli import iam_members, iam_policies, iam_shares, iam_simulate

app = typer.Typer(
    help="Access: policies, members, shares, simulation, temporary keys.", no_args_is_help=True
)


def register(main: typer.Typer) -> None:
    main.add_typer(app, name="iam")
    for commands in (iam_policies, iam_members, iam_shares, iam_simulate):
        commands.register(app)
    main.add_typer(iam_members.organizations, name="organizations", hidden=True)  # as Tigris has it
    main.add_typer(iam_members.organizations, name="orgs", hidden=True)
