"""ListBuckets."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable

from amur import limits
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.handlers.buckets import region_of
from amur.gateway.responses import owner_tag, page_size, xml_response
from amur.gateway.rights import ARN
from amur.gateway.xml import iso_time, tag
from amur.iam.deciding import verdict_elsewhere
from amur.objects.types import BucketRecord


def encode_token(name: str) -> str:
    """Where a listing goes on, opaque to the client."""
    return urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """Raises S3Error InvalidArgument for what `encode_token` never made."""
    try:
        return b64decode(token, b"-_", validate=True).decode()
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            ArgumentName="continuation-token",
        ) from None


async def list_buckets(ctx: Context) -> Response:
    """The caller's buckets, or everybody's for root, in pages."""
    params = ctx.request.params
    prefix = params.get("prefix", "")
    limit = page_size(params, "max-buckets", limits.LIST_BUCKETS_PAGE_MAX)
    if limit == 0:
        raise S3Error("InvalidArgument", "max-buckets must be between 1 and 10000")
    found = await _matching(ctx, prefix, limit + 1)
    truncated = len(found) > limit
    found = found[:limit]
    rows = [
        f"<Bucket><Name>{bucket.name}</Name>"
        f"<CreationDate>{iso_time(bucket.created // 1_000_000_000)}</CreationDate>"
        f"{tag('BucketRegion', region_of(bucket)) if params else ''}</Bucket>"
        for bucket in found
    ]
    children = [owner_tag(ctx.principal.owner), f"<Buckets>{''.join(rows)}</Buckets>"]
    if truncated:
        children.append(tag("ContinuationToken", encode_token(found[-1].name)))
    if prefix:
        children.append(tag("Prefix", prefix))
    return xml_response("ListAllMyBucketsResult", *children)


def _seeing(ctx: Context) -> Callable[[BucketRecord], bool]:
    """Root sees all buckets; who may list them, those of the organization; others, those that they
    have a role on, by a role of their own or a share."""
    access = ctx.access
    assert access is not None, "authorised"
    principal = access.principal
    if principal.is_root:
        return lambda bucket: True
    verdict = verdict_elsewhere(access, ctx.endpoint.action, ARN + "*", ctx.conditions)
    sees_own = verdict.is_allowed

    def sees(bucket: BucketRecord) -> bool:
        if bucket.owner == principal.owner:
            return sees_own or bool(access.role_on(bucket.name))
        shared = access.shares.get(bucket.name)
        return shared is not None and shared[0] == bucket.id

    return sees


async def _matching(ctx: Context, prefix: str, count: int) -> list[BucketRecord]:
    """The first `count` buckets that the caller may see, after the token."""
    params, sees = ctx.request.params, _seeing(ctx)
    region = params.get("bucket-region", "")
    token = params.get("continuation-token", "")
    after = decode_token(token) if token else ""
    found: list[BucketRecord] = []
    more = True
    while more and len(found) < count:
        page, more = await ctx.store.list_buckets(prefix=prefix, start_after=after, limit=1000)
        if not page:
            break
        after = page[-1].name
        found += [
            bucket
            for bucket in page
            if sees(bucket) and (not region or region_of(bucket) == region)
        ]
    return found[:count]
