"""GetObject and HeadObject, of the newest or any version."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from amur.gateway.conditions import parse_if_range, read_conditions
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import part_number, regions_header, version_headers
from amur.gateway.headers import apply_overrides, checksum_mode, object_headers
from amur.gateway.ranges import content_range, parse_range
from amur.objects.conditions import keeps_range
from amur.objects.store import ByteRange
from amur.objects.types import Conditions, Reading


async def get_object(ctx: Context) -> Response:
    """200 with the object, or 206 with a range or part of it."""
    reading, is_partial = await _open(ctx, _range(ctx))
    response = _answer(ctx, reading, is_partial)
    if reading.body is not None:
        response.body = reading.body
    else:
        response.stream = reading.stream
    return response


async def head_object(ctx: Context) -> Response:
    """What GetObject would answer, without the body."""
    request = ctx.request
    byte_range = _range(ctx)
    if byte_range is not None or "partNumber" in request.params:
        reading, is_partial = await _open(ctx, byte_range)
        if reading.stream is not None:
            assert isinstance(reading.stream, AsyncGenerator)
            await reading.stream.aclose()
        return _answer(ctx, reading, is_partial)
    record = await ctx.store.head(
        request.bucket,
        request.key,
        version_id=request.params.get("versionId", ""),
        conditions=read_conditions(request.headers),
        permit=ctx.permit,
    )
    whole = Reading(record, 0, record.size, b"", None, record.checksums)
    return _answer(ctx, whole, is_partial=False)


def _range(ctx: Context) -> ByteRange | None:
    value = ctx.request.headers.get("range")
    return None if value is None else parse_range(value)


async def _open(ctx: Context, byte_range: ByteRange | None) -> tuple[Reading, bool]:
    request = ctx.request
    params = request.params
    number = part_number(params["partNumber"]) if "partNumber" in params else 0
    if number and byte_range is not None:
        raise S3Error(
            "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
        )
    conditions = read_conditions(request.headers)
    if byte_range is not None and "if-range" in request.headers:
        conditions = conditions or Conditions()
        conditions.if_range = parse_if_range(request.headers["if-range"])
    reading = await ctx.store.get(
        request.bucket,
        request.key,
        version_id=params.get("versionId", ""),
        conditions=conditions,
        byte_range=byte_range,
        part_number=number,
        permit=ctx.permit,
    )
    is_range = byte_range is not None and keeps_range(conditions, reading.record)
    # part 1 of an empty object is no range that Content-Range could express
    return reading, (is_range or number > 0) and reading.end > reading.start


def _answer(ctx: Context, reading: Reading, is_partial: bool) -> Response:
    request, record = ctx.request, reading.record
    headers = object_headers(record, reading.end - reading.start)
    headers += version_headers(ctx, record)
    headers += regions_header(ctx, record)
    if request.params:
        apply_overrides(headers, request.params, is_signed=not ctx.principal.is_anonymous)
        if record.part_count and "partNumber" in request.params:
            headers.append(("x-amz-mp-parts-count", str(record.part_count)))
    if reading.checksums and "x-amz-checksum-mode" in request.headers:
        headers += checksum_mode(request.headers, reading.checksums)
    if is_partial:
        headers.append(("content-range", content_range(reading.start, reading.end, record.size)))
        return Response(206, headers)
    return Response(200, headers)
