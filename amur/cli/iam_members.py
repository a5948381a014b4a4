"""`amur iam users ...` and `amur iam organizations ...`, by the REST part of the IAM port."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from amur.cli import tables
from amur.cli.iam_remote import IamRemote, iam_command
from amur.cli.remote import Problem
from amur.cli.tables import Column

users = typer.Typer(help="Members of the organization.", no_args_is_help=True)
organizations = typer.Typer(help="Organizations, for the root key.", no_args_is_help=True)

_ORGANIZATION = "/users/get-org"
_NAMESPACES = "/tigris-iam/namespaces"
_INVITATIONS = "/tigris-iam/invitations"
_ROLES = ("admin", "member", "owner")

User = Annotated[str, typer.Argument(metavar="USER", help="E-mail address or id.")]
Role = Annotated[str, typer.Option("--role", metavar="ROLE", help=f"{', '.join(_ROLES)}.")]


def register(iam: typer.Typer) -> None:
    iam.add_typer(users, name="users")
    iam.add_typer(users, name="u", hidden=True)
    iam_command(users, "list", "ls")(list_)
    iam_command(users, "add", "invite")(add)
    iam_command(users, "set-role", "update-role")(set_role)
    iam_command(users, "remove", "rm", "revoke-invitation")(remove)
    iam.add_typer(organizations, name="organizations")
    iam.add_typer(organizations, name="orgs", hidden=True)
    iam_command(organizations, "list", "ls")(list_organizations)
    iam_command(organizations, "create", "mk")(create_organization)


def _members(iam: IamRemote) -> list[dict[str, Any]]:
    """Also who is invited only."""
    found = iam.rest("GET", _ORGANIZATION)
    rows = [
        {"id": each["userId"], "email": each["email"], "name": each["user_name"],
         "role": each["role"], "state": "member"}
        for each in found["users"]
    ]  # fmt: skip
    rows += [
        {"id": each["id"], "email": each["email"], "name": "", "role": each["role"],
         "state": "invited"}
        for each in found["invitations"]
    ]  # fmt: skip
    return rows


def member_of(iam: IamRemote, text: str) -> dict[str, Any]:
    """By id or e-mail address. Raises Problem."""
    for row in _members(iam):
        if row["id"] == text or row["email"] == text.strip().lower():
            return row
    raise Problem(f"there is no member {text}")


def _role(text: str) -> str:
    if text.lower() not in _ROLES:
        raise Problem(f"{text!r} is not a role: {', '.join(_ROLES)}")
    return text.lower()


def list_(iam: IamRemote) -> None:
    """List members, and who is invited."""
    columns = [
        Column("id", lambda row: row["id"]), Column("e-mail", lambda row: row["email"], "fold"),
        Column("role", lambda row: row["role"]), Column("state", lambda row: row["state"]),
    ]  # fmt: skip
    tables.show(iam.out, _members(iam), columns, "members")


def add(iam: IamRemote, email: User, role: Role = "member") -> None:
    """Add a member; keys of theirs are made by access-keys create --member."""
    wanted = {"email": email, "role": _role(role)}
    answer = iam.rest("POST", _INVITATIONS, {"invitations": [wanted]})
    (made,) = answer["result"]["invitation_ids"]
    iam.out.document(
        {"action": "added", "id": made, **wanted}, [f"added {email} as {role.lower()}: {made}"]
    )


def set_role(
    iam: IamRemote,
    user: User,
    new: Annotated[str, typer.Argument(metavar="[ROLE]", help=f"{', '.join(_ROLES)}.")] = "",
    role: Role = "",
) -> None:
    """Give a member another role; their keys follow."""
    role = _role(new or role)
    found = member_of(iam, user)
    iam.rest("PATCH", _NAMESPACES, {"updated_user_roles": {found["id"]: role}})
    iam.out.document(
        {"action": "changed", "id": found["id"], "email": found["email"], "role": role},
        [f"{found['email']} is {role} now"],
    )


def remove(iam: IamRemote, user: User) -> None:
    """Remove a member, whose keys go, too."""
    found = member_of(iam, user)
    iam.confirm(f"remove {found['email']} ({found['role']}) and every key of theirs?")
    iam.rest("PATCH", _NAMESPACES, {"removed_users": [found["id"]]})
    iam.out.document(
        {"action": "removed", "id": found["id"], "email": found["email"]},
        [f"removed {found['email']}"],
    )


# --- organizations ---


def list_organizations(iam: IamRemote) -> None:
    """List organizations: all of them for the root key, else one's own."""
    rows = iam.rest("GET", _NAMESPACES)["result"]["orgs"]
    columns = [
        Column("id", lambda row: row["id"]), Column("name", lambda row: row["name"], "fold")
    ]  # fmt: skip
    tables.show(iam.out, rows, columns, "organizations")


def create_organization(
    iam: IamRemote,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Its id, for good [random].")] = "",
) -> None:
    """Make an organization. Its first key: access-keys create NAME --admin --organization ID."""
    answer = iam.rest("POST", _NAMESPACES, {"name": name, "id": id_})
    made = answer["result"]["namespace_id"]
    iam.out.document(
        {"action": "created", "id": made, "name": name}, [f"created organization {made} ({name})"]
    )
