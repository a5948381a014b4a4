"""A bucket's policy, its public-access block, and whether the two leave it public."""

from __future__ import annotations

from amur import limits
from amur.gateway import xml
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.responses import xml_response
from amur.gateway.rights import BLOCK_ACLS, BLOCK_POLICY, IGNORE_ACLS, RESTRICT_POLICY
from amur.gateway.xml import tag
from amur.iam.policy.document import Kind, PolicyInvalid, parse
from amur.iam.policy.public import is_public
from amur.objects.types import BucketRecord

_BLOCK = (BLOCK_ACLS, IGNORE_ACLS, BLOCK_POLICY, RESTRICT_POLICY)
_TRUE = {"true": True, "false": False}


async def get_policy(ctx: Context) -> Response:
    """The document as it was put."""
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if not bucket.policy:
        raise S3Error("NoSuchBucketPolicy", BucketName=bucket.name)
    return Response(200, [("content-type", "application/json")], bucket.policy.encode())


async def put_policy(ctx: Context) -> Response:
    """Raises MalformedPolicy with all that is wrong."""
    name = ctx.request.bucket
    data = await ctx.body.read(limits.POLICY_BYTES_MAX)
    try:
        policy = parse(data, Kind.BUCKET, bucket=name)
    except PolicyInvalid as error:
        raise S3Error("MalformedPolicy", str(error)) from None
    is_open = is_public(policy)

    def change(bucket: BucketRecord) -> None:
        if is_open and BLOCK_POLICY in bucket.public_block:
            raise S3Error(
                "AccessDenied", "The bucket's public-access block forbids public policies."
            )
        bucket.policy = data.decode()

    await ctx.store.update_bucket(name, change)
    return Response(204)


async def delete_policy(ctx: Context) -> Response:
    def change(bucket: BucketRecord) -> None:
        bucket.policy = ""

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(204)


async def get_policy_status(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if not bucket.policy:
        raise S3Error("NoSuchBucketPolicy", BucketName=bucket.name)
    try:
        is_open = is_public(parse(bucket.policy, Kind.BUCKET))
    except PolicyInvalid:  # of a newer Amur: it refuses everything here
        is_open = False
    is_open = is_open and RESTRICT_POLICY not in bucket.public_block
    return xml_response("PolicyStatus", tag("IsPublic", str(is_open).lower()))


async def get_public_access_block(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if not bucket.public_block:
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=bucket.name)
    members = (tag(name, str(name in bucket.public_block).lower()) for name in _BLOCK)
    return xml_response("PublicAccessBlockConfiguration", *members)


async def put_public_access_block(ctx: Context) -> Response:
    """All four members are replaced; those that are not given are off."""
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    root = xml.parse(data, "PublicAccessBlockConfiguration")
    given = {node.name: node.text.strip().lower() for node in root.children}
    if not given.keys() <= set(_BLOCK) or not set(given.values()) <= _TRUE.keys():
        raise S3Error("MalformedXML")
    block = [name for name in _BLOCK if _TRUE[given.get(name, "false")]]

    def change(bucket: BucketRecord) -> None:
        bucket.public_block = block

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(200)


async def delete_public_access_block(ctx: Context) -> Response:
    def change(bucket: BucketRecord) -> None:
        bucket.public_block = []

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(204)
