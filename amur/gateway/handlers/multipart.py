"""The seven operations of multipart uploads."""

from __future__ import annotations

from amur import limits
from amur.gateway import xml
from amur.gateway.authorize import authorize_source
from amur.gateway.checksums import (
    ELEMENTS,
    HEADERS,
    algorithm_name,
    check_document,
    expectations,
    named_checksum,
)
from amur.gateway.conditions import read_conditions
from amur.gateway.context import Context, Response
from amur.gateway.copysource import parse_copy_source
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import (
    marker_number,
    part_number,
    settle_acl,
    settle_regions,
    take_body,
    written_version,
)
from amur.gateway.handlers.copy import (
    SOURCE_CONDITIONS,
    checksum_elements,
    copy_result,
    source_version,
)
from amur.gateway.headers import read_attributes
from amur.gateway.ranges import parse_copy_range
from amur.gateway.responses import owner_tag, page_size, xml_response
from amur.gateway.xml import Markup, tag
from amur.meta.records import Checksum, ObjectRecord, PartRecord, UploadRecord
from amur.objects.store import CompletedPart

_KINDS = frozenset({"FULL_OBJECT", "COMPOSITE"})


async def create_upload(ctx: Context) -> Response:
    """Begin an upload; the object's attributes wait in it."""
    request = ctx.request
    headers = request.headers
    attributes = read_attributes(headers, ctx.principal.owner)
    if attributes.acl:
        await settle_acl(ctx, attributes)
    if request.has_tigris:
        await settle_regions(ctx, attributes)
    asked = headers.get("x-amz-checksum-algorithm", "")
    upload = await ctx.store.create_upload(
        request.bucket,
        request.key,
        attributes,
        checksum_algorithm=algorithm_name(asked) if asked else "",
        checksum_kind=_kind(ctx),
    )
    response = xml_response(
        "InitiateMultipartUploadResult",
        tag("Bucket", request.bucket),
        tag("Key", request.key),
        tag("UploadId", upload.id.hex()),
    )
    if upload.checksum_algorithm:
        response.headers.append(("x-amz-checksum-algorithm", upload.checksum_algorithm))
        response.headers.append(("x-amz-checksum-type", upload.checksum_kind))
    return response


def _kind(ctx: Context) -> str:
    kind = ctx.request.headers.get("x-amz-checksum-type", "").upper()
    if kind and kind not in _KINDS:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    return kind


async def upload_part(ctx: Context) -> Response:
    """Store a part, in place of an older one of its number."""
    request = ctx.request
    number, upload_id = _place(ctx)
    upload = await ctx.store.upload(request.bucket, request.key, upload_id)
    algorithms, verify = expectations(request.headers, ctx.body, upload.checksum_algorithm)
    part = await ctx.store.put_part(
        request.bucket,
        request.key,
        upload_id,
        number,
        await take_body(ctx),
        algorithms=algorithms,
        verify=verify,
    )
    headers = [("etag", f'"{part.etag}"')]
    named = named_checksum(request.headers)[0] or upload.checksum_algorithm
    headers += [(HEADERS[each.algorithm], each.value) for each in _of(part.checksums, named)]
    return Response(200, headers)


def _place(ctx: Context) -> tuple[int, str]:
    params = ctx.request.params
    return part_number(params.get("partNumber", "")), params["uploadId"]


def _of(checksums: list[Checksum], algorithm: str) -> list[Checksum]:
    return [each for each in checksums if each.algorithm == algorithm]


async def upload_part_copy(ctx: Context) -> Response:
    """A part from another object, or from a range of it."""
    request = ctx.request
    headers = request.headers
    number, upload_id = _place(ctx)
    source = parse_copy_source(headers["x-amz-copy-source"])
    permit = await authorize_source(ctx, source)
    wanted = headers.get("x-amz-copy-source-range")
    byte_range = parse_copy_range(wanted) if wanted is not None else None
    found: list[ObjectRecord] = []

    def look(key: str, record: ObjectRecord | None) -> None:
        if permit is not None:
            permit(key, record)
        if record is not None:
            found.append(record)
            if byte_range is None and record.size > limits.PUT_BYTES_MAX:
                raise S3Error("EntityTooLarge", ProposedSize=str(record.size))

    upload = await ctx.store.upload(request.bucket, request.key, upload_id)
    part = await ctx.store.copy_part(
        source,
        byte_range,
        request.bucket,
        request.key,
        upload_id,
        number,
        source_conditions=read_conditions(headers, SOURCE_CONDITIONS),
        permit=look,
    )
    checksums = _of(part.checksums, upload.checksum_algorithm)
    modified_s = part.version // 1_000_000_000
    response = copy_result("CopyPartResult", part.etag, modified_s, checksums, with_type=False)
    response.headers += source_version(found[-1], source[2])
    return response


async def complete_upload(ctx: Context) -> Response:
    """Make the parts one object."""
    request = ctx.request
    headers = request.headers
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    check_document({k: v for k, v in headers.items() if k in _OF_DOCUMENT}, ctx.body, data)
    parts = parse_completion(data)
    size = headers.get("x-amz-mp-object-size")
    record = await ctx.store.complete_upload(
        request.bucket,
        request.key,
        request.params["uploadId"],
        parts,
        conditions=read_conditions(headers),
        checksum=_promised(headers),
        checksum_kind=_kind(ctx),
        object_size=_size(size) if size is not None else None,
    )
    response = xml_response(
        "CompleteMultipartUploadResult",
        tag(
            "Location",
            f"{request.scheme}://{request.headers['host']}{xml.url_encode(request.path)}",
        ),
        tag("Bucket", request.bucket),
        tag("Key", request.key),
        tag("ETag", f'"{record.etag}"'),
        *checksum_elements(record.checksums),
    )
    response.headers += written_version(record)
    return response


_OF_DOCUMENT = frozenset({"content-md5"})
"""The x-amz-checksum-* of a completion is the object's, not that of the document."""


def _promised(headers: dict[str, str]) -> str:
    values = [headers[name] for name in HEADERS.values() if name in headers]
    if len(values) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return values[0].strip() if values else ""


def _size(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")


def parse_completion(data: bytes) -> list[CompletedPart]:
    """The parts of a CompleteMultipartUpload document. Raises MalformedXML, InvalidArgument."""
    root = xml.parse(data, "CompleteMultipartUpload")
    parts = [_completed_part(node) for node in root.children if node.name == "Part"]
    if not 1 <= len(parts) <= limits.PART_NUMBER_MAX:
        raise S3Error("MalformedXML")
    return parts


def _completed_part(node: xml.Node) -> CompletedPart:
    number, etag = 0, ""
    checksums: dict[str, str] = {}
    for child in node.children:
        if child.name == "PartNumber":
            text = child.text.strip()
            if not (text.isascii() and text.isdigit()):
                raise S3Error("MalformedXML")
            number = part_number(text)
        elif child.name == "ETag":
            etag = child.text.strip().strip('"')
        elif child.name in _ALGORITHMS:
            checksums[_ALGORITHMS[child.name]] = child.text.strip()
    if not number or not etag:
        raise S3Error("MalformedXML")
    return CompletedPart(number, etag, checksums)


_ALGORITHMS = {element: algorithm for algorithm, element in ELEMENTS.items()}


async def abort_upload(ctx: Context) -> Response:
    """204; the parts are released."""
    request = ctx.request
    await ctx.store.abort_upload(request.bucket, request.key, request.params["uploadId"])
    return Response(204)


async def list_parts(ctx: Context) -> Response:
    """A page of the parts of an upload in progress."""
    request = ctx.request
    params = request.params
    after = marker_number("part-number-marker", params.get("part-number-marker", ""))
    limit = page_size(params, "max-parts", limits.LIST_PAGE_MAX)
    upload, parts, truncated = await ctx.store.list_parts(
        request.bucket, request.key, params["uploadId"], after=after, limit=limit
    )
    last = parts[-1].number if parts else 0
    return xml_response(
        "ListPartsResult",
        tag("Bucket", request.bucket),
        tag("Key", request.key),
        tag("UploadId", params["uploadId"]),
        owner_tag(upload.object.owner, "Initiator"),
        owner_tag(upload.object.owner),
        tag("StorageClass", upload.object.storage_class),
        tag("PartNumberMarker", after),
        tag("NextPartNumberMarker", last),
        tag("MaxParts", limit),
        tag("IsTruncated", truncated),
        *_upload_checksum(upload),
        *(_part_element(part, upload.checksum_algorithm) for part in parts),
    )


def _part_element(part: PartRecord, algorithm: str) -> Markup:
    return tag(
        "Part",
        tag("PartNumber", part.number),
        tag("LastModified", xml.iso_time(part.version // 1_000_000_000)),
        tag("ETag", f'"{part.etag}"'),
        tag("Size", part.size),
        *checksum_elements(_of(part.checksums, algorithm), with_type=False),
    )


def _upload_checksum(upload: UploadRecord) -> list[Markup]:
    if not upload.checksum_algorithm:
        return []
    return [
        tag("ChecksumAlgorithm", upload.checksum_algorithm),
        tag("ChecksumType", upload.checksum_kind),
    ]


async def list_uploads(ctx: Context) -> Response:
    """A page of the uploads in progress in a bucket."""
    request = ctx.request
    params = request.params
    prefix, delimiter = params.get("prefix", ""), params.get("delimiter", "")
    key_marker = params.get("key-marker", "")
    upload_marker = params.get("upload-id-marker", "") if key_marker else ""
    limit = page_size(params, "max-uploads", limits.LIST_PAGE_MAX)
    encoding = params.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    name = xml.url_encode if encoding else str
    lines, truncated, next_key, next_upload = await ctx.store.list_uploads(
        request.bucket,
        prefix=prefix,
        delimiter=delimiter,
        key_marker=key_marker,
        upload_marker=upload_marker,
        limit=limit,
    )
    return xml_response(
        "ListMultipartUploadsResult",
        tag("Bucket", request.bucket),
        tag("KeyMarker", name(key_marker)),
        tag("UploadIdMarker", upload_marker),
        *(
            (tag("NextKeyMarker", name(next_key)), tag("NextUploadIdMarker", next_upload))
            if truncated
            else ()
        ),
        tag("Prefix", name(prefix)),
        *((tag("Delimiter", name(delimiter)),) if delimiter else ()),
        tag("MaxUploads", limit),
        tag("IsTruncated", truncated),
        *((tag("EncodingType", encoding),) if encoding else ()),
        *(_upload_element(name(key), upload) for key, upload in lines if upload is not None),
        *(
            tag("CommonPrefixes", tag("Prefix", name(key)))
            for key, upload in lines
            if upload is None
        ),
    )


def _upload_element(key: str, upload: UploadRecord) -> Markup:
    return tag(
        "Upload",
        tag("Key", key),
        tag("UploadId", upload.id.hex()),
        owner_tag(upload.object.owner, "Initiator"),
        owner_tag(upload.object.owner),
        tag("StorageClass", upload.object.storage_class),
        tag("Initiated", xml.iso_time(upload.initiated // 1_000_000_000)),
        *_upload_checksum(upload),
    )
