"""Who may do what, decided in one place before any handler runs: the rules are decision 5.

Each endpoint asks for its own action; what its headers ask for besides (tags, an ACL, the source
of a copy) asks for more. A key that is missing answers 404 only to those who could list the bucket,
else 403.
"""

from __future__ import annotations

from asyncio import sleep
from contextlib import suppress

from amur.gateway.context import Context
from amur.gateway.copysource import parse_copy_source
from amur.gateway.errors import S3Error
from amur.gateway.policy_context import TOLD_BY_DOCUMENT, NeedsDocument, NeedsRecord
from amur.gateway.rights import ARN, Rights, is_unrestricted
from amur.iam.acl import Need
from amur.iam.deciding import may_have_acl, verdict_elsewhere
from amur.objects.errors import NoSuchKey, NoSuchVersion, VersionIsMarker
from amur.objects.store import Permit

_OF_VERSION = {
    "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
    "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
}
"""Actions that are others when a version is named: to read the past is a right of its own."""

_OF_MANY_KEYS = frozenset({"DeleteObjects", "BundleObjects"})
"""Endpoints at a bucket whose handlers check each key, by `ctx.rights` or the permit."""

_WITH_MORE = frozenset({"PUT", "POST"})
"""Methods whose headers may ask for more than the endpoint's action."""

_WITHOUT_ATTRIBUTES = frozenset({"uploadId", "tagging", "acl"})
"""Sub-resources of requests that store no object: what their headers say of one is not stored."""

_ANY_KEY = "*"


async def authorize(ctx: Context) -> None:
    """Raise S3Error AccessDenied, or set what the context says of the caller's rights."""
    request, endpoint = ctx.request, ctx.endpoint
    if "x-amz-expected-bucket-owner" in request.headers and request.bucket:
        await _expect_owner(ctx, request.bucket, "x-amz-expected-bucket-owner")
    access = ctx.access
    if access is not None and access.principal.is_root:
        return
    if endpoint.need is Need.ACCOUNT:
        if not endpoint.is_iam:  # each of its operations is authorised by itself
            _authorize_account(ctx)
        return
    record = await ctx.store.bucket(request.bucket)
    if is_unrestricted(access, record):
        return
    rights = ctx.rights = Rights(access, record, ctx.conditions, ctx.note_refusal)
    if endpoint.need is Need.READ or endpoint.need is Need.OBJECT_OWNER:
        await _authorize_object(ctx, rights)
    elif endpoint.name in _OF_MANY_KEYS:
        if not rights.hangs_on_key:
            rights.check(endpoint.action, _ANY_KEY, endpoint.need)
    elif endpoint.name in TOLD_BY_DOCUMENT:
        with suppress(NeedsDocument):  # the handler reads it, and asks again then
            await _check(ctx, rights, endpoint.action, request.key, endpoint.need)
    elif "form" not in endpoint.modes:
        await _check(ctx, rights, endpoint.action, request.key, endpoint.need)
    if request.has_tigris or endpoint.method in _WITH_MORE:
        await _authorize_headers(ctx, rights)


def _authorize_account(ctx: Context) -> None:
    """Of what is in no bucket (yet). Which buckets are listed is for the handler."""
    endpoint = ctx.endpoint
    if ctx.access is None:
        raise S3Error("AccessDenied")
    if endpoint.name == "ListBuckets" and (ctx.access.roles or ctx.access.shares):
        verdict = verdict_elsewhere(ctx.access, endpoint.action, ARN + _ANY_KEY, ctx.conditions)
        if may_have_acl(ctx.access, verdict):  # they see those that they have a role on
            return
    with suppress(NeedsDocument):  # the handler reads it, and asks again then
        _check_elsewhere(ctx, endpoint.action)
    headers = ctx.request.headers
    if endpoint.name == "CreateBucket" and headers.get("x-amz-acl", "private") != "private":
        _check_elsewhere(ctx, "s3:PutBucketAcl")
    if endpoint.name == "CreateBucket" and "x-amz-object-ownership" in headers:
        _check_elsewhere(ctx, "s3:PutBucketOwnershipControls")


def authorize_location(ctx: Context, location: str) -> None:
    """Of a bucket that is made, once its document was read."""
    if not ctx.principal.is_root:
        ctx.conditions.location = location
        _check_elsewhere(ctx, ctx.endpoint.action)


def _check_elsewhere(ctx: Context, action: str) -> None:
    assert ctx.access is not None
    resource = ARN + (ctx.request.bucket or "*")
    verdict = verdict_elsewhere(ctx.access, action, resource, ctx.conditions)
    if not verdict.is_allowed:
        ctx.note_refusal(action, resource, ctx.principal.owner, str(verdict))
        who = ctx.principal.parent or ctx.principal.key_id
        raise S3Error("AccessDenied", f"{who} may not {action} on {resource}: {verdict}.")


async def _authorize_object(ctx: Context, rights: Rights) -> None:
    request, endpoint = ctx.request, ctx.endpoint
    action = endpoint.action
    if endpoint.name in _OF_MANY_KEYS:
        ctx.permit = rights.permit(action, endpoint.need)
        return
    if "versionId" in request.params:
        action = _OF_VERSION.get(action, action)
    ctx.permit = rights.permit_key(action, request.key, endpoint.need)
    if ctx.permit is not None and endpoint.need is Need.OBJECT_OWNER:
        # changes of a record have no permit of their own: ask the record first
        version_id = ctx.conditions.version_id
        with suppress(NeedsDocument):  # the handler reads it, and asks the permit then
            await ctx.store.head(
                request.bucket, request.key, version_id=version_id, permit=ctx.permit
            )


async def _check(ctx: Context, rights: Rights, action: str, key: str, need: Need) -> None:
    try:
        rights.check(action, key, need)
    except NeedsRecord:
        version_id = rights.context.version_id
        try:
            record = await ctx.store.head(ctx.request.bucket, key, version_id=version_id)
        except (NoSuchKey, NoSuchVersion, VersionIsMarker):  # it has no tags
            rights.context.read(None)
        else:
            rights.context.read(record)
        rights.check(action, key, need)


async def _authorize_headers(ctx: Context, rights: Rights) -> None:
    """What the headers of a request ask for besides."""
    request, key = ctx.request, ctx.request.key
    headers, params = request.headers, request.params
    if key and _WITHOUT_ATTRIBUTES.isdisjoint(params):
        if "x-amz-tagging" in headers:
            await _check(ctx, rights, "s3:PutObjectTagging", key, ctx.endpoint.need)
        if headers.get("x-amz-acl", "private") != "private":
            await _check(ctx, rights, "s3:PutObjectAcl", key, ctx.endpoint.need)
    if headers.get("x-tigris-rename", "").lower() == "true":
        # whoever may not take the old name away may not rename
        source = parse_copy_source(headers.get("x-amz-copy-source", ""))[1]
        await authorize_key(ctx, "s3:DeleteObject", source, "")
    if ctx.endpoint.name == "DeleteBucket" and _is_forced(headers):
        _authorize_forced(ctx, rights)
    if headers.get("x-tigris-list-metadata", "").lower() == "true":
        # the listing asks it of each object
        ctx.permit = rights.about(ctx.conditions_of()).permit("s3:GetObject", Need.READ)


def _authorize_forced(ctx: Context, rights: Rights) -> None:
    """All objects and versions go, unseen: not where a policy may protect one of them."""
    if rights.hangs_on_key:
        raise S3Error(
            "AccessDenied",
            "A bucket can't be deleted by force where a policy decides which objects may be: "
            "delete them first.",
        )
    for action in ("s3:DeleteObject", "s3:DeleteObjectVersion"):
        rights.check(action, _ANY_KEY, ctx.endpoint.need)


def _is_forced(headers: dict[str, str]) -> bool:
    names = ("tigris-force-delete", "x-tigris-force-delete")
    return any(headers.get(name, "").lower() == "true" for name in names)


async def authorize_acl(ctx: Context, acl: str) -> None:
    """Of a bucket, once the document that spells it out was read."""
    if ctx.rights is not None:
        ctx.conditions.acl = acl
        await _check(ctx, ctx.rights, ctx.endpoint.action, "", ctx.endpoint.need)


async def authorize_source(ctx: Context, source: tuple[str, str, str]) -> Permit | None:
    """The right to read a copy's source (bucket, key, version): to be passed to the store."""
    name, key, version_id = source
    if "x-amz-source-expected-bucket-owner" in ctx.request.headers:
        await _expect_owner(ctx, name, "x-amz-source-expected-bucket-owner")
    if ctx.principal.is_root:
        return None
    action = "s3:GetObjectVersion" if version_id else "s3:GetObject"
    record = await ctx.store.bucket(name)
    conditions = ctx.conditions_of(version_id=version_id)
    rights = Rights(ctx.access, record, conditions, ctx.note_refusal)
    return rights.permit_key(action, key, Need.READ)


async def authorize_tags_of_copy(
    ctx: Context, source: tuple[str, str, str], permit: Permit | None
) -> dict[str, str] | None:
    """A copy that takes its source's tags along reads them there and sets them here; and what
    policies say of the tags of what is written, they say of these. The tags, which must be the same
    when it is copied; None when that is no question."""
    if ctx.principal.is_root:
        return None
    name, key, version_id = source
    bucket = await ctx.store.bucket(name)
    if ctx.rights is None and is_unrestricted(ctx.access, bucket):
        return None
    found = await ctx.store.head(name, key, version_id=version_id, permit=permit)
    if found.tags and not is_unrestricted(ctx.access, bucket):
        conditions = ctx.conditions_of(version_id=version_id)
        conditions.read(found)
        action = "s3:GetObjectTagging"
        Rights(ctx.access, bucket, conditions, ctx.note_refusal).check(
            _OF_VERSION[action] if version_id else action, key, Need.OBJECT_OWNER
        )
    if found.tags and ctx.rights is not None:
        conditions = ctx.conditions_of()
        conditions.headers, conditions.is_copy = ctx.conditions.headers, True
        conditions.tags = found.tags
        writing = ctx.rights.about(conditions)
        for action in (ctx.endpoint.action, "s3:PutObjectTagging"):
            await _check(ctx, writing, action, ctx.request.key, ctx.endpoint.need)
    return found.tags


async def authorize_form(
    ctx: Context, key: str, headers: dict[str, str], tags: dict[str, str]
) -> None:
    """For a form, whose policy says who sends it, and to which key; `ctx.access` is the sender's,
    as the handler has found out."""
    await authorize(ctx)
    rights = ctx.rights
    if rights is None:
        return
    conditions = ctx.conditions_of()
    conditions.headers, conditions.tags = headers, tags
    ctx.rights = rights = rights.about(conditions)
    need = ctx.endpoint.need
    await _check(ctx, rights, ctx.endpoint.action, key, need)
    if tags:
        await _check(ctx, rights, "s3:PutObjectTagging", key, need)
    if headers.get("x-amz-acl", "private") != "private":
        await _check(ctx, rights, "s3:PutObjectAcl", key, need)


async def authorize_key(ctx: Context, action: str, key: str, version_id: str) -> None:
    """Of one key among many. Raises AccessDenied."""
    if ctx.rights is None:
        return
    rights = ctx.rights.about(ctx.conditions_of(version_id=version_id))
    need = Need.BUCKET_OWNER if version_id else ctx.endpoint.need
    if rights.hangs_on_key:
        await sleep(0)  # there may be a thousand, and slow policies
    await _check(ctx, rights, action, key, need)


async def _expect_owner(ctx: Context, bucket: str, header: str) -> None:
    expected = ctx.request.headers[header]
    if (await ctx.store.bucket(bucket)).owner != expected:
        raise S3Error("AccessDenied")
