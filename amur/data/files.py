"""The directory of a local data store: names, writers alive or dead, open files, room, failure.

    path/instances/<16 hex>      held as long as the writing process lives
    path/<2 hex>/<32 hex>        a pack or block file, held while it is appended to

A file's id is the 8 random bytes of the process that wrote it and a counter of 8 bytes, whose
last byte is the directory. So several processes share a directory without a word: each appends to
its own files only, and whether a writer lives, or a file is still appended to, is asked of the
locks, which the kernel drops with the process.
"""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator

from amur.data.disk import Disk, DiskFile
from amur.data.store import DataError, DataFailed, DataFull, DataMissing, FileInfo
from amur.limits import DISK_RESERVE_BYTES, DISK_RESERVE_FRACTION

OPEN_FILES_MAX = 128
"""Files kept open for reading, in each process: an eighth of the usual limit of 1,024."""

SPACE_SECONDS = 1.0
"""How long an answer of the file system about its free bytes is believed."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)


class Files:
    """Shared by all that read and write in one process; its methods may be called in threads."""

    def __init__(self, disk: Disk, path: str) -> None:
        self.disk = disk
        self.failed: DataFailed | None = None
        self._path = path
        self._counter = itertools.count(1)
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, DiskFile] = OrderedDict()
        self._space_at = float("-inf")
        self._free = self._reserve = 0
        self._lay_out()
        self.instance = os.urandom(8)
        self._alive = disk.create(self._instance_path(self.instance))

    def _lay_out(self) -> None:
        instances = posixpath.join(self._path, "instances")
        self.disk.make_directory(instances)
        present = set(self.disk.names(self._path))
        for name in (f"{number:02x}" for number in range(256)):
            if name not in present:
                self.disk.make_directory(posixpath.join(self._path, name))
        # Whether or not we made them: who did may have been cut off before this.
        self.disk.sync_directory(self._path)
        self.disk.sync_directory(posixpath.dirname(self._path) or ".")
        for name in self.disk.names(instances):
            self.disk.unlink_unless_held(posixpath.join(instances, name))

    def _instance_path(self, instance: bytes) -> str:
        return f"{self._path}/instances/{instance.hex()}"

    def directory_of(self, file_id: bytes) -> str:
        return f"{self._path}/{file_id[15]:02x}"

    def path_of(self, file_id: bytes) -> str:
        return f"{self._path}/{file_id[15]:02x}/{file_id.hex()}"

    # --- writing ---
    def create(self) -> tuple[bytes, DiskFile]:
        """A new file of ours; the caller syncs it, then its directory."""
        file_id = self.instance + next(self._counter).to_bytes(8, "big")
        return file_id, self.disk.create(self.path_of(file_id))

    def refusal(self, error: OSError) -> DataError:
        """What a failed write means: no room, or the end of all writing by this process."""
        if error.errno in _FULL:
            self._free, self._space_at = 0, time.monotonic()
            return DataFull(str(error))
        if error.errno in _TOO_MANY:  # only on creation: nothing was written
            return DataError(str(error))
        return self.failure(error)

    def failure(self, error: BaseException) -> DataFailed:
        """Trust nothing from now on: what the kernel could not write it may have dropped."""
        if self.failed is None:
            self.failed = DataFailed(f"{type(error).__name__}: {error}")
        return DataFailed(*self.failed.args)

    def admit(self, length: int, *, from_reserve: bool = False) -> None:
        """Raise DataFull or DataFailed unless `length` bytes may be written.

        What frees more than it takes may use the reserve: else a full disk would stay full.
        """
        if self.failed is not None:
            raise DataFailed(*self.failed.args)
        self.free_bytes()
        if self._free + (self._reserve if from_reserve else 0) < length:
            raise DataFull("the disk has no more free than its reserve")
        self._free -= length

    def free_bytes(self) -> int:
        now = time.monotonic()
        if now - self._space_at > SPACE_SECONDS:
            self._space_at = now
            space = self.disk.space(self._path)
            self._reserve = min(DISK_RESERVE_BYTES, int(space.total * DISK_RESERVE_FRACTION))
            self._free = space.free - self._reserve
            self._drop_unlinked()
        return max(0, self._free)

    # --- reading ---
    def open(self, file_id: bytes) -> DiskFile:
        """The file, open for reading; it stays so while the caller holds it."""
        with self._lock:
            file = self._open.get(file_id)
            if file is not None:
                self._open.move_to_end(file_id)
                return file
        try:
            file = self._open_anew(file_id)
        except FileNotFoundError as error:
            raise DataMissing(f"file {file_id.hex()} is not there") from error
        except OSError as error:
            raise DataError(str(error)) from error
        with self._lock:
            self._open[file_id] = file
            if len(self._open) > OPEN_FILES_MAX:
                self._open.popitem(last=False)
        return file

    def _open_anew(self, file_id: bytes) -> DiskFile:
        path = self.path_of(file_id)
        try:
            return self.disk.open(path)
        except OSError as error:
            if error.errno not in _TOO_MANY:
                raise
        with self._lock:
            self._open.clear()
        return self.disk.open(path)

    def _drop_unlinked(self) -> None:
        """Let go of what another process removed: an open file keeps its bytes on the disk."""
        with self._lock:
            gone = [file_id for file_id, file in self._open.items() if file.is_unlinked()]
            for file_id in gone:
                del self._open[file_id]

    def unlink(self, file_id: bytes) -> None:
        with self._lock:
            self._open.pop(file_id, None)
        self.disk.unlink(self.path_of(file_id))

    # --- sweeping ---
    def infos(self) -> Iterator[FileInfo]:
        """Every file; one that goes or comes meanwhile may be missed.

        A writer is asked for its life only after its file was seen, so a file reported without
        a live writer has got its last byte, and its last reference, before it was listed.
        """
        alive: dict[bytes, bool] = {}
        for number in range(256):
            for name in self.disk.names(f"{self._path}/{number:02x}"):
                file_id = _parse(name)
                if file_id is None:
                    continue
                instance = file_id[:8]
                if instance not in alive:
                    alive[instance] = self._is_alive(instance)
                path = self.path_of(file_id)
                try:
                    size = self.disk.size(path)
                except FileNotFoundError:
                    continue
                # Created, held, written, let go: an empty file of a living writer may be between.
                live = alive[instance]
                sealed = not live or (size > 0 and not self.disk.is_held(path))
                yield FileInfo(file_id, size, live, sealed)

    def _is_alive(self, instance: bytes) -> bool:
        return instance == self.instance or self.disk.is_held(self._instance_path(instance))

    def close(self) -> None:
        with self._lock:
            self._open.clear()
        self._alive.close()
        self.disk.unlink(self._instance_path(self.instance))


def _parse(name: str) -> bytes | None:
    """The id in a file's name, or None for what is not ours."""
    try:
        file_id = bytes.fromhex(name)
    except ValueError:
        return None
    return file_id if len(file_id) == 16 and file_id.hex() == name else None
