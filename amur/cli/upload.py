"""A file to an object. A large one goes in parts, and goes on where an earlier run was cut off.

The parts that an unfinished multipart upload has already are compared by their MD5 with the file;
only what differs or lacks is sent. Completion names every part's ETag, so two runs that share an
upload by accident end in an error, never in a mixture.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from amur.cli.address import Address
from amur.cli.remote import Problem, code_of
from amur.cli.transfer import Workers
from amur.limits import MIB, PART_BYTES_MIN, PART_NUMBER_MAX, PUT_BYTES_MAX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 16 * MIB
_CHECKSUM: Literal["CRC64NVME"] = (
    "CRC64NVME"  # of the whole object: a download can be held against it
)
_TYPE_DEFAULT = "application/octet-stream"


@dataclass(frozen=True)
class Settings:
    """`extra` are members of PutObject and CreateMultipartUpload, as boto3 names them."""

    part_bytes: int = PART_BYTES
    resume: bool = False  # leave alone what is there already
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not PART_BYTES_MIN <= self.part_bytes <= PUT_BYTES_MAX:
            raise Problem("a part has 5 MiB to 5 GiB")

    def part_bytes_of(self, size: int) -> int:
        """Larger for a file that would have more than 10,000 parts; whole MiB."""
        least = -(-size // PART_NUMBER_MAX)
        return max(self.part_bytes, -(-least // MIB) * MIB)


def observe(s3: S3Client) -> None:
    """Count bytes when they are sent, not when they are hashed for the signature."""
    from s3transfer.utils import signal_not_transferring, signal_transferring

    events = s3.meta.events
    events.register_first("request-created.s3", signal_not_transferring, unique_id="amur-hashing")
    events.register_last("request-created.s3", signal_transferring, unique_id="amur-sending")


def content_type(name: str) -> str:
    """By the name; a compressed file is what it is compressed by."""
    kind, encoding = mimetypes.guess_type(name)
    if encoding:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(
            encoding, _TYPE_DEFAULT
        )
    return kind or _TYPE_DEFAULT


def upload(s3: S3Client, path: Path, place: Address, settings: Settings, workers: Workers) -> bool:
    """False when it was there already. Raises Problem, OSError, botocore's errors."""
    before = path.stat()
    if settings.resume and is_there(s3, path, before, place, settings):
        workers.advance(before.st_size)
        return False
    extra = {"ContentType": content_type(path.name), **settings.extra}
    if before.st_size <= settings.part_bytes:
        with _piece(path, 0, before.st_size, workers) as body:
            s3.put_object(Bucket=place.bucket, Key=place.key, Body=body, **extra)
    else:
        _Multipart(s3, path, before, place, settings).run(extra, workers)
    return True


def _piece(path: Path, start: int, size: int, workers: Workers) -> IO[bytes]:
    from s3transfer.utils import ReadFileChunk

    def sent(bytes_transferred: int) -> None:  # s3transfer passes it by name
        workers.advance(bytes_transferred)

    piece: Any = ReadFileChunk.from_filename(
        str(path), start, size, callbacks=[sent], enable_callbacks=False
    )
    return piece  # type: ignore[no-any-return]


class _Multipart:
    """One multipart upload, new or found."""

    def __init__(
        self, s3: S3Client, path: Path, before: os.stat_result, place: Address, settings: Settings
    ) -> None:
        self._s3, self._path, self._before = s3, path, before
        self._target: Any = {"Bucket": place.bucket, "Key": place.key}
        self._part_bytes = settings.part_bytes_of(before.st_size)
        self._upload_id = ""
        self._etags: dict[int, str] = {}  # of parts that are there

    def run(self, extra: Mapping[str, Any], workers: Workers) -> None:
        there = self._find()
        if not self._upload_id:
            created = self._s3.create_multipart_upload(
                **self._target, ChecksumAlgorithm=_CHECKSUM, ChecksumType="FULL_OBJECT", **extra
            )
            self._upload_id = created["UploadId"]

        def send(number: int) -> None:
            start = (number - 1) * self._part_bytes
            size = min(self._part_bytes, self._before.st_size - start)
            if number in there and self._md5(start, size, workers) == there[number]:
                self._etags[number] = there[number]
                workers.advance(size)
                return
            with _piece(self._path, start, size, workers) as body:
                answer = self._s3.upload_part(
                    **self._target, UploadId=self._upload_id, PartNumber=number, Body=body,
                    ChecksumAlgorithm=_CHECKSUM,
                )  # fmt: skip
            self._etags[number] = answer["ETag"].strip('"')

        count = -(-self._before.st_size // self._part_bytes)
        workers.each(send, range(1, count + 1))
        now = self._path.stat()
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise Problem("the file has changed while it was sent; run it again")
        self._s3.complete_multipart_upload(
            **self._target,
            UploadId=self._upload_id,
            MultipartUpload={
                "Parts": [
                    {"PartNumber": number, "ETag": f'"{self._etags[number]}"'}
                    for number in range(1, count + 1)
                ]
            },
        )

    def _find(self) -> dict[int, str]:
        """MD5s of the parts of the newest unfinished upload of this key; sets its id."""
        pages = self._s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._target["Bucket"], Prefix=self._target["Key"]
        )
        try:
            found = [
                each
                for page in pages
                for each in page.get("Uploads", ())
                if each["Key"] == self._target["Key"] and each.get("ChecksumAlgorithm") == _CHECKSUM
            ]
        except self._s3.exceptions.ClientError as error:
            if code_of(error) not in ("AccessDenied", "NotImplemented"):
                raise
            return {}  # may write and not list: then it begins anew
        if not found:
            return {}
        self._upload_id = max(found, key=lambda each: each["Initiated"])["UploadId"]
        parts = self._s3.get_paginator("list_parts").paginate(
            **self._target, UploadId=self._upload_id
        )
        there: dict[int, str] = {}
        for page in parts:
            for part in page.get("Parts", ()):
                there[part["PartNumber"]] = part["ETag"].strip('"')
        if there and max(there) > -(-self._before.st_size // self._part_bytes):
            self._upload_id = ""  # somebody else's, with other parts
            return {}
        return there

    def _md5(self, start: int, size: int, workers: Workers) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        with self._path.open("rb") as file:
            file.seek(start)
            while size and (piece := file.read(min(size, MIB))):
                digest.update(piece)
                size -= len(piece)
                workers.advance(0)
        return digest.hexdigest()


# --- is it there already? ---


def is_there(
    s3: S3Client, path: Path, before: os.stat_result, place: Address, settings: Settings
) -> bool:
    """Whether the object has the file's size and content, as far as its ETag can tell."""
    try:
        head = s3.head_object(Bucket=place.bucket, Key=place.key)
    except s3.exceptions.ClientError as error:
        if code_of(error) != "404":
            raise
        return False
    if head["ContentLength"] != before.st_size:
        return False
    return same_content(
        path, before, head["ETag"].strip('"'), head["LastModified"].timestamp(), settings,
        newer_is_same=True,
    )  # fmt: skip


def same_content(
    path: Path,
    before: os.stat_result,
    etag: str,
    modified: float,
    settings: Settings,
    *,
    newer_is_same: bool,
) -> bool:
    """An ETag is the MD5 of the content, or of its parts' MD5s and `-` and their number.

    Where it is neither for our part size, the times decide: uploads ask whether the object is at
    least as new as the file, downloads whether the file has the object's very time.
    """
    if len(etag) == 32:
        return _etag(path, 0) == etag
    part_bytes = settings.part_bytes_of(before.st_size)
    if etag.endswith(f"-{-(-before.st_size // part_bytes)}") and _etag(path, part_bytes) == etag:
        return True
    if newer_is_same:
        return modified >= before.st_mtime
    return int(before.st_mtime) == int(modified)


def _etag(path: Path, part_bytes: int) -> str:
    """Of an upload in one piece (part_bytes 0), or in parts of that size."""
    with path.open("rb") as file:
        if not part_bytes:
            return hashlib.file_digest(file, _md5).hexdigest()
        digests = []
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            digest, part = _md5(), min(part_bytes, left)
            left -= part
            while part and (piece := file.read(min(part, MIB))):
                digest.update(piece)
                part -= len(piece)
            digests.append(digest.digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
