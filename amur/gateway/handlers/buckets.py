"""Creating, looking at and deleting buckets."""

from __future__ import annotations

from amur import limits
from amur.gateway import xml
from amur.gateway.authorize import authorize_location
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.bucket_config import parse_ownership, tag_set
from amur.gateway.handlers.common import REGIONS, read_regions
from amur.gateway.responses import xml_response
from amur.iam.acl import CANNED
from amur.objects.types import BucketRecord

_STORAGE_CLASSES = frozenset({"STANDARD", "STANDARD_IA", "GLACIER_IR"})

_LOCATION_CHARS_MAX = 64


def region_of(bucket: BucketRecord) -> str:
    """The region that clients are told: the constraint given at creation."""
    return bucket.location or "us-east-1"


async def create_bucket(ctx: Context) -> Response:
    """Any location constraint is accepted and remembered."""
    request = ctx.request
    bucket = BucketRecord(name=request.bucket, owner=ctx.principal.owner)
    _apply_headers(bucket, request.headers)
    if request.has_tigris:
        bucket.regions = read_regions(ctx)
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    if data.strip():
        root = xml.parse(data, "CreateBucketConfiguration")
        if root.find("Location") or root.find("Bucket"):
            raise S3Error("NotImplemented", "Directory buckets are not implemented.")
        bucket.location = _location(root.value("LocationConstraint"))
        tags = root.find("Tags")
        if tags is not None:
            bucket.tags = tag_set(tags, limits.BUCKET_TAGS_MAX)
    authorize_location(ctx, bucket.location)
    await ctx.store.create_bucket(bucket)
    return Response(200, [("location", f"/{request.bucket}")])


def _location(text: str) -> str:
    """Comes back as a response header."""
    if len(text) > _LOCATION_CHARS_MAX or not (text.isascii() and text.isprintable()):
        raise S3Error("InvalidLocationConstraint")
    return text


def _apply_headers(bucket: BucketRecord, headers: dict[str, str]) -> None:
    bucket.acl = headers.get("x-amz-acl") or "private"
    if bucket.acl not in CANNED:
        raise S3Error("InvalidArgument", ArgumentName="x-amz-acl", ArgumentValue=bucket.acl)
    # Amazon's public buckets can be listed; a Tigris client always says whether its own can be,
    # and its buckets have no object ACLs unless it asks for them
    listing = headers.get("x-amz-acl-public-list-objects-enabled")
    bucket.public_list = listing is None or listing.lower() == "true"
    asked = headers.get("x-tigris-enable-object-acl")
    bucket.object_acl = listing is None if asked is None else asked.lower() == "true"
    ownership = headers.get("x-amz-object-ownership")
    if ownership:
        bucket.ownership = parse_ownership(ownership)
        if ownership == "BucketOwnerEnforced":
            if bucket.acl != "private":
                raise S3Error("InvalidBucketAclWithObjectOwnership")
            bucket.object_acl = False
    storage_class = headers.get("x-amz-storage-class")
    if storage_class:
        if storage_class == "GLACIER":
            raise S3Error("NotImplemented", "Archived storage classes are not implemented.")
        if storage_class not in _STORAGE_CLASSES:
            raise S3Error("InvalidStorageClass")
        bucket.storage_class = storage_class


async def head_bucket(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    headers = [("x-amz-bucket-region", region_of(bucket)), ("x-tigris-enable-snapshot", "false")]
    if bucket.regions:
        headers.append((REGIONS, bucket.regions))
    return Response(200, headers)


async def delete_bucket(ctx: Context) -> Response:
    headers = ctx.request.headers
    force = headers.get("tigris-force-delete") or headers.get("x-tigris-force-delete") or ""
    await ctx.store.delete_bucket(ctx.request.bucket, force=force.lower() == "true")
    return Response(204)


async def get_bucket_location(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    return xml_response("LocationConstraint", xml.escape(bucket.location))
