"""`amur objects ...`: one object at a time, by bucket and key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amur.cli import changing, copying, download, listing, upload
from amur.cli.address import Address, local_parts, parse
from amur.cli.buckets import pairs
from amur.cli.copying import Access, ContentType
from amur.cli.listing import Limit, PageToken, VersionId
from amur.cli.remote import Problem, Remote, command
from amur.cli.transfer import Job, Workers
from amur.cli.upload import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

app = typer.Typer(help="Objects: put, get, list, look at, delete.", no_args_is_help=True)

Bucket = Annotated[str, typer.Argument(metavar="BUCKET", help="Or t3://bucket/key at once.")]
Key = Annotated[str, typer.Argument(metavar="KEY")]
Prefix = Annotated[str, typer.Option("--prefix", metavar="PREFIX", help="Keys that begin so.")]


def register(main: typer.Typer) -> None:
    main.add_typer(app, name="objects")
    main.add_typer(app, name="o", hidden=True)
    command(app, "list", "ls")(list_)
    command(app, "list-versions")(list_versions)
    command(app, "get")(get)
    command(app, "put")(put)
    command(app, "delete", "rm")(delete)
    command(app, "info", "stat")(info)
    command(app, "set-access", "set-acl")(set_access)


def _object(bucket: str, key: str) -> Address:
    place = parse(bucket)
    place = place.below(key) if key else place
    if not place.key:
        raise Problem("which object? give bucket and key")
    return place


def list_(
    remote: Remote,
    bucket: Bucket,
    prefix: Prefix = "",
    delimiter: Annotated[str, typer.Option(metavar="TEXT", help="Fold keys behind it.")] = "",
    limit: Limit = 0,
    page_token: PageToken = "",
) -> None:
    """List objects."""
    place = parse(bucket)
    listing.list_objects(remote, place.bucket, place.key + prefix, delimiter, limit, page_token)


def list_versions(
    remote: Remote,
    bucket: Bucket,
    key: Key = "",
    prefix: Prefix = "",
    limit: Limit = 0,
    key_marker: Annotated[str, typer.Option(metavar="KEY", help="Behind this one.")] = "",
    version_id_marker: Annotated[str, typer.Option(metavar="ID")] = "",
) -> None:
    """List versions and delete markers; * marks the current one."""
    place = parse(bucket)
    start = place.key + (key or prefix)
    listing.list_versions(remote, place.bucket, start, limit, key_marker, version_id_marker)


def get(
    remote: Remote,
    bucket: Bucket,
    key: Key = "",
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="[the key's last part]; - is stdout"),
    ] = "",
    version_id: VersionId = "",
) -> None:
    """Fetch an object to a file."""
    place = _object(bucket, key)
    if output == "-":
        copying.to_stdout(remote, place, version_id)
        return
    name = output or local_parts(place.key.rpartition("/")[2])[0]
    which: Any = {"VersionId": version_id} if version_id else {}
    head = remote.s3.head_object(Bucket=place.bucket, Key=place.key, **which)

    def run(workers: Workers) -> bool:
        return download.download(
            remote.s3, place, Path(name), Settings(), workers, version_id=version_id
        )

    _one(remote, Job(str(place), head["ContentLength"], run), str(place), name)


def _one(remote: Remote, job: Job, source: str, target: str) -> None:
    def jobs() -> Iterator[Job]:
        yield job

    copying.finish(remote, jobs, "copy", copying.PARALLEL, source, target)


def put(
    remote: Remote,
    bucket: Bucket,
    key: Annotated[str, typer.Argument(metavar="KEY")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="- is stdin.")],
    content_type: ContentType = "",
    access: Access = "",
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="NAME=VALUE", help="May be repeated."),
    ] = None,
) -> None:
    """Store a file as an object."""
    place = _object(bucket, key)
    extra: dict[str, Any] = {"ContentType": content_type} if content_type else {}
    if metadata:
        extra["Metadata"] = pairs(metadata)
    settings = Settings(extra=extra | copying.acl(access))
    if file == "-":
        copying.from_stdin(remote, place, settings)
        return
    upload.observe(remote.s3)
    path = Path(file)
    if not path.is_file():
        raise Problem(f"{path}: there is no such file")

    def run(workers: Workers) -> bool:
        return upload.upload(remote.s3, path, place, settings, workers)

    _one(remote, Job(file, path.stat().st_size, run), file, str(place))


def delete(
    remote: Remote,
    bucket: Bucket,
    key: Key = "",
    version_id: VersionId = "",
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="For good: every version and delete marker.")
    ] = False,
) -> None:
    """Delete an object, one version of it, or all."""
    place = _object(bucket, key)
    if all_versions and version_id:
        raise Problem("--version-id or --all-versions, not both")
    count = 1
    if all_versions:
        remote.confirm(f"delete every version of {place} for good?")
        count = changing.remove_all(remote, place.bucket, _versions(remote, place))
    else:
        given: Any = {"VersionId": version_id} if version_id else {}
        remote.s3.delete_object(Bucket=place.bucket, Key=place.key, **given)
    remote.out.document(
        {"action": "deleted", "path": str(place), "count": count},
        [f"deleted {place}" + (f" ({count:,} versions)" if all_versions else "")],
    )


def _versions(remote: Remote, place: Address) -> Iterator[ObjectIdentifierTypeDef]:
    pages = remote.s3.get_paginator("list_object_versions").paginate(
        Bucket=place.bucket, Prefix=place.key
    )
    for page in pages:
        for row in listing.version_rows(page):
            if row["key"] == place.key:
                yield {"Key": row["key"], "VersionId": row["version_id"]}


def info(remote: Remote, bucket: Bucket, key: Key = "", version_id: VersionId = "") -> None:
    """Show what is known of an object."""
    listing.stat_object(remote, _object(bucket, key), version_id)


def set_access(
    remote: Remote,
    bucket: Bucket,
    key: Key = "",
    access: Access = "",
    version_id: VersionId = "",
) -> None:
    """Say who may read an object; its bucket must allow it (--allow-object-acl)."""
    place = _object(bucket, key)
    given: Any = copying.acl(access)
    if not given:
        raise Problem("give --access public or private")
    if version_id:
        given["VersionId"] = version_id
    remote.s3.put_object_acl(Bucket=place.bucket, Key=place.key, **given)
    remote.out.document({"path": str(place), "access": access})
