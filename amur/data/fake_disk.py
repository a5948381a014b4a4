"""A disk in memory that can lose power, fill up and fail. Deterministic from its seed.

What a real disk promises and no more: bytes are safe after `sync`, names after `sync_directory`.
Everything else may at power loss be there, be lost, or be there in parts of 512 bytes, in any
order. After a failed `sync` the bytes concerned stay in doubt whatever later syncs say, as on
Linux. Every operation counts; `faults` and `cut_at` name operations by their count.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from amur.data.disk import Disk, DiskFile, Space
from amur.data.framing import Buffer

SECTOR_BYTES = 512


class PowerLost(OSError):
    """The operation that the power cut, and all after it."""


class _Node:
    """A file: what a reader sees, what is safe, and what is on its way."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.durable = bytes(content)
        self.pending: list[tuple[int, bytes]] = []
        self.doubtful: list[tuple[int, bytes]] = []
        self.held = False
        self.links = 1

    def survivor(self, rng: random.Random) -> _Node:
        """What is left of the file after power loss."""
        data = bytearray(self.durable)
        for offset, written in sorted(self.doubtful + self.pending, key=lambda _: rng.random()):
            kept = rng.choice((0.0, 0.5, 1.0))
            at = 0
            while at < len(written):
                cut = min(len(written), at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES)
                if rng.random() < kept:
                    data.extend(bytes(max(0, offset + cut - len(data))))
                    data[offset + at : offset + cut] = written[at:cut]
                at = cut
        if rng.random() < 0.3:  # the size arrived before the bytes
            data.extend(bytes(max(0, rng.randint(0, len(self.content)) - len(data))))
        return _Node(bytes(data))


class FakeFile(DiskFile):
    def __init__(self, disk: FakeDisk, node: _Node, *, holds: bool) -> None:
        self._disk = disk
        self._node = node
        self._holds = holds
        self._open = True
        disk.open_files += 1

    def append(self, parts: Sequence[Buffer]) -> None:
        self._disk.append(self._node, b"".join(parts))

    def sync(self) -> None:
        self._disk.sync(self._node)

    def begin_sync(self) -> None:
        pass

    def pread(self, length: int, offset: int) -> bytes:
        with self._disk.step():
            return bytes(self._node.content[offset : offset + length])

    def pread_cached(self, length: int, offset: int) -> Buffer | None:
        if self._disk.rng.random() < 0.3:
            return None
        data = self.pread(length, offset)
        return data if len(data) == length else None

    def forget(self, length: int, offset: int) -> None:
        pass

    def is_unlinked(self) -> bool:
        return self._node.links == 0

    def close(self) -> None:
        if self._open:
            self._open = False
            self._disk.open_files -= 1
            if self._holds:
                self._node.held = False

    def __del__(self) -> None:
        self.close()


class FakeDisk(Disk):
    """See the module. `faults` maps an operation's count to the errno that it fails with."""

    def __init__(self, seed: int = 0, *, capacity: int = 1 << 40) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - simulation
        self.capacity = capacity
        self.operations = 0
        self.faults: dict[int, int] = {}
        self.cut_at: int | None = None
        self.open_files = 0
        self._lock = threading.RLock()
        self._files: dict[str, _Node] = {}
        self._safe_files: dict[str, _Node] = {}
        self._directories: dict[str, dict[str, None]] = {"/": {}}  # to the names inside
        self._safe_directories: set[str] = {"/"}
        self._name_changes: list[tuple[str, _Node | None]] = []

    # --- faults ---
    def step(self) -> AbstractContextManager[object]:
        """Count an operation, fail it if its turn has come; hold the answer while it works."""
        self._count()
        return self._lock

    def _count(self) -> None:
        with self._lock:
            self.operations += 1
            if self.cut_at is not None and self.operations >= self.cut_at:
                raise PowerLost(errno.EIO, "power lost")
            number = self.faults.get(self.operations)
        if number is not None:
            raise OSError(number, os.strerror(number))

    def after_power_loss(self, seed: int) -> FakeDisk:
        """A new disk with what survived; nobody holds anything on it."""
        rng = random.Random(seed)  # noqa: S311 - simulation
        after = FakeDisk(seed, capacity=self.capacity)
        for directory in self._directories:  # parents come first
            parent = posixpath.dirname(directory)
            safe = directory in self._safe_directories
            if parent in after._directories and (safe or rng.random() < 0.5):
                after._add_directory(directory)
        names = dict(self._safe_files)
        for path, node in self._name_changes:
            if rng.random() < 0.5:
                if node is None:
                    names.pop(path, None)
                else:
                    names[path] = node
        for path, node in sorted(names.items()):
            if posixpath.dirname(path) in after._directories:
                after._add_file(path, node.survivor(rng))
        after._safe_files = dict(after._files)
        after._safe_directories = set(after._directories)
        return after

    # --- files ---
    def append(self, node: _Node, data: bytes) -> None:
        try:
            self._count()
        except OSError:  # a failing write may have written a part
            self._write(node, data[: self.rng.randint(0, len(data))])
            raise
        with self._lock:
            room = self.space("/").free
            self._write(node, data[:room])
            if room < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write(self, node: _Node, data: bytes) -> None:
        with self._lock:
            if data:
                node.pending.append((len(node.content), data))
                node.content += data

    def sync(self, node: _Node) -> None:
        try:
            self._count()
        except PowerLost:
            raise
        except OSError:
            node.doubtful += node.pending
            node.pending = []
            raise
        with self._lock:
            durable = bytearray(node.durable)
            for offset, data in node.pending:
                durable.extend(bytes(max(0, offset + len(data) - len(durable))))
                durable[offset : offset + len(data)] = data
            node.durable, node.pending = bytes(durable), []

    def create(self, path: str) -> DiskFile:
        with self.step():
            self._existing(posixpath.dirname(path), self._directories)
            if path in self._files:
                raise FileExistsError(errno.EEXIST, "exists", path)
            node = _Node()
            node.held = True
            self._add_file(path, node)
            self._name_changes.append((path, node))
            return FakeFile(self, node, holds=True)

    def open(self, path: str) -> DiskFile:
        with self.step():
            return FakeFile(self, self._node(path), holds=False)

    def is_held(self, path: str) -> bool:
        node = self._files.get(path)
        return node is not None and node.held

    def size(self, path: str) -> int:
        with self.step():
            return len(self._node(path).content)

    def unlink(self, path: str) -> None:
        with self.step():
            node = self._files.pop(path, None)
            if node is not None:
                node.links = 0
                del self._directories[posixpath.dirname(path)][posixpath.basename(path)]
                self._name_changes.append((path, None))

    def unlink_unless_held(self, path: str) -> None:
        if not self.is_held(path):
            self.unlink(path)

    # --- directories ---
    def make_directory(self, path: str) -> None:
        with self.step():
            self._add_directory(path)

    def sync_directory(self, path: str) -> None:
        with self.step():
            self._existing(path, self._directories)
            for name in self._directories[path]:
                inside = posixpath.join(path, name)
                if inside in self._directories:
                    self._safe_directories.add(inside)
            waiting, self._name_changes = self._name_changes, []
            for name, node in waiting:
                if posixpath.dirname(name) != path:
                    self._name_changes.append((name, node))
                elif node is None:
                    self._safe_files.pop(name, None)
                else:
                    self._safe_files[name] = node

    def names(self, path: str) -> list[str]:
        with self.step():
            self._existing(path, self._directories)
            return list(self._directories[path])

    def space(self, path: str) -> Space:
        used = sum(len(node.content) for node in self._files.values())
        return Space(max(0, self.capacity - used), self.capacity)

    def _add_directory(self, path: str) -> None:
        if path not in self._directories:
            parent = posixpath.dirname(path)
            self._add_directory(parent)
            self._directories[path] = {}
            self._directories[parent][posixpath.basename(path)] = None

    def _add_file(self, path: str, node: _Node) -> None:
        self._files[path] = node
        self._directories[posixpath.dirname(path)][posixpath.basename(path)] = None

    # --- for tests ---
    def contents(self, path: str) -> bytearray:
        """The bytes of a file as a reader sees them, to be damaged at will."""
        return self._node(path).content

    def paths(self) -> list[str]:
        return sorted(self._files)

    def _node(self, path: str) -> _Node:
        self._existing(path, self._files)
        return self._files[path]

    def _existing(self, path: str, where: Mapping[str, object]) -> None:
        if path not in where:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
