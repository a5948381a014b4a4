"""Which packs are worth rewriting: how dead, how far out of key order, how small each one is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from amur.data.framing import CHECKSUM_BYTES
from amur.data.store import FileInfo
from amur.limits import FILE_BYTES_MAX, PACK_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import STOP, Engine
from amur.meta.records import RecordDamaged
from amur.objects.core import Core
from amur.workers.owners import extent_at
from amur.workers.usage import file_range

DEAD_FRACTION = 0.25  # rewriting four bytes wins at least one
DISORDER_FRACTION = 0.05  # of the neighbours in a file, those whose keys are out of order
SMALL_FRACTION = 0.25  # of a full pack
SAMPLE = 64  # records read to estimate how long the living bodies are
PAGE = 4096  # references walked in one call
FILES_MAX = 64  # files looked at in one unit of work

Living = list[tuple[int, bytes]]  # (offset, first owner's key)


class Survey(NamedTuple):
    """Of one pack: living bodies and their bytes (frames included), neighbours out of order."""

    file: bytes
    size: int
    entries: int
    live_bytes: int
    disorder: int

    def is_dead(self) -> bool:
        return self.live_bytes < self.size * (1 - DEAD_FRACTION)

    def is_bad(self) -> bool:
        return self.is_dead() or self.disorder > self.entries * DISORDER_FRACTION

    def waste(self) -> float:
        return 1 - self.live_bytes / max(1, self.size) + self.disorder / max(1, self.entries)


class Surveyor:
    """Looks at every sealed file, some at a time, and then says which packs to rewrite together.

    A file without any reference is none of its business: it may be about to get one.
    """

    def __init__(self, core: Core, *, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._core = core
        self._small_bytes = file_bytes_max * SMALL_FRACTION
        self.stuck: set[bytes] = set()  # packs with damaged bodies: left alone until a restart
        self._files: Iterator[FileInfo] | None = None
        self._bad: list[Survey] = []
        self._small: list[Survey] = []

    async def step(self) -> bool:
        """Look at some files; True once all were looked at."""
        if self._bad:
            return True
        files = self._files = self._files or self._core.data.files()
        page = [info for info, _ in zip(files, range(FILES_MAX), strict=False)]
        for info in page:
            is_candidate = info.sealed and info.id not in self.stuck
            survey = await self._survey(info) if is_candidate else None
            if survey is not None and survey.is_bad():
                self._bad.append(survey)
            elif survey is not None and survey.size < self._small_bytes:
                self._small.append(survey)
        if len(page) < FILES_MAX:
            self._files = None
            self._bad.sort(key=Survey.waste)
        return self._files is None

    def take(self, packs_max: int, entries_max: int) -> list[Survey]:
        """The worst packs, and small ones to fill them up; [] when all is well."""
        small, self._small = sorted(self._small, key=lambda survey: -survey.size), []
        taken: list[Survey] = []
        entries = 0
        while (self._bad or small) and len(taken) < packs_max:
            queue = self._bad or small
            if taken and entries + queue[-1].entries > entries_max:
                break
            taken.append(queue.pop())
            entries += taken[-1].entries
        if len(taken) == 1 and not taken[0].is_bad():
            return []
        return taken

    async def _survey(self, info: FileInfo) -> Survey | None:
        """None of a block file, and of a file without references."""
        entries = disorder = 0
        stride, sample = 1, Living()
        last = b""
        async for page in living(self._core.engine, info.id):
            for place in page:
                if place[1] < last:
                    disorder += 1
                last = place[1]
                if entries % stride == 0:
                    sample.append(place)
                    if len(sample) > 2 * SAMPLE:
                        stride, sample = stride * 2, sample[::2]
                entries += 1
        if not entries:
            return None
        lengths = await self._lengths(info.id, sample)
        if entries == 1 and lengths and lengths[0] > PACK_BYTES_MAX:
            return None
        estimate = sum(lengths) * entries // len(sample) + entries * CHECKSUM_BYTES
        survey = Survey(info.id, info.size, entries, estimate, disorder)
        if survey.is_dead() and entries > len(sample):
            survey = survey._replace(live_bytes=await self._live_bytes(info.id))
        return survey

    async def _live_bytes(self, file_id: bytes) -> int:
        size = 0
        async for page in living(self._core.engine, file_id):
            size += sum(await self._lengths(file_id, page)) + len(page) * CHECKSUM_BYTES
        return size

    async def _lengths(self, file_id: bytes, places: Sequence[tuple[int, bytes]]) -> list[int]:
        found = await self._core.engine.get_many([owner for _, owner in places])
        lengths = []
        for (offset, _), entry in zip(places, found, strict=True):
            try:
                extent = extent_at(entry, (file_id, offset))
            except RecordDamaged:
                continue
            if extent is not None:
                lengths.append(extent.length)
        return lengths


async def living(engine: Engine, file_id: bytes) -> AsyncIterator[Living]:
    """The bodies of a file that are in use, by offset, in pages."""
    start, end = file_range(file_id)
    last = -1
    while True:
        page = Living()
        key = b""

        def visit(at: bytes, value: memoryview, version: int) -> bytes | None:
            nonlocal key, last
            key = at
            _, offset, owner = keys.split_reference(at)
            if offset != last:
                last = offset
                page.append((offset, owner))  # noqa: B023 - called within this turn only
            return STOP if len(page) >= PAGE else None  # noqa: B023

        await engine.walk(start, end, visit)
        if page:
            yield page
        if len(page) < PAGE:
            return
        start = key + b"\x00"
        await asyncio.sleep(0)
