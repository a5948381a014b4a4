"""The second copy of what is written to a bucket of a geography, before its writer hears of it.

The region that leads such a bucket answers alone for its metadata; so that no acknowledged write is
lost with it, another region of the geography has the record and the bytes, durable, before 200.
Where only one of the geography's regions is configured there is one copy, as in a bucket of one
region.
"""

from __future__ import annotations

from amur.limits import MIB
from amur.meta import keys
from amur.meta.log import Changed
from amur.meta.records import ObjectRecord
from amur.objects.core import Core
from amur.objects.errors import RegionUnreachable, StoreError
from amur.objects.names import key_bytes
from amur.objects.pull.localizing import make_local
from amur.objects.replication.batches import merged
from amur.objects.replication.buckets import merge_bucket
from amur.objects.replication.items import items_of
from amur.regions.link import LinkError
from amur.regions.messages import BodyName, Fetch, No, Reply, Yes

FETCH_SECONDS = 10.0  # for a small body; then the next region is asked
FETCH_BYTES_PER_SECOND = (
    4 * MIB
)  # slower than this a region is no second copy that anybody waits for


async def secure(core: Core, bucket: str, key: str, record: ObjectRecord) -> None:
    """Return when what was just committed is in a second region, if its bucket asks for that.

    Raises RegionUnreachable: then it is written here, and nobody may count on it.
    """
    seen = core.bucket_seen(bucket)
    if seen is not None and not seen.regions:
        return  # the commit has just read it
    found = (await core.bucket(bucket))[0]
    topology = core.topology
    if topology.kind(found.regions) != "multi":
        return
    allowed = topology.allowed(record.regions) & topology.allowed(found.regions)
    others = [name for name in allowed if name in core.links]
    if not others:
        return
    raw = key_bytes(key)
    name = BodyName(found.id, raw, record.version)
    changed = Changed(found.id, raw, None if record.is_null else record.version)
    seconds = FETCH_SECONDS + record.size / FETCH_BYTES_PER_SECOND
    for peer in sorted(others, key=lambda other: (core.links[other].rtt_s, other)):
        items = await items_of(core, [changed], peer)
        if not any(_is_version(item.state, record.version) for item in items):
            return  # overwritten or deleted since: whoever did that answers for what is there now
        try:
            reply = await core.links[peer].call(Fetch(name, items), timeout_s=seconds)
        except LinkError:
            continue
        if isinstance(reply, Yes):
            return
    raise RegionUnreachable("No second region of the bucket's geography has the object yet.")


def _is_version(state: bytes, version: int) -> bool:
    """Of a record as stored: see meta/records.py."""
    return int.from_bytes(state[1:9], "big") == version


COLLECTED_KEY = keys.singleton_key("collected")
"""The latest tombstone that was collected here: a version that is older than it comes by a peer's
ordered stream only, as it might be one that was buried."""


async def take_fetch(core: Core, fetch: Fetch) -> Reply:
    """At the second region: take in the record, pull the bytes, keep them."""
    name = fetch.name
    await _take_in(core, fetch)
    try:
        done = await make_local(core, name.bucket_id, name.key, name.version, durable=True)
    except StoreError as error:
        return No(repr(error))
    return Yes() if done else No("the version is not here")


async def _take_in(core: Core, fetch: Fetch) -> None:
    """The record, if it is later than all tombstones that were collected here, up to the commit."""
    for item in fetch.items:
        if not item.bucket_id:
            await core.transact(lambda item=item: merge_bucket(core, item))  # type: ignore[misc]

    async def attempt() -> None:
        collected = await core.engine.get(COLLECTED_KEY)
        if collected is not None and fetch.name.version <= int.from_bytes(collected.value, "big"):
            return
        pin = (COLLECTED_KEY, collected.version if collected is not None else 0)
        commit = await merged(core, [item for item in fetch.items if item.bucket_id])
        if commit.put or commit.delete:
            await core.engine.commit(commit._replace(expect=[*commit.expect, pin]))

    await core.transact(attempt)
