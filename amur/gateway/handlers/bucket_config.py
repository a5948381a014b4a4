"""A bucket's settings: ACL, tags, ownership controls, versioning, acceleration."""

from __future__ import annotations

from amur import limits
from amur.gateway import acl_xml, xml
from amur.gateway.authorize import authorize_acl
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.common import check_public_acl, known_organizations
from amur.gateway.responses import xml_response
from amur.gateway.xml import Node, tag
from amur.iam.acl import CANNED
from amur.objects.types import BucketRecord

_OWNERSHIPS = frozenset({"BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"})


async def _body(ctx: Context, *roots: str) -> Node:
    return xml.parse(await ctx.body.read(limits.XML_BYTES_MAX), *roots)


# --- ACL ---


async def get_acl(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    return acl_xml.response(bucket.acl, bucket.owner, bucket.owner)


async def put_acl(ctx: Context) -> Response:
    """A canned ACL, or a list of grants that equals one."""
    request = ctx.request
    current = await ctx.store.bucket(request.bucket)
    if current.ownership == "BucketOwnerEnforced":
        raise S3Error("AccessControlListNotSupported")
    canned = request.headers.get("x-amz-acl", "")
    data = await ctx.body.read(limits.XML_BYTES_MAX)
    if canned:
        if canned not in CANNED:
            raise S3Error("InvalidArgument", ArgumentName="x-amz-acl", ArgumentValue=canned)
        if data.strip():
            raise S3Error("UnexpectedContent")
    else:
        known = await known_organizations(ctx)
        canned = acl_xml.canned(data, current.owner, current.owner, known)
        await authorize_acl(ctx, canned)
    check_public_acl(current, canned)
    listing = request.headers.get("x-amz-acl-public-list-objects-enabled")

    def change(bucket: BucketRecord) -> None:
        bucket.acl = canned
        if listing is not None:
            bucket.public_list = listing.lower() == "true"

    await ctx.store.update_bucket(request.bucket, change)
    return Response(200)


# --- tags ---


def tag_set(parent: Node, maximum: int) -> dict[str, str]:
    """The Tag elements of a TagSet (or Tags), checked."""
    tags: dict[str, str] = {}
    for node in parent.all("Tag"):
        key, value = node.find("Key"), node.find("Value")
        if key is None or value is None:
            raise S3Error("MalformedXML")
        if not key.text or len(key.text) > limits.TAG_KEY_CHARS_MAX:
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid")
        if len(value.text) > limits.TAG_VALUE_CHARS_MAX:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid")
        if key.text in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
        if key.text.startswith("aws:"):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester")
        tags[key.text] = value.text
    if len(tags) > maximum:
        raise S3Error("BadRequest", f"Bucket tag count cannot be greater than {maximum}")
    return tags


async def get_tagging(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if not bucket.tags:
        raise S3Error("NoSuchTagSet", BucketName=bucket.name)
    rows = [tag("Tag", tag("Key", k), tag("Value", v)) for k, v in sorted(bucket.tags.items())]
    return xml_response("Tagging", tag("TagSet", *rows))


async def put_tagging(ctx: Context) -> Response:
    root = await _body(ctx, "Tagging")
    parent = root.find("TagSet")
    if parent is None:
        raise S3Error("MalformedXML")
    tags = tag_set(parent, limits.BUCKET_TAGS_MAX)

    def change(bucket: BucketRecord) -> None:
        bucket.tags = tags

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(204)


async def delete_tagging(ctx: Context) -> Response:
    def change(bucket: BucketRecord) -> None:
        bucket.tags = {}

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(204)


# --- ownership controls ---


def parse_ownership(text: str) -> str:
    if text not in _OWNERSHIPS:
        raise S3Error(
            "InvalidArgument", "Invalid x-amz-object-ownership header: " + text,
            ArgumentName="x-amz-object-ownership",
        )  # fmt: skip
    return text


async def get_ownership(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if not bucket.ownership:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=bucket.name)
    return xml_response("OwnershipControls", tag("Rule", tag("ObjectOwnership", bucket.ownership)))


async def put_ownership(ctx: Context) -> Response:
    root = await _body(ctx, "OwnershipControls")
    rules = root.all("Rule")
    if len(rules) != 1 or rules[0].value("ObjectOwnership") not in _OWNERSHIPS:
        raise S3Error("MalformedXML")
    await _set_ownership(ctx, rules[0].value("ObjectOwnership"))
    return Response(200)


async def delete_ownership(ctx: Context) -> Response:
    await _set_ownership(ctx, "")
    return Response(204)


async def _set_ownership(ctx: Context, ownership: str) -> None:
    def change(bucket: BucketRecord) -> None:
        if ownership == "BucketOwnerEnforced":
            if bucket.acl != "private":
                raise S3Error("InvalidBucketAclWithObjectOwnership")
            bucket.object_acl = False
        elif bucket.ownership == "BucketOwnerEnforced":
            bucket.object_acl = True
        bucket.ownership = ownership

    await ctx.store.update_bucket(ctx.request.bucket, change)


# --- versioning ---


async def get_versioning(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    status = [tag("Status", bucket.versioning)] if bucket.versioning else []
    return xml_response("VersioningConfiguration", *status)


async def put_versioning(ctx: Context) -> Response:
    root = await _body(ctx, "VersioningConfiguration")
    status = root.value("Status")
    if status not in ("Enabled", "Suspended"):
        raise S3Error("IllegalVersioningConfigurationException")
    if root.value("MfaDelete", "Disabled") != "Disabled":
        raise S3Error("NotImplemented", "MFA delete is not implemented.")

    def change(bucket: BucketRecord) -> None:
        bucket.versioning = status

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(200)


# --- acceleration ---


async def get_accelerate(ctx: Context) -> Response:
    """No Status where nobody has ever set one, as from Amazon; a region without peers does not
    remember that it was suspended."""
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if bucket.accelerate:
        return xml_response("AccelerateConfiguration", tag("Status", "Enabled"))
    was_set = "accelerate" in bucket.changed
    return xml_response(
        "AccelerateConfiguration", *([tag("Status", "Suspended")] if was_set else [])
    )


async def put_accelerate(ctx: Context) -> Response:
    """Every region gets a copy of what is written from now on."""
    root = await _body(ctx, "AccelerateConfiguration")
    status = root.value("Status")
    if status not in ("Enabled", "Suspended"):
        raise S3Error("MalformedXML")

    def change(bucket: BucketRecord) -> None:
        bucket.accelerate = status == "Enabled"

    await ctx.store.update_bucket(ctx.request.bucket, change)
    return Response(200)
