"""CopyObject, and rename in place (X-Tigris-Rename)."""

from __future__ import annotations

from amur import limits
from amur.gateway import xml
from amur.gateway.authorize import authorize_source, authorize_tags_of_copy
from amur.gateway.checksums import ELEMENTS, algorithm_name
from amur.gateway.conditions import read_conditions
from amur.gateway.context import Context, Response
from amur.gateway.copysource import Source, parse_copy_source
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import (
    REGIONS,
    settle_acl,
    settle_regions,
    written_version,
)
from amur.gateway.headers import REDIRECT, read_attributes
from amur.gateway.responses import xml_response
from amur.meta.records import Checksum, ObjectRecord
from amur.objects.store import Permit
from amur.objects.types import Attributes

SOURCE_CONDITIONS = "x-amz-copy-source-"
_NOT_COPIED = frozenset({REDIRECT})


async def copy_object(ctx: Context) -> Response:
    """Copy within the store; bytes are shared, not rewritten."""
    request = ctx.request
    headers = request.headers
    source = parse_copy_source(headers["x-amz-copy-source"])
    permit = await authorize_source(ctx, source)
    if headers.get("x-tigris-rename", "false").lower() != "false":
        return await _rename(ctx, source, permit)
    attributes = read_attributes(headers, ctx.principal.owner)
    if attributes.acl:
        await settle_acl(ctx, attributes)
    if request.has_tigris:
        await settle_regions(ctx, attributes)
    replaces = _replaces(headers, "x-amz-metadata-directive")
    replaces_tags = _replaces(headers, "x-amz-tagging-directive")
    if source == (request.bucket, request.key, "") and not (
        replaces or replaces_tags or attributes.storage_class or REDIRECT in headers
    ):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location "
            "or encryption attributes.",
        )
    found: list[ObjectRecord] = []
    tags = None if replaces_tags else await authorize_tags_of_copy(ctx, source, permit)

    held = _with_tags(permit, tags)

    def look(key: str, record: ObjectRecord | None) -> None:
        held(key, record)
        if record is not None:
            _check_size(record)
            found.append(record)
            if not replaces:
                _adopt(attributes, record)

    algorithm = headers.get("x-amz-checksum-algorithm", "")
    record = await ctx.store.copy(
        source,
        request.bucket,
        request.key,
        attributes,
        tags=attributes.tags if replaces_tags else None,
        source_conditions=read_conditions(headers, SOURCE_CONDITIONS),
        conditions=read_conditions(headers),
        algorithm=algorithm_name(algorithm) if algorithm else "",
        permit=look,
    )
    response = copy_result("CopyObjectResult", record.etag, record.modified_s(), record.checksums)
    response.headers += written_version(record)
    response.headers += source_version(found[-1], source[2])
    return response


async def _rename(ctx: Context, source: Source, permit: Permit | None) -> Response:
    request = ctx.request
    if request.headers["x-tigris-rename"].lower() != "true":
        raise S3Error("InvalidArgument", ArgumentName="X-Tigris-Rename")
    if REGIONS in request.headers:
        raise S3Error("InvalidRequest", "A renamed object keeps its regions.")
    if source[0] != request.bucket or source[2]:
        raise S3Error("InvalidRequest", "A rename stays in its bucket and has no version.")
    if source[1] == request.key:
        raise S3Error("KeyAlreadyExists")
    held = _with_tags(permit, await authorize_tags_of_copy(ctx, source, permit))
    record = await ctx.store.rename(request.bucket, source[1], request.key, permit=held)
    response = copy_result("CopyObjectResult", record.etag, record.modified_s(), record.checksums)
    response.headers += written_version(record)
    return response


def _with_tags(permit: Permit | None, tags: dict[str, str] | None) -> Permit:
    """`permit`, and the source has the tags that were authorised; None for any."""

    def held(key: str, record: ObjectRecord | None) -> None:
        if permit is not None:
            permit(key, record)
        if record is not None and tags is not None and record.tags != tags:
            raise S3Error("ConditionalRequestConflict")  # they were changed just now

    return held


def _replaces(headers: dict[str, str], name: str) -> bool:
    directive = headers.get(name, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error(
            "InvalidArgument",
            "Unknown metadata directive." if "metadata" in name else "Unknown tagging directive.",
            ArgumentName=name,
            ArgumentValue=directive,
        )
    return directive == "REPLACE"


def _check_size(record: ObjectRecord) -> None:
    if record.size > limits.PUT_BYTES_MAX:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {limits.PUT_BYTES_MAX}",
        )


def _adopt(attributes: Attributes, record: ObjectRecord) -> None:
    """Take over what COPY copies: not the ACL, not the storage class, not the redirect."""
    own = {name: value for name, value in attributes.headers.items() if name in _NOT_COPIED}
    kept = {name: value for name, value in record.headers.items() if name not in _NOT_COPIED}
    attributes.content_type = record.content_type
    attributes.headers = kept | own
    attributes.metadata = record.metadata


def source_version(record: ObjectRecord, version_id: str) -> list[tuple[str, str]]:
    """x-amz-copy-source-version-id, of a source with versions."""
    if record.is_null and not version_id:
        return []
    return [("x-amz-copy-source-version-id", record.version_id())]


def copy_result(
    root: str, etag: str, modified_s: int, checksums: list[Checksum], *, with_type: bool = True
) -> Response:
    """The document that answers CopyObject and UploadPartCopy."""
    return xml_response(
        root,
        xml.tag("LastModified", xml.iso_time(modified_s)),
        xml.tag("ETag", f'"{etag}"'),
        *checksum_elements(checksums, with_type=with_type),
    )


def checksum_elements(checksums: list[Checksum], *, with_type: bool = True) -> list[xml.Markup]:
    """Checksums as elements of a document."""
    found = [xml.tag(ELEMENTS[each.algorithm], each.value) for each in checksums]
    if found and with_type:
        found.append(xml.tag("ChecksumType", checksums[0].kind))
    return found
