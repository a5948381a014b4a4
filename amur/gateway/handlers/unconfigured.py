"""Settings that nobody can have made: what Amazon answers of a bucket nobody touched."""

from __future__ import annotations

from amur.gateway import xml
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error

_NOT_FOUND = {
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "legal-hold": "NoSuchObjectLockConfiguration",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "replication": "ReplicationConfigurationNotFoundError",
    "retention": "NoSuchObjectLockConfiguration",
    "website": "NoSuchWebsiteConfiguration",
}

_EMPTY = {
    "logging": xml.document("BucketLoggingStatus"),
    "notification": xml.document("NotificationConfiguration"),
    "requestPayment": xml.document("RequestPaymentConfiguration", xml.tag("Payer", "BucketOwner")),
}


async def answer(ctx: Context) -> Response:
    """GET tells that there is nothing, DELETE of nothing succeeds."""
    request, sub = ctx.request, ctx.endpoint.sub
    if request.key:
        await ctx.store.head(
            request.bucket,
            request.key,
            version_id=request.params.get("versionId", ""),
            permit=ctx.permit,
        )
    else:
        await ctx.store.bucket(request.bucket)
    if request.method == "DELETE":
        return Response(204)
    if sub in _NOT_FOUND:
        raise S3Error(_NOT_FOUND[sub])
    return Response(200, [("content-type", "application/xml")], _EMPTY[sub])
