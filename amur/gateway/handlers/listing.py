"""ListObjects, ListObjectsV2 and ListObjectVersions: one page of the store each.

A page of 1,000 entries is rendered in about a millisecond: whether anything needs escaping or
encoding is asked once for all its names, and each entry is one f-string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from amur import limits
from amur.gateway import xml
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.service import decode_token, encode_token
from amur.gateway.responses import owner_tag, page_size, xml_response
from amur.gateway.xml import Markup, iso_time, tag
from amur.objects.pull import prefetching
from amur.objects.types import ListEntry, ListPage, ObjectHead, ObjectRecord

Encode = Callable[[str], str]
_EMPTY_PAGE = ListPage([], False)


class _Question(NamedTuple):
    """What the three listings ask in common."""

    prefix: str
    delimiter: str
    limit: int
    encode: Encode  # names as the client wants them, safe in XML
    encoding: str


def _question(ctx: Context) -> _Question:
    params = ctx.request.params
    encoding = params.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=encoding,
        )
    return _Question(
        params.get("prefix", ""),
        params.get("delimiter", ""),
        page_size(params, "max-keys", limits.LIST_PAGE_MAX),
        xml.url_encode if encoding else xml.escape,
        encoding,
    )


def _page_encoder(ask: _Question, entries: Iterable[ListEntry]) -> Encode:
    names = "".join([entry.key for entry in entries])
    plain = xml.is_url_plain(names) if ask.encoding else xml.is_harmless(names)
    return str if plain else ask.encode


def _checksum(record: ObjectHead) -> str:
    found = record.checksums
    if len(found) == 1:
        return _checksum_tags(found[0].algorithm, found[0].kind)
    return "".join([_checksum_tags(each.algorithm, each.kind) for each in found])


@lru_cache(maxsize=64)
def _checksum_tags(algorithm: str, kind: str) -> str:
    return f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm><ChecksumType>{kind}</ChecksumType>"


def _owner(record: ObjectHead) -> str:
    return owner_tag(record.owner) if record.owner else ""


def _contents(
    entries: Iterable[ListEntry],
    encode: Encode,
    *,
    owner: bool,
    metadata: Callable[[str, ObjectHead], str] | None = None,
) -> list[str]:
    return [
        f"<Contents><Key>{encode(key)}</Key>"
        f"<LastModified>{iso_time(record.version // 1_000_000_000)}</LastModified>"
        f"<ETag>&quot;{record.etag}&quot;</ETag>{_checksum(record)}<Size>{record.size}</Size>"
        f"{_owner(record) if owner else ''}<StorageClass>{record.storage_class}</StorageClass>"
        f"{metadata(key, record) if metadata else ''}</Contents>"
        for key, record, _ in entries
        if record is not None
    ]


def _metadata(ctx: Context) -> Callable[[str, ObjectHead], str] | None:
    """Tigris' extension X-Tigris-List-Metadata: user metadata beside each object, of those that the
    caller might get."""
    if ctx.request.headers.get("x-tigris-list-metadata") != "true":
        return None
    permit = ctx.permit

    def told(key: str, record: ObjectHead) -> str:
        if permit is not None:
            try:
                permit(key, record)  # type: ignore[arg-type]
            except S3Error:
                return ""
        return "".join(
            tag("Metadata", tag("Name", name), tag("Value", value))
            for name, value in record.metadata.items()
        )

    return told


def _common_prefixes(entries: Iterable[ListEntry], encode: Encode) -> list[str]:
    return [
        f"<CommonPrefixes><Prefix>{encode(key)}</Prefix></CommonPrefixes>"
        for key, record, _ in entries
        if record is None
    ]


def _shared_head(ask: _Question) -> list[str]:
    """MaxKeys, Delimiter, EncodingType: in every answer."""
    head: list[str] = [tag("MaxKeys", ask.limit)]
    if ask.delimiter:
        head.append(f"<Delimiter>{ask.encode(ask.delimiter)}</Delimiter>")
    if ask.encoding:
        head.append("<EncodingType>url</EncodingType>")
    return head


async def _objects(ctx: Context, ask: _Question, start_after: str) -> ListPage:
    if ask.limit == 0:
        await ctx.store.bucket(ctx.request.bucket)
        return _EMPTY_PAGE
    page = await ctx.store.list_objects(
        ctx.request.bucket,
        prefix=ask.prefix,
        delimiter=ask.delimiter,
        start_after=start_after,
        limit=ask.limit,
    )
    if ctx.request.headers.get("x-tigris-prefetch", "").lower() == "true":
        names = [entry.key for entry in page.entries if entry.record is not None]
        prefetching.start(ctx.store.core, ctx.request.bucket, names)
    return page


async def list_objects(ctx: Context) -> Response:
    """Version 1. NextMarker only with a delimiter, as Amazon."""
    ask = _question(ctx)
    marker = ctx.request.params.get("marker", "")
    page = await _objects(ctx, ask, marker)
    encode = _page_encoder(ask, page.entries)
    parts = [
        tag("Name", ctx.request.bucket),
        f"<Prefix>{ask.encode(ask.prefix)}</Prefix>",
        f"<Marker>{ask.encode(marker)}</Marker>",
    ]
    if page.truncated and ask.delimiter:
        parts.append(f"<NextMarker>{ask.encode(page.next_key)}</NextMarker>")
    parts += _shared_head(ask)
    parts.append(tag("IsTruncated", page.truncated))
    parts += _contents(page.entries, encode, owner=True, metadata=_metadata(ctx))
    parts += _common_prefixes(page.entries, encode)
    return xml_response("ListBucketResult", *parts)


async def list_objects_v2(ctx: Context) -> Response:
    ask = _question(ctx)
    params = ctx.request.params
    if params["list-type"] != "2":
        raise S3Error("InvalidArgument", ArgumentName="list-type")
    token = params.get("continuation-token")
    start_after = params.get("start-after", "")
    page = await _objects(ctx, ask, decode_token(token) if token else start_after)
    encode = _page_encoder(ask, page.entries)
    parts = [tag("Name", ctx.request.bucket), f"<Prefix>{ask.encode(ask.prefix)}</Prefix>"]
    if token is not None:
        parts.append(tag("ContinuationToken", token))
    if page.truncated:
        parts.append(tag("NextContinuationToken", encode_token(page.next_key)))
    if start_after:
        parts.append(f"<StartAfter>{ask.encode(start_after)}</StartAfter>")
    parts.append(tag("KeyCount", len(page.entries)))
    parts += _shared_head(ask)
    parts.append(tag("IsTruncated", page.truncated))
    owner = params.get("fetch-owner", "").lower() == "true"
    parts += _contents(page.entries, encode, owner=owner, metadata=_metadata(ctx))
    parts += _common_prefixes(page.entries, encode)
    return xml_response("ListBucketResult", *parts)


async def list_object_versions(ctx: Context) -> Response:
    ask = _question(ctx)
    params = ctx.request.params
    key_marker = params.get("key-marker", "")
    version_marker = params.get("version-id-marker", "")
    if version_marker and not key_marker:
        raise S3Error(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_marker,
        )
    page = await _versions(ctx, ask, key_marker, version_marker)
    encode = _page_encoder(ask, page.entries)
    parts = [
        tag("Name", ctx.request.bucket),
        f"<Prefix>{ask.encode(ask.prefix)}</Prefix>",
        f"<KeyMarker>{ask.encode(key_marker)}</KeyMarker>",
        tag("VersionIdMarker", version_marker),
    ]
    if page.truncated:
        parts.append(f"<NextKeyMarker>{ask.encode(page.next_key)}</NextKeyMarker>")
        if page.next_version:
            parts.append(tag("NextVersionIdMarker", page.next_version))
    parts += _shared_head(ask)
    parts.append(tag("IsTruncated", page.truncated))
    parts += [
        _version(entry, entry.record, encode)
        for entry in page.entries
        if isinstance(entry.record, ObjectRecord)
    ]
    parts += _common_prefixes(page.entries, encode)
    return xml_response("ListVersionsResult", *parts)


async def _versions(ctx: Context, ask: _Question, key_marker: str, version_marker: str) -> ListPage:
    if ask.limit == 0:
        await ctx.store.bucket(ctx.request.bucket)
        return _EMPTY_PAGE
    return await ctx.store.list_versions(
        ctx.request.bucket,
        prefix=ask.prefix,
        delimiter=ask.delimiter,
        key_marker=key_marker,
        version_marker=version_marker,
        limit=ask.limit,
    )


def _version(entry: ListEntry, record: ObjectRecord, encode: Encode) -> Markup:
    head = (
        f"<Key>{encode(entry.key)}</Key><VersionId>{record.version_id()}</VersionId>"
        f"<IsLatest>{'true' if entry.is_latest else 'false'}</IsLatest>"
        f"<LastModified>{iso_time(record.modified_s())}</LastModified>"
    )
    if record.is_marker:
        return Markup(f"<DeleteMarker>{head}{_owner(record)}</DeleteMarker>")
    return Markup(
        f"<Version>{head}<ETag>&quot;{record.etag}&quot;</ETag>{_checksum(record)}"
        f"<Size>{record.size}</Size><StorageClass>{record.storage_class}</StorageClass>"
        f"{_owner(record)}</Version>"
    )
