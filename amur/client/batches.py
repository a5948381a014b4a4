"""Batches of samples from a bucket, prefetched by bundle requests in the background.

    loader = BundleLoader(s3, "photos", prefix="train/", batch_size=32, shuffle=True)
    for epoch in range(loader.epoch, 10):
        for batch in loader:
            ...
            checkpoint = loader.state_dict()

`order.py` says who gets which sample when; `prefetch.py` runs the threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from amur.client.bundle import KEYS_MAX, Compression, OnError
from amur.client.fetch import Batch, Client, Decode, Fetch
from amur.client.keys import Keys
from amur.client.order import Order, Progress, Remainder, Share
from amur.client.prefetch import in_order


class BundleLoader:
    """Iterates batches: lists of what `decode(key, body)` makes of each object, or (key, body).

    Without `keys` the data set is what the bucket lists under `prefix` now; a Path is read as a
    file of keys. `decode` runs in the prefetching threads, so it must not share state.

    The order, and what `remainder` and `drop_last` mean, is told in order.py. Each iteration that
    ends moves on to the next epoch; one that is left begins again where it began.

    One bundle asks for `prefetch` batches, and `requests` bundles are under way at once: so much is
    held in memory, whatever the data set's size, and a slow reader keeps no connection waiting.

    on_error="skip" leaves out samples that are missing (a warning is logged, and `skipped` tells
    which), after `retry_skipped` further attempts; "fail" raises BundleError. A request that
    fails, or whose stream breaks, is repeated from the first sample that did not arrive, up to
    `retries` times in a row without a sample between them, each time after a longer pause.
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        keys: Iterable[str] | Path | None = None,
        *,
        prefix: str = "",
        batch_size: int = 32,
        decode: Decode | None = None,
        shuffle: bool = False,
        seed: int = 0,
        remainder: Remainder = "pad",
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        workers: int = 1,
        prefetch: int = 16,
        requests: int = 2,
        compression: Compression = "none",
        on_error: OnError = "skip",
        retries: int = 5,
        retry_skipped: int = 0,
    ) -> None:
        if min(prefetch, requests) < 1 or min(retries, retry_skipped) < 0:
            raise ValueError("no requests, or a negative number of attempts")
        if batch_size > KEYS_MAX:
            raise ValueError(f"a batch is of one request, so of {KEYS_MAX} keys at most")
        self.bucket = bucket
        self._fetch = Fetch(client, bucket, decode, compression, on_error, retries, retry_skipped)
        self.keys = self._found(keys, prefix)
        self.order = Order(len(self.keys), batch_size, shuffle, seed, remainder, drop_last)
        self.share = Share(rank, world_size, worker, workers)
        self._prefetch = min(prefetch, KEYS_MAX // batch_size)
        self._requests = requests
        self._missing: set[str] = set()
        self._progress = Progress()

    # --- iteration ---

    def __iter__(self) -> Iterator[list[Any]]:
        progress, share = self._progress, self.share
        progress.step = progress.start
        for batch in self.batches(progress.epoch, share, progress.start):
            # the step that the first of the workers begins with, if all resume here
            progress.step = batch.step - share.worker + share.workers
            self._missing.update(batch.missing)
            if batch.samples:
                yield batch.samples
        progress.finish()

    def samples(self) -> Iterator[Any]:
        """One by one; a state taken on the way is that after the whole batch."""
        for batch in self:
            yield from batch

    def __len__(self) -> int:
        """Batches of this worker in an epoch."""
        return len(range(self.share.worker, self.order.steps(self.share), self.share.workers))

    def batches(self, epoch: int, share: Share, start: int = 0) -> Iterator[Batch]:
        """Those of any epoch and share, from step `start` on; neither uses nor moves the state."""
        steps = self.order.batches(epoch, share, start)
        named = ((step, [self.keys[at] for at in places]) for step, places in steps)
        jobs = iter(lambda: list(islice(named, self._prefetch)), [])
        return in_order(jobs, self._fetch.batches, threads=self._requests, ahead=self._prefetch)

    # --- epochs and resumption ---

    @property
    def epoch(self) -> int:
        return self._progress.epoch

    def set_epoch(self, epoch: int) -> None:
        """Iterate this epoch next; a resumed one goes on where it was left."""
        self._progress.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """What load_state_dict needs to go on after the last batch that was handed out."""
        return self._progress.state(self.order, self.share, self.keys.fingerprint())

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Raises ValueError when the state is of other keys or of another order of them."""
        self._progress.load(state, self.order, self.share, self.keys.fingerprint())

    @property
    def skipped(self) -> dict[str, str]:
        """Keys that were left out of the batches so far, and why ("" while it is not known)."""
        return {key: self._fetch.reasons.get(key, "") for key in sorted(self._missing)}

    def _found(self, keys: Iterable[str] | Path | None, prefix: str) -> Keys:
        if keys is None:
            found = Keys.under(self._fetch.s3_client(), self.bucket, prefix)
        elif isinstance(keys, Path):
            found = Keys.from_file(keys)
        else:
            found = keys if isinstance(keys, Keys) else Keys(keys)
        if not found:
            raise ValueError(f"no keys: bucket {self.bucket!r}, prefix {prefix!r}")
        return found
