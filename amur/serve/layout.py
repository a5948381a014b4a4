"""The data directory: who may use it, what is in it, whose it is.

DIR/amur.json       format and region, written once
DIR/root-key.json   root access key, mode 0600
DIR/meta/           metadata engine
DIR/data/           packs and blocks
DIR/run/            lock, access log, metrics: nothing that is missed when lost
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import string
import time
from pathlib import Path
from typing import Any, NamedTuple

from amur.directories import make_durable, sync

FORMAT = 1
"""Of the directory as a whole. Records carry their own format number besides."""

_LOCK_WAIT_SECONDS = 2.0  # the workers of a killed server need a moment to go
_ALPHABET = string.ascii_letters + string.digits
_ID_CHARS, _SECRET_CHARS = 24, 48


class Refusal(Exception):
    """Something a person can put right. The message is one line and says what to do."""


class RootKey(NamedTuple):
    id: str
    secret: str
    path: Path | None  # where it is kept; None when it came from the settings
    is_new: bool = False


class Layout:
    """Paths of a data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.meta = root / "meta"
        self.data = root / "data"
        self.run = root / "run"
        self.metrics = self.run / "metrics"
        self.access_log = self.run / "access.log"
        self.identity = root / "amur.json"
        self.root_key = root / "root-key.json"

    def create(self) -> None:
        """Make what is missing. Raises Refusal."""
        try:
            self._refuse_halves()
            make_durable(self.root)
            for directory in (self.meta, self.data, self.run, self.metrics):
                directory.mkdir(mode=0o700, exist_ok=True)
            probe = self.run / f"probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise Refusal(
                f"can't write to the data directory {self.root}: {error.strerror}; "
                "make it writable for this user or name another one"
            ) from None

    def _refuse_halves(self) -> None:
        """Metadata and data belong together: served without the one, the other would be swept
        away as unused, or every read would fail. (A disk that is not mounted looks like this.)"""
        if self.root.exists() and not self.root.is_dir():
            raise Refusal(f"{self.root} is a file; name a directory")
        metadata = self.meta / "data.mdb"
        has_data = self.data.is_dir() and any(
            place.name != "instances" and any(place.iterdir()) for place in self.data.iterdir()
        )
        if has_data and not metadata.exists():
            raise Refusal(
                f"{self.data} holds data but {metadata} is missing: mount its disk or restore a "
                "backup (amur restore)"
            )
        if metadata.exists() and not self.data.is_dir():
            raise Refusal(
                f"{self.data} is missing though there is metadata: mount its disk or restore a "
                "backup (amur restore)"
            )
        if metadata.exists() and not self.identity.exists():
            raise Refusal(
                f"{self.identity} is missing though there is metadata: copy it back from a backup"
            )

    def require(self) -> None:
        """Raises Refusal when this is not a data directory, or a backup that was cut off."""
        if not self.identity.exists():
            raise Refusal(f"{self.root} is no whole data directory or backup: it has no amur.json")

    def lock(self, wait_seconds: float = _LOCK_WAIT_SECONDS) -> int:
        """Be the only one who serves or repairs this directory, as long as the answer is open."""
        fd = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
                os.close(fd)
                raise Refusal(
                    f"another amur (process {owner or 'unknown'}) is using {self.root}; "
                    "stop it first or name another data directory"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd

    def claim(self, region: str) -> None:
        """Write whose directory this is, or check it. Raises Refusal."""
        if not self.identity.exists():
            facts = {"format": FORMAT, "region": region, "created": int(time.time())}
            write_durably(self.identity, json.dumps(facts).encode() + b"\n", 0o644)
            return
        facts = self.facts()
        if facts["region"] != region:
            raise Refusal(
                f"{self.root} belongs to region {facts['region']!r}, not {region!r}; "
                f"start with --region {facts['region']} or name another data directory"
            )

    def facts(self) -> dict[str, Any]:
        """What amur.json says. Raises Refusal when this amur can't use the directory."""
        facts = _read_json(self.identity)
        found, region = facts.get("format"), facts.get("region")
        if type(found) is not int or found < 1 or not isinstance(region, str) or not region:
            raise Refusal(f"{self.identity} is damaged; restore it from a backup")
        if found > FORMAT:
            raise Refusal(
                f"{self.root} was written by a newer amur (format {found}, this one reads up to "
                f"{FORMAT}); install the newer version"
            )
        return facts

    def take_root_key(self, access_key_id: str, secret: str) -> RootKey:
        """The key from the settings, else the directory's own, made at the first start."""
        if access_key_id:
            return RootKey(access_key_id, secret, None)
        is_new = not self.root_key.exists()
        if is_new:
            fresh = {
                "access_key_id": "tid_" + _random(_ID_CHARS),
                "secret_access_key": "tsec_" + _random(_SECRET_CHARS),
            }
            write_durably(self.root_key, json.dumps(fresh, indent=2).encode() + b"\n", 0o600)
        if self.root_key.stat().st_mode & 0o077:
            raise Refusal(f"others can read {self.root_key}: chmod 600 it")
        kept = _read_json(self.root_key)
        id_kept, secret_kept = kept.get("access_key_id"), kept.get("secret_access_key")
        if not isinstance(id_kept, str) or not isinstance(secret_kept, str) or len(secret_kept) < 8:
            raise Refusal(
                f"{self.root_key} needs access_key_id and secret_access_key (8 characters or "
                "more); restore it, or remove it and a new key is made"
            )
        return RootKey(id_kept, secret_kept, self.root_key, is_new)


def write_durably(path: Path, content: bytes, mode: int) -> None:
    """Replace a small file; after a power cut it is the old one or the new one."""
    partial = path.with_name(path.name + ".tmp")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(path)
    sync(path.parent)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_bytes())
    except OSError as error:
        raise Refusal(f"can't read {path}: {error.strerror}") from None
    except ValueError:
        raise Refusal(f"{path} is damaged; restore it from a backup") from None
    if not isinstance(facts, dict):
        raise Refusal(f"{path} is damaged; restore it from a backup")
    return facts


def _random(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))
