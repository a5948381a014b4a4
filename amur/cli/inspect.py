"""`amur info`, `amur fsck`, `amur scrub`: looking at a data directory, while serving or not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from amur.cli.errors import refuse
from amur.cli.running import opened, run
from amur.meta import keys
from amur.meta.engine import Engine, prefix_end
from amur.meta.records import BucketRecord, ObjectRecord, RecordDamaged, decode

LINES_MAX = 100  # findings printed; all are counted


@dataclass
class Tally:
    """Of one table of the metadata, or one bucket's part of it."""

    entries: int = 0
    bytes: int = 0
    inline: int = 0  # bytes of those that stand in the record itself
    unreadable: int = 0


def info(path: Path, config: Path | None) -> None:
    """Print what is stored."""
    run(lambda: _info(path, config))


async def _info(path: Path, config: Path | None) -> None:
    # in a pipe or a file nothing is cut to fit a screen
    console = Console(width=None if sys.stdout.isatty() else 200)
    async with opened(path, config) as (layout, store):
        table = Table(title=str(layout.root), title_justify="left")
        for name in ("bucket", "objects", "bytes", "inline", "older versions", "uploads"):
            left = name == "bucket"
            table.add_column(name, justify="left" if left else "right", overflow="fold")
        engine = store.engine
        buckets = await engine.scan(keys.BUCKETS, prefix_end(keys.BUCKETS), 1_000_000)
        for entry in buckets:
            bucket = decode(entry.value, BucketRecord)
            objects = await _tally(engine, keys.OBJECTS + bucket.id)
            older = await _tally(engine, keys.VERSIONS + bucket.id)
            uploads = await _count(engine, keys.UPLOADS + bucket.id)
            table.add_row(
                escape(bucket.name), f"{objects.entries:,}", decimal(objects.bytes),
                decimal(objects.inline), f"{older.entries:,}", f"{uploads:,}",
            )  # fmt: skip
        console.print(table)
        files = list(store.data.files())
        region = layout.facts()["region"] if layout.identity.exists() else "local"
        stats = engine.stats()
        place = layout.block_store()[0] or "files"
        size = decimal(sum(file.size for file in files))
        console.print(
            f"region {region}, {len(buckets):,} buckets\n"
            f"metadata: {stats['entries']:,} entries, {decimal(stats['used_bytes'])}\n"
            f"data in {place}: {len(files):,} files, {size}, "
            f"{sum(not file.sealed for file in files):,} open; "
            f"free for writing: {decimal(store.data.free_bytes())}\n"
            f"waiting to be freed: {await _count(engine, keys.GARBAGE):,} notes, "
            f"{await _count(engine, keys.DOOMED):,} doomed; "
            f"given up as lost: {await _count(engine, keys.QUARANTINE):,}",
            soft_wrap=True,
            highlight=False,
        )


async def _tally(engine: Engine, prefix: bytes) -> Tally:
    tally = Tally()

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        tally.entries += 1
        try:
            record = decode(value, ObjectRecord)
        except (RecordDamaged, IndexError):
            tally.unreadable += 1
            return None
        tally.bytes += record.size
        tally.inline += record.size if record.is_inline else 0
        return None

    await engine.walk(prefix, prefix_end(prefix), visit)
    return tally


async def _count(engine: Engine, prefix: bytes) -> int:
    count = 0

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        nonlocal count
        count += 1
        return None

    await engine.walk(prefix, prefix_end(prefix), visit)
    return count


def fsck(path: Path, config: Path | None, *, repair: bool, accept_loss: bool) -> None:
    """Exit code 0 when nothing is wrong (any more)."""
    if accept_loss and not repair:
        raise refuse("--accept-loss goes with --repair")
    if not run(lambda: _fsck(path, config, repair=repair, accept_loss=accept_loss)):
        raise typer.Exit(1)


async def _fsck(path: Path, config: Path | None, *, repair: bool, accept_loss: bool) -> bool:
    from amur.workers.findings import Severity
    from amur.workers.fsck import fsck as check

    async with opened(path, config, alone=repair) as (_, store):
        report = await check(store.core, repair=repair, accept_loss=accept_loss)
    for finding in report.findings[:LINES_MAX]:
        typer.echo(finding.text())
    if len(report.findings) > LINES_MAX:
        typer.echo(f"... and {sum(report.counts.values()) - LINES_MAX:,} more")
    looked = ", ".join(f"{count:,} {name}" for name, count in report.checked.items())
    typer.echo(f"checked {looked or 'nothing'}")
    if report.is_clean():
        typer.echo("clean")
    else:
        left = report.unrepaired
        typer.echo(
            f"found {sum(report.counts.values()):,}; not repaired: "
            f"{left[Severity.LOSS]:,} losses, {left[Severity.DAMAGE]:,} damaged, "
            f"{left[Severity.LEFTOVER]:,} leftovers"
        )
        if left[Severity.DAMAGE] and not repair:
            typer.echo("stop the server and run: amur fsck --repair")
        elif left[Severity.LOSS] and not accept_loss:
            typer.echo("lost for good unless a backup has it: amur fsck --repair --accept-loss")
    return report.is_healthy()


def scrub(path: Path, config: Path | None) -> None:
    """Exit code 0 when every byte that is in use could be read and verified."""
    if not run(lambda: _scrub(path, config)):
        raise typer.Exit(1)


async def _scrub(path: Path, config: Path | None) -> bool:
    """Reads only: the round of the jobs process keeps its place."""
    from amur.data.store import DataError, DataUnavailable
    from amur.workers.owners import extent_at

    checked = size = 0
    bad: list[str] = []
    async with opened(path, config) as (_, store):
        at, end = keys.REFERENCES, prefix_end(keys.REFERENCES)
        while page := await store.engine.scan(at, end, 1000):
            at = page[-1].key + b"\x00"
            places = [keys.split_reference(entry.key) for entry in page]
            owners = await store.engine.get_many([owner for _, _, owner in places])
            for (file, offset, owner), entry in zip(places, owners, strict=True):
                extent = extent_at(entry, (file, offset))
                if extent is None:
                    continue
                checked, size = checked + 1, size + extent.length
                try:
                    await store.data.check(extent)
                except DataUnavailable:  # says nothing about the bytes
                    raise
                except DataError as error:
                    if extent_at(await store.engine.get(owner), (file, offset)) is not None:
                        bad.append(f"{owner!r}: {error}")
    for line in bad[:LINES_MAX]:
        typer.echo(line)
    typer.echo(f"read {checked:,} extents, {decimal(size)}; {len(bad):,} damaged")
    return not bad
