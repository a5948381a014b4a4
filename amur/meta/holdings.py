"""Which regions hold the bytes of a version, as a value that merges: `ObjectRecord.holdings`.

Each region is the only one that writes its own entry, counter * 4 + kind, and counts up with each
change, so the greater of two entries is the later one, whatever the clocks say.
"""

from __future__ import annotations

from amur.meta.records import ObjectRecord

GONE = 0
CACHED = 1  # may go at any time
DURABLE = 2
PROMISED = 3  # durable, and kept until the home says that it need not be

_KIND_BITS = 2
_KIND_MASK = 3


def holdings_of(record: ObjectRecord) -> dict[str, int]:
    """The entries; of a record that nobody has changed since, those it began with."""
    return record.holdings or dict.fromkeys(record.placement or [record.region], DURABLE)


def kind_in(record: ObjectRecord, region: str) -> int:
    return holdings_of(record).get(region, GONE) & _KIND_MASK


def set_kind(record: ObjectRecord, region: str, kind: int) -> None:
    """Change this region's own entry, in a record that is about to be committed by it."""
    entries = dict(holdings_of(record))
    entries[region] = ((entries.get(region, 0) >> _KIND_BITS) + 1 << _KIND_BITS) | kind
    record.holdings = entries


def holders(record: ObjectRecord) -> list[str]:
    """The regions that say they hold the bytes: the home first, durable ones before cached."""
    entries = holdings_of(record)
    home = home_of(record)
    found = [region for region, value in entries.items() if value & _KIND_MASK]
    return sorted(found, key=lambda name: (name != home, -(entries[name] & _KIND_MASK), name))


def home_of(record: ObjectRecord) -> str:
    return record.home or (record.placement[0] if record.placement else record.region)


def merge_holdings(mine: ObjectRecord, theirs: ObjectRecord) -> bool:
    """Take over into `mine` what is later in `theirs`; whether anything was."""
    changed = False
    if theirs.holdings:
        entries = dict(holdings_of(mine))
        for region, value in theirs.holdings.items():
            if value > entries.get(region, 0):
                entries[region] = value
                changed = True
        if changed:
            mine.holdings = entries
    if theirs.home_epoch > mine.home_epoch:
        mine.home, mine.home_epoch = theirs.home, theirs.home_epoch
        changed = True
    return changed
