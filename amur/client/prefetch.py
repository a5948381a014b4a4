"""Work ahead in threads, bounded, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

Job = TypeVar("Job")
Item = TypeVar("Item")


def in_order(
    jobs: Iterable[Job],
    run: Callable[[Job, Event], Iterator[Item]],
    *,
    threads: int,
    ahead: int,
) -> Iterator[Item]:
    """All that `run` yields for the first job, then for the second, and so on.

    At most `threads` jobs are under way, each in its own thread and at most `ahead` items before
    the reader. What a job raises is raised here, in its place. When the reader leaves, the event
    is set and each job is closed at its next item.
    """
    gone = Event()
    left = iter(jobs)
    started: deque[_Channel[Item]] = deque()

    def start_next() -> None:
        for job in left:
            channel: _Channel[Item] = _Channel(ahead)
            started.append(channel)
            Thread(
                target=channel.fill, args=(run(job, gone),), name="amur-bundle", daemon=True
            ).start()
            return

    try:
        for _ in range(threads):
            start_next()
        while started:
            yield from started[0]
            started.popleft()
            start_next()
    finally:
        gone.set()
        for channel in started:
            channel.close()


class _Channel(Generic[Item]):
    """From one thread to one other."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._items: deque[Item] = deque()
        self._changed = Condition()
        self._is_ended = False  # no more items come
        self._is_closed = False  # nobody takes them
        self._error: BaseException | None = None

    def fill(self, items: Iterator[Item]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not self._put(item):
                    items.close()  # type: ignore[attr-defined]  # a generator
                    break
        except BaseException as raised:  # it is the reader's
            error = raised
        with self._changed:
            self._is_ended, self._error = True, error
            self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        with self._changed:
            while len(self._items) >= self._ahead and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                while not self._items and not self._is_ended:
                    self._changed.wait()
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
