"""PyTorch loaders of eight workers: a GET for each sample, and bundles. Needs torch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from amur.client.torch import BundleDataset
from bench.bundles import Way
from bench.load import cpu_seconds
from bench.readers import Access

warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores

SAMPLE_BYTES = 10 * 1024
WORKERS = 8
BATCH = 64
THREADS = 8  # of each worker that GETs several at once
FAR_SAMPLES = 4_000  # one by one, where each takes a round trip


def decode(key: str, body: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(body), dtype=torch.uint8)


class GetDataset(Dataset[torch.Tensor]):  # type: ignore[misc]  # torch is untyped here
    """One GET for each sample by boto3, `threads` of them at once."""

    def __init__(self, access: Access, bucket: str, keys: Sequence[str], threads: int) -> None:
        self._access, self._bucket, self._keys, self._threads = access, bucket, keys, threads
        self._client: Any = None
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __getitems__(self, places: list[int]) -> list[torch.Tensor]:
        """Of one batch: what DataLoader calls where it is there."""
        if self._client is None:  # in the worker: connections must not be shared
            self._client = self._access.s3_client()
            self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        return list((self._pool.map if self._pool else map)(self._sample, places))

    def _sample(self, place: int) -> torch.Tensor:
        key = self._keys[place]
        return decode(key, self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())


def measure(
    access: Access,
    bucket: str,
    keys: Sequence[str],
    pids: Callable[[], Sequence[int]],
    round_trip_s: float = 0.0,
) -> Iterator[Way]:
    """An epoch by each kind of loader, from its start, the start of its workers included."""

    def gets(threads: int, some: Sequence[str]) -> DataLoader[torch.Tensor]:
        dataset = GetDataset(access, bucket, some, threads)
        return DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS)

    def bundles() -> Any:
        client = {
            "endpoint_url": f"http://{access.host}", "region_name": "auto",
            "aws_access_key_id": access.key_id, "aws_secret_access_key": access.secret,
        }  # fmt: skip
        dataset = BundleDataset(
            client, bucket, keys, batch_size=BATCH, shuffle=True, decode=decode, requests=1
        )
        return dataset.loader(num_workers=WORKERS)

    few = keys[:FAR_SAMPLES] if round_trip_s else keys
    away = f", {round_trip_s * 1000:.0f} ms away" if round_trip_s else ""
    group = f"PyTorch, {WORKERS} workers, {len(keys):,} x {SAMPLE_BYTES // 1024} KiB{away}"
    for name, loader, count in (
        ("a GET each", gets(1, few), len(few)),
        (f"a GET each, {THREADS} at once", gets(THREADS, keys), len(keys)),
        ("bundles", bundles(), len(keys)),
    ):
        before, began = cpu_seconds(pids()), time.perf_counter()
        got = 0
        for batch in loader:
            assert batch.shape[1:] == (SAMPLE_BYTES,)
            got += len(batch)
        seconds = time.perf_counter() - began
        assert got == count, (got, count)
        cpu_us = (cpu_seconds(pids()) - before) / count * 1e6
        note = f"{count:,} measured" if count < len(keys) else ""
        yield Way(group, name, len(keys), SAMPLE_BYTES, seconds * len(keys) / count, cpu_us, note)
