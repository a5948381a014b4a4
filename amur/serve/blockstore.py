"""The data store of a directory: files in it, or objects in a bucket."""

from __future__ import annotations

from amur.clock import Clock
from amur.data.local import LocalDataStore
from amur.data.store import DataError, DataStore
from amur.meta import keys
from amur.meta.engine import Engine, prefix_end
from amur.serve.layout import Layout, Refusal


def open_data(layout: Layout, clock: Clock) -> DataStore:
    """As amur.json says. Raises Refusal for options that can't be used."""
    url, store_id = layout.block_store()
    if not url:
        return LocalDataStore(layout.data)
    # loaded only where it is used: 25 ms, and memory of every process
    from amur.data.bucket import BucketDataStore
    from amur.data.bucket_service import open_bucket
    from amur.data.read_cache import ReadCache

    try:
        bucket = open_bucket(url, layout.blocks.options)
    except DataError as error:
        raise Refusal(str(error)) from None
    cache_bytes = layout.blocks.cache_bytes
    cache = ReadCache(layout.cache, cache_bytes, clock) if cache_bytes else None
    return BucketDataStore(bucket, clock, store_id=store_id, cache=cache)


async def claim_data(data: DataStore, engine: Engine, layout: Layout) -> None:
    """Make a bucket ours that is nobody's yet. Raises Refusal when it is not ours, or away."""
    url, _ = layout.block_store()
    if not url:
        return
    from amur.data.bucket import BucketDataStore

    assert isinstance(data, BucketDataStore)
    used = await engine.scan(keys.REFERENCES, prefix_end(keys.REFERENCES), 1)
    try:
        await data.claim(may_be_new=not used)
    except DataError as error:
        raise Refusal(f"can't use block_store {url}: {error}") from None
