"""`amur audit`: who changed what about access, and what was refused."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from amur.cli import moments, tables
from amur.cli.address import printable
from amur.cli.iam_remote import IamRemote, iam_command
from amur.cli.remote import Problem

PAGE_MAX = 1000  # of the server
FOLLOW_SECONDS = 2.0
LATE_SECONDS = 60  # as much later an event of another region may arrive, and still be shown
SEEN_MAX = 20_000  # ids of events that are not to be shown again
_DECISIONS = {"denied": "Denied", "allowed": "Allowed"}
_ID_CHARS = 30  # of an access key
_KEY_CHARS = 10  # of it, in a narrow place
WIDE = 140  # columns from which on nothing is shortened


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
        str,
        typer.Option("--action", metavar="ACTION", help="As s3:GetObject; iam:* is all of iam."),
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
    events = _last(iam, given, PAGE_MAX if follow else limit)
    if follow:
        _said(iam, events[-limit:])
        _follow(iam, given, events)
    if iam.out.is_for_people:
        _said(iam, events)
    else:
        iam.out.items(events, str)
    if not events:
        iam.out.remark("no events")


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


# --- lines ---


def _said(iam: IamRemote, rows: Iterable[dict[str, Any]]) -> None:
    """Each on a line of its own; in JSON, too, as nobody knows when it ends."""
    wide = tables.width()
    for row in rows:
        if iam.out.is_for_people:
            for line in lines_of(row, wide):
                typer.echo(line)
        else:
            typer.echo(msgspec.json.encode(row))


def lines_of(row: dict[str, Any], wide: int) -> list[str]:
    """One line; in a narrow place it is cut, and why something was refused follows below."""
    is_denied = row["decision"] == "denied"
    time_shown, key, resource = moments.shown(row["time"]), row["key"] or "-", row["resource"]
    verdict = "DENIED" if is_denied else "ok"
    why = printable("; ".join(_why(row)))
    if wide >= WIDE:
        head = f"{time_shown}  {key:<{_ID_CHARS}}  {verdict:<6}  {row['action']:<26}  {resource}"
        return [f"{printable(head)}  ({why})"]
    resource = resource.removeprefix("arn:aws:s3:::")
    if resource.startswith("arn:"):
        resource = resource.rpartition(":")[2]
    key = _cut(key, _KEY_CHARS)
    head = f"{time_shown[5:]}  {key:<{_KEY_CHARS}}  {verdict:<6}  {row['action']:<20}  {resource}"
    return [_cut(printable(head), wide), *(tables.wrapped(why, indent=4) if is_denied else ())]


def _why(row: dict[str, Any]) -> Iterator[str]:
    if row["times"] > 1:
        yield f"{row['times']} times"
    if row["reason"]:
        yield row["reason"]
    if row["source_ip"]:
        yield f"from {row['source_ip']}"
    for name, value in row["detail"].items():
        if value:
            yield f"{name} {value if isinstance(value, str | int) else _json(value)}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


# --- what happens from now on ---


def _follow(iam: IamRemote, given: dict[str, str], events: list[dict[str, Any]]) -> NoReturn:
    """Events of other regions come late: the time before the newest is asked for again."""
    seen = deque((each["id"] for each in events), SEEN_MAX)
    newest = max((each["time"] for each in events), default="")
    while True:
        sys.stdout.flush()
        time.sleep(FOLLOW_SECONDS)
        window = {"Since": moments.before(newest, LATE_SECONDS)} if newest else {}
        known = set(seen)
        found = [each for each in _last(iam, given | window, SEEN_MAX) if each["id"] not in known]
        _said(iam, found)
        seen.extend(each["id"] for each in found)
        newest = max([newest, *(each["time"] for each in found)])
