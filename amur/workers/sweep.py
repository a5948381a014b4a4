"""The sweeper: data files that no record ever came to name, left behind by a process that died."""

from __future__ import annotations

from collections.abc import Iterator

from amur.data.store import FileInfo
from amur.meta import keys
from amur.meta.engine import Commit, Conflict
from amur.objects.core import Core
from amur.workers.usage import doomed_put, file_range, unused
from amur.workers.worker import Worked, Worker, counted, more

FILES_MAX = 256  # files looked at in one unit of work
NOTHING = keys.doomed_key(0)
"""Never there. A commit that deletes is carried out when the disk is full, too: this one frees."""


class Sweeper(Worker):
    """Dooms them; the collector removes them after the grace period.

    A file is listed without a live writer only after its writer's last commit, so no reference
    can come once none is there.
    """

    name = "sweep"
    wait_seconds = 600.0

    def __init__(self, core: Core) -> None:
        self._core = core
        self._files: Iterator[FileInfo] | None = None
        self._doomed: set[bytes] = set()
        self._seen: set[bytes] = set()

    async def work(self) -> Worked:
        files = self._files = self._files or self._core.data.files()
        page = [info for info, _ in zip(files, range(FILES_MAX), strict=False)]
        orphans = await self._doom(info.id for info in page if not info.live_writer)
        if len(page) < FILES_MAX:
            self._files = None
            self._doomed &= self._seen  # what the collector has removed need not be remembered
            self._seen = set()
        return counted(more(self._files is not None), orphans=orphans)

    async def _doom(self, dead: Iterator[bytes]) -> int:
        candidates = set(dead)
        self._seen |= candidates & self._doomed
        idle = sorted(await unused(self._core.engine, candidates - self._doomed))
        if not idle:
            return 0
        try:
            await self._core.engine.commit(
                Commit(
                    expect_empty=[file_range(file_id) for file_id in idle],
                    put=[doomed_put(0, file_ids=idle)],
                    delete=[NOTHING],
                )
            )
        except Conflict:
            return 0
        self._doomed |= set(idle)
        self._seen |= set(idle)
        return len(idle)
