"""DeleteObject and DeleteObjects."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from amur import limits
from amur.gateway import xml
from amur.gateway.authorize import authorize_key
from amur.gateway.checksums import check_document
from amur.gateway.conditions import delete_conditions, etag_of, parse_date, parse_size
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error, explained
from amur.gateway.handlers.common import version_param
from amur.gateway.responses import xml_response
from amur.objects.errors import StoreError
from amur.objects.types import Conditions, DeleteResult

BATCH = 250
"""Keys deleted side by side: 1,000 ride in a few group commits, others get their turn between."""


async def delete_object(ctx: Context) -> Response:
    """204, whether or not there was anything to delete."""
    request = ctx.request
    result = await ctx.store.delete(
        request.bucket,
        request.key,
        version_id=version_param(ctx),
        conditions=delete_conditions(request.headers),
    )
    headers = []
    if result.version_id:
        headers.append(("x-amz-version-id", result.version_id))
    if result.is_marker:
        headers.append(("x-amz-delete-marker", "true"))
    return Response(204, headers)


class _Doomed(NamedTuple):
    key: str
    version_id: str
    conditions: Conditions | None


async def delete_objects(ctx: Context) -> Response:
    """200 with what became of each of up to 1,000 keys."""
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    check_document(ctx.request.headers, ctx.body, data, required=True)
    root = xml.parse(data, "Delete")
    doomed = [_doomed(node) for node in root.all("Object")]
    if not 1 <= len(doomed) <= limits.DELETE_KEYS_MAX:
        raise S3Error("MalformedXML")
    quiet = root.value("Quiet").lower() == "true"
    await ctx.store.bucket(ctx.request.bucket)
    lines: list[str] = []
    for at in range(0, len(doomed), BATCH):
        batch = doomed[at : at + BATCH]
        results = await asyncio.gather(
            *(_delete(ctx, each) for each in batch), return_exceptions=True
        )
        for each, result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                lines.append(_error_line(each, result))
            elif not quiet:
                lines.append(_deleted_line(each, result))
    return xml_response("DeleteResult", *lines)


def _doomed(node: xml.Node) -> _Doomed:
    key = node.find("Key")
    if key is None or not key.text:
        raise S3Error("MalformedXML")
    etag, size, modified = (node.find(name) for name in ("ETag", "Size", "LastModifiedTime"))
    conditions = None
    if etag is not None or size is not None or modified is not None:
        conditions = Conditions(
            if_match=None if etag is None else [etag_of(etag.text)],
            if_match_size=None if size is None else parse_size(size.text),
            if_match_modified=None if modified is None else parse_date(modified.text),
        )
        if (size is not None and conditions.if_match_size is None) or (
            modified is not None and conditions.if_match_modified is None
        ):
            raise S3Error("MalformedXML")
    return _Doomed(key.text, node.value("VersionId"), conditions)


async def _delete(ctx: Context, doomed: _Doomed) -> DeleteResult:
    action = "s3:DeleteObjectVersion" if doomed.version_id else "s3:DeleteObject"
    await authorize_key(ctx, action, doomed.key, doomed.version_id)
    if len(doomed.key.encode()) > limits.KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError")
    return await ctx.store.delete(
        ctx.request.bucket, doomed.key, version_id=doomed.version_id, conditions=doomed.conditions
    )


def _error_line(doomed: _Doomed, error: BaseException) -> str:
    if isinstance(error, StoreError):
        error = explained(error)
    if not isinstance(error, S3Error):
        raise error
    return xml.tag(
        "Error",
        xml.tag("Key", doomed.key),
        *_version("VersionId", doomed.version_id),
        xml.tag("Code", error.code),
        xml.tag("Message", error.message),
    )


def _deleted_line(doomed: _Doomed, result: DeleteResult) -> str:
    marker: tuple[str, ...] = ()
    if result.is_marker:
        marker = (
            xml.tag("DeleteMarker", "true"),
            xml.tag("DeleteMarkerVersionId", result.version_id),
        )
    return xml.tag(
        "Deleted",
        xml.tag("Key", doomed.key),
        *_version("VersionId", doomed.version_id),
        *marker,
    )


def _version(name: str, version_id: str) -> tuple[str, ...]:
    return (xml.tag(name, version_id),) if version_id else ()
