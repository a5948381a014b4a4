"""What a region answers its peers. The block service and the simulated link call just these two."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from amur.objects.core import Core
from amur.objects.pull.bodies import body_pieces
from amur.objects.replication.batches import take_batch
from amur.objects.replication.closing import take_ask, take_close, take_open
from amur.objects.replication.digesting import take_buckets_ask, take_digest_ask, take_items_ask
from amur.objects.replication.moving import take_offer, take_promise, take_settle
from amur.objects.replication.securing import take_fetch
from amur.regions.messages import (
    AskBucket,
    Batch,
    BodyName,
    BucketsAsk,
    CloseBucket,
    DigestAsk,
    Fetch,
    Hello,
    ItemsAsk,
    No,
    Offer,
    OpenBucket,
    Promise,
    Reply,
    Request,
    Settle,
)

_ANSWERS: dict[type[Any], Callable[[Core, Any], Awaitable[Reply]]] = {
    Batch: take_batch,
    DigestAsk: take_digest_ask,
    ItemsAsk: take_items_ask,
    BucketsAsk: take_buckets_ask,
    Fetch: take_fetch,
    Offer: take_offer,
    Promise: take_promise,
    Settle: take_settle,
    CloseBucket: take_close,
    OpenBucket: take_open,
    AskBucket: take_ask,
}


async def answer(core: Core, request: Request) -> Reply:
    """Raises EngineError kinds and StoreError; the caller makes a refusal of them."""
    if isinstance(request, Hello):
        me = core.topology.me
        return Hello(me.name, me.number, core.topology.names)
    found = _ANSWERS.get(type(request))
    return No("unknown question") if found is None else await found(core, request)


def open_body(core: Core, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
    """Bytes that lie here, verified, in pieces of at most CHUNK_BYTES; raises BodyMissing before
    the first when they don't."""
    return body_pieces(core, name, start, end)
