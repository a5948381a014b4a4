"""Batches of one bundle request, in spite of what may happen on the way."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Union, cast

from botocore.exceptions import ConnectionError as Unreachable
from botocore.exceptions import HTTPClientError

from amur.client.bundle import (
    BundleBroken,
    BundleError,
    Compression,
    OnError,
    bundle_objects,
)

if TYPE_CHECKING:
    from botocore.client import BaseClient

Client = Union["BaseClient", Callable[[], "BaseClient"], Mapping[str, Any], None]
"""A boto3 client; or what makes one: a function, keyword arguments of boto3.client("s3", ...), or
None for what the environment says. Only the latter three can go to another process."""

Decode = Callable[[str, bytes], Any]
Job = list[tuple[int, list[str]]]
"""Steps, and the keys of their batches."""

_BACKOFF_SECONDS = 0.1  # doubled at each further attempt ...
_BACKOFF_SECONDS_MAX = 10.0  # ... up to this

log = logging.getLogger("amur.client")


class Batch(NamedTuple):
    """`missing` are keys that were skipped; when all are, `samples` is empty."""

    step: int
    samples: list[Any]
    missing: list[str]


@dataclass
class Fetch:
    """How batches are asked for; can go to another process unless it holds a boto3 client."""

    client: Client
    bucket: str
    decode: Decode | None
    compression: Compression
    on_error: OnError
    retries: int
    retry_skipped: int
    reasons: dict[str, str] = field(default_factory=dict)  # why keys were skipped
    _made: BaseClient | None = None
    _maker: int = 0  # process: a fork must not share its parent's connections
    _making: Lock = field(default_factory=Lock)

    def batches(self, job: Job, gone: Event) -> Iterator[Batch]:
        """One for each of the job's, in order. Ends early when the event is set."""
        bodies = self._bodies([key for _, keys in job for key in keys], gone)
        for step, keys in job:
            got = list(islice(bodies, len(keys)))
            if None in got and self.retry_skipped:
                got = self._asked_again(keys, got, gone)
            if len(got) < len(keys):
                return
            pairs = list(zip(keys, got, strict=True))
            samples = [self._decoded(key, body) for key, body in pairs if body is not None]
            yield Batch(step, samples, [key for key, body in pairs if body is None])
        for _ in bodies:  # to the end of the stream: it has the reasons, and frees the connection
            raise AssertionError("more bodies than keys")

    def _bodies(self, keys: list[str], gone: Event) -> Iterator[bytes | None]:
        """The body of each key, None for one that was skipped; fewer when the event is set."""
        done = failures = 0
        while done < len(keys):
            try:
                left = keys[done:]
                with bundle_objects(
                    self.s3_client(), self.bucket, left,
                    compression=self.compression, on_error=self.on_error,
                ) as bundle:  # fmt: skip
                    for key, body in bundle:
                        at = _place(keys, key, done)
                        yield from repeat(None, at - done)
                        yield body
                        done, failures = at + 1, 0
                self._note(bundle.skipped, len(left))
                yield from repeat(None, len(keys) - done)
                return
            except (BundleError, HTTPClientError, Unreachable) as error:
                failures += 1
                if failures > self.retries or not _may_pass(error):
                    raise
                log.warning("%s: a bundle failed, trying again: %s", self.bucket, error)
                if gone.wait(_pause(failures)):
                    return

    def _asked_again(
        self, keys: list[str], got: list[bytes | None], gone: Event
    ) -> list[bytes | None]:
        """With what a later request found of the skipped keys."""
        for attempt in range(1, self.retry_skipped + 1):
            missing = [at for at, body in enumerate(got) if body is None]
            if not missing or gone.wait(_pause(attempt)):
                break
            for at, body in zip(missing, self._bodies([keys[at] for at in missing], gone)):  # noqa: B905 - shorter when the reader is gone
                got[at] = body
        return got

    def _decoded(self, key: str, body: bytes) -> Any:
        if self.decode is None:
            return key, body
        try:
            return self.decode(key, body)
        except Exception as error:
            error.add_note(f"while decoding {key!r} of bucket {self.bucket!r}")
            raise

    def _note(self, skipped: Sequence[tuple[str, str]], asked: int) -> None:
        if skipped:
            self.reasons.update(skipped)
            log.warning(
                "%s: %d of %d keys skipped, the first: %r (%s)",
                self.bucket, len(skipped), asked, *skipped[0],
            )  # fmt: skip

    def s3_client(self) -> BaseClient:
        """The boto3 client of this process."""
        with self._making:
            if self._made is None or self._maker != os.getpid():
                self._made, self._maker = _made(self.client), os.getpid()
            return self._made

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self.client, "meta"):
            raise TypeError(
                "a boto3 client can't go to another process: give what makes one, such as the "
                'keyword arguments of boto3.client("s3", ...)'
            )
        return self.__dict__ | {"_made": None, "_making": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"_making": Lock()}


def _made(client: Client) -> BaseClient:
    if client is None or isinstance(client, Mapping):
        import boto3  # not before it is needed: a client may come from elsewhere

        return boto3.client("s3", **(client or {}))
    return cast("BaseClient", client if hasattr(client, "meta") else cast(Any, client)())


def _place(keys: list[str], key: str, start: int) -> int:
    try:
        return keys.index(key, start)
    except ValueError:
        raise BundleBroken(f"{key!r} was not asked for, or comes out of order") from None


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, BundleBroken) or not isinstance(error, BundleError):
        return True
    return error.status >= 500 or error.status == 429 or error.code == "RequestTimeout"


def _pause(failures: int) -> float:
    """Seconds; random, so that many workers don't come back at once."""
    longest: float = min(_BACKOFF_SECONDS * 2 ** (failures - 1), _BACKOFF_SECONDS_MAX)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
