from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur.client.order import Order, Progress, Share

orders = st.builds(
    Order,
    samples=st.integers(1, 80),
    batch_size=st.integers(1, 9),
    shuffle=st.booleans(),
    seed=st.integers(0, 3),
    remainder=st.sampled_from(["pad", "drop", "keep"]),
)
worlds, workers, epochs = st.integers(1, 5), st.integers(1, 4), st.integers(0, 5)


def of_rank(order: Order, epoch: int, rank: int, world: int, workers: int = 1, start: int = 0
            ) -> list[tuple[int, list[int]]]:  # fmt: skip
    """All batches of all workers, by step."""
    shares = (Share(rank, world, worker, workers) for worker in range(workers))
    return sorted(chain.from_iterable(order.batches(epoch, share, start) for share in shares))


@given(orders, worlds, workers, epochs)
def test_each_sample_comes_once_but_for_the_remainder(
    order: Order, world: int, workers: int, epoch: int
) -> None:
    ranks = [of_rank(order, epoch, rank, world, workers) for rank in range(world)]
    times = Counter(at for batches in ranks for _, batch in batches for at in batch)
    assert set(times) <= set(range(order.samples))
    over = order.samples % world
    if order.remainder == "keep" or not over:
        assert times == Counter(range(order.samples))
    elif order.remainder == "drop":
        assert set(times.values()) <= {1}
        assert len(times) == order.samples - over
    else:
        assert set(times) == set(range(order.samples))
        assert sum(times.values()) == order.samples + world - over
    if order.remainder != "keep":
        sizes = [[len(batch) for _, batch in batches] for batches in ranks]
        assert all(each == sizes[0] for each in sizes)


@given(orders, worlds, workers, epochs)
def test_steps_are_counted_and_full_but_the_last(
    order: Order, world: int, workers: int, epoch: int
) -> None:
    for rank in range(world):
        found = of_rank(order, epoch, rank, world, workers)
        assert [step for step, _ in found] == list(range(order.steps(Share(rank, world))))
        assert all(len(batch) == order.batch_size for _, batch in found[:-1])
        assert all(batch for _, batch in found)
        whole = Order(order.samples, order.batch_size, order.shuffle, order.seed, order.remainder,
                      drop_last=True)  # fmt: skip
        assert of_rank(whole, epoch, rank, world, workers) == [
            (step, batch)
            for step, batch in found
            if (step + 1) * world * order.batch_size <= whole._used(Share(rank, world))
        ]


@given(orders, worlds, workers, workers, epochs, st.integers(0, 30))
def test_what_is_resumed_is_what_was_left(
    order: Order, world: int, before: int, after: int, epoch: int, start: int
) -> None:
    """Whatever the number of workers then and now."""
    for rank in range(world):
        whole = of_rank(order, epoch, rank, world, before)
        assert of_rank(order, epoch, rank, world, after, start) == whole[start:]


@given(st.integers(1, 50), st.integers(1, 3), st.integers(1, 3), epochs)
def test_a_step_holds_the_same_samples_for_the_same_product(
    samples: int, batch: int, world: int, epoch: int
) -> None:
    def steps(batch_size: int, world: int) -> dict[int, list[int]]:
        order = Order(samples, batch_size, shuffle=True, remainder="keep")
        found: dict[int, list[int]] = {}
        for rank in range(world):
            for step, places in of_rank(order, epoch, rank, world):
                found.setdefault(step, []).extend(places)
        return found

    assert steps(batch, world) == steps(batch * world, 1)


def test_epochs_and_seeds_shuffle_differently_and_repeatably() -> None:
    def flat(epoch: int, **options: Any) -> list[int]:
        order = Order(100, 8, **options)
        return [at for _, batch in order.batches(epoch, Share()) for at in batch]

    assert flat(3) == list(range(100))
    found = [flat(epoch, shuffle=True, seed=seed) for epoch in (0, 1) for seed in (0, 1)]
    assert len({tuple(each) for each in found}) == 4
    assert found[0] == flat(0, shuffle=True, seed=0)
    assert found[0][:8] == [68, 91, 42, 59, 54, 29, 57, 7]  # of any Python, for resumption


@pytest.mark.parametrize(
    "share", [Share(1, 1), Share(-1, 1), Share(0, 0), Share(0, 1, 2, 2), Share(0, 1, 0, 0)]
)
def test_impossible_shares_are_refused(share: Share) -> None:
    with pytest.raises(ValueError, match="no such share"):
        next(Order(5, 1).batches(0, share))


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"batch_size": 0}, {"remainder": "half"}], ids=str
)
def test_impossible_orders_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|none of"):
        Order(**({"samples": 5, "batch_size": 1} | options))


# --- progress ---


def test_a_state_goes_on_where_it_was_taken() -> None:
    order, share = Order(100, 5, shuffle=True), Share(0, 2)
    first = Progress()
    first.set_epoch(3)
    first.step = 4
    second = Progress()
    second.load(first.state(order, share, 7), order, share, 7)
    assert (second.epoch, second.start, second.step) == (3, 4, 4)
    second.set_epoch(3)
    assert second.start == 4
    second.set_epoch(4)
    assert second.start == 0


def test_another_number_of_ranks_goes_on_with_the_same_samples() -> None:
    progress = Progress()
    progress.step = 4
    state = progress.state(Order(100, 5), Share(0, 2), 7)
    progress.load(state, Order(100, 10), Share(), 7)
    assert progress.start == 4
    progress.load(state, Order(100, 20), Share(), 7)
    assert progress.start == 2
    with pytest.raises(ValueError, match="divide"):
        progress.load(state, Order(100, 9), Share(), 7)


def test_the_state_after_the_last_batch_is_the_next_epoch() -> None:
    order, progress = Order(9, 5), Progress()
    progress.step = 2
    progress.load(progress.state(order, Share(), 7), order, Share(), 7)
    assert (progress.epoch, progress.start) == (1, 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "version"), ({"samples": 8}, "samples was 8"), ({"keys": 1}, "keys was"),
        ({"seed": 1}, "seed was 1"), ({"shuffle": 1}, "shuffle was 1"),
    ],
)  # fmt: skip
def test_the_state_of_something_else_is_refused(change: dict[str, int], told: str) -> None:
    order, progress = Order(9, 5), Progress()
    with pytest.raises(ValueError, match=told):
        progress.load(progress.state(order, Share(), 7) | change, order, Share(), 7)
