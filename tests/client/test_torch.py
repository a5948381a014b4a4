from __future__ import annotations

import pickle
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="pip install amur[torch]")

from torch.utils.data import DataLoader  # noqa: E402

from amur.client.torch import BundleDataset  # noqa: E402

KEYS = [f"train/{at:03}" for at in range(50)]
OPTIONS = {"batch_size": 4, "shuffle": True, "seed": 3, "prefetch": 3}


def number(key: str, body: bytes) -> Any:
    return torch.tensor(int(body))


@pytest.fixture
def kwargs(stub: Any, access: dict[str, Any]) -> dict[str, Any]:
    """Of boto3.client."""
    stub.objects = {key: key[-3:].encode() for key in KEYS}
    access.pop("config")
    return access


def dataset(kwargs: Any, **options: Any) -> BundleDataset:
    return BundleDataset(kwargs, "photos", KEYS, **OPTIONS | {"decode": number} | options)


def lists(batches: Any) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_persistent", [False, True])
def test_any_number_of_workers_gives_the_same_batches(
    kwargs: Any, start: str, is_persistent: bool
) -> None:
    alone = dataset(kwargs).loader()
    epochs = [lists(alone), lists(alone)]
    assert sorted(chain(*epochs[0])) == list(range(50))
    assert epochs[0] != epochs[1]
    assert len(alone) == len(epochs[0]) == 13
    assert alone.epoch == 2
    workers = dataset(kwargs, prefix="train/").loader(
        num_workers=2, multiprocessing_context=start, persistent_workers=is_persistent
    )
    assert [lists(workers), lists(workers)] == epochs


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 1)])
def test_resumes_at_a_batch_with_another_number_of_workers(
    kwargs: Any, before: int, after: int
) -> None:
    whole = lists(dataset(kwargs).loader())
    first = dataset(kwargs).loader(num_workers=before)
    running = iter(first)
    assert lists(islice(running, 5)) == whole[:5]
    second = dataset(kwargs).loader(num_workers=after)
    second.load_state_dict(first.state_dict())
    running.close()
    second.set_epoch(second.epoch)
    assert lists(second) == whole[5:]
    assert second.epoch == 1
    second.set_epoch(0)
    assert lists(second) == whole


def test_ranks_share_an_epoch(kwargs: Any) -> None:
    found = [
        lists(dataset(kwargs, rank=rank, world_size=3, remainder="pad").loader(num_workers=2))
        for rank in range(3)
    ]
    assert [[len(batch) for batch in batches] for batches in found] == [[4] * 4 + [1]] * 3
    assert set(chain(*chain(*found))) == set(range(50))


def test_the_rank_is_that_of_torch_distributed(kwargs: Any, tmp_path: Path) -> None:
    made = dataset(kwargs)
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert made.share()[:2] == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


def test_asks_torch_distributed_before_each_iteration(
    kwargs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = dataset(kwargs)
    loader = made.loader(num_workers=2)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert len(made) == 7
    mine = lists(loader)
    assert mine == lists(dataset(kwargs, rank=1, world_size=2).loader())


def test_a_plain_data_loader_works(kwargs: Any) -> None:
    made = dataset(kwargs)
    whole = lists(made.loader())
    plain = DataLoader(made, batch_size=None, num_workers=2)
    assert lists(plain) == whole
    made.set_epoch(1)
    assert lists(plain) != whole


def test_missing_samples_keep_the_order(kwargs: Any, stub: Any) -> None:
    whole = lists(dataset(kwargs).loader())
    gone = [*whole[2], whole[5][0]]
    for each in gone:
        del stub.objects[f"train/{each:03}"]
    loader = dataset(kwargs).loader(num_workers=2)
    left = [[each for each in batch if each not in gone] for batch in whole]
    assert lists(loader) == [batch for batch in left if batch]
    assert loader.skipped == {f"train/{each:03}" for each in gone}


def failing(key: str, body: bytes) -> Any:
    raise ValueError("no image")


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_from_the_worker_as_they_are(kwargs: Any, stub: Any, workers: int) -> None:
    from amur.client import BundleError

    with pytest.raises(ValueError, match="no image"):
        list(dataset(kwargs, decode=failing).loader(num_workers=workers))
    stub.plan = [403] * 2
    with pytest.raises(BundleError, match="SlowDown"):
        list(dataset(kwargs).loader(num_workers=workers))


def test_a_client_is_refused_and_what_makes_one_is_pickled(s3: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="worker processes"):
        BundleDataset(s3, "photos", KEYS)
    made = dataset(kwargs)
    copy = pickle.loads(pickle.dumps(made))
    assert lists(copy.loader()) == lists(made.loader())
