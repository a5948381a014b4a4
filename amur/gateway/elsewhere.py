"""Requests that are another region's to answer: found by the routing table, passed on.

The caller is authenticated here, so that nobody unknown can make us carry his bytes; what he may do
is decided where the request is answered, by what is known there. Anonymous callers with a body, who
prove nothing, must have the right here, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from amur.gateway.authorize import authorize
from amur.gateway.context import Context, Response
from amur.gateway.copysource import parse_copy_source
from amur.gateway.endpoints import Endpoint
from amur.gateway.errors import S3Error
from amur.gateway.forward.forwarder import HOPS_MAX, Forwarder, Outgoing
from amur.gateway.forward.note import HEADER, ForgedNote, Note
from amur.gateway.handlers.common import REGIONS, unknown_region
from amur.gateway.handlers.post_form import admit
from amur.gateway.request import Request, take_out
from amur.gateway.routing import (
    LED,
    Facts,
    NoRegionLeft,
    Touch,
    target_regions,
    touch_of,
)
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.holdings import home_of
from amur.objects.core import Core
from amur.objects.errors import NoSuchBucket, RegionUnreachable, StoreError
from amur.objects.replication.peer_state import peer_state
from amur.objects.store import Store
from amur.regions.topology import UnknownRegion

SEEN_SECONDS = 1.0
"""At most this long a write that was answered elsewhere is held back until its news are here, too:
who writes and reads in one region sees what he wrote. Replication takes a tenth of it."""
_LOOK_SECONDS = 0.005
COPY_SOURCE = "x-amz-copy-source"
LOGGED = "x-amur-logged"
"""Header of the answer to a request that was passed on: the region, and up to where its log must be
known elsewhere for the change to be. Goes no further than to the first gateway."""

Via = tuple[str, ...]
"""The regions that have passed a request on to us."""


class Elsewhere:
    """One process's way to the other regions' gateways."""

    def __init__(self, store: Store, forwarder: Forwarder) -> None:
        self._store = store
        self._core: Core = store.core
        self._forwarder = forwarder
        self._touches: dict[str, Touch] = {}

    def accept(self, request: Request, target: bytes, now_s: int) -> Via:
        """Who has passed the request on; the request is then the client's own again.

        Raises S3Error for what only looks so.
        """
        value = take_out(request, HEADER)
        try:
            note = self._forwarder.notary.read(value, request.method, target, now_s)
        except ForgedNote:
            raise S3Error("InvalidArgument", f"{HEADER} is not signed by a region.") from None
        request.scheme, request.client, request.id = note.scheme, note.client, note.request_id
        return note.via

    async def answer(self, ctx: Context, target: bytes, via: Via) -> Response | None:
        """Another region's answer; None when it is ours to give. `target` is as sent."""
        request = ctx.request
        facts = await self._facts(request, ctx.endpoint)
        if facts is None:
            return None
        regions = self._targets(facts)
        if via and regions:
            regions = tuple(name for name in regions if name not in via)
            if not regions or len(via) >= HOPS_MAX:
                if facts.is_strong and self._may_answer(facts):
                    return None  # the home is moving: one of both
                raise RegionUnreachable("The regions do not agree who answers this.")
        if not regions:
            return None
        body = await _body(ctx)
        note = Note((*via, self._core.region), request.scheme, request.client, request.id)
        outgoing = Outgoing(request.method, target, request.pairs, body, note)
        try:
            response = await self._forwarder.forward(regions, outgoing, ctx.now_s)
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()
        if not via:
            await self._until_seen(response, facts)
        return response

    async def mark(self, ctx: Context, response: Response) -> None:
        """Say in our answer what the gateway that has passed the request on may wait for."""
        if response.status >= 300 or touch_of(ctx.endpoint) not in (Touch.CREATION, Touch.WRITE):
            return
        log = await self._core.engine.scan(keys.LOG, prefix_end(keys.LOG), 1, reverse=True)
        if log:  # the change is in it, or others knew of it long ago
            response.headers.append((LOGGED, f"{self._core.region} {log[0].version}"))

    async def _facts(self, request: Request, endpoint: Endpoint) -> Facts | None:
        """None of most requests: nothing about them could lead elsewhere."""
        touch = self._touches.get(endpoint.name)
        if touch is None:
            touch = self._touches[endpoint.name] = touch_of(endpoint)
        if touch is Touch.SERVICE:
            return None
        asked = request.headers.get(REGIONS, "") if request.has_tigris else ""
        if touch is Touch.CREATION:
            return Facts(touch, asked=asked) if asked else None
        try:
            bucket = (await self._core.bucket(request.bucket))[0]
        except NoSuchBucket:
            return None
        upload_id = request.params.get("uploadId", "") if request.params else ""
        strong = request.has_tigris and bool(request.key) and _is_strong(request.headers)
        source = await self._source(request) if COPY_SOURCE in request.headers else ""
        if not (bucket.regions or asked or upload_id or strong or source):
            return None
        home = ""
        if strong and not upload_id and self._core.topology.kind(bucket.regions) not in LED:
            home = await self._home(request)
        return Facts(touch, bucket.regions, asked, upload_id, strong, home, source)

    async def _source(self, request: Request) -> str:
        """The restriction of the bucket that a copy reads from."""
        try:
            name = parse_copy_source(request.headers[COPY_SOURCE])[0]
            return (await self._core.bucket(name))[0].regions
        except (S3Error, StoreError):  # the handler tells
            return ""

    async def _home(self, request: Request) -> str:
        version_id = request.params.get("versionId", "")
        try:
            record = await self._store.head(request.bucket, request.key, version_id=version_id)
        except StoreError:
            return ""
        return home_of(record)

    def _targets(self, facts: Facts) -> tuple[str, ...]:
        try:
            return target_regions(self._core.topology, facts, self._distance)
        except UnknownRegion as error:
            raise unknown_region(error, facts.asked) from None
        except NoRegionLeft as error:
            raise RegionUnreachable(
                f"The bucket is restricted to {error.args[0]}: no region of this cluster."
            ) from None

    def _may_answer(self, facts: Facts) -> bool:
        """Whether it harms nothing if this region does, though it is not the one to."""
        topology = self._core.topology
        if topology.kind(facts.restriction) in LED:
            return False
        restriction = facts.asked or facts.restriction
        return facts.touch is Touch.READ or topology.may_hold(restriction)

    def _distance(self, region: str) -> float:
        link = self._core.links.get(region)
        return link.rtt_s if link is not None else float("inf")

    async def _until_seen(self, response: Response, facts: Facts) -> None:
        """Wait until a change that was made elsewhere is known where the client will look."""
        told = [value for name, value in response.headers if name == LOGGED]
        if not told:
            return
        response.headers = [pair for pair in response.headers if pair[0] != LOGGED]
        if facts.touch is Touch.WRITE and self._core.topology.kind(facts.restriction) in LED:
            return  # reads go there, too
        region, _, version = told[0].partition(" ")
        loop = asyncio.get_running_loop()
        end = loop.time() + SEEN_SECONDS
        while loop.time() < end:
            state, _ = await peer_state(self._core, region)
            if state.cursor >= int(version):
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _is_strong(headers: dict[str, str]) -> bool:
    return any(
        headers.get(name, "").lower() == "true" for name in ("x-tigris-consistent", "x-tigris-cas")
    )


async def _body(ctx: Context) -> AsyncIterator[bytes | bytearray] | None:
    """What to send of the request's body, once its sender is known well enough."""
    if "form" in ctx.endpoint.modes:
        begun, rest = await admit(ctx)
        return _joined(begun, rest)
    if not ctx.body.is_announced:
        return None
    if ctx.principal.is_anonymous:
        await authorize(ctx)
    return ctx.body.wire()


async def _joined(
    begun: list[bytes], rest: AsyncGenerator[bytes | bytearray]
) -> AsyncIterator[bytes | bytearray]:
    async with aclosing(rest):
        for first in begun:
            yield first
        async for piece in rest:
            yield piece
