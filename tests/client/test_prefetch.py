from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Semaphore

import pytest

from amur.client.prefetch import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3])
def test_results_come_in_order_whoever_is_first(threads: int, ahead: int) -> None:
    def run(job: int, gone: Event) -> Iterator[tuple[int, int]]:
        for at in range(job % 4):
            yield job, at

    found = list(in_order(range(20), run, threads=threads, ahead=ahead))
    assert found == [(job, at) for job in range(20) for at in range(job % 4)]


def test_no_more_jobs_and_items_are_under_way_than_allowed() -> None:
    ready = Semaphore(0)
    made: list[tuple[int, int]] = []

    def run(job: int, gone: Event) -> Iterator[int]:
        for at in range(10):
            made.append((job, at))
            ready.release()
            yield at

    found = in_order(range(9), run, threads=2, ahead=3)
    next(found)
    for _ in range(5 + 4):  # one read, three ahead, one in hand; the same of the second job
        assert ready.acquire(timeout=10)
    assert sorted(made) == [(0, at) for at in range(5)] + [(1, at) for at in range(4)]
    assert not ready.acquire(blocking=False)
    found.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_in_its_place() -> None:
    def run(job: int, gone: Event) -> Iterator[int]:
        yield job
        if job == 1:
            raise KeyError("second")

    found = in_order(range(3), run, threads=3, ahead=2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(KeyError, match="second"):
        next(found)


def test_a_reader_that_leaves_ends_all_jobs() -> None:
    ended = Semaphore(0)
    events = []

    def run(job: int, gone: Event) -> Iterator[int]:
        events.append(gone)
        try:
            while True:
                yield job
        finally:
            ended.release()

    found = in_order(range(3), run, threads=2, ahead=2)
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    for _ in range(2):
        assert ended.acquire(timeout=10)
    assert all(event.is_set() for event in events)
