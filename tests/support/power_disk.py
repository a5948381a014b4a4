"""A file system of which a power cut keeps what was synced, and of the rest any subset.

What the POSIX text promises and no more: a file's bytes are safe once it was synced, its name once
its directory was. Unsynced writes may be there or not, torn into sectors; so may names, new ones
and removed ones, and a file's new length without its bytes.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
ROOT = 0
"""The node of the directory that everything is in; it is taken for durable itself."""


class Write(NamedTuple):
    offset: int
    data: bytes


class Resize(NamedTuple):
    size: int


class Names(NamedTuple):
    """Names of a directory that change together: a node, or None for a name that goes."""

    changes: dict[str, int | None]


Change = Write | Resize | Names


class Changed(NamedTuple):
    """The node's change of this number, counted from 0. Not yet durable."""

    node: int
    number: int
    change: Change


class Synced(NamedTuple):
    """The node's changes with numbers from `first` to before `end` are durable."""

    node: int
    first: int
    end: int


class Said(NamedTuple):
    """A line that the recorded process wrote to its standard output."""

    line: str


Op = Changed | Synced | Said


class Node:
    """A file (or, where `Names` come, a directory) as it is for sure, and what may be of it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.names: dict[str, int] = {}
        self.pending: dict[int, Change] = {}

    def sync(self, first: int, end: int) -> None:
        for number in range(first, end):
            change = self.pending.pop(number, None)
            if isinstance(change, Names):
                _rename(self.names, change)
            elif change is not None:
                _change(self.data, change)


class Disk:
    """Plays recorded operations on what was there `before`."""

    def __init__(self, directories: Iterable[int], before: Mapping[int, Node]) -> None:
        self.nodes = copy.deepcopy(dict(before))
        self.said: list[str] = []
        self._directories = frozenset(directories)

    def play(self, op: Op) -> None:
        match op:
            case Changed(node, number, change):
                self._node(node).pending[number] = change
            case Synced(node, first, end):
                self._node(node).sync(first, end)
            case Said(line):
                self.said.append(line)

    def _node(self, number: int) -> Node:
        return self.nodes.setdefault(number, Node())

    def cut(self, dice: random.Random, directory: Path) -> None:
        """Write a state after a power cut now into the existing, empty `directory`."""
        shares = dice.choice((0.0, 0.0, 0.3, 0.7, 1.0)), dice.choice((0.0, 0.3, 0.7, 1.0))
        self._build(ROOT, directory, _Fate(dice, *shares), {})

    def all(self, directory: Path) -> None:
        """Write the state without any loss."""
        self._build(ROOT, directory, _Fate(random.Random(0), 1.0, 1.0, torn=0.0), {})

    def _build(self, number: int, at: Path, fate: _Fate, built: dict[int, Path]) -> None:
        node = self._node(number)
        for name, child in fate.names(node).items():
            path = at / name
            if child in self._directories:
                path.mkdir(0o700)
                self._build(child, path, fate, built)
            elif child in built:
                path.hardlink_to(built[child])
            else:
                built[child] = path
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(handle, fate.data(self._node(child)))
                os.close(handle)


class _Fate:
    """Decides what of the unsynced changes is there: `bytes` and `names` are the shares."""

    def __init__(
        self, dice: random.Random, names: float, data: float, *, torn: float = 0.4
    ) -> None:
        self._dice = dice
        self._names = names
        self._data = data
        self._torn = torn

    def names(self, node: Node) -> dict[str, int]:
        names = dict(node.names)
        for change in node.pending.values():
            if isinstance(change, Names) and self._dice.random() < self._names:
                _rename(names, change)
        return names

    def data(self, node: Node) -> bytearray:
        if not node.pending:
            return node.data
        dice, data, full = self._dice, bytearray(node.data), len(node.data)
        for change in node.pending.values():
            if isinstance(change, Write):
                full = max(full, change.offset + len(change.data))
            if dice.random() >= self._data:
                continue
            if isinstance(change, Write) and dice.random() < self._torn:
                for sector in _sectors(change):
                    if dice.random() < 0.5:
                        _change(data, sector)
            else:
                _change(data, change)
        if self._torn and dice.random() < 0.3:
            data.extend(bytes(max(0, full - len(data))))  # the length came, the bytes did not
        return data


def _sectors(write: Write) -> Iterator[Write]:
    """The write's parts in each sector of the device."""
    at, end = write.offset, write.offset + len(write.data)
    while at < end:
        after = min(end, (at // SECTOR + 1) * SECTOR)
        yield Write(at, write.data[at - write.offset : after - write.offset])
        at = after


def _change(data: bytearray, change: Change) -> None:
    if isinstance(change, Resize):
        del data[change.size :]
        data.extend(bytes(change.size - len(data)))
        return
    assert isinstance(change, Write)
    offset, new = change
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(new)] = new


def _rename(names: dict[str, int], change: Names) -> None:
    for name, node in change.changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def cuts(disk: Disk, ops: list[Op], points: list[int]) -> Iterator[tuple[int, Disk]]:
    """Each of the ascending points, with the disk after that many operations."""
    at = 0
    for point in points:
        while at < point:
            disk.play(ops[at])
            at += 1
        yield point, disk
