"""Scripted work on a store in one process, to be disturbed at any of its system calls.

As a program it is a nursery: everything is imported once, and each line `NAME DIRECTORY` on stdin
forks a child that waits until DIRECTORY.go exists (so that strace can attach), works through the
scenario on the store in DIRECTORY, and tells in DIRECTORY.told what it began (`do N`), what was
acknowledged (`ok N`) and what was refused (`no N ERROR`).
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from amur.clock import SystemClock
from amur.data.local import LocalDataStore
from amur.data.store import DataFailed
from amur.meta.engine import EngineFailed, EngineRefused
from amur.meta.lmdb_engine import LmdbEngine
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, BucketRecord
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.expire import Expirer
from amur.workers.runner import run_until_idle
from amur.workers.scrub import Scrubber
from amur.workers.survey import Surveyor
from amur.workers.sweep import Sweeper

FILE_BYTES = 2 << 20
STOPPED, GAVE_UP = 3, 4
"""Exit codes: after an error that ends all writing, and after a step was refused again and again."""  # noqa: E501
_TRIES = 4
_FATAL = (EngineFailed, EngineRefused, DataFailed, AssertionError)

Step = Callable[["Stage"], Awaitable[object]]


def body(name: str, size: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


class Stage:
    """An open store with files of 2 MiB, and what steps remember for later ones."""

    def __init__(self, directory: Path) -> None:
        for part in ("meta", "data"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        self.engine = LmdbEngine(directory / "meta", clock)
        self.data = LocalDataStore(directory / "data", file_bytes_max=FILE_BYTES)
        self.store = Store(self.engine, self.data, clock)
        self.kept: dict[str, Any] = {}

    async def put(self, key: str, name: str, size: int, bucket: str = "plain") -> None:
        await self.store.put(bucket, key, body(name, size))

    async def work(self) -> None:
        """The jobs, until they find nothing more to do."""
        core = self.store.core
        surveyor = Surveyor(core, file_bytes_max=FILE_BYTES)
        await run_until_idle(
            [
                Collector(core, grace_seconds=0), Sweeper(core), Expirer(core),
                Compactor(core, file_bytes_max=FILE_BYTES, surveyor=surveyor),
            ]
        )  # fmt: skip
        while (await Scrubber(core).work()).state.value == "busy":
            pass

    async def close(self) -> None:
        await self.store.close()


def put(key: str, name: str, size: int, bucket: str = "plain") -> Step:
    return lambda stage: stage.put(key, name, size, bucket)


def delete(*keys: str, bucket: str = "plain") -> Step:
    async def step(stage: Stage) -> None:
        await asyncio.gather(*(stage.store.delete(bucket, key) for key in keys))

    return step


def rename(key: str, new_key: str) -> Step:
    return lambda stage: stage.store.rename("plain", key, new_key)


def copy(key: str, bucket: str, new_key: str, algorithm: str = "") -> Step:
    return lambda stage: stage.store.copy(
        ("plain", key, ""), bucket, new_key, None, algorithm=algorithm
    )


async def delete_oldest(stage: Stage) -> None:
    page = await stage.store.list_versions("versioned")
    oldest = page.entries[-1].record
    assert oldest is not None
    await stage.store.delete("versioned", "v", version_id=oldest.version_id())


async def create_upload(stage: Stage) -> None:
    stage.kept["upload"] = await stage.store.create_upload("plain", "multi", Attributes())


def part(number: int, size: int) -> Step:
    async def step(stage: Stage) -> None:
        upload = stage.kept["upload"]
        done = await stage.store.put_part(
            "plain", "multi", upload.id.hex(), number, body(f"part{number}", size)
        )
        stage.kept.setdefault("parts", {})[number] = done.etag

    return step


async def complete(stage: Stage) -> None:
    parts = [CompletedPart(n, etag, {}) for n, etag in sorted(stage.kept["parts"].items())]
    await stage.store.complete_upload("plain", "multi", stage.kept["upload"].id.hex(), parts)


async def abort(stage: Stage) -> None:
    await stage.store.abort_upload("plain", "multi", stage.kept["upload"].id.hex())


async def work(stage: Stage) -> None:
    await stage.work()


async def setup(stage: Stage) -> None:
    """What is there before each scenario: every kind of body, garbage, and half a dead pack."""
    for name in ("plain", "versioned"):
        await stage.store.create_bucket(BucketRecord(name=name, owner="me"))
    await stage.store.update_bucket(
        "versioned", lambda record: setattr(record, "versioning", "Enabled")
    )
    await stage.put("inline", "inline", 500)
    for number in range(6):
        await stage.put(f"pack{number}", f"pack{number}", 5000 + number)
    await stage.put("large", "large", 2_500_000)
    for number in range(3):
        await stage.put("v", f"v{number}", 6000 + number, "versioned")
    await stage.store.copy(("plain", "pack0", ""), "plain", "shared", None)
    for number in range(3):
        await stage.store.delete("plain", f"pack{number}")
    await stage.put("gone", "gone", 1_200_000)
    await stage.store.delete("plain", "gone")
    upload = await stage.store.create_upload("plain", "left", Attributes())
    await stage.store.put_part("plain", "left", upload.id.hex(), 1, body("left", 7000))
    await stage.data.append(b"nobody's" * 1000)


_MULTIPART = [create_upload, part(1, 5 << 20), part(2, 700)]
SCENARIOS: dict[str, Sequence[Step]] = {
    "inline": [put("a", "a1", 100), put("a", "a2", 4096), put("inline", "b", 0)],
    "pack": [put("p", "p1", 5000), put("p", "p2", 70_000), put("pack5", "p3", 5000)],
    "large": [put("l", "l1", 1_100_000), put("large", "l2", 4_500_000)],
    "seal": [put(f"s{n}", f"s{n}", 900_000) for n in range(4)],
    "multipart": [*_MULTIPART, complete],
    "abort": [create_upload, part(1, 5000), part(1, 1_300_000), abort],
    "copy": [
        copy("pack3", "versioned", "v"), copy("large", "plain", "copied"),
        copy("large", "plain", "summed", "SHA256"),
    ],
    "rename": [rename("pack4", "renamed"), rename("large", "larger"), rename("renamed", "pack4")],
    "batch": [delete("pack3", "pack4", "inline", "large", "shared")],
    "versions": [
        delete("v", bucket="versioned"), put("v", "v9", 8000, "versioned"), delete_oldest,
        delete_oldest,
    ],
    "collect": [delete("large", "pack3"), work],
    "compact": [work, put("late", "late", 9000), delete("pack5"), work],
}  # fmt: skip

State = dict[str, tuple[tuple[str, str], ...]]
"""For each key, newest first, ETag and SHA-256 of each version; for each upload, of its parts."""


async def state_of(store: Store) -> State:
    """All that is stored; raises what reading it raises."""
    found: dict[str, list[tuple[str, str]]] = {}
    for bucket in [record.name for record in (await store.list_buckets())[0]]:
        page = await store.list_versions(bucket)
        assert not page.truncated
        for key, record, _ in page.entries:
            assert record is not None
            versions = found.setdefault(f"{bucket}/{key}", [])
            if record.is_marker:
                versions.append(("marker", ""))
                continue
            reading = await store.get(bucket, key, version_id=record.version_id())
            data = reading.body or b""
            if reading.stream is not None:
                data = b"".join([piece async for piece in reading.stream])
            versions.append((record.etag, hashlib.sha256(data).hexdigest()))
        for key, upload in (await store.list_uploads(bucket))[0]:
            assert upload is not None
            _, parts, _ = await store.list_parts(bucket, key, upload.id.hex())
            found[f"upload {bucket}/{key}"] = [(str(p.number), p.etag) for p in parts]
    return {key: tuple(versions) for key, versions in found.items()}


# --- the child ---
async def _perform(name: str, directory: Path, told: int) -> int:
    try:
        stage = Stage(directory)
    except Exception as error:
        os.write(told, f"refused {error!r}\n".encode())
        return STOPPED
    for number, step in enumerate(SCENARIOS[name], 1):
        for _ in range(_TRIES):
            os.write(told, f"do {number}\n".encode())
            try:
                await step(stage)
            except _FATAL as error:
                os.write(told, f"stop {number} {error!r}\n".encode())
                return await _insist(stage, told)
            except Exception as error:
                os.write(told, f"no {number} {error!r}\n".encode())
            else:
                os.write(told, f"ok {number}\n".encode())
                break
        else:
            return GAVE_UP
    try:
        await stage.close()
    except Exception as error:
        os.write(told, f"close {error!r}\n".encode())
        return STOPPED
    return 0


async def _insist(stage: Stage, told: int) -> int:
    """What failed for good stays so: of metadata or of data, or of both."""
    inline, packed = await asyncio.gather(
        stage.put("never", "never", 10), stage.put("never", "never", 10_000), return_exceptions=True
    )
    if not isinstance(packed, _FATAL):
        os.write(told, f"goes on {inline!r} {packed!r}\n".encode())
    return STOPPED


def _child(name: str, directory: Path, told: int) -> int:
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER: anyone may trace
    while not os.path.exists(f"{directory}.go"):
        time.sleep(0.002)
    return asyncio.run(_perform(name, directory, told))


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        name, directory = line.split()
        told = os.open(f"{directory}.told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                code = _child(name, Path(directory), told)
            finally:
                os._exit(code)
        os.close(told)
        print("pid", pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print("exit", os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
