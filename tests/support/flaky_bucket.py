"""A bucket whose service fails at the call that is told: before it did what was asked, or after."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from enum import Enum

from amur.data.bucket_service import Bucket, Listed
from amur.data.framing import Buffer
from amur.data.store import DataUnavailable


class When(Enum):
    BEFORE = "before"
    AFTER = "after"  # done, but the answer is lost


class FlakyBucket(Bucket):
    """Counts the calls, and raises DataUnavailable at number `at` (from 1), or at all of them."""

    def __init__(self, inner: Bucket) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.at = 0
        self.when = When.BEFORE
        self.is_away = False
        self.failed = ""  # name of the call that did

    async def _call(self, name: str, what: Callable[[], Awaitable[object]]) -> object:
        self.calls[name] += 1
        is_it = self.calls.total() == self.at
        if self.is_away or (is_it and self.when is When.BEFORE):
            self.failed = name
            raise DataUnavailable("the service is away")
        answer = await what()
        if is_it:
            self.failed = name
            raise DataUnavailable("the answer is lost")
        return answer

    async def put(self, path: str, body: Buffer) -> None:
        await self._call("put", lambda: self.inner.put(path, body))

    async def put_new(self, path: str, body: bytes) -> bool:
        return bool(await self._call("put_new", lambda: self.inner.put_new(path, body)))

    async def put_stream(
        self, path: str, pieces: AsyncIterator[Buffer], *, part_bytes: int, parts_at_once: int
    ) -> None:
        async def counted() -> AsyncIterator[Buffer]:
            async for piece in pieces:
                await self._call("piece", _nothing)
                yield piece

        await self._call(
            "put_stream",
            lambda: self.inner.put_stream(
                path, counted(), part_bytes=part_bytes, parts_at_once=parts_at_once
            ),
        )

    async def get(self, path: str) -> bytes:
        content = await self._call("get", lambda: self.inner.get(path))
        assert isinstance(content, bytes)
        return content

    async def get_range(self, path: str, start: int, end: int) -> Buffer:
        content = await self._call("get_range", lambda: self.inner.get_range(path, start, end))
        assert isinstance(content, bytes | bytearray | memoryview)
        return content

    async def delete(self, path: str) -> None:
        await self._call("delete", lambda: self.inner.delete(path))

    def list(self) -> Iterator[Listed]:
        self.calls["list"] += 1
        if self.is_away or self.calls.total() == self.at:
            self.failed = "list"
            raise DataUnavailable("the service is away")
        yield from self.inner.list()

    async def close(self) -> None:
        """Nothing is open."""


async def _nothing() -> None:
    return None
