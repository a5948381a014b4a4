"""ACLs of objects: canned ones, in a header or spelled out as the grants that they stand for."""

from __future__ import annotations

from amur import limits
from amur.gateway import acl_xml
from amur.gateway.checksums import check_document
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import (
    check_public_acl,
    known_organizations,
    version_headers,
    version_param,
)
from amur.gateway.handlers.tagging import permitted
from amur.gateway.headers import read_acl
from amur.gateway.policy_context import NeedsDocument
from amur.gateway.rights import owner_of
from amur.meta.records import ObjectRecord
from amur.objects.errors import StoreError


async def get_object_acl(ctx: Context) -> Response:
    """The object's own ACL, or the bucket's that it inherits."""
    record = await permitted(ctx)
    bucket = await ctx.store.bucket(ctx.request.bucket)
    acl = record.acl if record.acl and bucket.object_acl else bucket.acl
    response = acl_xml.response(acl, owner_of(bucket, record), bucket.owner)
    response.headers += version_headers(ctx, record)
    return response


async def put_object_acl(ctx: Context) -> Response:
    """Give the object a canned ACL of its own."""
    request, permit = ctx.request, ctx.permit
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    check_document(request.headers, ctx.body, data)
    acl = read_acl(request.headers)
    if acl and data:
        raise S3Error("UnexpectedContent")
    current = await _current(ctx)
    bucket = await ctx.store.bucket(request.bucket)
    acl = acl or acl_xml.canned(
        data, owner_of(bucket, current), bucket.owner, await known_organizations(ctx)
    )
    if permit is not None:
        ctx.conditions.acl = acl
        permit(request.key, current)
    check_public_acl(bucket, acl)
    if not bucket.object_acl or bucket.ownership == "BucketOwnerEnforced":
        raise S3Error("AccessControlListNotSupported")

    def change(record: ObjectRecord) -> None:
        if permit is not None:
            permit(request.key, record)
        record.acl = acl

    record = await ctx.store.update_object(
        request.bucket, request.key, change, version_id=version_param(ctx)
    )
    return Response(200, version_headers(ctx, record))


async def _current(ctx: Context) -> ObjectRecord:
    """The version asked for. Where a policy asks which ACL it will get, that is known only with the
    object's owner: it is read first, and the permit asked after."""
    request = ctx.request
    try:
        return await permitted(ctx)
    except NeedsDocument:
        pass
    try:
        return await ctx.store.head(request.bucket, request.key, version_id=version_param(ctx))
    except StoreError:  # whether there is one is not for who may not know
        raise S3Error("AccessDenied") from None
