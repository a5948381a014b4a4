"""Who may do what, decided in one place before any handler runs.

Root may do everything, a bucket's owner everything in it; others have what canned ACLs give.
A key that is missing answers 404 only to those who could list the bucket, else 403.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amur.gateway.context import Context
from amur.gateway.errors import S3Error
from amur.iam.acl import Need, grants_read, grants_write
from amur.iam.principal import Principal
from amur.objects.types import BucketRecord, ObjectRecord

if TYPE_CHECKING:
    from amur.objects.store import Permit


async def authorize(ctx: Context) -> None:
    """Raise S3Error AccessDenied, or set what the context says of the caller's rights."""
    request, principal = ctx.request, ctx.principal
    if "x-amz-expected-bucket-owner" in request.headers and request.bucket:
        await _expect_owner(ctx, request.bucket, "x-amz-expected-bucket-owner")
    if principal.is_root:
        ctx.owns_bucket = True
        return
    need = ctx.endpoint.need
    if need is Need.ACCOUNT:
        if principal.is_anonymous:
            raise S3Error("AccessDenied")
        return
    bucket = await ctx.store.bucket(request.bucket)
    if _owns(principal, bucket):
        ctx.owns_bucket = True
        return
    if need is Need.READ:
        ctx.permit = _read_permit(principal, bucket)
    elif need is Need.OBJECT_OWNER:
        ctx.permit = _owner_permit(principal, bucket)
        # changes of a record have no permit of their own: ask the record first
        version_id = request.params.get("versionId", "")
        await ctx.store.head(request.bucket, request.key, version_id=version_id, permit=ctx.permit)
    elif not (
        (need is Need.LIST and _may_list(principal, bucket))
        or (need is Need.WRITE and grants_write(bucket.acl))
    ):
        raise S3Error("AccessDenied")


async def authorize_source(ctx: Context, name: str) -> Permit | None:
    """The right to read from bucket `name` as a copy's source: to be passed to the store."""
    if "x-amz-source-expected-bucket-owner" in ctx.request.headers:
        await _expect_owner(ctx, name, "x-amz-source-expected-bucket-owner")
    if ctx.principal.is_root:
        return None
    bucket = await ctx.store.bucket(name)
    return None if _owns(ctx.principal, bucket) else _read_permit(ctx.principal, bucket)


async def authorize_form(ctx: Context, key_id: str) -> None:
    """For a form, whose policy says who sends it: the handler has verified `key_id` ("" none)."""
    if key_id:
        ctx.principal = ctx.keys.principal(key_id)
    await authorize(ctx)


def object_acl(bucket: BucketRecord, record: ObjectRecord) -> str:
    """The ACL that counts for an object."""
    return record.acl if record.acl and bucket.object_acl else bucket.acl


def _owns(principal: Principal, bucket: BucketRecord) -> bool:
    return not principal.is_anonymous and principal.owner == bucket.owner


def _may_list(principal: Principal, bucket: BucketRecord) -> bool:
    return bucket.public_list and grants_read(bucket.acl, anonymous=principal.is_anonymous)


def _read_permit(principal: Principal, bucket: BucketRecord) -> Permit:
    def permit(record: ObjectRecord | None) -> None:
        if record is None or record.is_marker:
            if not _may_list(principal, bucket):
                raise S3Error("AccessDenied")
        elif not (
            grants_read(object_acl(bucket, record), anonymous=principal.is_anonymous)
            or _wrote(principal, record)
        ):
            raise S3Error("AccessDenied")

    return permit


def _owner_permit(principal: Principal, bucket: BucketRecord) -> Permit:
    def permit(record: ObjectRecord | None) -> None:
        if record is None or record.is_marker:
            if not _may_list(principal, bucket):
                raise S3Error("AccessDenied")
        elif not _wrote(principal, record):
            raise S3Error("AccessDenied")

    return permit


def _wrote(principal: Principal, record: ObjectRecord) -> bool:
    return not principal.is_anonymous and principal.owner == record.owner


async def _expect_owner(ctx: Context, bucket: str, header: str) -> None:
    expected = ctx.request.headers[header]
    if (await ctx.store.bucket(bucket)).owner != expected:
        raise S3Error("AccessDenied")
