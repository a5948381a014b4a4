"""Tags of an object's newest or any version."""

from __future__ import annotations

from amur import limits
from amur.gateway import xml
from amur.gateway.checksums import check_document
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import version_headers, version_param
from amur.gateway.headers import check_tags
from amur.gateway.responses import xml_response
from amur.meta.records import ObjectRecord


async def get_object_tagging(ctx: Context) -> Response:
    record = await permitted(ctx)
    tags = (
        xml.tag("Tag", xml.tag("Key", key), xml.tag("Value", value))
        for key, value in sorted(record.tags.items())
    )
    response = xml_response("Tagging", xml.tag("TagSet", *tags))
    response.headers += version_headers(ctx, record)
    return response


async def put_object_tagging(ctx: Context) -> Response:
    """Replace all tags. Raises MalformedXML, InvalidTag."""
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    check_document(ctx.request.headers, ctx.body, data)
    tags = parse_tagging_document(data)
    ctx.conditions.tags = tags
    record = await _replace(ctx, tags)
    return Response(200, version_headers(ctx, record))


async def delete_object_tagging(ctx: Context) -> Response:
    record = await _replace(ctx, {})
    return Response(204, version_headers(ctx, record))


async def permitted(ctx: Context) -> ObjectRecord:
    """The version asked for, if the caller may touch it."""
    request = ctx.request
    return await ctx.store.head(
        request.bucket, request.key, version_id=version_param(ctx), permit=ctx.permit
    )


async def _replace(ctx: Context, tags: dict[str, str]) -> ObjectRecord:
    request, permit = ctx.request, ctx.permit

    def change(record: ObjectRecord) -> None:
        if permit is not None:
            permit(request.key, record)
        record.tags = tags

    return await ctx.store.update_object(
        request.bucket, request.key, change, version_id=version_param(ctx)
    )


def parse_tagging_document(data: bytes, tags_max: int = limits.OBJECT_TAGS_MAX) -> dict[str, str]:
    """The tags of a Tagging document. Raises MalformedXML, InvalidTag."""
    tag_set = xml.parse(data, "Tagging").find("TagSet")
    if tag_set is None:
        raise S3Error("MalformedXML")
    tags: dict[str, str] = {}
    for node in tag_set.children:
        key, value = node.find("Key"), node.find("Value")
        if node.name != "Tag" or key is None or value is None:
            raise S3Error("MalformedXML")
        if key.text in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
        tags[key.text] = value.text
    check_tags(tags, tags_max)
    return tags
