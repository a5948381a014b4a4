"""`amur mv`, `rm`, `mk`, `touch`, `presign`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amur.cli import copying
from amur.cli.address import Address, parse, parse_object
from amur.cli.copying import PARALLEL, Parallel, Recursive
from amur.cli.listing import VersionId, missing, walk
from amur.cli.remote import Problem, Remote, code_of, command
from amur.cli.transfer import Workers, batches
from amur.cli.upload import Settings
from amur.limits import DELETE_KEYS_MAX, PRESIGN_SECONDS_MAX

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_FAILURES_SHOWN = 20


def register(app: typer.Typer) -> None:
    command(app, "mv")(mv)
    command(app, "rm")(rm)
    command(app, "touch")(touch)
    command(app, "presign", own_format=True)(presign)


# --- mv ---


def mv(
    remote: Remote,
    source: Annotated[str, typer.Argument(metavar="SRC")],
    target: Annotated[str, typer.Argument(metavar="DEST")],
    recursive: Recursive = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    parallel: Parallel = PARALLEL,
) -> None:
    """Move or rename objects. Within a bucket it is a rename: at once, whatever the size."""
    mover = _Mover(remote, force)

    def work(one: Address, other: Address, length: int, workers: Workers) -> bool:
        mover.move(one, other, length, workers)
        return True

    jobs = copying.pairs(remote, parse(source), parse(target), recursive, work)
    copying.finish(remote, jobs, "move", parallel, source, target)


class _Mover:
    def __init__(self, remote: Remote, force: bool) -> None:
        self._remote, self._force = remote, force

    def move(self, source: Address, target: Address, length: int, workers: Workers) -> None:
        if source.bucket == target.bucket and not self._force:
            self._rename(source, target)
            workers.advance(length)
            return
        if not self._force and _is_there(self._remote, target):
            raise Problem(f"{target} exists; --force overwrites it")
        # what is deleted is what was copied: a version that comes meanwhile stays
        which: Any = {"Bucket": source.bucket, "Key": source.key}
        etag = self._remote.s3.head_object(**which)["ETag"]
        copying.server_copy(self._remote, source, target, length, Settings(), workers)
        try:
            self._remote.s3.delete_object(**which, IfMatch=etag)
        except self._remote.s3.exceptions.ClientError as error:
            if code_of(error) not in ("PreconditionFailed", "412"):
                raise
            raise Problem("it was changed while it was copied; both are there now") from None

    def _rename(self, source: Address, target: Address) -> None:
        """Never overwrites (409 KeyAlreadyExists)."""
        self._remote.renaming.copy_object(
            Bucket=target.bucket, Key=target.key,
            CopySource={"Bucket": source.bucket, "Key": source.key},
        )  # fmt: skip


def _is_there(remote: Remote, place: Address) -> bool:
    try:
        remote.s3.head_object(Bucket=place.bucket, Key=place.key)
    except remote.s3.exceptions.ClientError as error:
        if code_of(error) != "404":
            raise
        return False
    return True


# --- rm ---


def rm(
    remote: Remote,
    path: Annotated[str, typer.Argument(help="An object; a folder or bucket with --recursive.")],
    recursive: Recursive = False,
    force: Annotated[bool, typer.Option("--force", help="The same as --yes.")] = False,
) -> None:
    """Delete an object, or with --recursive all below a folder."""
    place = parse(path)
    if not recursive:
        _remove_one(remote, place)
        remote.out.document({"action": "removed", "path": str(place), "count": 1}, [])
        return
    remote.yes = remote.yes or force
    remote.confirm(f"delete everything below {place.bucket}/{place.folder}?")
    rows = walk(remote.s3, place.bucket, place.folder)
    count = remove_all(remote, place.bucket, ({"Key": row["key"]} for row in rows))
    remote.out.document(
        {"action": "removed", "path": str(place), "count": count}, [f"removed {count:,} objects"]
    )


def _remove_one(remote: Remote, place: Address) -> None:
    if not place.key:
        raise Problem(f"{place} is a bucket; amur buckets delete removes it, rm -r empties it")
    if not _is_there(remote, place):  # deleting what is not there succeeds on S3
        raise Problem(missing(remote.s3, place))
    remote.s3.delete_object(Bucket=place.bucket, Key=place.key)


def remove_all(remote: Remote, bucket: str, objects: Iterable[ObjectIdentifierTypeDef]) -> int:
    """By a thousand in a request. The count. Raises Problem when some are left."""
    count = failed = 0
    with remote.out.progress("delete", None, "objects") as bar:
        for batch in batches(objects, DELETE_KEYS_MAX):
            answer = remote.s3.delete_objects(
                Bucket=bucket, Delete={"Objects": list(batch), "Quiet": True}
            )
            errors = answer.get("Errors", [])
            for each in errors[: max(_FAILURES_SHOWN - failed, 0)]:
                remote.out.remark(f"{each['Key']}: {each.get('Message') or each.get('Code')}")
            failed += len(errors)
            count += len(batch) - len(errors)
            bar.advance(len(batch))
    if failed:
        raise Problem(f"deleted {count:,}; {failed:,} could not be deleted")
    return count


# --- touch, presign ---


def touch(remote: Remote, path: Annotated[str, typer.Argument()]) -> None:
    """Make an empty object. One that exists is left as it is."""
    place = parse_object(path)
    created = True
    try:
        remote.s3.put_object(Bucket=place.bucket, Key=place.key, Body=b"", IfNoneMatch="*")
    except remote.s3.exceptions.ClientError as error:
        if code_of(error) not in ("PreconditionFailed", "412"):
            raise
        created = False
    said = f"created {place}" if created else f"{place} exists"
    remote.out.document({"path": str(place), "created": created}, [said])


def presign(
    remote: Remote,
    path: Annotated[str, typer.Argument()],
    method: Annotated[str, typer.Option(metavar="get|put", help="What it allows.")] = "get",
    expires_in: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, max=PRESIGN_SECONDS_MAX, help="How long.")
    ] = 3600,
    form: Annotated[str, typer.Option("--format", metavar="url|json", help="How to answer.")] = "",
    version_id: VersionId = "",
) -> None:
    """Make a URL that works without a key for a while."""
    place = parse_object(path)
    if method not in ("get", "put") or form not in ("", "url", "json"):
        raise Problem("--method is get or put, --format is url or json")
    given: Any = {"Bucket": place.bucket, "Key": place.key}
    if version_id:
        if method == "put":
            raise Problem("--version-id goes with --method get")
        given["VersionId"] = version_id
    url = remote.s3.generate_presigned_url(f"{method}_object", Params=given, ExpiresIn=expires_in)
    if form == "json":
        remote.out.format = "json"
    remote.out.document(
        {"url": url, "method": method.upper(), "expires_in": expires_in, "bucket": place.bucket,
         "key": place.key}, [url],
    )  # fmt: skip
