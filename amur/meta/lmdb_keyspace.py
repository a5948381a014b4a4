"""Keys of any length in order, on LMDB, whose own keys stop at 511 bytes.

A key of at most `CHUNK` bytes is stored as it is. A longer one hangs in a trie: under its first
`CHUNK` bytes plus the byte `MORE` (a length that no other stored key has, so it sorts right behind
those bytes themselves and before all else) stands a pointer to a node; the entries of a node are
stored in a second table under the node's number (8 bytes) and the next chunk, and so on.

    table "keys":   key                      -> value
                    chunk MORE               -> node
    table "tails":  node rest                -> value
                    node chunk MORE          -> node

Order, seeks and range ends therefore stay exactly those of the whole keys. Nodes are numbered
from a counter, never reused, and removed with their last entry.

LMDB checks nothing that it reads. Values are sealed (sealing.py); that a key is *absent* is
believed only when both neighbours of its place are whole and on the right side of it: a flipped
bit in a key, or in a separator above it, shows there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import lmdb
from awscrt.checksums import crc64nvme

from amur.meta.engine import STOP, EngineDamaged, Visitor
from amur.meta.sealing import RESIDUE, damaged, misplaced, sealed, unsealed, version_of

CHUNK = 500
"""Bytes: with a node number and MORE this fits into 511."""

MORE = b"\x01"
_BEHIND_MORE = b"\x02"
NODE_BYTES = 8

Txn: TypeAlias = "lmdb.Transaction[Any]"
"""Made with or without buffers=True: values are memoryviews or bytes (a walk needs the former)."""


class Keyspace:
    """The two tables of one environment. Every method works inside the given transaction."""

    def __init__(self, env: lmdb.Environment, txn: Txn | None, create: bool) -> None:
        self.keys = env.open_db(b"keys", txn, create=create)
        self.tails = env.open_db(b"tails", txn, create=create)

    def find(self, txn: Txn, key: bytes) -> Any:
        """The stored value, checked."""
        physical, db = (key, self.keys) if len(key) <= CHUNK else self._locate(txn, key)
        stored = txn.get(physical, None, db)
        if stored is not None and crc64nvme(stored, crc64nvme(physical)) != RESIDUE:
            raise damaged(key)
        return stored

    def _locate(self, txn: Txn, key: bytes) -> tuple[bytes, lmdb._Database]:
        """Where a long key would stand: its own place, or that of the first missing pointer."""
        base, db = b"", self.keys
        while len(key) > CHUNK:
            pointer = base + key[:CHUNK] + MORE
            stored = txn.get(pointer, None, db)
            if stored is None:
                return pointer, db
            base, db, key = unsealed(pointer, stored), self.tails, key[CHUNK:]
        return base + key, db

    def prove_absent(self, txn: Txn, key: bytes) -> None:
        """Raise EngineDamaged unless the entries around the key's place vouch for its absence."""
        physical, db = (key, self.keys) if len(key) <= CHUNK else self._locate(txn, key)
        cursor = txn.cursor(db)
        if cursor.set_range(physical):
            after = bytes(cursor.key())
            _check_neighbour(after, cursor.value(), key)
            if after <= physical:
                raise misplaced(key)
            has_before = cursor.prev()
        else:
            has_before = cursor.last()
        if has_before:
            before = bytes(cursor.key())
            _check_neighbour(before, cursor.value(), key)
            if before >= physical:
                raise misplaced(key)

    def place(
        self, txn: Txn, key: bytes, new_node: Callable[[], bytes]
    ) -> tuple[bytes, lmdb._Database]:
        """Where a long key is to be stored; missing nodes are made."""
        base, db = b"", self.keys
        while len(key) > CHUNK:
            pointer = base + key[:CHUNK] + MORE
            stored = txn.get(pointer, None, db)
            if stored is None:
                base = new_node()
                txn.put(pointer, sealed(pointer, 0, base), db=db)
            else:
                base = unsealed(pointer, stored)
            db, key = self.tails, key[CHUNK:]
        return base + key, db

    def delete_long(self, txn: Txn, key: bytes) -> None:
        """Delete a key of more than CHUNK bytes, and the nodes that this leaves empty."""
        base, db = b"", self.keys
        pointers: list[tuple[bytes, lmdb._Database]] = []
        while len(key) > CHUNK:
            pointer = base + key[:CHUNK] + MORE
            stored = txn.get(pointer, None, db)
            if stored is None:
                return
            pointers.append((pointer, db))
            base, db, key = unsealed(pointer, stored), self.tails, key[CHUNK:]
        txn.delete(base + key, db=db)
        while pointers:
            cursor = txn.cursor(self.tails)
            if cursor.set_range(base) and bytes(cursor.key()).startswith(base):
                return
            pointer, db = pointers.pop()
            txn.delete(pointer, db=db)
            base = pointer[:NODE_BYTES]

    def walk(self, txn: Txn, start: bytes, end: bytes, visit: Visitor) -> None:
        """Visit [start, end) forward, as `Engine.walk` says."""
        self._forward(txn, b"", b"", start, end, visit)

    def walk_back(self, txn: Txn, start: bytes, end: bytes, visit: Visitor) -> None:
        """Visit [start, end) backward, as `Engine.walk` says."""
        if end > start:
            self._backward(txn, b"", b"", start, end, visit)

    def _forward(
        self,
        txn: Txn,
        base: bytes,
        prefix: bytes,
        start: bytes,
        end: bytes,
        visit: Visitor,
    ) -> bytes | None:
        """Visit the part of a node (number `base`, every key begins with `prefix`).

        Answers None when its entries are used up, STOP, or a key behind the node to seek to.
        """
        cursor = txn.cursor(self.tails if base else self.keys)
        skip = len(base)
        while True:
            floor = _floor(base, prefix, start)
            # Begin one entry early: the seek is right when the floor lies behind that one.
            cursor.prev() if cursor.set_range(floor) else cursor.last()
            last = b""
            for view, stored in cursor.iternext():
                physical = bytes(view)
                if crc64nvme(stored, crc64nvme(physical)) != RESIDUE:
                    raise _damage(base, prefix, physical)
                if physical <= last or (last and physical < floor):
                    raise misplaced(prefix + physical[skip:])
                if physical < floor:
                    last = physical
                    continue
                last = physical
                if skip and not physical.startswith(base):
                    return None
                if len(physical) - skip > CHUNK:
                    key = prefix + physical[skip:-1]
                    if key >= end:
                        return STOP
                    node = bytes(stored[8:-8])
                    answer = self._forward(txn, node, key, start, end, visit)
                else:
                    key = prefix + physical[skip:] if skip else physical
                    if key >= end:
                        return STOP
                    answer = visit(key, stored[8:-8], version_of(stored)[0])
                if answer is None:
                    continue
                if answer == STOP:
                    return STOP
                assert answer > key, "a forward walk only seeks forward"
                start = answer
                break
            else:
                return None
            if not start.startswith(prefix):
                return start

    def _backward(
        self,
        txn: Txn,
        base: bytes,
        prefix: bytes,
        start: bytes,
        end: bytes,
        visit: Visitor,
    ) -> bytes | None:
        """The mirror of `_forward`; a key answered lies before the node."""
        cursor = txn.cursor(self.tails if base else self.keys)
        skip = len(base)
        while True:
            ceiling = _ceiling(base, prefix, end)
            cursor.set_range(ceiling)  # nothing there: iterprev() begins with the last entry
            last = b""
            for view, stored in cursor.iterprev():
                physical = bytes(view)
                if crc64nvme(stored, crc64nvme(physical)) != RESIDUE:
                    raise _damage(base, prefix, physical)
                if last and (physical >= last or physical >= ceiling):
                    raise misplaced(prefix + physical[skip:])
                if physical >= ceiling:
                    last = physical
                    continue
                last = physical
                if skip and not physical.startswith(base):
                    return None
                if len(physical) - skip > CHUNK:
                    key = prefix + physical[skip:-1]
                    if key < start and not start.startswith(key):
                        return STOP
                    node = bytes(stored[8:-8])
                    answer = self._backward(txn, node, key, start, end, visit)
                else:
                    key = prefix + physical[skip:] if skip else physical
                    if key < start:
                        return STOP
                    answer = visit(key, stored[8:-8], version_of(stored)[0])
                    assert not answer or answer <= key, "a backward walk only seeks backward"
                if answer is None:
                    continue
                if answer == STOP:
                    return STOP
                end = answer
                break
            else:
                return None
            if end <= prefix:
                return end


def _damage(base: bytes, prefix: bytes, physical: bytes) -> EngineDamaged:
    """The error for a damaged entry that was met while walking a node."""
    if len(physical) - len(base) > CHUNK or not physical.startswith(base):
        return misplaced(prefix + physical[len(base) :])
    return damaged(prefix + physical[len(base) :])


def _check_neighbour(physical: bytes, stored: Any, key: bytes) -> None:
    """Check an entry beside the place of the absent `key`."""
    if crc64nvme(stored, crc64nvme(physical)) != RESIDUE:
        is_itself = len(key) <= CHUNK and len(physical) <= CHUNK
        raise damaged(physical) if is_itself else misplaced(key)


def _floor(base: bytes, prefix: bytes, start: bytes) -> bytes:
    """The least place in a node that may hold, or lead to, a key not before `start`."""
    if start <= prefix:
        return base or b"\x00"
    rest = start[len(prefix) :]
    return base + (rest if len(rest) <= CHUNK else rest[:CHUNK] + MORE)


def _ceiling(base: bytes, prefix: bytes, end: bytes) -> bytes:
    """The least place in a node behind all that holds, or leads to, a key before `end`."""
    if not end.startswith(prefix):
        return (int.from_bytes(base, "big") + 1).to_bytes(NODE_BYTES, "big")
    rest = end[len(prefix) :]
    return base + (rest if len(rest) <= CHUNK else rest[:CHUNK] + _BEHIND_MORE)
