"""PostObject: an upload by an HTML form."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from urllib.parse import urlencode, urlsplit

from amur.gateway import postpolicy, xml
from amur.gateway.authorize import authorize_form
from amur.gateway.checksums import checksum_headers, expectations
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import settle_acl, written_version
from amur.gateway.handlers.tagging import parse_tagging_document
from amur.gateway.headers import read_attributes
from amur.gateway.postpolicy import FormReader, PostUpload
from amur.gateway.responses import XML_TYPE
from amur.meta.records import ObjectRecord
from amur.objects.types import Attributes


async def post_object(ctx: Context) -> Response:
    """Store the form's file; signature, policy and rights come before its first byte."""
    request = ctx.request
    reader = FormReader(request.headers.get("content-type", ""))
    stream = ctx.body.stream()
    assert isinstance(stream, AsyncGenerator)
    async with aclosing(stream):
        begun = await _read_fields(reader, stream)
        upload = await _authorized(ctx, reader)
        attributes = _attributes(upload, ctx.principal.owner)
        if attributes.acl:
            await settle_acl(ctx, attributes)
        algorithms, verify = expectations(upload.headers, ctx.body)
        record = await ctx.store.put(
            request.bucket,
            upload.key,
            _file(reader, begun, stream),
            attributes,
            algorithms=algorithms,
            verify=verify,
        )
    headers = [("etag", f'"{record.etag}"'), *checksum_headers(record.checksums)]
    headers += written_version(record)
    return _answer(ctx, upload, record, headers)


async def admit(ctx: Context) -> tuple[list[bytes], AsyncGenerator[bytes | bytearray]]:
    """The form as it came, up to its file and behind, once its sender's right is proven: for who
    passes it on. What is held is FORM_BYTES_MAX and a piece."""
    reader = FormReader(ctx.request.headers.get("content-type", ""))
    begun: list[bytes] = []
    wire = ctx.body.wire()
    try:
        async for piece in wire:
            begun.append(bytes(piece))
            for _ in reader.feed(begun[-1]):
                pass  # of the file
            if reader.fields is not None:
                break
        else:
            reader.finish()
        await _authorized(ctx, reader)
    except BaseException:
        await wire.aclose()
        raise
    return begun, wire


async def _authorized(ctx: Context, reader: FormReader) -> PostUpload:
    """Hold the form against signature, policy and the rights of its sender. Raises S3Error."""
    request, signers = ctx.request, ctx.signers
    assert reader.fields is not None
    key_id, token = postpolicy.claimed(reader.fields)
    signer = await signers.signer(request, key_id, token, ctx.now_s)
    try:
        upload = postpolicy.authorize(
            reader, request.bucket, find_secrets=signer.find, now_s=ctx.now_s
        )
    except S3Error as error:
        signers.failed(request, signer, error)
        raise
    if upload.key_id:
        signers.admit(request, signer, "s3", ctx.now_s)
        ctx.access, ctx.signed_s = signer.access, postpolicy.signed_at(reader.fields)
    tags = _attributes(upload, "").tags  # as they are stored
    await authorize_form(ctx, upload.key, upload.headers, tags)
    return upload


async def _read_fields(reader: FormReader, stream: AsyncIterator[bytes]) -> list[bytes]:
    """Feed until the file begins; what came of it with the last field."""
    async for data in stream:
        begun = list(reader.feed(data))
        if reader.fields is not None:
            return begun
    reader.finish()
    raise AssertionError("a form without a file does not finish")


async def _file(
    reader: FormReader, begun: list[bytes], stream: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    for piece in begun:
        yield piece
    async for data in stream:
        for piece in reader.feed(data):
            yield piece
    reader.finish()


def _attributes(upload: PostUpload, owner: str) -> Attributes:
    if "\0" in upload.key:
        raise S3Error("InvalidArgument", "A key can't hold a NUL.", ArgumentName="key")
    for name in upload.headers:
        if name.startswith("x-tigris-"):
            raise S3Error("NotImplemented", f"{name} in a form is not implemented.")
    attributes = read_attributes(upload.headers, owner)
    if upload.tagging:
        attributes.tags = parse_tagging_document(upload.tagging.encode())
    return attributes


def _answer(
    ctx: Context, upload: PostUpload, record: ObjectRecord, headers: list[tuple[str, str]]
) -> Response:
    request = ctx.request
    etag = f'"{record.etag}"'
    if upload.success_redirect:
        where = _redirect(upload.success_redirect, request.bucket, upload.key, etag)
        return Response(303, [*headers, ("location", where)])
    base = "" if request.is_virtual_host else "/" + request.bucket
    location = f"{request.scheme}://{request.headers['host']}{base}/{xml.url_encode(upload.key)}"
    headers.append(("location", location))
    if upload.success_status != 201:
        return Response(upload.success_status, headers)
    document = xml.document(
        "PostResponse",
        xml.tag("Location", location),
        xml.tag("Bucket", request.bucket),
        xml.tag("Key", upload.key),
        xml.tag("ETag", etag),
        namespace="",
    )
    return Response(201, [XML_TYPE, *headers], document)


def _redirect(url: str, bucket: str, key: str, etag: str) -> str:
    """The form's success_action_redirect with what was stored in its query."""
    parts = urlsplit(url)
    added = urlencode({"bucket": bucket, "key": key, "etag": etag})
    return parts._replace(query=f"{parts.query}&{added}" if parts.query else added).geturl()
