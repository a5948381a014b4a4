"""A budget, two queues, and a directory that anybody may delete."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from pathlib import Path

import pytest

from amur.clock import FakeClock
from amur.data import read_cache
from amur.data.read_cache import SAME_READ_SECONDS, ReadCache

BLOCK = 4096  # of the file system: what a small file takes
BUDGET = 40 * BLOCK


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(tmp_path: Path, clock: FakeClock) -> ReadCache:
    return ReadCache(tmp_path / "cache", BUDGET, clock)


def file_id(number: int) -> bytes:
    return b"instance" + number.to_bytes(8, "big")


def used(tmp_path: Path) -> int:
    files = (path for path in (tmp_path / "cache").rglob("*-*") if path.is_file())
    return sum(path.stat().st_blocks * 512 for path in files)


def fill(cache: ReadCache, clock: FakeClock, numbers: range) -> None:
    for number in numbers:
        clock.advance(1)
        cache.put(file_id(number), 0, number.to_bytes(8, "big") * 400)


def there(cache: ReadCache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.get(file_id(number), 0, 3200) is not None]


def test_gives_back_what_was_put(cache: ReadCache) -> None:
    rng = random.Random(1)
    bodies = {(n % 5, n * 10): rng.randbytes(n) for n in range(1, 30)}
    for (number, offset), body in bodies.items():
        cache.put(file_id(number), offset, body)
    for (number, offset), body in bodies.items():
        assert cache.get(file_id(number), offset, len(body)) == body
        assert cache.get(file_id(number), offset + 1, len(body)) is None
        assert cache.get(file_id(number + 5), offset, len(body)) is None
        assert cache.get(file_id(number), offset, len(body) + 1) is None  # cut short


def test_stays_within_its_budget(cache: ReadCache, clock: FakeClock, tmp_path: Path) -> None:
    for begin in range(0, 300, 10):
        fill(cache, clock, range(begin, begin + 10))
        assert used(tmp_path) <= BUDGET + 2 * BLOCK  # and TRIM_FRACTION
    assert there(cache, range(300))[-1] == 299


def test_a_scan_leaves_what_is_read_again(cache: ReadCache, clock: FakeClock) -> None:
    hot = range(20)
    fill(cache, clock, hot)
    clock.advance(SAME_READ_SECONDS + 1)
    assert there(cache, hot) == list(hot)
    fill(cache, clock, range(1000, 1300))
    assert there(cache, hot) == list(hot)


def test_reads_close_together_are_one(cache: ReadCache, clock: FakeClock) -> None:
    """A file that is read once, in small ranges, is not hot."""
    once = range(5)
    fill(cache, clock, once)
    for _ in range(10):
        assert there(cache, once) == list(once)
    fill(cache, clock, range(1000, 1300))
    assert there(cache, once) == []


def test_the_least_recently_used_of_the_kept_go_first(cache: ReadCache, clock: FakeClock) -> None:
    kept = range(60)
    for number in kept:
        fill(cache, clock, range(number, number + 1))
        clock.advance(SAME_READ_SECONDS + 1)
        assert there(cache, range(number, number + 1)) == [number]
    cache.trim()
    left = there(cache, kept)
    assert left == list(range(60 - len(left), 60))
    assert 30 <= len(left) <= 40


def test_dropping(cache: ReadCache) -> None:
    for offset in (0, 10):
        for number in (1, 257):  # in one folder
            cache.put(file_id(number), offset, b"body")
    cache.drop(file_id(1), 0)
    assert cache.get(file_id(1), 0, 4) is None
    assert cache.get(file_id(1), 10, 4) == b"body"
    cache.drop_file(file_id(1))
    assert cache.get(file_id(1), 10, 4) is None
    assert cache.get(file_id(257), 0, 4) == cache.get(file_id(257), 10, 4) == b"body"


def test_deleted_at_any_time(cache: ReadCache, clock: FakeClock, tmp_path: Path) -> None:
    for number in range(52):
        fill(cache, clock, range(number, number + 1))
        if number % 7 == 0:
            shutil.rmtree(tmp_path / "cache")
            assert cache.get(file_id(number), 0, 3200) is None
            cache.trim()
            cache.drop_file(file_id(number))
    assert there(cache, range(52)) == [50, 51]


def test_a_disk_that_can_not_be_written(clock: FakeClock, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"in the way")
    cache = ReadCache(tmp_path / "cache", BUDGET, clock)
    cache.put(file_id(1), 0, b"body")
    cache.trim()
    assert cache.get(file_id(1), 0, 4) is None


def test_the_reserve_of_the_disk_is_left_alone(
    cache: ReadCache, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, clock, range(10))
    monkeypatch.setattr(read_cache, "DISK_RESERVE_BYTES", 1 << 60)
    monkeypatch.setattr(read_cache, "DISK_RESERVE_FRACTION", 1)
    monkeypatch.setattr(read_cache, "TRIM_SECONDS_MIN", -1.0)
    fill(cache, clock, range(100, 101))
    assert there(cache, range(200)) == []  # given back, as far as it goes


def test_one_process_at_a_time_trims(cache: ReadCache, clock: FakeClock, tmp_path: Path) -> None:
    fill(cache, clock, range(1))
    busy = os.open(tmp_path / "cache" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(busy, fcntl.LOCK_EX)
    fill(cache, clock, range(1, 100))
    assert there(cache, range(100)) == list(range(100))
    os.close(busy)
    cache.trim()
    assert used(tmp_path) <= BUDGET


def test_what_a_dead_process_left_goes(cache: ReadCache, clock: FakeClock, tmp_path: Path) -> None:
    fill(cache, clock, range(1))
    left = tmp_path / "cache" / "partial-1-1"
    left.write_bytes(bytes(BUDGET))
    os.utime(left, ns=(clock.now_ns(), clock.now_ns()))
    cache.trim()
    assert left.exists()  # perhaps under way
    clock.advance(SAME_READ_SECONDS + 1)
    cache.trim()
    assert not left.exists()
    assert there(cache, range(1)) == [0]
