"""BundleObjects: many objects in one streamed archive (tigris-facts 1)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from amur import limits
from amur.gateway.bundle.compress import TYPES, compressed, compressor
from amur.gateway.bundle.names import ERRORS_NAME, refusal
from amur.gateway.bundle.request import Options, parse_keys, parse_options
from amur.gateway.bundle.stream import Encoder, archive, bounded
from amur.gateway.bundle.tar import TarEncoder
from amur.gateway.bundle.zip import ZipEncoder
from amur.gateway.checksums import check_document
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error, explained
from amur.objects.bundling import Bundle, Member, Refused
from amur.objects.errors import StoreError

log = logging.getLogger("amur.gateway")

_ENCODERS: dict[str, type[Encoder]] = {"tar": TarEncoder, "zip": ZipEncoder}
_COUNTERS = ("x-tigris-bundle-count", "x-tigris-bundle-bytes", "x-tigris-bundle-skipped")

Skipped = list[dict[str, str]]  # key and reason of each, as in the document of errors


async def bundle_objects(ctx: Context) -> Response:
    """200 with the archive. Every version, and so every count, is known before its first byte."""
    options = parse_options(ctx.request.headers)
    keys = await _keys(ctx)
    bundle = await ctx.store.bundle(ctx.request.bucket, keys, permit=ctx.permit)
    members, skipped = _sorted_out(bundle)
    if skipped and options.on_error == "fail":
        raise S3Error("BundleKeyNotFound", MissingKeys=[each["key"] for each in skipped])
    total = sum(member.size for member in members)
    if total > limits.BUNDLE_BYTES_MAX:
        raise S3Error(
            "EntityTooLarge",
            "The objects of the bundle are too large together.",
            ProposedSize=str(total),
            MaxSizeAllowed=str(limits.BUNDLE_BYTES_MAX),
        )
    counts = (str(len(members)), str(total), str(len(skipped)))
    counters = list(zip(_COUNTERS, counts, strict=True))
    return _stream(ctx, options, bundle, members, skipped, counters)


def _stream(
    ctx: Context,
    options: Options,
    bundle: Bundle,
    members: Sequence[Member],
    skipped: Skipped,
    counters: list[tuple[str, str]],
) -> Response:
    """The counters go out twice: clients that see no trailers read them among the headers."""
    encoder = _ENCODERS[options.format]
    errors = msgspec.json.encode({"skipped": skipped}) if skipped else b""
    pieces = archive(bundle, members, encoder(), errors, ctx.now_s)
    content_type = f"application/{'x-tar' if options.format == 'tar' else 'zip'}"
    if options.compression != "none":
        content_type = TYPES[options.compression]
        sizes = [(member.key, member.size) for member in members]
        if errors:
            sizes.append((ERRORS_NAME, len(errors)))
        pieces = compressed(pieces, compressor(options.compression, encoder.total(sizes)))
    return Response(
        200,
        [("content-type", content_type), ("trailer", ", ".join(_COUNTERS)), *counters],
        stream=bounded(pieces, limits.BUNDLE_SECONDS_MAX),
        trailers=lambda: counters,
    )


async def _keys(ctx: Context) -> list[str]:
    data = await ctx.body.read(
        limits.BUNDLE_REQUEST_BYTES_MAX, too_large="MaxMessageLengthExceeded"
    )
    check_document(ctx.request.headers, ctx.body, data)
    return parse_keys(data)


def _sorted_out(bundle: Bundle) -> tuple[list[Member], Skipped]:
    """What goes into the archive, and what does not, both in the order of the request."""
    members: list[Member] = []
    skipped: Skipped = []
    for entry in bundle.entries:
        if isinstance(entry, Member):
            reason = refusal(entry.key, entry.size)
            if not reason:
                members.append(entry)
                continue
        else:
            reason = _reason(entry)
        skipped.append({"key": entry.key, "reason": reason})
    return members, skipped


def _reason(refused: Refused) -> str:
    """The code that getting this key alone would have answered."""
    error = refused.error
    if isinstance(error, StoreError):
        error = explained(error)
    if not isinstance(error, S3Error):
        raise error
    if error.status >= 500:
        log.error("an object of a bundle can't be read", exc_info=refused.error)
    return error.code
