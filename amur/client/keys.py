"""The keys of a data set, held so that a hundred million fit and worker processes share them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload
from zlib import crc32

if TYPE_CHECKING:
    from botocore.client import BaseClient


class Keys(Sequence[str]):
    """Immutable. All keys are one string of bytes: a list of str objects would be copied page by
    page into each forked worker as reference counts change, and pickled one by one to others."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Raises TypeError when a key is no string."""
        if isinstance(keys, str):
            raise TypeError("keys are many strings, not one")
        joined = bytearray()
        self._ends = array("Q", [0])
        for key in keys:
            joined += key.encode()
            self._ends.append(len(joined))
        self._joined = bytes(joined)

    @classmethod
    def from_file(cls, path: Path | str) -> Keys:
        """One key a line; blank lines and lines that begin with # are left out."""
        with Path(path).open(encoding="utf-8-sig", newline="\n") as lines:
            stripped = (line.rstrip("\r\n") for line in lines)
            return cls(line for line in stripped if line.strip() and line[0] != "#")

    @classmethod
    def under(cls, s3_client: BaseClient, bucket: str, prefix: str = "") -> Keys:
        """As the bucket lists them now; markers of folders (`a/b/`) are left out.

        Several machines should not each list a bucket that changes: they would disagree.
        """
        pages = s3_client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = (each["Key"] for page in pages for each in page.get("Contents", ()))
        return cls(key for key in found if not key.endswith("/"))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        return self._joined[self._ends[at] : self._ends[at + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        for at in range(len(self)):
            yield self[at]

    def fingerprint(self) -> int:
        """32 bits that differ, most likely, when keys or their order do."""
        return crc32(self._joined, crc32(self._ends.tobytes()))
