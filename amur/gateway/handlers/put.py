"""PutObject."""

from __future__ import annotations

from amur.gateway.checksums import checksum_headers, expectations
from amur.gateway.conditions import read_conditions
from amur.gateway.context import Context, Response
from amur.gateway.handlers.common import (
    settle_acl,
    settle_regions,
    take_body,
    written_version,
)
from amur.gateway.headers import read_attributes


async def put_object(ctx: Context) -> Response:
    """Store the body, whatever its size up to 5 GiB; durable when answered."""
    request = ctx.request
    headers = request.headers
    attributes = read_attributes(headers, ctx.principal.owner)
    if attributes.acl:
        await settle_acl(ctx, attributes)
    if request.has_tigris:
        await settle_regions(ctx, attributes)
    algorithms, verify = expectations(headers, ctx.body)
    conditions = read_conditions(headers)
    record = await ctx.store.put(
        request.bucket,
        request.key,
        await take_body(ctx),
        attributes,
        conditions=conditions,
        algorithms=algorithms,
        verify=verify,
    )
    told = [("etag", f'"{record.etag}"'), *checksum_headers(record.checksums)]
    return Response(200, told + written_version(record))
