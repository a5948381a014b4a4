"""Aborts multipart uploads that were abandoned."""

from __future__ import annotations

from amur.limits import UPLOAD_EXPIRY_SECONDS
from amur.meta import keys
from amur.meta.engine import STOP, prefix_end
from amur.objects.core import Core
from amur.objects.multipart import abort_at
from amur.workers.worker import Worked, Worker, counted, more

UPLOADS_MAX = 1000  # uploads looked at in one unit of work
ABORTS_MAX = 10  # each may release 10,000 parts


class Expirer(Worker):
    """An upload's id begins with the time of its beginning, so only keys are read."""

    name = "expire"
    wait_seconds = 3600.0

    def __init__(self, core: Core, *, expiry_seconds: float = UPLOAD_EXPIRY_SECONDS) -> None:
        self._core = core
        self._expiry_ns = int(expiry_seconds * 1e9)
        self._position = keys.UPLOADS

    async def work(self) -> Worked:
        bound = self._core.clock.now_ns() - self._expiry_ns
        old: list[bytes] = []
        seen = 0
        last = b""

        def visit(at: bytes, value: memoryview, version: int) -> bytes | None:
            nonlocal seen, last
            seen += 1
            last = at
            upload_id = at[-keys.ID_BYTES :]
            if int.from_bytes(upload_id[:8], "big") <= bound:
                old.append(at)
            return STOP if seen >= UPLOADS_MAX or len(old) >= ABORTS_MAX else None

        await self._core.engine.walk(self._position, prefix_end(keys.UPLOADS), visit)
        is_more = seen >= UPLOADS_MAX or len(old) >= ABORTS_MAX
        aborted = sum([await abort_at(self._core, at) for at in old])
        self._position = last + b"\x00" if is_more else keys.UPLOADS
        return counted(more(is_more), uploads=aborted)
