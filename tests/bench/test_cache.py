"""The simulated cache: its budget, and what it keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.simulation.cache import Cache

READS = st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=400)


def size_of(key: int) -> int:
    return key * 7 % 23 + 1


@given(reads=READS, budget=st.integers(1, 120))
def test_the_budget_holds_and_every_byte_is_accounted_for(
    reads: list[tuple[int, bool]], budget: int
) -> None:
    cache, kept = Cache(budget), set[int]()
    for key, is_removed in reads:
        if is_removed:
            cache.remove(key)
            kept.discard(key)
        elif key in kept:
            cache.hit(key)
        else:
            kept.add(key)
            kept -= set(cache.add(key, size_of(key)))
        assert cache.used <= budget
        assert cache.items() == {each: size_of(each) for each in kept}
        assert cache.used == sum(map(size_of, kept))


def test_a_scan_does_not_evict_what_is_read_often() -> None:
    cache = Cache(100)
    for key in range(20):
        cache.add(key, 1)
        for _ in range(3):
            cache.hit(key)
    for key in range(1000, 3000):
        cache.add(key, 1)
    assert all(key in cache for key in range(20))


def test_what_comes_back_soon_is_kept_longer_than_what_is_new() -> None:
    cache = Cache(10)
    for key in range(10):
        cache.add(key, 1)
    assert cache.add(10, 1) == [0]
    cache.add(0, 1)  # remembered: straight to the main queue
    for key in range(11, 30):
        cache.add(key, 1)
    assert 0 in cache
    assert 10 not in cache


def test_larger_than_the_budget_is_not_kept() -> None:
    cache = Cache(10)
    assert cache.add(1, 11) == [1]
    assert cache.used == 0
    assert 1 not in cache
