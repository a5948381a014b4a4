"""A cache of one region within a byte budget, evicted scan-resistantly.

S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP
2023): what is new goes through a small queue, and only what was asked for there again reaches the
main one; what left the small queue is remembered without its bytes, and goes to the main queue when
it comes back. Sizes are counted in bytes, as objects are not of one size.
"""

from __future__ import annotations

from collections import OrderedDict

SMALL_SHARE = 0.1  # of the budget; from the paper
HITS_MAX = 3  # two bits; from the paper
HITS_TO_MAIN = 2  # in the small queue; from the paper


class Cache:
    """Object ids and sizes in bytes; holds `used` bytes, never more than `budget`."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._small_budget = int(budget * SMALL_SHARE)
        self._small: OrderedDict[int, int] = OrderedDict()
        self._main: OrderedDict[int, int] = OrderedDict()
        self._ghost: OrderedDict[int, None] = OrderedDict()
        self._hits: dict[int, int] = {}
        self._small_bytes = 0
        self._main_bytes = 0

    @property
    def used(self) -> int:
        return self._small_bytes + self._main_bytes

    def __contains__(self, key: int) -> bool:
        return key in self._hits

    def items(self) -> dict[int, int]:
        """Every id with its size."""
        return {**self._small, **self._main}

    def hit(self, key: int) -> None:
        """`key` was read; it must be there."""
        hits = self._hits[key]
        if hits < HITS_MAX:
            self._hits[key] = hits + 1

    def add(self, key: int, size: int) -> list[int]:
        """Keep it; returns what had to go for it, which is itself if it is larger than all."""
        assert key not in self._hits
        if size > self.budget:
            return [key]
        if key in self._ghost:
            del self._ghost[key]
            self._main[key] = size
            self._main_bytes += size
        else:
            self._small[key] = size
            self._small_bytes += size
        self._hits[key] = 0
        gone: list[int] = []
        while self.used > self.budget:
            if self._small and (self._small_bytes > self._small_budget or not self._main):
                self._shrink_small(gone)
            else:
                self._shrink_main(gone)
        return gone

    def remove(self, key: int) -> None:
        """Forget it, if it is there: its object was written again, or is the home's now."""
        if self._hits.pop(key, None) is None:
            return
        if key in self._small:
            self._small_bytes -= self._small.pop(key)
        else:
            self._main_bytes -= self._main.pop(key)

    def _shrink_small(self, gone: list[int]) -> None:
        key, size = self._small.popitem(last=False)
        self._small_bytes -= size
        if self._hits[key] >= HITS_TO_MAIN:
            self._hits[key] = 0
            self._main[key] = size
            self._main_bytes += size
            return
        del self._hits[key]
        gone.append(key)
        self._ghost[key] = None
        while len(self._ghost) > len(self._hits):
            self._ghost.popitem(last=False)

    def _shrink_main(self, gone: list[int]) -> None:
        key, size = self._main.popitem(last=False)
        if self._hits[key]:
            self._hits[key] -= 1
            self._main[key] = size
            return
        self._main_bytes -= size
        del self._hits[key]
        gone.append(key)
