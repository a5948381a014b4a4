"""An object to a file. A large one comes in ranges, and goes on where an earlier run was cut off.

What has arrived waits beside the target in a hidden file that is named after the object's ETag,
with a list of the ranges that it holds, and is moved to its place when it is whole. Every range is
asked for with If-Match: bytes of two versions never meet in one file. What was assembled is held
against the object's checksum where it has one of its whole content.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amur.cli.address import Address, beside
from amur.cli.remote import Problem, code_of
from amur.cli.transfer import Workers
from amur.cli.upload import Settings, same_content
from amur.limits import MIB

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WHOLE = (("CRC64NVME", 8), ("CRC32C", 4), ("CRC32", 4))  # bytes of the value
_VERSION_CHANGED = "it was changed while it was copied; run it again"


def download(
    s3: S3Client,
    place: Address,
    path: Path,
    settings: Settings,
    workers: Workers,
    *,
    version_id: str = "",
    row: Mapping[str, Any] | None = None,
) -> bool:
    """False when it was there already. Raises Problem, OSError, botocore's errors.

    `row` is what a listing said (`listing.object_row`): it saves asking again for small objects.
    """
    which: Any = {"Bucket": place.bucket, "Key": place.key}
    if version_id:
        which["VersionId"] = version_id
    head: Any = {}
    if row is None or row["size"] > settings.part_bytes:
        head = s3.head_object(**which, ChecksumMode="ENABLED")
        size, etag, modified = head["ContentLength"], head["ETag"], head["LastModified"]
    else:
        size, etag, modified = row["size"], f'"{row["etag"]}"', row["modified"]
    if settings.resume and _is_there(path, size, etag.strip('"'), modified.timestamp(), settings):
        workers.advance(size)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    which["IfMatch"] = etag
    try:
        if size <= settings.part_bytes:
            _small(s3, which, path, modified.timestamp(), workers)
        else:
            partial = _Partial(s3, which, path, size, settings.part_bytes_of(size))
            partial.run(head, modified.timestamp(), workers)
    except s3.exceptions.ClientError as error:
        if code_of(error) in ("PreconditionFailed", "412"):
            raise Problem(_VERSION_CHANGED) from None
        raise
    return True


def _is_there(path: Path, size: int, etag: str, modified: float, settings: Settings) -> bool:
    try:
        before = path.stat()
    except FileNotFoundError:
        return False
    return before.st_size == size and same_content(
        path, before, etag, modified, settings, newer_is_same=False
    )


def _small(s3: S3Client, which: Any, path: Path, modified: float, workers: Workers) -> None:
    """In one piece; botocore verifies the checksum as it reads."""
    partial = beside(path, f"{os.getpid()}.amur-partial")
    try:
        with partial.open("wb") as file:
            body = s3.get_object(**which, ChecksumMode="ENABLED")["Body"]
            with body:
                while piece := body.read(MIB):
                    file.write(piece)
                    workers.advance(len(piece))
        os.utime(partial, (modified, modified))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class _Partial:
    """A file that is not whole yet, and the list of the ranges that are: `number` a line."""

    def __init__(self, s3: S3Client, which: Any, path: Path, size: int, part_bytes: int) -> None:
        self._s3, self._which, self._path = s3, which, path
        self._size, self._part_bytes = size, part_bytes
        tag = "".join(each for each in which["IfMatch"] if each.isalnum())
        which_bytes = f"{tag[:40]}.{part_bytes // MIB}"
        self._partial = beside(path, f"{which_bytes}.amur-partial")
        self._list = beside(path, f"{which_bytes}.amur-parts")

    def run(self, head: Any, modified: float, workers: Workers) -> None:
        there = self._there()
        count = -(-self._size // self._part_bytes)
        with ExitStack() as opened:
            descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            opened.callback(os.close, descriptor)
            listed = opened.enter_context(self._list.open("ab", buffering=0))

            def fetch(number: int) -> None:
                start = number * self._part_bytes
                size = min(self._part_bytes, self._size - start)
                if number in there:
                    workers.advance(size)
                    return
                self._fetch(descriptor, start, size, workers)
                listed.write(b"%d\n" % number)

            workers.each(fetch, range(count))
            self._verify(descriptor, head, workers)
        os.utime(self._partial, (modified, modified))
        self._partial.replace(self._path)
        self._list.unlink(missing_ok=True)

    def _there(self) -> set[int]:
        try:
            lines = self._list.read_bytes().split(b"\n")[:-1]  # the last may be cut
        except FileNotFoundError:
            return set()
        if not self._partial.exists():
            self._list.unlink()
            return set()
        return {int(line) for line in lines if line.isdigit()}

    def _fetch(self, descriptor: int, start: int, size: int, workers: Workers) -> None:
        end = start + size
        answer = self._s3.get_object(**self._which, Range=f"bytes={start}-{end - 1}")
        with answer["Body"] as body:
            while piece := body.read(MIB):
                os.pwrite(descriptor, piece, start)
                start += len(piece)
                workers.advance(len(piece))
        if start != end:
            raise Problem("the server sent less than it had promised")

    def _verify(self, descriptor: int, head: Any, workers: Workers) -> None:
        if head.get("ChecksumType") == "COMPOSITE":
            return
        from awscrt import checksums

        for name, width in _WHOLE:
            expected = head.get(f"Checksum{name}")
            if not expected:
                continue
            function = getattr(checksums, name.lower())
            value, at = 0, 0
            while at < self._size and (piece := os.pread(descriptor, MIB, at)):
                value = function(piece, value)
                at += len(piece)
                workers.advance(0)
            if base64.b64encode(value.to_bytes(width, "big")).decode() != expected:
                self._partial.unlink()
                self._list.unlink()
                raise Problem("what has arrived does not fit the object's checksum; run it again")
            return
