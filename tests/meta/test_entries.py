"""Merging copies of an entry: any order, any grouping, any number of times, one outcome."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amur.meta.entries import latest, merged, state
from amur.meta.records import EntryRecord, decode, encode

NAMES = ("a", "b", "c")


@st.composite
def copies(draw: st.DrawFn) -> list[EntryRecord]:
    """What several regions have made of one entry: a change is one value at one version."""
    values = {at: draw(st.integers(0, 99)) for at in range(1, 12)}  # version: what was set
    names = {at: draw(st.sampled_from(NAMES)) for at in values}
    gone = draw(st.sampled_from([0, 0, 20, 21]))
    found = []
    for _ in range(draw(st.integers(2, 4))):
        if gone and draw(st.booleans()):
            found.append(EntryRecord(gone=gone - draw(st.integers(0, 1))))
            continue
        record = EntryRecord(index=[b"one"])
        for at in sorted(draw(st.sets(st.sampled_from(sorted(values)), min_size=1))):
            record.values[names[at]], record.changed[names[at]] = values[at], at
        found.append(record)
    return found


def copy(record: EntryRecord) -> EntryRecord:
    return decode(encode(record), EntryRecord)


def together(records: list[EntryRecord]) -> EntryRecord:
    result: EntryRecord | None = None
    for record in records:
        result = merged(result, copy(record))
    assert result is not None
    return result


@given(copies(), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition(records: list[EntryRecord], chance: object) -> None:
    first = together(records)
    shuffled = records + records[:1]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    other = together(shuffled)
    assert (first.values, first.changed, first.gone) == (other.values, other.changed, other.gone)
    assert state(first) == state(other)


@given(copies())
def test_any_grouping(records: list[EntryRecord]) -> None:
    left = together([together(records[:2]), *records[2:]])
    right = together([records[0], together(records[1:])])
    assert (left.values, left.changed, left.gone) == (right.values, right.changed, right.gone)


@given(copies())
def test_the_latest_change_of_each_field_holds(records: list[EntryRecord]) -> None:
    result = together(records)
    if any(record.gone for record in records):
        assert result.gone == max(record.gone for record in records)
        assert not result.values
        return
    for name in NAMES:
        changes = [(r.changed[name], r.values[name]) for r in records if name in r.changed]
        assert not changes or (result.changed[name], result.values[name]) == max(changes)


def test_what_says_nothing_new_is_told_by_identity() -> None:
    mine = EntryRecord(values={"a": 1}, changed={"a": 5}, index=[b"x"])
    assert merged(mine, copy(mine)) is mine
    assert merged(mine, EntryRecord(values={"a": 2}, changed={"a": 4}, index=[b"x"])) is mine
    gone = EntryRecord(gone=3)
    assert merged(gone, mine) is gone
    assert merged(mine, EntryRecord(values={"a": 2}, changed={"a": 6})) is not mine


def test_a_change_without_its_value_is_not_taken() -> None:
    mine = EntryRecord(values={"a": 1}, changed={"a": 5})
    assert merged(mine, EntryRecord(values={}, changed={"a": 9, "b": 9})) is mine


def test_latest() -> None:
    assert latest(EntryRecord(changed={"a": 3, "b": 9})) == 9
    assert latest(EntryRecord(gone=4)) == 4
    assert latest(EntryRecord()) == 0
