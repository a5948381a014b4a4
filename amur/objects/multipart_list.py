"""Listing uploads in progress: by key, then by the time of their beginning; each page O(page)."""

from __future__ import annotations

from amur import limits
from amur.meta import keys
from amur.meta.engine import STOP, prefix_end
from amur.meta.records import UploadRecord, decode
from amur.objects.core import Core
from amur.objects.errors import InvalidArgument
from amur.objects.names import text_bytes

Line = tuple[str, UploadRecord | None]


async def list_uploads(
    core: Core,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    key_marker: str = "",
    upload_marker: str = "",
    limit: int = 1000,
) -> tuple[list[Line], bool, str, str]:
    """See `Store.list_uploads`. Raises NoSuchBucket, InvalidArgument (upload marker)."""
    bucket_record, _ = await core.bucket(bucket)
    limit = min(limit, limits.LIST_PAGE_MAX)
    table = keys.UPLOADS + bucket_record.id
    stem, cut = text_bytes(prefix), text_bytes(delimiter)
    lines: list[Line] = []
    more = limit <= 0

    def visit(at: bytes, value: memoryview, version: int) -> bytes | None:
        nonlocal more
        if len(lines) >= limit:
            more = True
            return STOP
        key, _ = keys.unescaped(at[len(table) :])
        end = key.find(cut, len(stem)) if cut else -1
        if end >= 0:
            common = key[: end + len(cut)]
            lines.append((common.decode(), None))
            return prefix_end(table + _open(common))
        lines.append((key.decode(), decode(value, UploadRecord)))
        return None

    first = max(
        table + _open(stem), _after(table, stem, cut, text_bytes(key_marker), upload_marker)
    )
    last = prefix_end(table + _open(stem))
    if limit > 0 and first < last:
        await core.engine.walk(first, last, visit)
    if not lines or not more:
        return lines, False, "", ""
    key, record = lines[-1]
    return lines, True, key, record.id.hex() if record else ""


def _open(prefix: bytes) -> bytes:
    """An escaped key's beginning, so that all keys with this prefix begin with it."""
    return keys.escaped(prefix)[:-2]


def _after(table: bytes, stem: bytes, cut: bytes, marker: bytes, upload_marker: str) -> bytes:
    """The first metadata key behind the markers."""
    if not marker:
        return table
    end = marker.find(cut, len(stem)) if cut and marker.startswith(stem) else -1
    if end >= 0 and end + len(cut) == len(marker):  # a common prefix: all under it was listed
        return prefix_end(table + _open(marker))
    if not upload_marker:
        return prefix_end(table + keys.escaped(marker))
    try:
        raw = bytes.fromhex(upload_marker)
    except ValueError:
        raise InvalidArgument("Invalid uploadId marker") from None
    return table + keys.escaped(marker) + raw + b"\x00"
