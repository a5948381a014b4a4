"""What the handlers of objects share."""

from __future__ import annotations

from collections.abc import Callable

from amur import limits
from amur.gateway.context import Context
from amur.gateway.errors import S3Error
from amur.gateway.rights import BLOCK_ACLS
from amur.gateway.routing import normal
from amur.iam.acl import is_public
from amur.meta.holdings import holders, home_of
from amur.meta.records import ObjectRecord
from amur.objects.errors import RegionUnreachable
from amur.objects.types import Attributes, Body, BucketRecord
from amur.regions.topology import UnknownRegion

REGIONS = "x-tigris-regions"
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


async def known_organizations(ctx: Context) -> Callable[[str], bool]:
    """Whether an id is that of somebody who may own or be granted something."""
    return (await ctx.iam.organizations()).__contains__


def check_public_acl(bucket: BucketRecord, acl: str) -> None:
    """Raise AccessDenied for an ACL that the bucket's public-access block does not let in."""
    if BLOCK_ACLS in bucket.public_block and is_public(acl):
        raise S3Error("AccessDenied", "The bucket's public-access block forbids public ACLs.")


async def settle_acl(ctx: Context, attributes: Attributes) -> None:
    """Hold the ACL of a new object against the bucket's settings.

    Clients send `x-amz-acl: private` unasked: where objects have no ACLs it is passed over.
    """
    bucket = await ctx.store.bucket(ctx.request.bucket)
    check_public_acl(bucket, attributes.acl)
    if bucket.ownership == "BucketOwnerEnforced":
        if attributes.acl not in ("bucket-owner-full-control", "private"):
            raise S3Error("AccessControlListNotSupported")
        attributes.acl = ""
        return
    if bucket.ownership == "BucketOwnerPreferred" and attributes.acl == "bucket-owner-full-control":
        attributes.owner = bucket.owner
    if not bucket.object_acl:
        attributes.acl = ""


def read_regions(ctx: Context) -> str:
    """The restriction that the request asks for, "" for none. Raises InvalidArgument."""
    asked = ctx.request.headers.get(REGIONS, "")
    if not asked:
        return ""
    try:
        return normal(ctx.store.core.topology, asked)
    except UnknownRegion as error:
        raise unknown_region(error, asked) from None


def unknown_region(error: UnknownRegion, asked: str) -> S3Error:
    return _bad_regions(f"Unknown region: {error.args[0]}", asked)


def _bad_regions(message: str, asked: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName="X-Tigris-Regions", ArgumentValue=asked)


async def settle_regions(ctx: Context, attributes: Attributes) -> None:
    """Take over an object's own restriction, which must lie within its bucket's.

    The leader of a geography writes all of its buckets' objects, so they can't do without it.
    """
    asked = read_regions(ctx)
    if not asked:
        return
    bucket, topology = await ctx.store.bucket(ctx.request.bucket), ctx.store.core.topology
    allowed = topology.allowed(asked)
    if not allowed <= topology.allowed(bucket.regions):
        raise _bad_regions(f"The bucket is restricted to {bucket.regions}.", asked)
    if topology.kind(bucket.regions) == "multi":
        leader = topology.leader(bucket.regions)
        if leader not in allowed:
            raise _bad_regions(f"{leader} must be among an object's regions.", asked)
    if topology.me.name not in allowed:  # whoever sent it here should not have
        raise RegionUnreachable(f"The object may not lie in {topology.me.name}.")
    attributes.regions = asked


def regions_header(ctx: Context, record: ObjectRecord) -> list[tuple[str, str]]:
    """X-Tigris-Regions of an answer: where the bytes are, the home first; in a cluster only."""
    core = ctx.store.core
    if not core.is_cluster:
        return []
    if record.is_inline:  # the bytes are wherever the record may take them
        home, seen = home_of(record), core.bucket_seen(ctx.request.bucket)
        restriction = record.regions or (seen.regions if seen is not None else "")
        there = sorted(core.topology.allowed(restriction)) if restriction else [core.region]
        return [(REGIONS, ",".join([home, *(name for name in there if name != home)]))]
    if not record.holdings:
        return [(REGIONS, ",".join(record.placement) or record.region)]
    return [(REGIONS, ",".join(holders(record)))]


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
