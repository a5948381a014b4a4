"""Bodies that this region shall have though nobody has read them here: table W.

The value is one byte, the kind of holding wanted (meta/holdings.py). `workers/place.py` pulls them.
"""

from __future__ import annotations

from amur.meta import keys
from amur.meta.engine import Put
from amur.meta.holdings import CACHED, DURABLE, GONE, holders, home_of, kind_in
from amur.meta.records import BucketRecord, ObjectRecord
from amur.objects.core import Core


def want(bucket_id: bytes, key: bytes, version: int, *, durable: bool) -> Put:
    """For any commit."""
    kind = DURABLE if durable else CACHED
    return Put(keys.wanted_key(bucket_id, key, version), bytes([kind]))


def wanted(core: Core, bucket: BucketRecord, key: bytes, record: ObjectRecord) -> list[Put]:
    """For the commit that takes in a version from elsewhere: whether its bytes shall follow.

    A restriction to several regions asks for a durable copy in each of two, and in as many as
    there are of a geography; an accelerated bucket for a copy everywhere.
    """
    restriction = record.regions or bucket.regions
    if not core.topology.may_hold(restriction):
        return []
    if restriction:
        return [want(bucket.id, key, record.version, durable=True)]
    if is_lost_at_home(core, record):
        return [want(bucket.id, key, record.version, durable=True)]
    if bucket.accelerate:
        return [want(bucket.id, key, record.version, durable=False)]
    return []


def is_lost_at_home(core: Core, record: ObjectRecord) -> bool:
    """This region must keep the bytes, and has lost them (with its disk, say); another has a copy,
    which may go at any time."""
    me = core.region
    return home_of(record) == me and kind_in(record, me) == GONE and bool(holders(record))
