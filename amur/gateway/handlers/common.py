"""What the handlers of objects share."""

from __future__ import annotations

from amur import limits
from amur.gateway.context import Context
from amur.gateway.errors import S3Error
from amur.meta.records import ObjectRecord
from amur.objects.types import Attributes, Body

_DIGITS_MAX = 9


def version_param(ctx: Context) -> str:
    """The version asked for, "" for the newest."""
    return ctx.request.params.get("versionId", "")


def written_version(record: ObjectRecord) -> list[tuple[str, str]]:
    """x-amz-version-id of what was just written: where versions are suspended there is none."""
    return [] if record.is_null else [("x-amz-version-id", str(record.version))]


def version_headers(ctx: Context, record: ObjectRecord) -> list[tuple[str, str]]:
    """x-amz-version-id, in a bucket that has or had versions."""
    if not record.is_null:
        return [("x-amz-version-id", str(record.version))]
    # the store has just read it to find or place the record
    bucket = ctx.store.core.bucket_seen(ctx.request.bucket)
    return [("x-amz-version-id", "null")] if bucket is not None and bucket.versioning else []


async def take_body(ctx: Context) -> Body:
    """The payload of one PUT: at hand when it is small, else its stream.

    Raises EntityTooLarge before anything is read.
    """
    body = ctx.body
    length = body.length
    if length > limits.PUT_BYTES_MAX:
        raise S3Error(
            "EntityTooLarge",
            ProposedSize=str(length),
            MaxSizeAllowed=str(limits.PUT_BYTES_MAX),
        )
    if length > limits.PACK_BYTES_MAX:
        return body.stream()
    # the SHA-256 is checked with the other digests, in a thread when that pays
    return await body.read(limits.PACK_BYTES_MAX, check_sha256=False)


async def settle_acl(ctx: Context, attributes: Attributes) -> None:
    """Hold the ACL of a new object against the bucket's settings.

    Clients send `x-amz-acl: private` unasked: where objects have no ACLs it is passed over.
    """
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if bucket.ownership == "BucketOwnerEnforced":
        if attributes.acl not in ("bucket-owner-full-control", "private"):
            raise S3Error("AccessControlListNotSupported")
        attributes.acl = ""
    elif not bucket.object_acl:
        attributes.acl = ""


def part_number(text: str) -> int:
    """The number of a part that is read or written. Raises InvalidArgument."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        number = int(text)
        if 1 <= number <= limits.PART_NUMBER_MAX:
            return number
    raise S3Error(
        "InvalidArgument",
        "Part number must be an integer between 1 and 10000, inclusive",
        ArgumentName="partNumber",
        ArgumentValue=text,
    )


def marker_number(name: str, text: str) -> int:
    """A part number to list after; 0 when there is none. Raises InvalidArgument."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        return int(text)
    raise S3Error(
        "InvalidArgument",
        f"Provided {name} not an integer or within integer range",
        ArgumentName=name,
        ArgumentValue=text,
    )
