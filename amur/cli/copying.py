"""`amur cp`: files to objects, objects to files, objects to objects."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from amur.cli import download, transfer, upload
from amur.cli.address import (
    Address,
    AddressError,
    is_remote,
    local_parts,
    parse,
    parse_object,
)
from amur.cli.listing import first_below, missing, walk
from amur.cli.output import rate, size
from amur.cli.remote import Problem, Remote, code_of, command
from amur.cli.transfer import Job, Tally, Workers
from amur.cli.upload import Settings
from amur.limits import MIB

PARALLEL = 8
PARALLEL_MAX = 64

Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="All that is below.")]
Access = Annotated[str, typer.Option("--access", metavar="public|private", help="Who may read.")]
Parallel = Annotated[
    int,
    typer.Option("--parallel", metavar="N", min=1, max=PARALLEL_MAX, help="So many at a time."),
]
PartSize = Annotated[
    int, typer.Option("--part-size", metavar="MIB", min=5, max=5120, help="Of large files.")
]
ContentType = Annotated[
    str, typer.Option("--content-type", metavar="TYPE", help="[by the name of the file]")
]

Jobs = Callable[[], Iterator[Job]]


def register(app: typer.Typer) -> None:
    command(app, "cp")(cp)


def cp(
    remote: Remote,
    source: Annotated[str, typer.Argument(metavar="SRC", help="A file, t3://..., or - (stdin).")],
    target: Annotated[str, typer.Argument(metavar="DEST", help="The same; - is stdout.")],
    recursive: Recursive = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave alone what is there with the same content.")
    ] = False,
    access: Access = "",
    content_type: ContentType = "",
    parallel: Parallel = PARALLEL,
    part_size: PartSize = upload.PART_BYTES // MIB,
) -> None:
    """Copy files and objects; remote ones are written t3://bucket/key (or s3://).

    The content of a folder goes below the target: cp -r photos t3://box/2026 makes
    t3://box/2026/cat.jpg of photos/cat.jpg. Large files that were cut off go on where they were.
    """
    extra: dict[str, Any] = {"ContentType": content_type} if content_type else {}
    extra |= acl(access)
    settings = Settings(part_size * MIB, resume, extra)
    if not is_remote(source) and not is_remote(target):
        raise Problem("one of the two must be remote: write t3://bucket/key")
    if source == "-":
        from_stdin(remote, parse_object(target), settings)
        return
    if target == "-":
        to_stdout(remote, parse_object(source))
        return
    upload.observe(remote.s3)
    if not is_remote(source):
        jobs = _uploads(remote, Path(source), parse(target), recursive, settings)
    elif not is_remote(target):
        jobs = _downloads(remote, parse(source), target, recursive, settings)
    else:
        jobs = _copies(remote, parse(source), parse(target), recursive, settings)
    finish(remote, jobs, "copy", parallel, source, target)


def acl(access: str) -> dict[str, str]:
    """As a member of PutObject; nothing for "" (then the bucket's counts). Raises Problem."""
    if access not in ("", "public", "private"):
        raise Problem(f"--access is public or private, not {access!r}")
    return {"ACL": "public-read" if access == "public" else "private"} if access else {}


def finish(remote: Remote, jobs: Jobs, what: str, parallel: int, source: str, target: str) -> Tally:
    """Run them and say how it went. Raises typer.Exit when something failed."""
    began = time.monotonic()
    try:
        tally = transfer.run(remote, jobs, what, parallel)
    except KeyboardInterrupt:
        remote.out.remark("what has arrived of large files is kept: the same command goes on there")
        raise
    seconds = time.monotonic() - began
    answer = {
        "action": "moved" if what == "move" else "copied", "source": source, "target": target,
        "count": tally.done, "bytes": tally.bytes, "skipped": tally.skipped,
        "failed": tally.failed, "seconds": round(seconds, 3),
    }  # fmt: skip
    rest = "".join(
        f"; {count:,} {name}"
        for count, name in ((tally.skipped, "there already"), (tally.failed, "failed"))
        if count
    )
    line = (
        f"{answer['action']} {tally.done:,} object{'' if tally.done == 1 else 's'}, "
        f"{size(tally.bytes)} in {seconds:.1f} s ({rate(tally.bytes, seconds)}){rest}"
    )
    remote.out.document(answer, [line])
    if tally.failed:
        raise typer.Exit(1)
    return tally


# --- local to remote ---


def _uploads(
    remote: Remote, source: Path, target: Address, recursive: bool, settings: Settings
) -> Jobs:
    if not source.exists():
        raise Problem(f"{source}: there is no such file")
    if source.is_dir() and not recursive:
        raise Problem(f"{source} is a directory; use --recursive")

    def job(path: Path, place: Address, length: int) -> Job:
        def run(workers: Workers) -> bool:
            return upload.upload(remote.s3, path, place, settings, workers)

        return Job(str(path), length, run)

    def jobs() -> Iterator[Job]:
        if not source.is_dir():
            into = not target.key or target.is_folder
            place = target.below(source.name) if into else target
            yield job(source, place, source.stat().st_size)
            return
        for path in _files(source):
            name = path.relative_to(source).as_posix()
            yield job(path, target.below(name), path.stat().st_size)

    return jobs


def _files(directory: Path) -> Iterator[Path]:
    """Regular files, and links to them; by name. Links to directories are not followed."""
    for entry in sorted(directory.iterdir()):
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _files(entry)
        elif entry.is_file() and not entry.name.endswith((".amur-partial", ".amur-parts")):
            yield entry


def from_stdin(remote: Remote, place: Address, settings: Settings) -> None:
    """Of any length, in parts; an upload that breaks off leaves nothing."""
    from boto3.s3.transfer import TransferConfig

    with remote.out.progress(str(place), None) as bar:
        remote.s3.upload_fileobj(
            sys.stdin.buffer, place.bucket, place.key,
            ExtraArgs={"ContentType": upload.content_type(place.key), **settings.extra},
            Config=TransferConfig(
                multipart_threshold=settings.part_bytes, multipart_chunksize=settings.part_bytes
            ),
            Callback=bar.advance,
        )  # fmt: skip
    remote.out.document({"action": "copied", "source": "-", "target": str(place)}, [str(place)])


# --- remote to local ---


def _downloads(
    remote: Remote, source: Address, target: str, recursive: bool, settings: Settings
) -> Jobs:
    root = Path(target)

    def job(place: Address, path: Callable[[], Path], row: Mapping[str, Any]) -> Job:
        def run(workers: Workers) -> bool:
            return download.download(remote.s3, place, path(), settings, workers, row=row)

        return Job(str(place), row["size"], run)

    if not recursive:
        row = _existing(remote, source)
        name = local_parts(source.key.rpartition("/")[2])[0]
        path = root / name if target.endswith("/") or root.is_dir() else root
        return lambda: iter([job(source, lambda: path, row)])

    if root.exists() and not root.is_dir():
        raise Problem(f"{target} is not a directory")
    if not first_below(remote.s3, source):
        raise Problem(f"{source}: there is nothing")

    def jobs() -> Iterator[Job]:
        prefix = source.folder
        for row in walk(remote.s3, source.bucket, prefix):
            name = row["key"][len(prefix) :]
            if row["size"] or (name and not name.endswith("/")):  # else a folder's marker
                yield job(
                    Address(source.bucket, row["key"]), partial(_safe, root, name), row,
                )  # fmt: skip

    return jobs


def _safe(root: Path, name: str) -> Path:
    try:
        return root.joinpath(*local_parts(name))
    except AddressError as error:
        raise Problem(str(error)) from None


def _existing(remote: Remote, place: Address) -> dict[str, Any]:
    """Of an object, as a listing would show it. Raises Problem that says what it is instead."""
    if not place.key:
        raise Problem(f"{place} is a bucket; use --recursive")
    if place.is_folder:
        raise Problem(f"{place} is a folder; use --recursive")
    try:
        head = remote.s3.head_object(Bucket=place.bucket, Key=place.key)
    except remote.s3.exceptions.ClientError as error:
        if code_of(error) != "404":
            raise
        raise Problem(missing(remote.s3, place)) from None
    return {
        "size": head["ContentLength"],
        "etag": head["ETag"].strip('"'),
        "modified": head["LastModified"],
    }


def to_stdout(remote: Remote, place: Address, version_id: str = "") -> None:
    which: Any = {"VersionId": version_id} if version_id else {}
    out = sys.stdout.buffer
    with remote.s3.get_object(Bucket=place.bucket, Key=place.key, **which)["Body"] as body:
        while piece := body.read(MIB):
            out.write(piece)
    out.flush()


# --- remote to remote ---


def _copies(
    remote: Remote, source: Address, target: Address, recursive: bool, settings: Settings
) -> Jobs:
    return pairs(
        remote, source, target, recursive,
        lambda one, other, length, workers: server_copy(
            remote, one, other, length, settings, workers
        ),
    )  # fmt: skip


Pair = Callable[[Address, Address, int, Workers], bool]


def pairs(remote: Remote, source: Address, target: Address, recursive: bool, work: Pair) -> Jobs:
    """Jobs of `work(from, to, size, workers)`: one, or all below a folder."""

    def job(one: Address, other: Address, length: int) -> Job:
        return Job(str(one), length, lambda workers: work(one, other, length, workers))

    if not recursive:
        length = _existing(remote, source)["size"]
        into = not target.key or target.is_folder
        other = target.below(source.key.rpartition("/")[2]) if into else target
        if source == other:
            raise Problem("source and target are the same")
        return lambda: iter([job(source, other, length)])
    if source.bucket == target.bucket and target.folder.startswith(source.folder):
        raise Problem("the target lies in the source")
    if not first_below(remote.s3, source):
        raise Problem(f"{source}: there is nothing")

    def jobs() -> Iterator[Job]:
        prefix = source.folder
        for row in walk(remote.s3, source.bucket, prefix):
            name = row["key"][len(prefix) :]
            place = Address(source.bucket, row["key"])
            yield job(place, Address(target.bucket, target.folder + name), row["size"])

    return jobs


def server_copy(
    remote: Remote,
    source: Address,
    target: Address,
    length: int,
    settings: Settings,
    workers: Workers,
) -> bool:
    """The bytes do not come here. s3transfer copies in parts what is too large for one copy."""
    if settings.resume and _same(remote, source, target):
        workers.advance(length)
        return False
    extra = dict(settings.extra)
    if "ContentType" in extra:
        extra["MetadataDirective"] = "REPLACE"
    remote.s3.copy(
        {"Bucket": source.bucket, "Key": source.key}, target.bucket, target.key, ExtraArgs=extra,
        Config=_one_piece(),
    )  # fmt: skip
    workers.advance(length)
    return True


def _one_piece() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=5 * 1024 * MIB, multipart_chunksize=1024 * MIB)


def _same(remote: Remote, source: Address, target: Address) -> bool:
    heads: list[Any] = []
    for place in (source, target):
        try:
            heads.append(remote.s3.head_object(Bucket=place.bucket, Key=place.key))
        except remote.s3.exceptions.ClientError as error:
            if code_of(error) != "404":
                raise
            return False
    one, other = heads
    return (one["ContentLength"], one["ETag"]) == (other["ContentLength"], other["ETag"])
