"""The metadata engine contract: an ordered map of bytes to bytes with optimistic commits.

Every operation of the store is: read, decide, commit with expectations, retry on `Conflict`.
No engine lock is ever held while waiting for the network or for a body. `docs/decisions/`
shows how PostgreSQL and FoundationDB carry each verb; `tests/meta/` runs one contract suite
over every engine.

Versions are a hybrid logical clock in nanoseconds: the engine gives each commit
`max(wall clock, last version + 1)` *inside* the commit, so that version order is commit order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

ABSENT = 0
"""The version to expect of a key that must not exist."""

NO_STAMP = -1
STOP = b""
"""What a visitor answers to end a walk."""

Visitor = Callable[[bytes, memoryview, int], bytes | None]
"""Called with (key, value, version) of each entry of a walk, in key order.

The value is only valid during the call (copy what is kept). Answers None to go on with the next
key, `STOP` to end, or a key to continue from: not before that key (forward; it must lie after the
current one), or strictly before it (reverse; it must not lie after the current one).
"""


class Entry(NamedTuple):
    """A key with its value and the version of the commit that last wrote it."""

    key: bytes
    value: bytes
    version: int


class Put(NamedTuple):
    """One key to write. Stamps are offsets at which the commit's version is written in.

    At `stamp` in the value: 8 bytes, big-endian. At `key_stamp` in the key: 8 bytes, big-endian,
    inverted (2**64 - 1 - version), so that newer sorts first.
    """

    key: bytes
    value: bytes
    stamp: int = NO_STAMP
    key_stamp: int = NO_STAMP


class Commit(NamedTuple):
    """All or nothing, serializable.

    `expect` pairs a key with the version at which it must still be (or ABSENT);
    `expect_empty` are ranges [start, end) that must hold no key; a failed expectation raises
    `Conflict` and leaves no trace. Deletes are carried out before puts. `log` values are
    appended to the log in commit order. The commit's version is greater than `after`.
    """

    expect: Sequence[tuple[bytes, int]] = ()
    expect_empty: Sequence[tuple[bytes, bytes]] = ()
    put: Sequence[Put] = ()
    delete: Sequence[bytes] = ()
    log: Sequence[bytes] = ()
    after: int = 0


class EngineError(Exception):
    """Base of what an engine raises."""


class Conflict(EngineError):
    """An expectation failed: somebody else committed first. Read again and retry."""


class EngineFull(EngineError):
    """No room for the commit; reads and deletes go on."""


class EngineDamaged(EngineError):
    """A value failed its checksum. The answer would be wrong, so there is none.

    `key` is the entry's, as far as the engine can tell.
    """

    key: bytes = b""


class EngineFailed(EngineError):
    """The engine can't be trusted any more (failed fsync, lost connection): stop and recover."""


class EngineRefused(EngineError):
    """The engine's files can't be used: not ours, newer than we read, or no permission.

    The message is one line for a person, and says what to do.
    """


class Watch(ABC):
    """Wakes a reader when something was committed under a prefix."""

    @abstractmethod
    async def wait(self, seconds: float) -> bool:
        """True once something was committed since the last call, False after `seconds`."""

    @abstractmethod
    def close(self) -> None: ...


class Engine(ABC):
    """An ordered transactional map. Keys are 1 to 2,200 bytes, values up to 16 MiB.

    Each reading call sees one consistent snapshot, which includes every commit that returned
    before the call began.
    """

    @abstractmethod
    async def get(self, key: bytes) -> Entry | None: ...

    @abstractmethod
    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """In the order of `keys`, from one snapshot."""

    @abstractmethod
    async def walk(
        self, start: bytes, end: bytes, visit: Visitor, *, reverse: bool = False
    ) -> None:
        """Visit [start, end) in key order (or backwards) in one snapshot, until told to stop."""

    @abstractmethod
    async def walk_many(self, walks: Sequence[tuple[bytes, bytes, Visitor]]) -> None:
        """Several forward walks (start, end, visit), one after another, in one snapshot."""

    @abstractmethod
    async def commit(self, commit: Commit) -> int:
        """Carry out the commit and return its version once it is durable.

        Raises Conflict, EngineFull, EngineFailed.
        """

    @abstractmethod
    def watch(self, prefix: bytes) -> Watch: ...

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent."""

    async def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[Entry]:
        """At most `limit` entries of [start, end)."""
        found: list[Entry] = []

        def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
            found.append(Entry(key, bytes(value), version))
            return STOP if len(found) >= limit else None

        if limit > 0:
            await self.walk(start, end, visit, reverse=reverse)
        return found


def prefix_end(prefix: bytes) -> bytes:
    """The least key after every key that begins with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    assert stripped, "a prefix of 0xff only has no end"
    return stripped[:-1] + bytes([stripped[-1] + 1])
