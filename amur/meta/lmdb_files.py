"""Opening, identifying and copying the files of the LMDB engine.

The unnamed table holds two records of ours: the format, and the state that every commit renews
(last version, next node number, the transaction's own number: a root that an older commit left
behind does not pass for the current one).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from typing import NamedTuple

import lmdb

from amur.directories import make_durable, sync
from amur.meta.engine import (
    EngineDamaged,
    EngineError,
    EngineFailed,
    EngineFull,
    EngineRefused,
)
from amur.meta.lmdb_keyspace import Keyspace, Txn
from amur.meta.sealing import sealed, unsealed

FORMAT = 1
READERS_MAX = 1024  # read transactions at once, of all processes; 64 bytes each
_DATA = "data.mdb"
_DRAFT = "new-"
_MAGIC = b"amur-meta"
_FORMAT_KEY = b"amur-format"
_STATE_KEY = b"amur-state"
_STATE = Struct(">QQQ")
_COPY_TXN = 1  # LMDB numbers the one transaction of a compacted copy so
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class State(NamedTuple):
    """What the last commit left for the next, whichever process makes it."""

    version: int
    next_node: int
    txn: int


class Files(NamedTuple):
    env: lmdb.Environment
    main: lmdb._Database
    keyspace: Keyspace


def open_files(path: str, map_bytes: int) -> Files:
    """Open or create the environment in the directory `path`.

    Raises EngineRefused, EngineFailed (damaged), EngineFull.
    """
    try:
        make_durable(Path(path))
        if not os.path.exists(os.path.join(path, _DATA)):
            _create(path, map_bytes)
        # Whether or not we made them: who did may have been cut off before this.
        sync(Path(path))
        env = _open(path, map_bytes)
    except (lmdb.VersionMismatchError, lmdb.InvalidError) as error:
        raise EngineRefused(f"{path}: this is not Amur's metadata ({error})") from error
    except (lmdb.Error, OSError) as error:
        raise _refused(path, error) from error
    try:
        env.reader_check()
        main = env.open_db()
        with env.begin(main, buffers=True) as txn:
            _identify(path, txn)
            read_state(txn, main)
        return Files(env, main, Keyspace(env, None, create=False))
    except lmdb.Error as error:
        env.close()
        raise translated(error) from error
    except EngineDamaged as error:
        env.close()
        raise EngineFailed(f"{path}: {error}") from error
    except BaseException:
        env.close()
        raise


def _open(path: str, map_bytes: int) -> lmdb.Environment:
    return lmdb.open(
        path,
        map_size=map_bytes,
        max_dbs=4,
        max_readers=READERS_MAX,
        max_spare_txns=1,
        mode=0o600,
        readahead=False,
        lib_version=0,
    )


def _create(path: str, map_bytes: int) -> None:
    """Make the files whole or not at all, whatever stops us, or competes with us, on the way.

    LMDB alone would leave torn first pages after a power cut, and a directory entry unsynced.
    """
    with TemporaryDirectory(dir=path, prefix=_DRAFT, ignore_cleanup_errors=True) as draft:
        env = _open(draft, map_bytes)
        with env.begin(write=True, buffers=True) as txn:
            Keyspace(env, txn, create=True)
            txn.put(_FORMAT_KEY, sealed(_FORMAT_KEY, 0, _MAGIC + bytes([FORMAT])))
            txn.put(_STATE_KEY, sealed(_STATE_KEY, 0, _STATE.pack(0, 1, txn.id())))
        env.close()
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # another was faster
            os.link(os.path.join(draft, _DATA), os.path.join(path, _DATA))
    for stale in Path(path).glob(_DRAFT + "*"):
        shutil.rmtree(stale, ignore_errors=True)


def _refused(path: str, error: Exception) -> EngineError:
    """What to tell about an environment that did not open."""
    code = getattr(error, "code", None) or getattr(error, "errno", None)
    if code in _NO_ROOM:
        return EngineFull(f"{path}: no space left on the device")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EngineRefused(f"{path}: no permission to write here; check owner and mode")
    if code in (errno.ENOTDIR, errno.EEXIST):
        return EngineRefused(f"{path}: not a directory; choose another data directory")
    return EngineRefused(f"{path}: metadata can't be opened: {error}")


def _identify(path: str, txn: Txn) -> None:
    """Refuse an environment that isn't ours, or is newer."""
    stored = txn.get(_FORMAT_KEY)
    if stored is None:
        raise EngineRefused(f"{path}: these files belong to another program")
    payload = unsealed(_FORMAT_KEY, stored)
    if payload[:-1] != _MAGIC:
        raise EngineRefused(f"{path}: these files belong to another program")
    if payload[-1] > FORMAT:
        raise EngineRefused(
            f"{path}: written by a newer Amur (format {payload[-1]}, this one reads up to"
            f" {FORMAT}); upgrade Amur"
        )


def read_state(txn: Txn, main: lmdb._Database) -> State:
    """The state that the last commit left, proven to be that of the last transaction.

    Raises EngineFailed: without it nothing can be committed.
    """
    stored = txn.get(_STATE_KEY, None, main)
    if stored is None:
        raise EngineFailed("the metadata's state record is missing")
    try:
        state = State(*_STATE.unpack(unsealed(_STATE_KEY, stored)))
    except EngineDamaged as error:
        raise EngineFailed("the metadata's state record is damaged") from error
    # A write transaction's number is one ahead of what it stands on.
    if txn.id() - state.txn not in (0, 1) and txn.id() > _COPY_TXN + 1:
        raise EngineFailed("the metadata's root is not that of its last commit")
    return state


def write_state(txn: Txn, main: lmdb._Database, version: int, next_node: int) -> None:
    packed = _STATE.pack(version, next_node, txn.id())
    txn.put(_STATE_KEY, sealed(_STATE_KEY, version, packed), db=main)


def translated(error: lmdb.Error) -> EngineError:
    """What an error of LMDB means to a caller of the engine."""
    if isinstance(error, lmdb.MapFullError) or getattr(error, "code", 0) in _NO_ROOM:
        return EngineFull(f"no room for the commit: {error}")
    return EngineFailed(f"metadata engine failed: {error}")


def copy_to(env: lmdb.Environment, path: str) -> None:
    """Write a compacted, consistent copy to the new directory `path`, durable when it returns.

    Raises FileExistsError, OSError, lmdb.Error; nothing is left at `path` then.
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    partial = target.with_name(target.name + ".partial")
    data = partial / _DATA
    partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        data.unlink(missing_ok=True)
        env.copy(str(partial), compact=True)
        for place in (data, partial):
            _fsync(place)
        partial.rename(target)
        _fsync(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            data.unlink(missing_ok=True)
            partial.rmdir()
        raise


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
