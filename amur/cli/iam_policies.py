"""`amur iam policies ...`: documents, who has them, and what is doubtful in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import uuid4

import typer

from amur.cli import moments, tables
from amur.cli import policy_source as source
from amur.cli.access_keys import attach
from amur.cli.iam_remote import PAGE, IamRemote, Refused, iam_command
from amur.cli.listing import Limit, PageToken
from amur.cli.remote import Problem, Remote, command, is_terminal
from amur.cli.tables import Column

app = typer.Typer(help="Policies: what may be done, by JSON documents.", no_args_is_help=True)

Policy = Annotated[str, typer.Argument(metavar="POLICY", help="Its name or ARN.")]
Id = Annotated[str, typer.Option("--id", metavar="KEY", help="The access key: its id or name.")]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT")]


def register(iam: typer.Typer) -> None:
    iam.add_typer(app, name="policies")
    iam.add_typer(app, name="p", hidden=True)
    iam_command(app, "list", "ls")(list_)
    iam_command(app, "get", "stat")(get)
    iam_command(app, "create", "mk")(create)
    iam_command(app, "edit")(edit)
    iam_command(app, "delete", "rm")(delete)
    iam_command(app, "link-key")(link_key)
    iam_command(app, "unlink-key")(unlink_key)
    iam_command(app, "list-keys")(list_keys)
    iam_command(app, "lint")(lint)
    command(app, "templates")(templates)
    command(app, "schema")(schema)


def policy_row(given: dict[str, Any]) -> dict[str, Any]:
    """The server's policy as commands show it."""
    return {
        "name": given["PolicyName"], "arn": given["Arn"], "id": given["PolicyId"],
        "description": given["Description"], "version": given["DefaultVersionId"],
        "created": given["CreateDate"], "updated": given["UpdateDate"],
        "attachments": given["AttachmentCount"],
        "tags": {each["Key"]: each["Value"] for each in given["Tags"]},
    }  # fmt: skip


def _pages(
    iam: IamRemote, after: str = "", limit: int = 0
) -> Iterator[tuple[list[dict[str, Any]], str]]:
    left = limit
    while True:
        given = {"MaxItems": str(min(left or PAGE, PAGE)), "Marker": after}
        page = iam.call("ListPolicies", given)["ListPoliciesResult"]
        rows, after = [policy_row(each) for each in page["Policies"]], page.get("Marker", "")
        yield rows, after
        left -= len(rows)
        if not after or (limit and left <= 0):
            return


def list_(iam: IamRemote, limit: Limit = 0, page_token: PageToken = "") -> None:
    """List policies, and how many keys have each."""
    following: dict[str, Any] = {"next_page_token": None}

    def rows() -> Iterator[dict[str, Any]]:
        for page, after in _pages(iam, page_token, limit):
            following["next_page_token"] = after or None
            yield from page

    columns = [
        Column("name", lambda row: row["name"], "fold"),
        Column("keys", lambda row: str(row["attachments"])),
        Column("version", lambda row: row["version"]),
        Column("updated", lambda row: moments.shown(row["updated"])[:16]),
        Column("description", lambda row: row["description"], "cut"),
    ]
    tables.show(iam.out, rows(), columns, "policies", lambda: following)


def _detailed(iam: IamRemote, policy: str) -> dict[str, Any]:
    answer = iam.call("GetPolicyDetailed", {"PolicyArn": iam.policy_arn(policy)})
    found: dict[str, Any] = answer["PolicyDetailed"]
    return found


def _keys(found: dict[str, Any]) -> list[dict[str, str]]:
    return [{"id": each["UserId"], "name": each["UserName"]} for each in found["Users"]]


def get(iam: IamRemote, policy: Policy) -> None:
    """Show a policy, its document and the keys that have it."""
    found = _detailed(iam, policy)
    document = json.loads(found["Document"])
    row = policy_row(found) | {"document": document, "keys": _keys(found)}
    if not iam.out.is_for_people:
        iam.out.document(row)
        return
    iam.out.document(
        {"name": row["name"], "arn": row["arn"], "description": row["description"],
         "version": row["version"], "updated": moments.shown(row["updated"]),
         "keys": [f"{each['id']} ({each['name']})" for each in row["keys"]], "tags": row["tags"]}
    )  # fmt: skip
    typer.echo(source.pretty(document))


def create(
    iam: IamRemote,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    document: source.Document = "",
    description: Description = None,
    template: source.TemplateName = "",
    bucket: Annotated[
        list[str] | None, typer.Option("--bucket", metavar="BUCKET", help="Of the template.")
    ] = None,
    dataset: source.Datasets = None,
    base_models: source.BaseModels = None,
    output: source.ResultBucket = "",
    prefix: source.Prefix = "",
    address: source.Addresses = None,
    start: source.Start = "",
    end: source.End = "",
    param: source.Param = None,
) -> None:
    """Make a policy of a document, or of a template."""
    given = {
        "datasets": dataset, "models": base_models, "output": output, "prefix": prefix,
        "addresses": address, "start": start, "end": end, "bucket": bucket,
    }  # fmt: skip
    if bool(document) == bool(template):
        raise Problem("give --document, or --template (amur iam policies templates lists them)")
    if document and (param or any(given.values())):
        raise Problem("these options are of a template, not of --document")
    if template:
        chosen = source.template_of(template)
        text = source.build(chosen, source.parameters(chosen, given, param or ()))
    else:
        text = source.read(document)
    source.warn(iam.out, text)
    answer = iam.call(
        "CreatePolicy",
        {"PolicyName": name, "Description": description or "", "PolicyDocument": text,
         "ReqUUID": str(uuid4())},
    )  # fmt: skip
    row = policy_row(answer["CreatePolicyResult"]["Policy"])
    iam.out.document({"action": "created"} | row, [f"created policy {row['arn']}"])


def edit(
    iam: IamRemote,
    policy: Policy,
    document: source.Document = "",
    description: Description = None,
) -> None:
    """Give a policy another document (in $EDITOR, or by --document), in force at once."""
    arn = iam.policy_arn(policy)
    given = {"PolicyArn": arn, "ReqUUID": str(uuid4())}
    if description is not None:
        given["Description"] = description
    if document:
        text = source.read(document)
        source.warn(iam.out, text)
        _update(iam, given | {"PolicyDocument": text})
    elif description is not None:
        _update(iam, given)
    else:
        before = source.pretty(json.loads(_detailed(iam, arn)["Document"])) + "\n"
        _update_edited(iam, given, before)


def _update(iam: IamRemote, given: dict[str, str]) -> None:
    row = policy_row(iam.call("UpdatePolicy", given)["UpdatePolicyResult"]["Policy"])
    said = f"policy {row['arn']} is at version {row['version']}"
    iam.out.document({"action": "updated"} | row, [said])


def _update_edited(iam: IamRemote, given: dict[str, str], before: str) -> None:
    """What can't be used may be edited again; it is lost in no case."""
    draft = source.Draft(before)
    while True:
        text = draft.edited()
        try:
            source.warn(iam.out, text)
            _update(iam, given | {"PolicyDocument": text})
        except Problem as error:
            is_fixable = not isinstance(error, Refused) or error.code == "MalformedPolicyDocument"
            if is_fixable and is_terminal():
                iam.out.remark(str(error).replace("\n", "; "))
                if typer.confirm("amur: edit it again?", default=True, err=True):
                    continue
            raise Problem(f"{error}\n{draft.file} has what you wrote") from None
        draft.done()
        return


def delete(
    iam: IamRemote,
    policy: Policy,
    force: Annotated[
        bool, typer.Option("--force", help="Take it from the keys that have it.")
    ] = False,
) -> None:
    """Delete a policy; one that keys have only with --force."""
    found = _detailed(iam, policy)
    keys, arn = _keys(found), found["Arn"]
    names = ", ".join(f"{each['id']} ({each['name']})" for each in keys)
    if keys and not force:
        raise Problem(f"keys have this policy: {names}; --force takes it from them")
    iam.confirm(f"delete policy {arn}" + (f", which {names} have?" if keys else "?"))
    iam.call("ForceDeletePolicy" if force else "DeletePolicy", {"PolicyArn": arn})
    lines = [f"deleted policy {arn}"] + ([f"it was taken from {names}"] if keys else [])
    iam.out.document({"action": "deleted", "arn": arn, "keys": keys}, lines)


def link_key(iam: IamRemote, policy: Policy, key: Id) -> None:
    """Attach a policy to a key."""
    attach(iam, iam.key_id(key), policy, is_on=True)


def unlink_key(iam: IamRemote, policy: Policy, key: Id) -> None:
    """Take a policy from a key."""
    attach(iam, iam.key_id(key), policy, is_on=False)


def list_keys(iam: IamRemote, policy: Policy) -> None:
    """List the keys that have a policy."""
    columns = [Column("id", lambda row: row["id"]), Column("name", lambda row: row["name"], "fold")]
    tables.show(iam.out, _keys(_detailed(iam, policy)), columns, "keys have this policy")


def lint(
    iam: IamRemote,
    policy: Annotated[str, typer.Argument(metavar="[POLICY]", help="One that is stored.")] = "",
    document: source.Document = "",
) -> None:
    """Say what is wrong or doubtful in a document. Exit code 1 for what is serious."""
    if bool(policy) == bool(document):
        raise Problem("give a policy's name, or --document")
    keys: list[str] = []
    if document:
        text = source.read(document)
    else:
        stored = _detailed(iam, policy)
        text, keys = stored["Document"], [each["id"] for each in _keys(stored)]
    found = [
        each._asdict() | {"is_serious": source.is_serious(each), "said": str(each)}
        for each in source.findings(text, keys)
    ]

    def line(row: dict[str, Any]) -> str:
        return f"{'serious' if row['is_serious'] else 'hint'}: {row['said']}"

    iam.out.items(found, line)
    if not found and iam.out.is_for_people:
        iam.out.remark("nothing is wrong with it")
    if any(each["is_serious"] for each in found):
        raise typer.Exit(1)


def templates(
    remote: Remote,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this one.")] = "",
) -> None:
    """List templates of policies, and what each wants to know."""
    from amur.iam.policy.templates import TEMPLATES

    chosen = [source.template_of(name)] if name else list(TEMPLATES.values())
    rows: list[dict[str, Any]] = [
        {"name": each.name, "description": each.description,
         "parameters": [
             {"name": one.name, "help": one.help, "required": one.required,
              "repeated": one.repeated}
             for one in each.parameters
         ]}
        for each in chosen
    ]  # fmt: skip
    if not remote.out.is_for_people:
        remote.out.items(rows, str)
        return
    columns = [
        Column("parameter", lambda row: f"  {row['name']}"),
        Column("how often", _how_often),
        Column("", lambda row: row["help"], "fold"),
    ]  # fmt: skip
    for number, row in enumerate(rows):
        if number:
            typer.echo("")
        for line in tables.wrapped(f"{row['name']}: {row['description']}"):
            typer.echo(line)
        for line in tables.lines(row["parameters"], columns, tables.width(), titles=False):
            typer.echo(line)


def _how_often(row: dict[str, Any]) -> str:
    least = "1" if row["required"] else "0"
    return f"{least} or more" if row["repeated"] else ("once" if row["required"] else "optional")


def schema(remote: Remote) -> None:
    """Print the JSON schema of policy documents, for editors."""
    from amur.iam.policy.schema import schema as of_kind
    from amur.iam.policy.statements import Kind

    del remote  # the server is not asked
    typer.echo(source.pretty(of_kind(Kind.IDENTITY)))
