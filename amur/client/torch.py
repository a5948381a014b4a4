"""Bundles for PyTorch: `pip install amur[torch]`.

    dataset = BundleDataset(None, "photos", prefix="train/", batch_size=32, shuffle=True,
                            decode=to_tensors)
    loader = dataset.loader(num_workers=4)
    for epoch in range(loader.epoch, 10):
        for images, labels in loader:
            ...
            checkpoint = loader.state_dict()

Batches come in the same order whatever `num_workers` is, so a run may resume with another number.
The rank is that of torch.distributed, when it is initialised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from amur.client.batches import BundleLoader
from amur.client.fetch import Client
from amur.client.order import Progress, Share

Numbered = tuple[int, Any, list[str]]
"""Step, collated batch (None when all its keys were skipped), missing keys."""


class BundleDataset(IterableDataset):  # type: ignore[misc]  # torch is optional, so untyped here
    """Iterates whole batches, `collate` of lists of decoded samples.

    The options are those of BundleLoader, without rank and worker. Use `loader()`, which also
    counts and resumes; a plain DataLoader works with batch_size=None and `set_epoch`. The dataset
    goes to worker processes, which make their own boto3 clients: give no client but what makes one
    (see fetch.Client), and a `decode` and `collate` that can be pickled.
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        keys: Iterable[str] | Path | None = None,
        *,
        collate: Callable[[list[Any]], Any] = default_collate,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Any,
    ) -> None:
        """`rank` and `world_size` are asked of torch.distributed unless both are given."""
        super().__init__()
        if hasattr(client, "meta"):
            raise TypeError("a boto3 client can't go to worker processes: give what makes one")
        self.source = BundleLoader(client, bucket, keys, **options)
        self._collate = collate
        self._given = None if rank is None or world_size is None else (rank, world_size)
        # Epoch, first step, rank, ranks: shared, since persistent workers keep their copy of this.
        self._now = torch.zeros(4, dtype=torch.int64).share_memory_()
        self.begin(0)

    def begin(self, epoch: int, start: int = 0) -> None:
        """What the next iteration, in whatever worker, yields."""
        rank, world_size = self._place()
        self._now.copy_(torch.tensor([epoch, start, rank, world_size]))

    def set_epoch(self, epoch: int) -> None:
        """For a plain DataLoader: iterate this epoch next, from its beginning."""
        self.begin(epoch)

    def __iter__(self) -> Iterator[Any]:
        for _, batch, _ in self.numbered():
            if batch is not None:
                yield batch

    def numbered(self) -> Iterator[Numbered]:
        """The batches of this worker."""
        epoch, start, *place = self._now.tolist()
        info = get_worker_info()
        worker = (info.id, info.num_workers) if info else (0, 1)
        for step, samples, missing in self.source.batches(epoch, Share(*place, *worker), start):
            yield step, self._collate(samples) if samples else None, missing

    def share(self) -> Share:
        """This rank's."""
        return Share(*self._place())

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        return self.source.order.steps(self.share())

    def loader(self, **options: Any) -> BundleDataLoader:
        """A DataLoader of this dataset; the options are DataLoader's, such as num_workers."""
        return BundleDataLoader(self, **options)

    def _place(self) -> tuple[int, int]:
        if self._given is not None:
            return self._given
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1


class BundleDataLoader(DataLoader):  # type: ignore[misc]
    """A DataLoader that knows its epoch and resumes at a batch.

    Each iteration that ends moves on to the next epoch; one that is left begins again where it
    began. A batch counts as done when it was handed out.
    """

    def __init__(self, dataset: BundleDataset, **options: Any) -> None:
        super().__init__(_NumberedDataset(dataset), batch_size=None, collate_fn=_same, **options)
        self.bundles = dataset
        self.skipped: set[str] = set()  # keys that were left out so far
        self._progress = Progress()

    def __iter__(self) -> Iterator[Any]:
        progress = self._progress
        progress.step = progress.start
        self.bundles.begin(progress.epoch, progress.start)
        for step, batch, missing in super().__iter__():
            progress.step = step + 1
            self.skipped.update(missing)
            if batch is not None:
                yield batch
        progress.finish()

    @property
    def epoch(self) -> int:
        return self._progress.epoch

    def set_epoch(self, epoch: int) -> None:
        """Iterate this epoch next; a resumed one goes on where it was left."""
        self._progress.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """What load_state_dict needs to go on after the last batch that was handed out."""
        return self._progress.state(*self._identity())

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Raises ValueError when the state is of other keys or of another order of them."""
        self._progress.load(state, *self._identity())

    def _identity(self) -> tuple[Any, Share, int]:
        source = self.bundles.source
        return source.order, self.bundles.share(), source.keys.fingerprint()


class _NumberedDataset(IterableDataset):  # type: ignore[misc]
    def __init__(self, dataset: BundleDataset) -> None:
        super().__init__()
        self._dataset = dataset

    def __iter__(self) -> Iterator[Numbered]:
        return self._dataset.numbered()

    def __len__(self) -> int:
        return len(self._dataset)


def _same(numbered: Numbered) -> Numbered:
    return numbered
