"""fsck: finds what is wrong with a region's metadata and data, and puts right what can be.

The rules it checks are those of `amur/meta/keys.py` and `amur/objects/references.py`; the kinds of
damage are the table in findings.py. Each finding is looked at twice, and each repair is one commit
that expects what was found to be still so: it may run while the store serves. What is lost (bytes
or records that can't be read) is reported and left as it is, so that a read answers an error and
not something else, until the caller accepts the loss: then the record goes into quarantine, and an
older version becomes the newest.
"""

from __future__ import annotations

import contextlib

from amur.meta import keys
from amur.meta.engine import Commit, EngineFull, Put
from amur.objects.core import Core
from amur.workers.findings import KINDS, Finding, Report, Severity
from amur.workers.fsck_bytes import ByteChecks
from amur.workers.fsck_entries import EntryChecks
from amur.workers.fsck_histories import HistoryChecks
from amur.workers.fsck_records import RecordChecks
from amur.workers.fsck_session import Found, Session

__all__ = ["KINDS", "Finding", "Report", "Severity", "fsck"]

RUN_KEY = keys.singleton_key("fsck")


async def fsck(
    core: Core, *, repair: bool = False, accept_loss: bool = False, read_bytes: bool = True
) -> Report:
    """Check everything; `read_bytes` False leaves out reading the bodies themselves.

    Without `repair` it writes nothing but the time of the run. Raises EngineError.
    """
    session = Session(core, repair=repair, accept_loss=accept_loss)
    histories = HistoryChecks(session)
    records = RecordChecks(session, histories)
    data = ByteChecks(session, histories)
    await data.collect_notes()
    await records.run()
    await histories.run()
    await records.run_chunks()
    await data.run_references()
    await records.run_manifests()
    await data.run_bytes(read_bytes=read_bytes)
    await EntryChecks(session).run()
    with contextlib.suppress(EngineFull):
        await _check_clock(session)
    return session.report


async def _check_clock(session: Session) -> None:
    """A commit's version must be newer than all there are; the run's own mark is the probe."""
    now = session.core.clock.now_ns().to_bytes(8, "big")
    newest = session.newest_version
    version = await session.engine.commit(Commit(put=[Put(RUN_KEY, now)]))
    if version <= newest:
        ahead = Commit(put=[Put(RUN_KEY, now)], after=newest)
        detail = f"{version} after {newest}"
        await session.settle(
            Found("clock-behind", RUN_KEY, detail, lambda: session.engine.commit(ahead))
        )
