"""The data directory: who may use it, what is in it, whose it is.

DIR/amur.json       format and region, written once
DIR/root-key.json   root access key, mode 0600
DIR/master-key      what access keys' secrets are sealed under, mode 0600
DIR/meta/           metadata engine
DIR/data/           packs and blocks, unless they are in a bucket
DIR/cache/          what was read from the bucket: may be deleted at any time
DIR/run/            locks, process ids, access log, metrics: nothing that is missed when lost
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import string
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from amur.config import ROLES, BlockStore
from amur.directories import make_durable, sync

FORMAT = 2
"""Of the directory as a whole. Records carry their own format number besides. 2: the bytes are in
a bucket, which an older amur would not look for; with local files it stays 1."""

_LOCK_WAIT_SECONDS = 2.0  # the workers of a killed server need a moment to go
_START_WAIT_SECONDS = 30.0  # for another amur that is just laying the directory out
_ALPHABET = string.ascii_letters + string.digits
_ID_CHARS, _SECRET_CHARS = 24, 48


class Refusal(Exception):
    """Something a person can put right. The message is one line and says what to do."""


class RootKey(NamedTuple):
    id: str
    secret: str
    path: Path | None  # where it is kept; None when it came from the settings
    is_new: bool = False


class Lock:
    """Held until it is closed, and by the children of who took it."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def take(self, path: Path, until: float) -> bool:
        """Wait for it until that time (monotonic). Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                os.close(fd)
                return False
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            self._held.append(fd)
            return True

    def close(self) -> None:
        while self._held:
            os.close(self._held.pop())


class Layout:
    """Paths of a data directory."""

    def __init__(self, root: Path, blocks: BlockStore | None = None) -> None:
        """`blocks` is where the bytes are by the settings; amur.json has the last word."""
        self.root = root
        self.blocks = blocks or BlockStore()
        self.meta = root / "meta"
        self.data = root / "data"
        self.cache = root / "cache"
        self.run = root / "run"
        self.metrics = self.run / "metrics"
        self.access_log = self.run / "access.log"
        self.held = self.run / "held.json"  # roles that are not to be started
        self.identity = root / "amur.json"
        self.root_key = root / "root-key.json"
        self.master_key = root / "master-key"

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

    def lock(self, roles: Iterable[str] = ROLES, wait_seconds: float = _LOCK_WAIT_SECONDS) -> Lock:
        """Be the only one with these roles in this directory; with all, the only one at all.

        Always in the order of ROLES, so that two who start together can't wait for each other.
        """
        lock = Lock()
        until = time.monotonic() + wait_seconds
        for role in sorted(roles, key=tuple[str, ...](ROLES).index):
            path = self.run / f"lock-{role}"
            if not lock.take(path, until):
                lock.close()
                owner = path.read_text(errors="replace").strip()[:32]
                raise Refusal(
                    f"another amur (process {owner or 'unknown'}) is using {self.root}; "
                    "stop it first or name another data directory"
                )
        return lock

    def starting(self) -> Lock:
        """Lay out the directory alone: the roles of a region may start at the same time."""
        lock = Lock()
        if not lock.take(self.run / "lock-start", time.monotonic() + _START_WAIT_SECONDS):
            raise Refusal(f"another amur is just starting in {self.root}; try again")
        return lock

    def pids(self, roles: Iterable[str]) -> Path:
        """Where a supervisor of these roles says which processes it has."""
        some = tuple(roles)
        return self.run / f"{'-'.join(('pids', *some)) if some != ROLES else 'pids'}.json"

    def claim(self, region: str, numbers: Mapping[str, int] | None = None) -> None:
        """Write whose directory this is, or check it. Raises Refusal.

        `numbers` are of all regions of its cluster, so that fsck and the like, which read no
        settings, know that bytes may lie elsewhere, and which versions are ours to make; {} of
        a region alone, None when the caller does not know.
        """
        known = {"regions": dict(numbers)} if numbers else {}
        if not self.identity.exists():
            url = self.blocks.url
            facts = {"format": FORMAT if url else 1, "region": region, "created": int(time.time())}
            if url:
                facts |= {"block_store": url, "block_store_id": secrets.token_hex(16)}
            self._identify(facts | known)
            return
        facts = self.facts()
        if facts["region"] != region:
            raise Refusal(
                f"{self.root} belongs to region {facts['region']!r}, not {region!r}; "
                f"start with --region {facts['region']} or name another data directory"
            )
        made, asked = self.block_store()[0], self.blocks.url
        if made != asked:
            raise Refusal(
                f"{self.root} keeps its bytes in {made or 'files of its own'}, but block_store is "
                f"{asked or 'not set'}; set it back or name another data directory"
            )

        if numbers and facts.get("restored"):
            raise Refusal(
                f"{self.root} was restored from a backup of a region among others: its old state "
                "would bring back what was deleted since. Start this region with an empty "
                "directory, the others bring it up; or serve this one alone, without peers"
            )
        if numbers is not None:
            self._join_regions(facts, numbers)

    def _join_regions(self, facts: dict[str, Any], numbers: Mapping[str, int]) -> None:
        """Note which regions there are, or were. Raises Refusal."""
        before = self.regions()
        if before and not numbers and not facts.get("restored"):
            raise Refusal(
                f"{self.root} belongs to a region among others ({', '.join(before)}): name its "
                'peers; or, to serve it alone for good, remove "regions" from its amur.json'
            )
        self._check_numbers(before, numbers)
        left = set(facts.get("left", ()))
        if back := sorted(left & numbers.keys()):
            raise Refusal(
                f"region {back[0]} was taken out: what was deleted since would come back with its "
                f'old data; if it begins with an empty directory, remove it from "left" in the '
                f"amur.json of {self.root}"
            )
        left |= before.keys() - numbers.keys() if numbers else set()
        now = facts | {"regions": {**before, **numbers}, "left": sorted(left)}
        now = {name: fact for name, fact in now.items() if fact or name not in ("regions", "left")}
        if now != facts:
            self._identify(now)

    def _check_numbers(self, before: Mapping[str, int], numbers: Mapping[str, int]) -> None:
        """A number is in all versions that its region has made: it can't be another's."""
        for name, number in numbers.items():
            if before.get(name, number) != number:
                raise Refusal(
                    f"region {name} has the number {before[name]}, not {number}: numbers are for "
                    "good, they are in every version; set it back"
                )
            if any(number == has and name != other for other, has in before.items()):
                raise Refusal(
                    f"number {number} is another region's, not {name}'s: numbers are for good, "
                    "they are in every version; give each new region the next one"
                )

    def mark_restored(self) -> None:
        """Of a region among others: its peers must not meet the state that it had once."""
        if self.regions():
            self._identify(self.facts() | {"restored": True})

    def _identify(self, facts: Mapping[str, Any]) -> None:
        write_durably(self.identity, json.dumps(facts).encode() + b"\n", 0o644)

    def regions(self) -> dict[str, int]:
        """Names and numbers of the cluster's regions, as of the last start; {} of one alone."""
        found = self.facts().get("regions", {}) if self.identity.exists() else {}
        is_valid = isinstance(found, dict) and all(type(n) is int for n in found.values())
        if not is_valid:
            raise Refusal(f"{self.identity} is damaged; restore it from a backup")
        return found

    def block_store(self) -> tuple[str, str]:
        """URL and id of the bucket that has the bytes; both "" when they are in `data`."""
        facts = self.facts() if self.identity.exists() else {}
        url, name = facts.get("block_store", ""), facts.get("block_store_id", "")
        if not isinstance(url, str) or not isinstance(name, str) or bool(url) != bool(name):
            raise Refusal(f"{self.identity} is damaged; restore it from a backup")
        return url, name

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
