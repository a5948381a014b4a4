"""Who gets which sample, when: the order of an epoch, split over ranks and their workers.

Sans-IO. The samples of an epoch, shuffled or not, are cut into steps of `world_size * batch_size`;
in each step every rank takes one batch, side by side. So what all ranks together see in a step
depends on `world_size * batch_size` only, and a run may go on with other numbers of the same
product. Workers of a rank take its steps in turn.

The remainder, where samples are not divisible by ranks:

- "pad": the first samples of the epoch are repeated at its end, fewer than there are ranks;
- "drop": the last ones are left out of this epoch, fewer than there are ranks;
- "keep": each sample exactly once; some ranks get one sample more, or even one batch more.

With "pad" and "drop" all ranks have the same number of batches of the same sizes, as collective
operations need. With one rank there is no remainder. The last step's batches may be shorter than
`batch_size`; `drop_last` leaves that step out.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Remainder = Literal["pad", "drop", "keep"]

_FORMAT = 1


class Share(NamedTuple):
    """One rank of several, and one worker of the several that work for it."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1


@dataclass(frozen=True)
class Order:
    """The same on all ranks and workers."""

    samples: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    remainder: Remainder = "pad"
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch_size < 1:
            raise ValueError("there must be samples, and batches of at least one")
        if self.remainder not in get_args(Remainder):
            raise ValueError(f"{self.remainder!r} is none of {', '.join(get_args(Remainder))}")

    def steps(self, share: Share) -> int:
        """Batches that this rank gets in an epoch, by all of its workers."""
        full, rest = divmod(self._used(share), share.world_size * self.batch_size)
        return full + (rest > share.rank and not self.drop_last)

    def batches(self, epoch: int, share: Share, start: int = 0) -> Iterator[tuple[int, list[int]]]:
        """(step, indices of samples) of this worker, from step `start` on.

        The first worker takes step `start`, the next one the step after it, and so on.
        """
        _check(share)
        places = self._shuffled(epoch)
        world, whole = share.world_size, share.world_size * self.batch_size
        for step in range(start + share.worker, self.steps(share), share.workers):
            size, more = divmod(min(whole, self._used(share) - step * whole), world)
            first = step * whole + share.rank * size + min(share.rank, more)
            size += share.rank < more
            yield step, [places[at % self.samples] for at in range(first, first + size)]

    def _used(self, share: Share) -> int:
        """Samples of an epoch over all ranks, repeated ones counted."""
        over = self.samples % share.world_size
        if self.remainder == "keep" or not over:
            return self.samples
        return self.samples - over + (share.world_size if self.remainder == "pad" else 0)

    def _shuffled(self, epoch: int) -> Sequence[int]:
        if not self.shuffle:
            return range(self.samples)
        places = array("I" if self.samples < 1 << 32 else "Q", range(self.samples))
        random.Random(f"{self.seed}/{epoch}").shuffle(places)  # noqa: S311 - must be repeatable
        return places


def _check(share: Share) -> None:
    if not (0 <= share.rank < share.world_size and 0 <= share.worker < share.workers):
        raise ValueError(f"no such share: {share}")


class Progress:
    """How far the epochs are: where an iteration starts, and where it is now."""

    def __init__(self) -> None:
        self.epoch = 0
        self.start = 0  # the step that the next iteration begins with
        self.step = 0  # the first step that was not handed out

    def set_epoch(self, epoch: int) -> None:
        """Another epoch starts at its beginning; the present one where it was to start."""
        if epoch != self.epoch:
            self.epoch, self.start, self.step = epoch, 0, 0

    def finish(self) -> None:
        self.set_epoch(self.epoch + 1)

    def state(self, order: Order, share: Share, fingerprint: int) -> dict[str, int]:
        """Plain numbers, for JSON or torch.save."""
        return {
            "format": _FORMAT,
            "epoch": self.epoch,
            "done": self.step * order.batch_size * share.world_size,  # samples, over all ranks
            **_identity(order, fingerprint),
        }

    def load(self, state: Mapping[str, int], order: Order, share: Share, fingerprint: int) -> None:
        """Raises ValueError when the state is of other samples or of another order of them."""
        if state.get("format") != _FORMAT:
            raise ValueError("not the state of a loader of this version")
        for name, value in _identity(order, fingerprint).items():
            if state.get(name) != value:
                raise ValueError(f"{name} was {state.get(name)}, and is {value} now")
        step, rest = divmod(state["done"], order.batch_size * share.world_size)
        if rest:
            raise ValueError("batch_size * world_size must divide what was done")
        self.epoch, self.start, self.step = state["epoch"], step, step
        if step >= order.steps(share):
            self.finish()


def _identity(order: Order, fingerprint: int) -> dict[str, int]:
    return {
        "samples": order.samples,
        "keys": fingerprint,
        "shuffle": int(order.shuffle),
        "seed": order.seed,
    }
