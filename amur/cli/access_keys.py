"""`amur access-keys ...`: made, looked at, changed, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from amur.cli import moments, new_key, tables
from amur.cli.exports import export_lines, roles_shown
from amur.cli.iam_remote import IamRemote, iam_command
from amur.cli.listing import Limit, PageToken
from amur.cli.remote import Problem
from amur.cli.tables import Column

app = typer.Typer(help="Access keys: who may what, until when.", no_args_is_help=True)

_SOON_S = 2 * 86_400  # what ends sooner is told by the minute, else by the day

Key = Annotated[str, typer.Argument(metavar="KEY", help="Its id, or its name if no other has it.")]
PolicyArn = Annotated[
    str, typer.Option("--policy-arn", "--policy", metavar="POLICY", help="Its name or ARN.")
]


def register(main: typer.Typer) -> None:
    main.add_typer(app, name="access-keys")
    main.add_typer(app, name="keys", hidden=True)
    iam_command(app, "list", "ls")(list_)
    iam_command(app, "create", "mk")(new_key.create)
    iam_command(app, "get", "stat")(get)
    iam_command(app, "assign")(assign)
    iam_command(app, "rotate")(rotate)
    iam_command(app, "delete", "rm")(delete)
    iam_command(app, "attach-policy")(attach_policy)
    iam_command(app, "detach-policy")(detach_policy)
    iam_command(app, "list-policies")(list_policies)
    iam_command(app, "enable")(enable)
    iam_command(app, "disable")(disable)
    iam_command(app, "rename")(rename)
    iam_command(app, "expire")(expire)


def key_row(row: dict[str, Any]) -> dict[str, Any]:
    """The server's row as commands show it."""
    return {
        "id": row["access_key_id"], "name": row["username"], "status": row["status"],
        "expires": row["expires_at"], "created": _made_at(row), "creator": row["creator"],
        "member": row["human_creator"], "last_used": row["last_used_at"],
        "organization": row["namespace_id"], "roles": row["buckets_role"], "tags": row["tags"],
    }  # fmt: skip


def _made_at(row: dict[str, Any]) -> str:
    """ "" of a key of the settings, which nobody has made."""
    text: str = row["created_at"]
    return "" if text.startswith("1970-") else text


def state(row: dict[str, Any]) -> str:
    """For people: whether it works, and until when."""
    if row["status"] != "active":
        return "disabled"
    if not row["expires"]:
        return "active"
    if moments.is_past(row["expires"]):
        return "expired"
    at = moments.shown(row["expires"])
    is_far = not moments.is_past(moments.before(row["expires"], _SOON_S))
    return f"until {at[:10] if is_far else at[5:16]}"


def list_(
    iam: IamRemote,
    policies: Annotated[
        bool, typer.Option("--policies", help="With the policies of each.")
    ] = False,
    limit: Limit = 0,
    page_token: PageToken = "",
) -> None:
    """List access keys, with their roles on buckets."""
    following: dict[str, Any] = {"next_page_token": None}

    def rows() -> Iterator[dict[str, Any]]:
        for row, marker in iam.keys(page_token, limit):
            following["next_page_token"] = marker if limit else None
            yield key_row(row) | ({"policies": row.get("policies")} if policies else {})

    title = "rights" if policies else "roles"
    columns = [
        Column("id", lambda row: row["id"]),
        Column("name", lambda row: row["name"], "fold"),
        Column("state", state),
        Column(title, _rights, "fold"),
    ]
    tables.show(iam.out, rows(), columns, "access keys", lambda: following)


def _rights(row: dict[str, Any]) -> str:
    """Of a row with policies, these, too; None are those that the caller may not be told."""
    rights = [roles_shown(row["roles"])] if row["roles"] else []
    rights += ["as its member"] if row["member"] else []
    policies = row.get("policies", ())
    rights += ["policies: not told"] if policies is None else [f"policy {x}" for x in policies]
    return "\n".join(rights) or "-"


def get(iam: IamRemote, key: Key) -> None:
    """Show a key: its state, roles and policies, and when it was used last."""
    row = key_row(iam.key(key))
    policies = iam.policies_of(row["id"])
    if not iam.out.is_for_people:
        iam.out.document(row | {"policies": policies})
        return
    shown = {
        "id": row["id"], "name": row["name"], "state": state(row),
        "roles": roles_shown(row["roles"], ", "), "policies": [each["name"] for each in policies],
        "created": moments.shown(row["created"]), "created by": row["creator"],
        "member": row["member"], "last used": moments.shown(row["last_used"]),
        "organization": row["organization"], "tags": row["tags"],
    }  # fmt: skip
    iam.out.document(shown)


def assign(
    iam: IamRemote,
    key: Key,
    bucket: new_key.Buckets = None,
    role: new_key.Roles = None,
    admin: new_key.Admin = False,
    revoke_roles: Annotated[bool, typer.Option("--revoke-roles", help="Without any role.")] = False,
    add: Annotated[bool, typer.Option("--add", help="Keep its roles on other buckets.")] = False,
) -> None:
    """Give a key roles on buckets, instead of those that it has."""
    grants = new_key.grants_of(bucket or (), role or (), admin=admin)
    if bool(grants) == revoke_roles or (add and revoke_roles):
        raise Problem("give --bucket and --role, --admin, or --revoke-roles")
    row = iam.key(key)
    had = row["buckets_role"]
    named = {each["bucket"] for each in grants}
    if add:
        grants = [each for each in had if each["bucket"] not in named] + grants
    request = {"id": row["access_key_id"], "buckets_role": grants}
    iam.call("UpdateAccessKeyWithBucketsRole", {"Req": new_key.encoded(request)})
    lost = [each for each in had if each not in grants]
    lines = [f"access key {row['access_key_id']} has now: {roles_shown(grants, ', ')}"]
    if lost:
        lines.append(f"and no longer: {roles_shown(lost, ', ')}")
    iam.out.document({"action": "assigned", "id": row["access_key_id"], "roles": grants}, lines)


def rotate(
    iam: IamRemote,
    key: Key,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the old secret goes on, 7d at most [0].")
    ] = "",
) -> None:
    """Give a key a new secret; its id, roles and policies stay."""
    overlap_s = moments.seconds(overlap) if overlap else 0
    key_id = iam.key_id(key)
    if not overlap_s:
        iam.confirm(f"the old secret of {key_id} stops at once (see --overlap); go on?")
    given = {"AccessKeyId": key_id, "OverlapSeconds": str(overlap_s)}
    secret = iam.call("RotateAccessKey", given)["rotate_access_key_result"]["new_secret"]
    until = f"works until {moments.shown(moments.time_of(overlap))}" if overlap else "is void"
    iam.out.document(
        {"action": "rotated", "id": key_id, "secret": secret, "overlap_seconds": overlap_s},
        export_lines(
            [f"access key {key_id}: the old secret {until}"], iam.endpoint, key_id, secret
        ),
    )


def delete(
    iam: IamRemote,
    key: Key,
    with_policies: Annotated[
        bool, typer.Option("--with-policies", help="Policies that no other key has, too.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="The same as --yes.", hidden=True)] = False,
) -> None:
    """Delete a key; requests that it signs are refused from then on."""
    row = key_row(iam.key(key))
    policies = iam.policies_of(row["id"])
    names = ", ".join(each["name"] for each in policies) or "-"
    had = f"roles {roles_shown(row['roles'], ', ')}; policies {names}"
    if not force:
        iam.confirm(f"delete access key {row['id']} ({row['name']}; {had})?")
    iam.call("DeleteAccessKey", {"AccessKeyId": row["id"]})
    gone = [each["name"] for each in policies if with_policies and _dropped(iam, each["arn"])]
    lines = [f"deleted access key {row['id']} ({row['name']})", f"it had {had}"]
    lines += [f"deleted policy {each}" for each in gone]
    iam.out.document(
        {"action": "deleted", "id": row["id"], "name": row["name"], "roles": row["roles"],
         "policies": policies, "deleted_policies": gone},
        lines,
    )  # fmt: skip


def _dropped(iam: IamRemote, arn: str) -> bool:
    """Whether it was deleted: not when another key has it."""
    if iam.call("GetPolicyDetailed", {"PolicyArn": arn})["PolicyDetailed"]["Users"]:
        return False
    iam.call("DeletePolicy", {"PolicyArn": arn})
    return True


def attach_policy(iam: IamRemote, key: Key, policy_arn: PolicyArn) -> None:
    """Attach a policy to a key."""
    attach(iam, iam.key_id(key), policy_arn, is_on=True)


def detach_policy(iam: IamRemote, key: Key, policy_arn: PolicyArn) -> None:
    """Take a policy from a key."""
    attach(iam, iam.key_id(key), policy_arn, is_on=False)


def attach(iam: IamRemote, key_id: str, policy: str, *, is_on: bool) -> None:
    arn = iam.policy_arn(policy)
    operation = "AttachUserPolicy" if is_on else "DetachUserPolicy"
    iam.call(operation, {"UserName": key_id, "PolicyArn": arn})
    did, where = ("attached", "to") if is_on else ("detached", "from")
    iam.out.document(
        {"action": did, "policy": arn, "id": key_id}, [f"{did} policy {arn} {where} {key_id}"]
    )


def list_policies(iam: IamRemote, key: Key) -> None:
    """List the policies of a key."""
    columns = [
        Column("name", lambda row: row["name"], "fold"),
        Column("arn", lambda row: row["arn"], "cut"),
    ]  # fmt: skip
    tables.show(iam.out, iam.policies_of(iam.key_id(key)), columns, "policies")


def enable(iam: IamRemote, key: Key) -> None:
    """Let a disabled key work again."""
    _update(iam, key, "enabled", {"Status": "Active"}, "is enabled")


def disable(iam: IamRemote, key: Key) -> None:
    """Refuse a key's requests until it is enabled again."""
    _update(iam, key, "disabled", {"Status": "Inactive"}, "is disabled")


def rename(iam: IamRemote, key: Key, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Give a key another name."""
    _update(iam, key, "renamed", {"Name": name}, f"is called {name} now")


def expire(
    iam: IamRemote,
    key: Key,
    when: Annotated[str, typer.Argument(metavar="TIME|SPAN|never", help="As 7d from now.")],
) -> None:
    """Set when a key stops by itself."""
    text = when if when == "never" else moments.time_of(when)
    said = "does not expire" if when == "never" else f"expires at {moments.shown(text)}"
    _update(iam, key, "expires", {"ExpiresAt": text}, said)


def _update(iam: IamRemote, key: str, did: str, given: dict[str, str], said: str) -> None:
    key_id = iam.key_id(key)
    iam.call("UpdateAccessKey", {"AccessKeyId": key_id, **given})
    changed = {name.lower(): value for name, value in given.items()}
    iam.out.document({"action": did, "id": key_id, **changed}, [f"access key {key_id} {said}"])
