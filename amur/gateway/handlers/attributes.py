"""GetObjectAttributes."""

from __future__ import annotations

from amur import limits
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import marker_number, version_headers, version_param
from amur.gateway.handlers.copy import checksum_elements
from amur.gateway.headers import http_date
from amur.gateway.responses import page_size, xml_response
from amur.gateway.xml import Markup, tag
from amur.meta.records import ObjectRecord, PartRecord

_KNOWN = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


async def get_object_attributes(ctx: Context) -> Response:
    """Those attributes that x-amz-object-attributes names."""
    request = ctx.request
    asked = _asked(request.headers.get("x-amz-object-attributes", ""))
    record = await ctx.store.head(
        request.bucket, request.key, version_id=version_param(ctx), permit=ctx.permit
    )
    told: list[Markup] = []
    if "ETag" in asked:
        told.append(tag("ETag", record.etag))
    if "Checksum" in asked and record.checksums:
        told.append(tag("Checksum", *checksum_elements(record.checksums)))
    if "ObjectParts" in asked and record.part_count:
        told.append(await _parts(ctx, record))
    if "StorageClass" in asked:
        told.append(tag("StorageClass", record.storage_class))
    if "ObjectSize" in asked:
        told.append(tag("ObjectSize", record.size))
    response = xml_response("GetObjectAttributesResponse", *told)
    response.headers.append(("last-modified", http_date(record.modified_s())))
    response.headers += version_headers(ctx, record)
    return response


def _asked(value: str) -> set[str]:
    asked = {name.strip() for name in value.split(",") if name.strip()}
    if not asked or not asked <= _KNOWN:
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=value,
        )
    return asked


async def _parts(ctx: Context, record: ObjectRecord) -> Markup:
    headers = ctx.request.headers
    after = marker_number("x-amz-part-number-marker", headers.get("x-amz-part-number-marker", ""))
    limit = page_size(headers, "x-amz-max-parts", limits.LIST_PAGE_MAX)
    parts = [part async for part in ctx.store.object_parts(record, after=after, limit=limit)]
    last = parts[-1].number if parts else 0
    algorithm = record.checksums[0].algorithm if record.checksums else ""
    return tag(
        "ObjectParts",
        tag("PartsCount", record.part_count),
        tag("PartNumberMarker", after),
        tag("NextPartNumberMarker", last),
        tag("MaxParts", limit),
        tag("IsTruncated", bool(parts) and last < record.part_count),
        *(_part(part, algorithm) for part in parts),
    )


def _part(part: PartRecord, algorithm: str) -> Markup:
    checksums = [each for each in part.checksums if each.algorithm == algorithm]
    return tag(
        "Part",
        tag("PartNumber", part.number),
        tag("Size", part.size),
        *checksum_elements(checksums, with_type=False),
    )
