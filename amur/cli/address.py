"""Addresses of buckets and objects as people write them. Sans-IO."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

_STEM_BYTES = 150  # of a file's name, of which file systems have 255

SCHEMES = ("t3://", "s3://", "tigris://")


class AddressError(ValueError):
    """Not an address; the message is for people."""


@dataclass(frozen=True)
class Address:
    """A bucket, or what is at `key` in it; a key that ends in a slash names a folder."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"t3://{self.bucket}/{self.key}" if self.key else f"t3://{self.bucket}"

    @property
    def is_folder(self) -> bool:
        return self.key.endswith("/")

    @property
    def folder(self) -> str:
        """The prefix of what lies below: `a` and `a/` hold `a/b`, but not `ab`."""
        return self.key if not self.key or self.is_folder else f"{self.key}/"

    def below(self, name: str) -> Address:
        return Address(self.bucket, self.folder + name)


def is_remote(text: str) -> bool:
    """Whether it says so itself: needed where a local path may stand as well."""
    return text.startswith(SCHEMES)


def parse(text: str) -> Address:
    """`t3://bucket/key`, `s3://`, `tigris://` or bare `bucket/key`. Raises AddressError."""
    rest = text
    for scheme in SCHEMES:
        rest = rest.removeprefix(scheme) if text.startswith(scheme) else rest
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise AddressError(f"{text!r} names no bucket; write t3://bucket/key or bucket/key")
    if ":" in bucket:
        raise AddressError(f"{text!r} is not an address; write t3://bucket/key or bucket/key")
    return Address(bucket, key)


def parse_object(text: str) -> Address:
    """The same, with a key."""
    address = parse(text)
    if not address.key:
        raise AddressError(f"{text!r} names a bucket, and no object in it")
    return address


def local_parts(name: str) -> tuple[str, ...]:
    """The components of a file's path for the part of a key behind a prefix.

    Raises AddressError for a name that could lead out of the directory that is copied to, or that
    no file can have: anchors S13 and the like (`..`, absolute, empty components, NUL).
    """
    parts = tuple(name.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise AddressError("no file can safely be named so")
    if len(PurePosixPath(*parts).parts) != len(parts):
        raise AddressError("no file can safely be named so")
    return parts


def beside(path: Path, ending: str) -> Path:
    """The hidden file `.name.ending` for what is to become `path`; `ending` has 60 bytes at most.

    A long name is cut, and told from others with the same beginning by its hash.
    """
    raw = os.fsencode(path.name)
    stem = path.name
    if len(raw) > _STEM_BYTES:
        start = raw[:_STEM_BYTES].decode(errors="ignore")
        stem = f"{start}.{blake2b(raw, digest_size=16).hexdigest()}"
    return path.with_name(f".{stem}.{ending}")


def printable(text: str) -> str:
    """For a terminal: control characters of a key must not command it."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
