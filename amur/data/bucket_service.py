"""A bucket of an object storage service (S3 and what speaks it, GCS, Azure), by obstore.

The interface is what a data store needs of a bucket and no more, so that tests can stand a failing
one in its place. Objects are written once and never changed; each write is whole or not there.
Retries, time-outs and connections are obstore's: see CLIENT and RETRIES.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from amur.data.framing import Buffer
from amur.data.store import DataDamaged, DataError, DataMissing, DataUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

CLIENT = {
    "connect_timeout": "3 seconds",
    "timeout": "30 seconds",  # of one request: 8 MiB at more than 2 Mbit/s
    "pool_idle_timeout": "30 seconds",  # less than servers have, Amur's 60 among them
}
"""What `options` may say otherwise."""

RETRIES: RetryConfig = {
    "max_retries": 3,  # about a second together; then the client is told, and tries again itself
    "retry_timeout": timedelta(seconds=20),  # a service that is slow to fail: no new try after this
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}

SETTLE_SECONDS = 0.05
"""obstore's threads let go of Python's objects a moment after the answer. One that does so
while the interpreter ends aborts the process (pyo3-async-runtimes, issue 40)."""

LIST_PAGE = 1000  # what the services give at once

_TEXT_CHARS_MAX = 300
_QUERY = re.compile(r"\?\S*")


class Listed(NamedTuple):
    """An object as a listing shows it."""

    path: str
    size: int
    modified_s: float  # by the service's clock


class Bucket(ABC):
    """Objects by path. Raises DataMissing, DataDamaged or DataUnavailable only."""

    @abstractmethod
    async def put(self, path: str, body: Buffer) -> None:
        """One request; durable on return."""

    @abstractmethod
    async def put_new(self, path: str, body: bytes) -> bool:
        """As `put`, unless the object is there already: then False."""

    @abstractmethod
    async def put_stream(
        self, path: str, pieces: AsyncIterator[Buffer], *, part_bytes: int, parts_at_once: int
    ) -> None:
        """Upload in parts of `part_bytes`; the object is there, whole and durable, on return.

        Holds `parts_at_once` + 1 parts. What `pieces` raises ends the upload and is raised.
        """

    @abstractmethod
    async def get(self, path: str) -> bytes: ...

    @abstractmethod
    async def get_range(self, path: str, start: int, end: int) -> Buffer:
        """Bytes [start, end); fewer, or DataDamaged, when the object ends before."""

    @abstractmethod
    async def delete(self, path: str) -> None:
        """Missing is fine."""

    @abstractmethod
    def list(self) -> Iterator[Listed]:
        """All objects. Blocks for each page of LIST_PAGE."""

    @abstractmethod
    async def close(self) -> None:
        """After the last call, before the process may end."""


class ObstoreBucket(Bucket):
    """A bucket, or a prefix in one, behind an obstore store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, path: str, body: Buffer) -> None:
        with _told(path):
            await obstore.put_async(self._store, path, body, use_multipart=False)

    async def put_new(self, path: str, body: bytes) -> bool:
        try:
            with _told(path):
                await obstore.put_async(self._store, path, body, mode="create")
        except exceptions.AlreadyExistsError:
            return False
        return True

    async def put_stream(
        self, path: str, pieces: AsyncIterator[Buffer], *, part_bytes: int, parts_at_once: int
    ) -> None:
        with _told(path):
            await obstore.put_async(
                self._store,
                path,
                pieces,
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=parts_at_once,
            )

    async def get(self, path: str) -> bytes:
        with _told(path, DataMissing):
            result = await obstore.get_async(self._store, path)
            return bytes(await result.bytes_async())

    async def get_range(self, path: str, start: int, end: int) -> Buffer:
        try:
            with _told(path, DataMissing):
                return memoryview(
                    await obstore.get_range_async(self._store, path, start=start, end=end)
                )
        except DataUnavailable as error:
            if "range" not in str(error).lower():
                raise
            # the object may be too short: that is damage, not an outage
            with _told(path, DataMissing):
                size = (await obstore.head_async(self._store, path))["size"]
            if size < end:
                raise DataDamaged(f"{path} has {size} bytes, less than {end}") from None
            raise

    async def delete(self, path: str) -> None:
        try:
            with _told(path, DataMissing):
                await obstore.delete_async(self._store, path)
        except DataMissing:
            return

    def list(self) -> Iterator[Listed]:
        with _told("the list of objects"):
            for page in obstore.list(self._store, chunk_size=LIST_PAGE):
                for each in page:
                    yield Listed(each["path"], each["size"], each["last_modified"].timestamp())

    async def close(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)


def open_bucket(url: str, options: Mapping[str, str]) -> ObstoreBucket:
    """Of `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`; asks nothing yet.

    `options` are obstore's, with their usual names. Raises DataError for those that are wrong.
    """
    parts = urlsplit(url)
    name, prefix = parts.netloc, parts.path.strip("/") or None
    config: Any = CLIENT | dict(options)
    if any(address.startswith("http://") for address in options.values()):
        config.setdefault("allow_http", "true")
    store: ObjectStore
    try:
        if parts.scheme == "s3":
            store = S3Store(name, prefix=prefix, config=config, retry_config=RETRIES)
        elif parts.scheme == "gs":
            store = GCSStore(name, prefix=prefix, config=config, retry_config=RETRIES)
        elif parts.scheme == "az":
            store = AzureStore(name, prefix=prefix, config=config, retry_config=RETRIES)
        else:
            raise DataError(f"block_store {url} is not an s3://, gs:// or az:// address")
    except (exceptions.BaseError, ValueError, TypeError) as error:
        raise DataError(f"block_store_options for {url}: {_text(error)}") from None
    return ObstoreBucket(store)


@contextmanager
def _told(what: str, missing: type[DataError] = DataUnavailable) -> Iterator[None]:
    """Raise a DataError in place of obstore's errors, without what a text may hold of secrets.

    What is not there is `missing` when read; when written or listed it is the bucket itself.
    """
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError):
        said = "is not there" if missing is DataMissing else "can't be: there is no such bucket"
        raise missing(f"{what} {said}") from None
    except exceptions.AlreadyExistsError:
        raise
    except (exceptions.BaseError, OSError) as error:
        raise DataUnavailable(f"{what}: {_text(error)}") from None


def _text(error: Exception) -> str:
    """The first line; Azure's tokens stand in the queries of addresses."""
    first = str(error).partition("\n")[0]
    return _QUERY.sub("", first)[:_TEXT_CHARS_MAX]
