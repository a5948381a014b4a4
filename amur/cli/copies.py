"""`amur backup` and `amur restore`.

A backup has the layout of a data directory. Its metadata is one moment of the store; its data is
every file that this moment names, and maybe some bytes more, which the sweeper frees. Files are
linked first (at once) and copied then: what is deleted meanwhile stays for the copy, and what the
metadata names cannot have been deleted before, because of the grace period.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.filesize import decimal

from amur.cli.errors import refuse
from amur.cli.running import layout_of, opened, run
from amur.directories import make_durable, sync
from amur.limits import GRACE_SECONDS, MIB
from amur.serve.layout import Layout, Refusal


def backup(source: Path, destination: Path) -> None:
    """While serving. `destination` must not exist."""
    if destination.resolve().is_relative_to(source.resolve()):
        raise refuse(f"{destination} is inside {source}; name a place outside, best another disk")
    run(lambda: _backup(source, Layout(destination.absolute())))


async def _backup(source: Path, target: Layout) -> None:
    _must_be_new(target.root)
    began = time.monotonic()
    async with opened(source, bytes_too=False) as (layout, store):
        make_durable(target.root)
        await store.engine.backup(target.meta)
        staging = layout.run / f"backup-{os.getpid()}"
        try:
            count = _link_tree(layout.data, staging)
            if time.monotonic() - began > GRACE_SECONDS / 2:
                raise Refusal("copying the metadata took too long for a consistent backup")
            size = _copy_tree(staging, target.data)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        for file in (layout.identity, layout.root_key, layout.master_key):
            if file.exists():
                _copy(file, target.root / file.name)
        bucket = layout.block_store()[0]
    sync(target.root)
    if bucket:
        typer.echo(
            f"backed up the metadata to {target.root}; the bytes stay in {bucket}: keep there what "
            "is deleted for as long as you keep this backup (the bucket's versioning)"
        )
        return
    typer.echo(f"backed up to {target.root}: {count:,} data files, {decimal(size)}")


def restore(source: Path, destination: Path, *, take_over: bool = False) -> None:
    """`source` is a backup (or a stopped server's directory); `destination` must not exist."""
    run(lambda: _restore(source, destination.absolute(), take_over=take_over))


async def _restore(source: Path, target: Path, *, take_over: bool) -> None:
    layout = layout_of(source)
    bucket = layout.block_store()[0]
    if bucket and not take_over:
        raise Refusal(
            f"the bytes are in {bucket}: two servers over them would free each other's; if "
            "the directory that was backed up is gone for good, add --take-over"
        )
    layout.require()  # written last by a backup: without it the backup was cut off
    _must_be_new(target)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_durable(partial)
    (partial / "meta").mkdir(mode=0o700)
    _copy(layout.meta / "data.mdb", partial / "meta" / "data.mdb")
    size = _copy_tree(layout.data, partial / "data")
    for file in (layout.identity, layout.root_key, layout.master_key):
        if file.exists():
            _copy(file, partial / file.name)
    Layout(partial).mark_restored()
    sync(partial / "meta")
    sync(partial)
    partial.rename(target)
    sync(target.parent)
    typer.echo(f"restored {decimal(size)} of data to {target}; check it: amur fsck {target}")


def _must_be_new(path: Path) -> None:
    if path.exists():
        raise Refusal(f"{path} exists; name a directory that does not")


def _files(tree: Path) -> Iterator[Path]:
    """Pack and block files, as paths below the tree; not the locks of living writers."""
    for folder in sorted(tree.iterdir()):
        if folder.is_dir() and folder.name != "instances":
            for file in sorted(folder.iterdir()):
                yield file.relative_to(tree)


def _link_tree(source: Path, target: Path) -> int:
    count = 0
    for file in _files(source):
        (target / file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            (target / file).hardlink_to(source / file)
        except FileNotFoundError:  # freed since it was listed: nothing has named it for an hour
            continue
        count += 1
    return count


def _copy_tree(source: Path, target: Path) -> int:
    """Bytes copied; durable on return."""
    target.mkdir(mode=0o700, parents=True)
    size = 0
    folders = set()
    for file in _files(source) if source.exists() else ():
        place = target / file
        place.parent.mkdir(mode=0o700, exist_ok=True)
        folders.add(place.parent)
        size += _copy(source / file, place)
    for folder in (*folders, target):
        sync(folder)
    return size


def _copy(source: Path, target: Path) -> int:
    """A durable copy with the mode of the source; shares blocks where the file system can."""
    with source.open("rb") as taken, target.open("xb") as given:
        os.fchmod(given.fileno(), os.fstat(taken.fileno()).st_mode & 0o777)
        while True:
            try:
                if not os.copy_file_range(taken.fileno(), given.fileno(), 64 * MIB):
                    break
            except OSError:  # not between these file systems
                shutil.copyfileobj(taken, given, MIB)
                given.flush()
                break
        os.fsync(given.fileno())
        return os.fstat(given.fileno()).st_size
