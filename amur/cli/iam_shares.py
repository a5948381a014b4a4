"""`amur iam shares ...`: buckets lent to keys of other organizations."""

from __future__ import annotations

from typing import Annotated

import typer

from amur.cli import moments, tables
from amur.cli.address import parse
from amur.cli.iam_remote import IamRemote, iam_command
from amur.cli.remote import Problem
from amur.cli.tables import Column

app = typer.Typer(help="Buckets shared with keys of other organizations.", no_args_is_help=True)

Bucket = Annotated[str, typer.Argument(metavar="BUCKET")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The other organization's: tid_...")]


def register(iam: typer.Typer) -> None:
    iam.add_typer(app, name="shares")
    iam_command(app, "list", "ls")(list_)
    iam_command(app, "add")(add)
    iam_command(app, "remove", "rm")(remove)


def list_(
    iam: IamRemote,
    bucket: Annotated[str, typer.Argument(metavar="[BUCKET]", help="Whom it is shared with.")] = "",
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="What is shared with one's own key.")
    ] = "",
) -> None:
    """List whom a bucket is shared with, or what is shared with a key."""
    if bool(bucket) == bool(key):
        raise Problem("give a bucket, or --key")
    given = {"Bucket": parse(bucket).bucket} if bucket else {"AccessKeyId": iam.key_id(key)}
    rows = [
        {"bucket": each["Bucket"], "key": each["AccessKeyId"], "role": each["Role"],
         "organization": each["OrganizationId"], "created": each["CreateDate"]}
        for each in iam.call("ListBucketShares", given)["Shares"]
    ]  # fmt: skip
    columns = [
        Column("key", lambda row: row["key"]), Column("role", lambda row: row["role"]),
        Column("since", lambda row: moments.shown(row["created"])[:10]),
        Column("bucket", lambda row: row["bucket"], "fold"),
    ]  # fmt: skip
    tables.show(iam.out, rows, columns, "shares")


def add(
    iam: IamRemote,
    bucket: Bucket,
    key: KeyId,
    role: Annotated[
        str,
        typer.Option(metavar="ROLE", help="ReadOnly, ReadWrite, Editor or ExternalCollaborator."),
    ] = "ReadOnly",
) -> None:
    """Share a bucket with a key of another organization."""
    name = parse(bucket).bucket
    iam.call("ShareBucket", {"Bucket": name, "AccessKeyId": key, "Role": role})
    iam.out.document(
        {"action": "shared", "bucket": name, "key": key, "role": role},
        [f"shared bucket {name} with {key} ({role})"],
    )


def remove(iam: IamRemote, bucket: Bucket, key: KeyId) -> None:
    """Share a bucket no more."""
    name = parse(bucket).bucket
    iam.call("UnshareBucket", {"Bucket": name, "AccessKeyId": key})
    iam.out.document(
        {"action": "unshared", "bucket": name, "key": key},
        [f"bucket {name} is no longer shared with {key}"],
    )
