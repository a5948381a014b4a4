"""How two copies of an entry merge: field by field, the later change wins. Pure.

Times of changes are versions, of which no two regions make the same one, so there are no ties.
Merging is commutative, associative and idempotent; an entry that is gone never comes back.
"""

from __future__ import annotations

from amur.meta.records import EntryRecord


def merged(mine: EntryRecord | None, theirs: EntryRecord) -> EntryRecord:
    """What both say together; `mine` itself when `theirs` says nothing new."""
    if mine is None:
        return theirs
    gone = max(mine.gone, theirs.gone)
    if gone:
        return mine if gone == mine.gone else EntryRecord(gone=gone)
    values, changed = dict(mine.values), dict(mine.changed)
    for name, at in theirs.changed.items():
        if at > changed.get(name, 0) and name in theirs.values:
            changed[name] = at
            values[name] = theirs.values[name]
    index = [*mine.index, *(each for each in theirs.index if each not in mine.index)]
    if changed == mine.changed and index == mine.index:
        return mine
    return EntryRecord(mine.version, values, changed, sorted(index))


def latest(record: EntryRecord) -> int:
    """The greatest version that it speaks of."""
    return max(record.gone, *record.changed.values(), 0)


def state(record: EntryRecord) -> bytes:
    """What merges, for digests: copies with the same state are the same."""
    if record.gone:
        return b"gone %d" % record.gone
    facts = ",".join(f"{name}={at}" for name, at in sorted(record.changed.items()))
    return facts.encode()
