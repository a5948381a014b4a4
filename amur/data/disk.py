"""The few file operations that the data store stands on: the interface, and the real disk.

Everything that may be lost, torn, full or failing goes through here, so that `fake_disk` can lose,
tear, fill and fail it. All methods block and raise OSError.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from amur.data.framing import Buffer

_IOV_MAX = 1024  # buffers of one writev (Linux)
_PAGE_BYTES = 4096

# Starts writing without waiting, which no function of `os` does: the fdatasync at the end then
# finds nothing left, while an fdatasync from a second thread makes every write wait (measured).
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Space(NamedTuple):
    """Bytes that an unprivileged writer may still use, and bytes of the whole file system."""

    free: int
    total: int


class DiskFile(ABC):
    """An open file. Closed when nobody holds it any more, or by `close`."""

    @abstractmethod
    def append(self, parts: Sequence[Buffer]) -> None:
        """Write all parts at the end. After an error any prefix of them may be there."""

    @abstractmethod
    def sync(self) -> None:
        """The file's bytes and size (not its directory entry) are on stable storage on return."""

    @abstractmethod
    def begin_sync(self) -> None:
        """Have what was appended since the last call stored soon. A hint: promises nothing."""

    @abstractmethod
    def pread(self, length: int, offset: int) -> bytes:
        """At most `length` bytes: fewer only at the end of the file."""

    @abstractmethod
    def pread_cached(self, length: int, offset: int) -> Buffer | None:
        """As `pread`, or None when that would wait for the device."""

    @abstractmethod
    def forget(self, length: int, offset: int) -> None:
        """Drop the cached bytes, so that the next read sees the device (0 length: to the end)."""

    @abstractmethod
    def is_unlinked(self) -> bool: ...

    @abstractmethod
    def close(self) -> None: ...


class Disk(ABC):
    """Paths are made by the data store alone, of hexadecimal names."""

    @abstractmethod
    def create(self, path: str) -> DiskFile:
        """A new file to append to, held (see `is_held`) until it is closed."""

    @abstractmethod
    def open(self, path: str) -> DiskFile:
        """An existing file to read."""

    @abstractmethod
    def is_held(self, path: str) -> bool:
        """Whether a living process (this one too) has created the file and not closed it."""

    @abstractmethod
    def unlink_unless_held(self, path: str) -> None:
        """Remove the file, unless `is_held`, in one step."""

    @abstractmethod
    def make_directory(self, path: str) -> None:
        """With its parents; an existing one is fine."""

    @abstractmethod
    def sync_directory(self, path: str) -> None:
        """Names created in the directory are on stable storage on return."""

    @abstractmethod
    def names(self, path: str) -> list[str]:
        """Names in a directory, in any order."""

    @abstractmethod
    def size(self, path: str) -> int: ...

    @abstractmethod
    def unlink(self, path: str) -> None:
        """Remove a file; a missing one is fine."""

    @abstractmethod
    def space(self, path: str) -> Space: ...


class RealFile(DiskFile):
    """A file descriptor."""

    __slots__ = ("_begun", "_fd", "_size")

    _can_peek = True

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = 0  # appended by us: a file is created by who appends to it
        self._begun = 0  # of these, told to the kernel

    def fileno(self) -> int:
        return self._fd

    def append(self, parts: Sequence[Buffer]) -> None:
        for begin in range(0, len(parts), _IOV_MAX):
            some = list(parts[begin : begin + _IOV_MAX])
            length = sum(map(len, some))
            self._size += length
            left = length - os.writev(self._fd, some)
            if left:
                self._append_rest(memoryview(b"".join(some))[-left:])

    def _append_rest(self, rest: memoryview) -> None:
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def begin_sync(self) -> None:
        end = self._size & -_PAGE_BYTES
        if _sync_file_range is not None and end > self._begun:
            _sync_file_range(self._fd, self._begun, end - self._begun, _SYNC_FILE_RANGE_WRITE)
            self._begun = end

    def pread(self, length: int, offset: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def pread_cached(self, length: int, offset: int) -> Buffer | None:
        if not RealFile._can_peek:
            return self.pread(length, offset)
        data = bytearray(length)
        try:
            count = os.preadv(self._fd, (data,), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            RealFile._can_peek = False
            return self.pread(length, offset)
        return data if count == length else None

    def forget(self, length: int, offset: int) -> None:
        os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def is_unlinked(self) -> bool:
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class RealDisk(Disk):
    """The machine's file system."""

    def create(self, path: str) -> DiskFile:
        while True:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR, 0o600)
            file = RealFile(fd)
            # A prober may hold the lock for an instant, and may have removed the file meanwhile.
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not file.is_unlinked():
                return file

    def open(self, path: str) -> DiskFile:
        return RealFile(os.open(path, os.O_RDONLY))

    def is_held(self, path: str) -> bool:
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def unlink_unless_held(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            file = RealFile(os.open(path, os.O_RDONLY))
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)

    def make_directory(self, path: str) -> None:
        os.makedirs(path, 0o700, exist_ok=True)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def names(self, path: str) -> list[str]:
        return os.listdir(path)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def unlink(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def space(self, path: str) -> Space:
        status = os.statvfs(path)
        return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
