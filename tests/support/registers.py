"""Is what clients saw of one key what a single register could have shown them? (Wing and Gong.)

An operation takes effect at one instant between its start and its end. One that got no answer took
effect at some time after its start, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple


class Operation(NamedTuple):
    """`value` is what was written, or read; None: nothing there. `end` is inf without an answer."""

    start: float
    end: float
    is_write: bool
    value: bytes | None


def is_linearizable(history: Sequence[Operation], first: bytes | None = None) -> bool:
    """Whether some order of the operations explains all that was read."""
    reads_matter = [each for each in history if each.is_write or each.end < inf]
    operations = sorted(reads_matter)
    answered = sum(1 << n for n, each in enumerate(operations) if each.end < inf)
    begun = [(0, first)]  # the operations that took effect, as bits, and what is there then
    seen = set(begun)
    while begun:
        done, value = begun.pop()
        if done & answered == answered:
            return True
        for n in _next(operations, done):
            operation = operations[n]
            if not operation.is_write and operation.value != value:
                continue
            now = (done | 1 << n, operation.value)
            if now not in seen:
                seen.add(now)
                begun.append(now)
    return False


def _next(operations: Sequence[Operation], done: int) -> list[int]:
    """Those that may take effect next: begun before any other of the rest has ended."""
    found: list[int] = []
    first_end = inf
    for n, operation in enumerate(operations):
        if done >> n & 1:
            continue
        if operation.start > first_end:
            break
        found.append(n)
        first_end = min(first_end, operation.end)
    return [n for n in found if operations[n].start <= first_end]
