"""On which CPU a thread runs.

A gateway worker's event loop, the HTTP server's thread below it and the commit thread hand work to
each other many times a request. On one CPU a hand-over is a switch of context; across two it is a
wake-up by interrupt, which costs several times as much (in a virtual machine most of all). So each
worker keeps to a CPU of its own, and only threads that work for long at a stretch, hashing and
moving large bodies, roam.
"""

from __future__ import annotations

import os

CPUS: tuple[int, ...] = (
    tuple(sorted(os.sched_getaffinity(0)))
    if hasattr(os, "sched_getaffinity")  # not on macOS
    else tuple(range(os.cpu_count() or 1))
)
"""Those that this process was given at its start."""


_is_kept = False


def keep_to(cpu: int) -> None:
    """The calling thread, and those it will start, run on one CPU."""
    global _is_kept  # noqa: PLW0603 - a fact about the process
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
        _is_kept = True


def roam() -> None:
    """The calling thread may leave that CPU: the initializer of pools for long work."""
    if _is_kept:
        os.sched_setaffinity(0, CPUS)
