"""`amur iam simulate` and `amur iam temporary`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from amur.cli import moments
from amur.cli import policy_source as source
from amur.cli.buckets import pairs
from amur.cli.errors import refuse
from amur.cli.exports import export_lines
from amur.cli.iam_remote import IamRemote, iam_command, members
from amur.cli.remote import Problem, explained

_DENIED, _ERROR = 1, 2
_SCHEME = re.compile(r"(t3|s3|tigris)://")
_NAME = "session"


def register(iam: typer.Typer) -> None:
    iam_command(iam, "simulate")(simulate)
    iam_command(iam, "temporary", "temp")(temporary)


def simulate(
    iam: IamRemote,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="s3:GetObject, or GetObject.")],
    resource: Annotated[
        str, typer.Argument(metavar="RESOURCE", help="An ARN, or bucket/key; * is everything.")
    ],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="Whose: id or name.")] = "",
    document: Annotated[
        list[str] | None,
        typer.Option(
            "--document",
            metavar="FILE|-|JSON",
            help="As if the key had this policy, too; without --key by it alone. May be repeated.",
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="NAME=VALUE", help="aws:SourceIp=1.2.3.4; repeatable."),
    ] = None,
    at: Annotated[str, typer.Option("--at", metavar="TIME|SPAN", help="Then, not now.")] = "",
) -> None:
    """Say whether a request would be allowed, and why. Exit codes: 0 allowed, 1 denied, 2 error."""
    try:
        row = _simulated(iam, action, resource, key, document or (), context or (), at)
    except Exception as error:
        said = explained(error)
        if not said:
            raise
        refuse(said)
        raise typer.Exit(_ERROR) from None
    iam.out.document(row, _lines(row))
    if not row["allowed"]:
        raise typer.Exit(_DENIED)


def _simulated(
    iam: IamRemote,
    action: str,
    resource: str,
    key: str,
    documents: Iterable[str],
    context: Iterable[str],
    at: str,
) -> dict[str, Any]:
    texts = [source.read(each) for each in documents]
    if not key and not texts:
        raise Problem("give --key, or --document")
    values = _context(context)
    if at:
        values["aws:CurrentTime"] = [moments.time_of(at)]
    given = {
        **members("ActionNames", [action if ":" in action else f"s3:{action}"]),
        **members("ResourceArns", [_arn(resource)]),
        **members("PolicyInputList", texts),
    }
    for n, (name, each) in enumerate(values.items(), 1):
        entry = f"ContextEntries.member.{n}"
        given[f"{entry}.ContextKeyName"] = name
        given[f"{entry}.ContextKeyType"] = "string"
        given |= members(f"{entry}.ContextKeyValues", each)
    operation = "SimulateCustomPolicy"
    if key:
        operation = "SimulatePrincipalPolicy"
        given["PolicySourceArn"] = iam.key_id(key)
    answer = iam.call(operation, given)[f"{operation}Result"]["EvaluationResults"][0]
    return {
        "allowed": answer["EvalDecision"] == "allowed", "decision": answer["EvalDecision"],
        "by": answer["By"], "action": answer["EvalActionName"],
        "resource": answer["EvalResourceName"], "key": given.get("PolicySourceArn", ""),
        "explanation": answer["Explanation"],
        "statements": [each["SourcePolicyId"] for each in answer["MatchedStatements"]],
        "missing_context": answer["MissingContextValues"],
    }  # fmt: skip


def _context(given: Iterable[str]) -> dict[str, list[str]]:
    """A name may come several times: it has several values."""
    found: dict[str, list[str]] = {}
    for text in given:
        ((name, value),) = pairs([text]).items()
        found.setdefault(name, []).append(value)
    return found


def _arn(text: str) -> str:
    if text == "*" or text.startswith("arn:"):
        return text
    return "arn:aws:s3:::" + _SCHEME.sub("", text, count=1)


def _lines(row: dict[str, Any]) -> list[str]:
    word = "ALLOWED" if row["allowed"] else "DENIED"
    return [
        f"{word} {row['action']} on {row['resource']}: {row['by']}",
        *(f"  {each}" for each in row["explanation"] if not each.endswith(f" {row['by']}")),
        *(f"  not known here: {each}; give it by --context" for each in row["missing_context"]),
    ]


def temporary(
    iam: IamRemote,
    expires: Annotated[
        str, typer.Option("--expires", metavar="SPAN", help="1m to 7d [1h].")
    ] = "1h",
    policy: Annotated[
        str,
        typer.Option("--policy", metavar="FILE|-|JSON", help="Narrows it to what this allows."),
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="With --policy: for the audit.")
    ] = _NAME,
) -> None:
    """Make a temporary key of one's own, which nobody has to delete.

    Without --policy it may what its parent may, but administer nothing.
    """
    given = {"DurationSeconds": str(moments.seconds(expires))}
    operation = "GetSessionToken"
    if policy:
        operation = "GetFederationToken"
        text = source.read(policy)
        source.warn(iam.out, text)
        given |= {"Name": name, "Policy": text}
    made = iam.call(operation, given)[f"{operation}Result"]["Credentials"]
    key_id, secret, token = made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]
    remarks = [f"temporary key {key_id}, until {moments.shown(made['Expiration'])}"]
    iam.out.document(
        {"id": key_id, "secret": secret, "session_token": token, "expires": made["Expiration"],
         "endpoint": iam.endpoint},
        export_lines(remarks, iam.endpoint, key_id, secret, token),
    )  # fmt: skip
