"""The process that is recorded: it changes a store in every way, and acknowledges each change.

"ok LANE" is written once an operation has returned, "did WORKER COUNT N" for what the workers did,
"at LANE N" for the operations that are found done when it begins.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import amur
from amur.meta.records import UploadRecord
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, BucketRecord, ObjectRecord
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.expire import Expirer
from amur.workers.sweep import Sweeper
from amur.workers.worker import State, Worker
from tests.faults.power_judge import look
from tests.faults.power_script import (
    OPERATIONS,
    PACK_BYTES_MAX,
    PLAIN,
    ROUNDS,
    SETUP,
    VERSIONED,
    Op,
    data,
    lanes,
)

Uploads = dict[tuple[str, str], tuple[UploadRecord, dict[int, str]]]  # with ETags of parts


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def write(directory: Path, seed: int) -> None:
    """A store's life from its creation on, opened and closed several times."""
    drawn = {name: ops for name, (ops, _) in lanes(seed).items()}
    uploads: Uploads = {}
    for number in range(ROUNDS):
        async with amur.open(directory) as store:
            if number == 0:
                await set_up(store)
            await all_at_once(store, drawn, dict.fromkeys(drawn, number * OPERATIONS), uploads)


async def go_on(directory: Path, seed: int) -> None:
    """What comes after a power cut: the leftovers go, and the lanes take up their work."""
    drawn = lanes(seed)
    async with amur.open(directory) as store:
        found, uploads = await look(store), await uploads_of(store)
        done = {}
        for lane, (_, states) in drawn.items():
            told = found.get(lane, {})
            done[lane] = [state.told() for state in states].index(told)
            say(f"at {lane} {done[lane]}")
        await all_at_once(store, {lane: ops for lane, (ops, _) in drawn.items()}, done, uploads)


async def all_at_once(
    store: Store, drawn: dict[str, list[Op]], begin: dict[str, int], uploads: Uploads
) -> None:
    """So many OPERATIONS of each lane, and the workers beside them."""
    done = asyncio.Event()
    helping = asyncio.create_task(help_along(store, done))
    some = {lane: ops[begin[lane] : begin[lane] + OPERATIONS] for lane, ops in drawn.items()}
    await asyncio.gather(*(work(store, lane, ops, uploads) for lane, ops in some.items()))
    done.set()
    await helping


async def uploads_of(store: Store) -> Uploads:
    uploads: Uploads = {}
    for bucket in (PLAIN, VERSIONED):
        for key, upload in (await store.list_uploads(bucket))[0]:
            assert upload is not None
            _, parts, _ = await store.list_parts(bucket, key, upload.id.hex())
            uploads[bucket, key] = upload, {part.number: part.etag for part in parts}
    return uploads


async def set_up(store: Store) -> None:
    for bucket in (PLAIN, VERSIONED):
        await store.create_bucket(BucketRecord(name=bucket, owner="me"))
        say(f"ok {SETUP}")
    await store.update_bucket(VERSIONED, lambda record: setattr(record, "versioning", "Enabled"))
    say(f"ok {SETUP}")


async def work(store: Store, lane: str, ops: list[Op], uploads: Uploads) -> None:
    for op in ops:
        await perform(store, op, uploads)
        say(f"ok {lane}")


async def help_along(store: Store, done: asyncio.Event) -> None:
    """The workers, beside the lanes and then until nothing is left to do."""
    core = store.core
    workers: list[Worker] = [
        Collector(core, grace_seconds=0), Sweeper(core), Expirer(core), Compactor(core),
    ]  # fmt: skip
    is_idle = False
    while not (done.is_set() and is_idle):
        is_idle = True
        for worker in workers:
            state, counts = await worker.work()
            is_idle = is_idle and state is not State.BUSY and not counts
            for name, count in Counter(counts).items():
                say(f"did {worker.name} {name} {count}")
        await asyncio.sleep(0.01)


async def perform(store: Store, op: Op, uploads: Uploads) -> None:
    at = op.bucket, op.key
    body = data((op.piece,))
    match op.kind:
        case "put":
            is_streamed = len(body) > PACK_BYTES_MAX and op.piece[0] % 2
            await store.put(*at, streamed(body) if is_streamed else body)
        case "copy":
            await store.copy((*op.source, ""), *at, None)
        case "delete":
            await store.delete(*at)
        case "rename":
            await store.rename(op.bucket, op.source[1], op.key)
        case "delete oldest":
            page = await store.list_versions(op.bucket, prefix=op.key)
            oldest = [record for key, record, _ in page.entries if key == op.key][-1]
            assert isinstance(oldest, ObjectRecord)
            await store.delete(*at, version_id=oldest.version_id())
        case _:
            await perform_upload(store, op, body, uploads)


async def perform_upload(store: Store, op: Op, body: bytes, uploads: Uploads) -> None:
    at = op.bucket, op.key
    if op.kind == "create":
        uploads[at] = await store.create_upload(*at, Attributes()), {}
        return
    upload, parts = uploads[at]
    name = upload.id.hex()
    match op.kind:
        case "part":
            part = await store.put_part(*at, name, op.number, body)
            parts[op.number] = part.etag
        case "complete":
            listed = [CompletedPart(number, etag, {}) for number, etag in sorted(parts.items())]
            await store.complete_upload(*at, name, listed)
        case "abort":
            await store.abort_upload(*at, name)
        case kind:
            raise AssertionError(kind)


async def streamed(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 3000):
        yield body[at : at + 3000]
