"""Merging items into the versions of their keys: one commit for many keys.

A key's versions are a set; the null version is a register, in which the latest of null versions
and null tombstones counts. The newest version of all is in O or D, the others in V.
"""

from __future__ import annotations

from amur.limits import PART_NUMBER_MAX
from amur.meta import keys
from amur.meta.engine import ABSENT, Commit, Entry, Put, prefix_end
from amur.meta.holdings import GONE, kind_in, merge_holdings, set_kind
from amur.meta.log import record_name
from amur.meta.records import (
    ObjectRecord,
    PartRecord,
    TombstoneRecord,
    decode,
    encode,
    inline_body,
)
from amur.objects.core import Core
from amur.objects.history import Change, Newest, null_in_history, promote
from amur.objects.pull.wanting import is_lost_at_home, want, wanted
from amur.objects.references import reference_puts
from amur.regions.messages import Item


class KeyMerge:
    """Gathers the commit. `merge` may be called once for each key."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._change = Change(core, [])
        self._expect: dict[bytes, int] = {}
        self._put: list[Put] = []
        self._log: list[bytes] = []

    def commit(self, after: int) -> Commit:
        made = self._change.commit()
        return Commit(
            expect=list(self._expect.items()) + list(made.expect),
            put=[*made.put, *self._put],
            delete=made.delete,
            log=self._log,
            after=after,
        )

    async def merge(
        self, here: Newest, item: Item, grave: Entry | None, older: Entry | None
    ) -> None:
        """`older` is the version of the item's number in V, `grave` its tombstone."""
        self._expect.update(here.expect())
        version = item.version or None
        grave_at = keys.tombstone_key(item.bucket_id, item.key, version)
        self._expect[grave_at] = grave.version if grave is not None else 0
        buried = decode(grave.value, TombstoneRecord).version if grave is not None else 0
        mine = await self._same(here, version, older)
        if not item.state:
            if item.grave > buried:
                self._put.append(Put(grave_at, encode(TombstoneRecord(item.grave))))
                await self._bury(here, mine, item.grave if version is None else 0)
            return
        theirs = decode(item.state, ObjectRecord)
        if buried and (version is not None or buried >= theirs.version):
            return
        if mine is not None:
            record = decode(mine.value, ObjectRecord)
            if record.version == theirs.version:
                self._merge_attributes(here, mine, record, theirs)
                return
            if record.version > theirs.version:  # of null versions the later one counts
                return
            self._drop(here, mine, record)
        await self._insert(here, item, theirs, mine)

    async def _same(self, here: Newest, version: int | None, older: Entry | None) -> Entry | None:
        """What is here of the item's version (or of the null version)."""
        if here.entry is not None and here.record is not None:
            record = here.record
            if record.is_null if version is None else record.version == version:
                return here.entry
        if version is not None:
            return older
        return await self._null(here)

    async def _null(self, here: Newest) -> Entry | None:
        if not here.bucket.versioning:
            return None
        return await null_in_history(self._core, here.bucket.id, here.key)

    def _drop(self, here: Newest, entry: Entry, record: ObjectRecord) -> None:
        self._expect[entry.key] = entry.version
        self._change.drop(entry.key, record)

    async def _bury(self, here: Newest, mine: Entry | None, null_until: int) -> None:
        """Remove a version for good; of a null version only one up to `null_until`."""
        if mine is None:
            return
        record = decode(mine.value, ObjectRecord)
        if null_until and record.version > null_until:
            return
        self._drop(here, mine, record)
        if here.entry is not None and mine.key == here.entry.key:
            await promote(self._core, self._change, here)

    # --- a version that is new here ---
    async def _insert(
        self, here: Newest, item: Item, record: ObjectRecord, replaced: Entry | None
    ) -> None:
        bucket_id, key, me = item.bucket_id, item.key, self._core.region
        newest = here.record
        is_newest = newest is None or record.version > newest.version
        if is_newest:
            place = keys.marker_key if record.is_marker else keys.object_key
            owner = place(bucket_id, key)
            if here.entry is not None and newest is not None and here.entry is not replaced:
                older = keys.version_key(bucket_id, key, newest.version)
                self._change.move(here.entry, newest, older)
        else:
            owner = keys.version_key(bucket_id, key, record.version)
            self._expect[owner] = ABSENT
        if record.is_inline and not self._may_hold(here, record):
            record.is_inline = False  # whatever the sender thinks of it
        inline = inline_body(item.state) if record.is_inline else b""
        has_bytes = record.is_inline or not record.size
        if not has_bytes and kind_in(record, me) != GONE:
            # we had them, and lost them with the record: say so
            set_kind(record, me, GONE)
            self._log.append(record_name(bucket_id, key, record))
        self._put.append(Put(owner, encode(record, inline)))
        self._put += reference_puts(record, owner)
        if record.manifest:
            await self._add_manifest(record.manifest, item.parts)
        if not has_bytes and not record.is_marker:
            self._put += wanted(self._core, here.bucket, key, record)

    def _may_hold(self, here: Newest, record: ObjectRecord) -> bool:
        return self._core.topology.may_hold(record.regions or here.bucket.regions)

    # --- a version that is here ---
    def _merge_attributes(
        self, here: Newest, entry: Entry, mine: ObjectRecord, theirs: ObjectRecord
    ) -> None:
        changed = merge_holdings(mine, theirs)
        if theirs.tags_at > mine.tags_at:
            mine.tags, mine.tags_at, changed = theirs.tags, theirs.tags_at, True
        if theirs.acl_at > mine.acl_at:
            mine.acl, mine.acl_at, changed = theirs.acl, theirs.acl_at, True
        if changed:
            self._expect[entry.key] = entry.version
            inline = inline_body(entry.value) if mine.is_inline else b""
            self._put.append(Put(entry.key, encode(mine, inline)))
            if is_lost_at_home(self._core, mine):
                bucket_id, key = here.bucket.id, here.key
                self._put.append(want(bucket_id, key, mine.version, durable=True))

    async def _add_manifest(self, manifest: bytes, parts: list[bytes]) -> None:
        """The parts' records, without bytes; those that are here (of a copy) stay as they are."""
        prefix = keys.MANIFESTS + manifest
        rows = await self._core.engine.scan(prefix, prefix_end(prefix), PART_NUMBER_MAX)
        here = {row.key: row.version for row in rows}
        self._expect.update(here)  # the collector may be about to take them
        offset = 0
        for part in parts:
            at = keys.manifest_key(manifest, offset)
            if at not in here:
                if not offset:  # by who puts them for another copy meanwhile, too
                    self._expect[at] = ABSENT
                self._put.append(Put(at, part))
            offset += decode(part, PartRecord).size
