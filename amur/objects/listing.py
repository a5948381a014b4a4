"""Listing objects: O(page) at any depth and width, by seeks over what a prefix folds."""

from __future__ import annotations

from amur.limits import KEY_BYTES_MAX, LIST_PAGE_MAX
from amur.meta import keys
from amur.meta.engine import STOP, prefix_end
from amur.meta.records import ObjectHead, decode
from amur.objects.core import Core, translation
from amur.objects.errors import InvalidArgument
from amur.objects.names import text_bytes
from amur.objects.types import ListEntry, ListPage

_new = tuple.__new__  # half the time of a NamedTuple's own constructor


class Span:
    """The keys that a listing goes over, and how they fold into common prefixes. No I/O.

    `after` is where to begin (inclusive): behind the marker, or behind everything under it when
    it is itself a common prefix.
    """

    __slots__ = ("_delimiter", "after", "prefix")

    def __init__(
        self, prefix: str, delimiter: str, marker: str, *, inclusive: bool = False
    ) -> None:
        self.prefix = text_bytes(prefix)
        self._delimiter = text_bytes(delimiter)
        # no key is longer: what follows can't tell two of them apart
        after = text_bytes(marker)[: KEY_BYTES_MAX + 1]
        if after and self.folded(after) == after:
            after = prefix_end(after)
        elif after and not inclusive:
            after += b"\x00"
        self.after = max(self.prefix, after)

    def is_empty(self) -> bool:
        return len(self.prefix) > KEY_BYTES_MAX

    def folded(self, key: bytes) -> bytes | None:
        """The common prefix that stands for a key, None when the key stands for itself."""
        if not self._delimiter or not key.startswith(self.prefix):
            return None
        at = key.find(self._delimiter, len(self.prefix))
        return key[: at + len(self._delimiter)] if at >= 0 else None


def page_limit(limit: int) -> int:
    if limit < 0:
        raise InvalidArgument("A page can't have fewer than 0 entries")
    return min(limit, LIST_PAGE_MAX)


async def list_objects(
    core: Core,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    start_after: str = "",
    limit: int = LIST_PAGE_MAX,
) -> ListPage:
    """See `Store.list_objects`. Heads are decoded, inline bodies never touched."""
    span = Span(prefix, delimiter, start_after)
    limit = page_limit(limit)
    with translation:
        bucket_id = (await core.bucket(bucket))[0].id
        if not limit or span.is_empty():
            return ListPage([], False)
        table = keys.OBJECTS + bucket_id
        entries: list[ListEntry] = []
        truncated = False
        folds = bool(delimiter)

        def visit(at: bytes, value: memoryview, _version: int) -> bytes | None:
            nonlocal truncated
            if len(entries) >= limit:
                truncated = True
                return STOP
            key = at[keys.OBJECT_PREFIX_BYTES :]
            common = span.folded(key) if folds else None
            if common is None:
                entries.append(_new(ListEntry, (key.decode(), decode(value, ObjectHead), True)))
                return None
            entries.append(ListEntry(common.decode(), None))
            return prefix_end(table + common)

        await core.engine.walk(table + span.after, prefix_end(table + span.prefix), visit)
    return ListPage(entries, truncated, entries[-1].key if truncated else "")
