"""`amur audit`: who changed what about access, and what was refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from amur.cli import moments, tables
from amur.cli.address import printable
from amur.cli.iam_remote import IamRemote, iam_command
from amur.cli.remote import Problem
from amur.cli.tables import Column

PAGE_MAX = 1000  # of the server
FOLLOW_SECONDS = 2.0
LATE_SECONDS = "60s"  # events of other regions come late; so far back is asked again
SEEN_MAX = 20_000  # ids of events that are not to be shown again
_DECISIONS = {"denied": "Denied", "allowed": "Allowed"}
_KEY_CHARS = 10
_REASON_CHARS = 24


def register(main: typer.Typer) -> None:
    iam_command(main, "audit")(audit)


def audit(
    iam: IamRemote,
    since: Annotated[
        str, typer.Option("--since", metavar="SPAN|TIME", help="1h, 7d, or a time [all].")
    ] = "",
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Who did it, or to which key it was done.")
    ] = "",
    action: Annotated[
        str, typer.Option("--action", metavar="ACTION", help="As s3:GetObject; iam:* is all of iam.")
    ] = "",
    decision: Annotated[str, typer.Option("--decision", metavar="denied|allowed")] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The last N.")] = 100,
    everybody: Annotated[
        bool, typer.Option("--all-organizations", help="For the root key.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Show changes of access and refused requests, the newest last."""
    if decision and decision.lower() not in _DECISIONS:
        raise Problem("--decision is denied or allowed")
    given = {
        "Since": moments.time_of(since, ago=True) if since else "", "Key": key,
        "ActionName": action, "Decision": _DECISIONS.get(decision.lower(), ""),
        "AllOrganizations": "true" if everybody else "",
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value}
    events = _last(iam, given, limit)
    if follow:
        _follow(iam, given, events)
    else:
        tables.show(iam.out, events, _columns(events), "events")


def _last(iam: IamRemote, given: dict[str, str], limit: int) -> list[dict[str, Any]]:
    """At most `limit`, the newest last."""
    found: list[dict[str, Any]] = []
    before = ""
    while len(found) < limit:
        size = str(min(limit - len(found), PAGE_MAX))
        page = iam.call("ListAuditEvents", given | {"Limit": size, "Before": before})
        found += [event_row(each) for each in page["Events"]]
        before = page["Before"]
        if not before:
            break
    return found[::-1]


def event_row(event: dict[str, Any]) -> dict[str, Any]:
    """The server's event as commands show it."""
    return {
        "id": event["Id"], "time": event["Time"], "organization": event["OrganizationId"],
        "key": event["AccessKeyId"], "action": event["Action"], "resource": event["Resource"],
        "decision": event["Decision"].lower(), "reason": event["Reason"],
        "source_ip": event["SourceIp"], "region": event["Region"],
        "request_id": event["RequestId"], "times": event["Times"], "detail": event["Detail"],
    }  # fmt: skip


def _columns(events: list[dict[str, Any]]) -> list[Column]:
    """Without a terminal all of it; the key in short where places are rare."""
    is_narrow = tables.width() < 160  # noqa: PLR2004
    columns = [
        Column("time", lambda row: moments.shown(row["time"])[5:] if is_narrow
               else moments.shown(row["time"])),
        Column("key", lambda row: short_key(row["key"]) if is_narrow else row["key"] or "-"),
        Column("decision", lambda row: row["decision"].upper() if not is_narrow
               else ("no" if row["decision"] == "denied" else "ok")),
        Column("action", lambda row: row["action"], "cut"),
        Column("resource", lambda row: short_resource(row["resource"]), "cut"),
    ]  # fmt: skip
    return columns if events else columns


def short_key(key_id: str) -> str:
    return key_id if len(key_id) <= _KEY_CHARS else f"{key_id[: _KEY_CHARS - 1]}…"


def short_resource(arn: str) -> str:
    """`bucket/key` of S3, `user/tid_...` of what is administered."""
    return arn.rpartition(":")[2] if arn.startswith("arn:aws:iam") else arn.removeprefix(
        "arn:aws:s3:::"
    )
