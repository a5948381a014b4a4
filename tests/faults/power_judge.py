"""Judges a store that a power cut left behind.

Reads lines {"directory": ..., "answers": {lane: count}, "deep": bool}; answers each with a line:
"right DIGEST" (of what was found) or "wrong MESSAGE".
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Mapping

import amur
from amur.objects.invariants import violations
from amur.objects.store import CompletedPart, Store
from amur.objects.types import BucketRecord, ObjectRecord
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.fsck import fsck
from amur.workers.runner import run_until_idle
from amur.workers.sweep import Sweeper
from tests.faults.power_script import PLAIN, SETUP, VERSIONED, lane_of, lanes

Told = dict[str, list[str]]
_SETUP_STATES: list[Told] = [
    {},
    {PLAIN: [""]},
    {PLAIN: [""], VERSIONED: [""]},
    {PLAIN: [""], VERSIONED: ["Enabled"]},
]
_SIZES = (100, 3000, 50_000)


async def read(store: Store, bucket: str, key: str, version_id: str = "") -> bytes:
    reading = await store.get(bucket, key, version_id=version_id)
    if reading.stream is not None:
        return b"".join([piece async for piece in reading.stream])
    assert reading.body is not None
    return reading.body


async def look(store: Store) -> dict[str, Told]:
    """All that is stored, by lane."""
    found: dict[str, Told] = {SETUP: {}}
    for record in (await store.list_buckets())[0]:
        bucket = record.name
        found[SETUP][bucket] = [record.versioning]
        page = await store.list_versions(bucket)
        assert not page.truncated
        for key, version, _ in page.entries:
            assert isinstance(version, ObjectRecord)
            told = found.setdefault(lane_of(key), {}).setdefault(f"{bucket}/{key}", [])
            if version.is_marker:
                told.append("marker")
                continue
            body = await read(store, bucket, key, version.version_id())
            assert len(body) == version.size
            told.append(hashlib.sha256(body).hexdigest())
        for key, upload in (await store.list_uploads(bucket))[0]:
            assert upload is not None
            _, parts, _ = await store.list_parts(bucket, key, upload.id.hex())
            lane = found.setdefault(lane_of(key), {})
            lane[f"upload {bucket}/{key}"] = [f"{part.number} {part.etag}" for part in parts]
    return found


def compare(
    found: Mapping[str, Told], answers: Mapping[str, int], states: Mapping[str, list[Told]]
) -> None:
    assert found.keys() <= states.keys(), f"unknown keys: {found.keys() - states.keys()}"
    for lane, allowed in states.items():
        told, count = found.get(lane, {}), answers.get(lane, 0)
        if told not in allowed[count : count + 2]:
            wanted = allowed[count]
            wrong = {
                key: (told.get(key), wanted.get(key))
                for key in {*told, *wanted}
                if told.get(key) != wanted.get(key)
            }
            raise AssertionError(f"{lane} after {count} answers, (found, wanted): {wrong}")


async def go_on(store: Store) -> None:
    """The store takes writes of every size, and uploads that were under way can be completed."""
    if not (await store.list_buckets())[0]:
        await store.create_bucket(BucketRecord(name=PLAIN, owner="me"))
    for size in _SIZES:
        body = os.urandom(size)
        await store.put(PLAIN, "again", body)
        assert await read(store, PLAIN, "again") == body
    for bucket in [record.name for record in (await store.list_buckets())[0]]:
        for key, upload in (await store.list_uploads(bucket))[0]:
            assert upload is not None
            await complete(store, bucket, key, upload.id.hex())


async def complete(store: Store, bucket: str, key: str, upload_id: str) -> None:
    _, parts, _ = await store.list_parts(bucket, key, upload_id)
    if not parts:
        return
    listed = [CompletedPart(part.number, part.etag, {}) for part in parts]
    await store.complete_upload(bucket, key, upload_id, listed)
    body = await read(store, bucket, key)
    at = 0
    for part in parts:
        assert hashlib.md5(body[at : at + part.size]).hexdigest() == part.etag, "a part changed"
        at += part.size
    assert at == len(body)


async def examine(store: Store) -> None:
    """fsck finds nothing wrong, and the workers leave nothing behind that nobody refers to."""
    core = store.core
    report = await fsck(core)
    assert report.is_healthy(), [finding.text() for finding in report.findings]
    await run_until_idle([Collector(core, grace_seconds=0), Sweeper(core), Compactor(core)])
    report = await fsck(core)
    assert report.is_clean(), [finding.text() for finding in report.findings]


async def judge(question: Mapping[str, object], states: Mapping[str, list[Told]]) -> str:
    answers = question["answers"]
    assert isinstance(answers, dict)
    async with amur.open(str(question["directory"])) as store:
        found = await look(store)
        compare(found, answers, states)
        broken = await violations(store.core)
        assert not broken, broken
        if question["deep"]:
            await examine(store)
        await go_on(store)
        if question["deep"]:
            broken = await violations(store.core)
            assert not broken, broken
    return hashlib.md5(json.dumps(found, sort_keys=True).encode()).hexdigest()


def answer_all(seed: int) -> None:
    states = {
        lane: [state.told() for state in drawn] for lane, (_, drawn) in lanes(seed).items()
    } | {SETUP: _SETUP_STATES}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # logs are no answers
    for line in sys.stdin:
        try:
            verdict = "right " + asyncio.run(judge(json.loads(line), states))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            verdict = f"wrong {error!r} in {where.name}:{where.lineno}"[:1500]
        answers.write(verdict.replace("\n", " ") + "\n")
        answers.flush()
