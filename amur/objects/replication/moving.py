"""Moving a version's home to the region that reads it, without a moment in which nobody must keep
its bytes.

Only the home may name another home, and it does so only after that region has promised to keep a
durable copy until it hears what became of the move:

    reader                              home
      | -- Offer: I read it far more -->  |   (reads its record: R)
      | <-- Promise? -------------------  |
      |  durable copy, marked PROMISED    |
      | -- Yes ------------------------>  |   commits, if it is home by the same epoch and its own
      |                                   |   entry in R's holdings is as it was: home = reader,
      | <-- Yes ------------------------  |   its own copy may now go (CACHED)

R itself may have changed by then: the news of the promised copy often come before the Yes.

Whoever has promised and hears nothing asks (Settle). The home answers "moved", or first counts its
own entry up, so that a move which is under way fails, and then says that it is off. The reader in
turn lets its promise go only if its own record is what it was when it asked: a later promise writes
it anew. So whatever is lost, repeated or late, and wherever either stops, the home has the bytes.
"""

from __future__ import annotations

from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.holdings import (
    CACHED,
    DURABLE,
    PROMISED,
    holdings_of,
    home_of,
    kind_in,
    set_kind,
)
from amur.meta.log import record_name
from amur.meta.records import ObjectRecord, encode, inline_body
from amur.objects.core import Core
from amur.objects.errors import InvalidRequest, StoreError
from amur.objects.locating import Found
from amur.objects.pull.accesses import accesses
from amur.objects.pull.bodies import find_body
from amur.objects.pull.fetching import Version
from amur.objects.pull.kept import puts_of_cached
from amur.objects.pull.localizing import is_local, make_local
from amur.regions.link import LinkError
from amur.regions.messages import BodyName, No, Offer, Promise, Reply, Settle, Yes

MOVE_READS = 4.0
"""Decayed reads (half-life: accesses.HALF_LIFE_SECONDS) below which a region makes no offer."""
MOVE_RATIO = 2.0
"""A region reads a version clearly more than its home when it reads it this many times as often."""
PROMISE_TIMEOUT_SECONDS = 600.0  # the bytes may still have to come


async def take_offer(core: Core, offer: Offer) -> Reply:
    """At the home: move it to who offers, if that one reads it clearly more."""
    name, reader = offer.name, offer.asker
    link = core.links.get(reader)
    found = await find_body(core, name.bucket_id, name.key, name.version)
    if link is None or found is None:
        return No("nothing to move")
    if home_of(found.record) != core.region:
        return No("the home is elsewhere")
    own = (await accesses(core, [(name.bucket_id, name.key, name.version)]))[0]
    if offer.reads < MOVE_RATIO * own.count_at(core.clock.now_ns()):
        return No("it is read here, too")
    before = _stand(core, found.record)
    promise = Promise(name, found.record.home_epoch)
    try:
        told = await link.call(promise, timeout_s=PROMISE_TIMEOUT_SECONDS)
    except LinkError as error:
        return No(str(error))
    if not isinstance(told, Yes):
        return No("no promise")
    done = await core.transact(lambda: _hand_over(core, name, before, reader))
    return Yes() if done else No("it was changed meanwhile")


def _stand(core: Core, record: ObjectRecord) -> tuple[str, int, int]:
    """What must not have changed since a promise was asked for."""
    return home_of(record), record.home_epoch, holdings_of(record).get(core.region, 0)


async def _hand_over(core: Core, name: BodyName, before: tuple[str, int, int], reader: str) -> bool:
    """Name the reader as home, if ours is as it was before the promise. May raise Conflict."""
    found = await find_body(core, name.bucket_id, name.key, name.version)
    if found is None or _stand(core, found.record) != before:
        return False
    at, record = found.entry.key, found.record
    record.home, record.home_epoch = reader, record.home_epoch + 1
    set_kind(record, core.region, CACHED)
    puts = [Put(at, _encoded(found, record)), *await puts_of_cached(core, at, record)]
    log = [record_name(*keys.owner_name(at), record)]
    await core.engine.commit(Commit([(at, found.entry.version)], put=puts, log=log))
    return True


async def take_promise(core: Core, promise: Promise) -> Reply:
    """At the reader: keep a durable copy until the home says what became of the move."""
    name = promise.name
    try:
        if not await make_local(core, name.bucket_id, name.key, name.version, durable=True):
            return No("the version is gone here")
        return await core.transact(lambda: _promise(core, name))
    except (StoreError, InvalidRequest) as error:
        return No(repr(error))


async def _promise(core: Core, name: BodyName) -> Reply:
    found = await find_body(core, name.bucket_id, name.key, name.version)
    if found is None:
        return No("the version is gone here")
    at, record = found.entry.key, found.record
    if not await is_local(core, Version(at, record)) or kind_in(record, core.region) < DURABLE:
        return No("the bytes went meanwhile")
    # counted up even if it had promised before: who waits for word of that one must ask again
    set_kind(record, core.region, PROMISED)
    marker = Put(keys.promise_key(name.bucket_id, name.key, name.version), b"")
    await core.engine.commit(
        Commit(
            [(at, found.entry.version)],
            put=[Put(at, _encoded(found, record)), marker],
            log=[record_name(*keys.owner_name(at), record)],
        )
    )
    return Yes()


async def take_settle(core: Core, settle: Settle) -> Reply:
    """At the home (or who was it): Yes, it moved to who asks; No, and it will not."""
    name = settle.name

    async def attempt() -> Reply:
        found = await find_body(core, name.bucket_id, name.key, name.version)
        if found is None:
            return No("the version is gone")
        record = found.record
        if home_of(record) == settle.asker:
            return Yes()
        if home_of(record) != core.region and record.home_epoch <= settle.epoch:
            return No("ask again: this region has not heard who the home is")
        if home_of(record) == core.region:  # what is under way fails now
            at = found.entry.key
            set_kind(record, core.region, kind_in(record, core.region))
            put, log = Put(at, _encoded(found, record)), record_name(*keys.owner_name(at), record)
            await core.engine.commit(Commit([(at, found.entry.version)], put=[put], log=[log]))
        return No(CALLED_OFF)

    return await core.transact(attempt)


CALLED_OFF = "called off"
"""The only reason for which a promise may be let go."""


async def settle_promise(core: Core, name: BodyName) -> bool:
    """At the reader, some time after a promise: whether it is settled now.

    Raises Conflict when the record changed meanwhile (ask again), LinkError.
    """
    marker = keys.promise_key(name.bucket_id, name.key, name.version)
    found = await find_body(core, name.bucket_id, name.key, name.version)
    if found is None or kind_in(found.record, core.region) != PROMISED:
        await core.engine.commit(Commit(delete=[marker]))
        return True
    at, record = found.entry.key, found.record
    kind = DURABLE
    if home_of(record) != core.region:
        link = core.links.get(home_of(record))
        if link is None:
            return False
        told = await link.call(Settle(name, record.home_epoch, core.region))
        if not isinstance(told, No) or told.reason != CALLED_OFF:
            return False  # it moved: the record that says so is on its way
        kind = CACHED
    set_kind(record, core.region, kind)
    puts = [Put(at, _encoded(found, record))]
    if kind == CACHED:
        puts += await puts_of_cached(core, at, record)
    await core.engine.commit(
        Commit(
            [(at, found.entry.version)],
            put=puts,
            delete=[marker],
            log=[record_name(*keys.owner_name(at), record)],
        )
    )
    return True


def _encoded(found: Found, record: ObjectRecord) -> bytes:
    return encode(record, inline_body(found.entry.value) if record.is_inline else b"")
