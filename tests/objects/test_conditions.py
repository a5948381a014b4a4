from __future__ import annotations

import pytest

from amur.meta.records import ObjectRecord
from amur.objects.conditions import check_delete, check_read, check_source, check_write
from amur.objects.errors import NoSuchKey, NotModified, PreconditionFailed, StoreError
from amur.objects.types import Conditions

NOW = 1_700_000_000
OBJECT = ObjectRecord(version=NOW * 10**9 + 5, size=7, etag="aa")
MARKER = ObjectRecord(version=NOW * 10**9, is_marker=True)

C = Conditions
Raised = type[StoreError] | None

READS: list[tuple[Conditions, Raised]] = [
    (C(), None),
    (C(if_match=["aa"]), None),
    (C(if_match=["bb", "aa"]), None),
    (C(if_match=["*"]), None),
    (C(if_match=["bb"]), PreconditionFailed),
    (C(if_match=[""]), PreconditionFailed),
    (C(if_none_match=["bb"]), None),
    (C(if_none_match=["aa"]), NotModified),
    (C(if_none_match=["*"]), NotModified),
    (C(if_modified_since=NOW), NotModified),
    (C(if_modified_since=NOW + 1), NotModified),
    (C(if_modified_since=NOW - 1), None),
    (C(if_unmodified_since=NOW), None),
    (C(if_unmodified_since=NOW - 1), PreconditionFailed),
    # an ETag makes the date of its kind moot
    (C(if_match=["aa"], if_unmodified_since=NOW - 1), None),
    (C(if_match=["bb"], if_unmodified_since=NOW), PreconditionFailed),
    (C(if_none_match=["bb"], if_modified_since=NOW), None),
    (C(if_none_match=["aa"], if_modified_since=NOW - 1), NotModified),
    # a failed precondition is told first
    (C(if_unmodified_since=NOW - 1, if_none_match=["aa"]), PreconditionFailed),
    (C(if_match=["bb"], if_none_match=["aa"]), PreconditionFailed),
]

WRITES: list[tuple[Conditions, Raised, Raised]] = [  # on an object, on nothing
    (C(), None, None),
    (C(if_match=["aa"]), None, NoSuchKey),
    (C(if_match=["bb"]), PreconditionFailed, NoSuchKey),
    (C(if_match=["*"]), None, NoSuchKey),
    (C(if_match=[""]), PreconditionFailed, None),
    (C(if_none_match=["*"]), PreconditionFailed, None),
    (C(if_none_match=["aa"]), PreconditionFailed, None),
    (C(if_none_match=["bb"]), None, None),
    (C(if_unmodified_since=NOW - 1), PreconditionFailed, None),
    (C(if_unmodified_since=NOW), None, None),
    (C(if_modified_since=NOW), PreconditionFailed, None),
    (C(if_match_size=7), None, None),
    (C(if_match_size=8), PreconditionFailed, None),
    (C(if_match_modified=NOW), None, None),
    (C(if_match_modified=NOW - 1), PreconditionFailed, None),
    # of a write all must hold
    (C(if_match=["aa"], if_match_size=8), PreconditionFailed, NoSuchKey),
    (C(if_match=["aa"], if_unmodified_since=NOW - 1), PreconditionFailed, NoSuchKey),
    (C(if_none_match=["bb"], if_modified_since=NOW), PreconditionFailed, None),
]


def raised_by(check: object, conditions: Conditions, record: ObjectRecord | None) -> Raised:
    assert callable(check)
    try:
        check(conditions, record)
    except StoreError as error:
        return type(error)
    return None


@pytest.mark.parametrize(("conditions", "expected"), READS)
def test_read(conditions: Conditions, expected: Raised) -> None:
    assert raised_by(check_read, conditions, OBJECT) is expected


@pytest.mark.parametrize(("conditions", "expected"), READS)
def test_source_of_a_copy_knows_no_304(conditions: Conditions, expected: Raised) -> None:
    told = PreconditionFailed if expected is NotModified else expected
    assert raised_by(check_source, conditions, OBJECT) is told


@pytest.mark.parametrize(("conditions", "on_object", "on_nothing"), WRITES)
def test_write(conditions: Conditions, on_object: Raised, on_nothing: Raised) -> None:
    assert raised_by(check_write, conditions, OBJECT) is on_object
    assert raised_by(check_write, conditions, None) is on_nothing


@pytest.mark.parametrize(("conditions", "on_object", "_on_nothing"), WRITES)
def test_delete_of_nothing_succeeds(
    conditions: Conditions, on_object: Raised, _on_nothing: Raised
) -> None:
    assert raised_by(check_delete, conditions, OBJECT) is on_object
    assert raised_by(check_delete, conditions, None) is None


def test_delete_of_a_marker() -> None:
    assert raised_by(check_delete, C(if_match=["*"]), MARKER) is None
    assert raised_by(check_delete, C(if_match=["aa"]), MARKER) is PreconditionFailed
    assert raised_by(check_delete, C(if_match=[""]), MARKER) is PreconditionFailed
    assert raised_by(check_delete, C(if_match_size=7), MARKER) is PreconditionFailed


def test_not_modified_tells_what_is_current() -> None:
    with pytest.raises(NotModified) as caught:
        check_read(C(if_none_match=["aa"]), OBJECT)
    assert (caught.value.etag, caught.value.modified_s) == ("aa", NOW)
    assert caught.value.version_id == "null"
