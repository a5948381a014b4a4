"""Names of files in a bucket: what `amur/data/files.py` has on a disk.

    <2 hex>/<32 hex>      a pack or block file; the id's last byte, then the id
    amur-store.json       whose bucket (or prefix) this is

The same names and the same bytes as under `data/` of a data directory.
"""

from __future__ import annotations

import itertools
import os


class FileNames:
    """New ids of one process: 8 random bytes and a counter, as on a disk."""

    def __init__(self) -> None:
        self._instance = os.urandom(8)
        self._counter = itertools.count(1)

    def new(self) -> bytes:
        return self._instance + next(self._counter).to_bytes(8, "big")


def path_of(file_id: bytes) -> str:
    return f"{file_id[15]:02x}/{file_id.hex()}"


def id_of(path: str) -> bytes | None:
    """The id in a path, or None for what is not ours."""
    try:
        file_id = bytes.fromhex(path.rpartition("/")[2])
    except ValueError:
        return None
    return file_id if len(file_id) == 16 and path_of(file_id) == path else None
