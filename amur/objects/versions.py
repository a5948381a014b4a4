"""Listing versions: newest objects, delete markers and history merged, O(page) too."""

from __future__ import annotations

from amur.limits import LIST_PAGE_MAX
from amur.meta import keys
from amur.meta.engine import STOP, Visitor, prefix_end
from amur.meta.records import ObjectRecord, decode
from amur.meta.stamping import inverted_bytes
from amur.objects.core import Core, translation
from amur.objects.errors import InvalidArgument
from amur.objects.listing import Span, page_limit
from amur.objects.locating import find_version
from amur.objects.names import key_bytes, version_number
from amur.objects.types import ListEntry, ListPage

_Line = tuple[bytes, bool, ObjectRecord | None]
"""Key or common prefix, whether it comes from the history, and its record."""


async def list_versions(
    core: Core,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    key_marker: str = "",
    version_marker: str = "",
    limit: int = LIST_PAGE_MAX,
) -> ListPage:
    """See `Store.list_versions`. `next_version` is always a number, of a null version too, so
    that a page goes on exactly there even when that version is gone meanwhile."""
    limit = page_limit(limit)
    if version_marker and not key_marker:
        raise InvalidArgument("A version-id marker cannot be specified without a key marker.")
    with translation:
        record, _ = await core.bucket(bucket)
        before = 0
        if version_marker:
            before = await _marker_version(core, bucket, key_marker, version_marker)
        span = Span(prefix, delimiter, key_marker, inclusive=before > 0)
        if not limit or span.is_empty():
            return ListPage([], False)
        merge = _Merge(span, limit, key_marker.encode(), before)
        walks = [merge.newest_walk(keys.OBJECTS, record.id)]
        if record.versioning:
            walks.append(merge.newest_walk(keys.MARKERS, record.id))
            walks.append(merge.history_walk(record.id))
        await core.engine.walk_many(walks)
        return merge.page()


async def _marker_version(core: Core, bucket: str, key: str, version_id: str) -> int:
    """The version to go on below; 0 when the rest of the key's versions can't be told."""
    number = version_number(version_id)
    if number is None:
        found = await find_version(core, bucket, key_bytes(key), None)
        return found.record.version if found is not None else 0
    return number


class _Merge:
    """Up to limit + 1 lines of each table, which holds limit + 1 lines of the whole listing."""

    def __init__(self, span: Span, limit: int, marker: bytes, before: int) -> None:
        self._span = span
        self._limit = limit
        self._marker = marker
        self._before = before
        self._lines: list[_Line] = []
        self._bound: bytes | None = None  # no line behind it can be on the page

    def newest_walk(self, table: bytes, bucket_id: bytes) -> tuple[bytes, bytes, Visitor]:
        base = table + bucket_id
        lines: list[_Line] = []

        def visit(at: bytes, value: memoryview, _version: int) -> bytes | None:
            key = at[keys.OBJECT_PREFIX_BYTES :]
            if key == self._marker and decode(value, ObjectRecord).version >= self._before > 0:
                return None
            common = self._span.folded(key)
            if self._is_full(lines, common or key):
                return STOP
            record = decode(value, ObjectRecord) if common is None else None
            lines.append((common or key, False, record))
            self._lines.append(lines[-1])
            return prefix_end(base + common) if common is not None else None

        return base + self._span.after, prefix_end(base + self._span.prefix), visit

    def history_walk(self, bucket_id: bytes) -> tuple[bytes, bytes, Visitor]:
        base = keys.VERSIONS + bucket_id
        lines: list[_Line] = []

        def visit(at: bytes, value: memoryview, _version: int) -> bytes | None:
            key, _ = keys.unescaped(at[keys.OBJECT_PREFIX_BYTES :])
            common = self._span.folded(key)
            if self._is_full(lines, common or key):
                return STOP
            record = decode(value, ObjectRecord) if common is None else None
            lines.append((common or key, common is None, record))
            self._lines.append(lines[-1])
            return prefix_end(base + keys.escaped_prefix(common)) if common else None

        start = base + keys.escaped_prefix(self._span.after)
        if self._before and self._span.after == self._marker:
            start = base + keys.escaped(self._marker) + inverted_bytes(self._before - 1)
        return start, prefix_end(base + keys.escaped_prefix(self._span.prefix)), visit

    def _is_full(self, lines: list[_Line], name: bytes) -> bool:
        """Whether a table has given all that can matter, `name` being its next line's."""
        if self._bound is not None and name > self._bound:
            return True
        if len(lines) <= self._limit:
            return False
        self._bound = lines[-1][0] if self._bound is None else min(self._bound, lines[-1][0])
        return True

    def page(self) -> ListPage:
        # stable: within a key the newest comes first, then its history as it was walked
        self._lines.sort(key=lambda line: line[:2])
        entries: list[ListEntry] = []
        last: bytes | None = None  # the common prefix before
        for name, is_old, record in self._lines:
            if record is None and name == last:
                continue
            if len(entries) == self._limit:
                end = entries[-1]
                version = str(end.record.version) if end.record is not None else ""
                return ListPage(entries, True, end.key, version)
            entries.append(ListEntry(name.decode(), record, not is_old))
            last = name if record is None else None
        return ListPage(entries, False)
