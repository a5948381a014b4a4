from __future__ import annotations

import json
import logging
import pickle
import random
from itertools import chain, islice
from pathlib import Path
from threading import current_thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amur.client import BundleError, BundleLoader

KEYS = [f"train/{at:03}" for at in range(100)]


@pytest.fixture(autouse=True)
def objects(stub: Any) -> None:
    stub.objects = {key: key.encode() * 9 for key in KEYS}


def keys_of(batches: Any) -> list[list[str]]:
    return [[key for key, _ in batch] for batch in batches]


def test_batches_of_keys_and_bodies_in_order(s3: Any, stub: Any) -> None:
    loader = BundleLoader(s3, "photos", KEYS, batch_size=8, prefetch=2)
    batches = list(loader)
    assert list(chain(*batches)) == [(key, stub.objects[key]) for key in KEYS]
    assert [len(batch) for batch in batches] == [8] * 12 + [4]
    assert len(loader) == 13
    assert sorted(stub.asked) == [KEYS[at : at + 16] for at in range(0, 100, 16)]
    assert list(loader.samples()) == list(chain(*batches))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed(s3: Any, compression: Any) -> None:
    loader = BundleLoader(s3, "photos", KEYS, compression=compression)
    assert list(chain(*keys_of(loader))) == KEYS


def test_keys_from_everywhere(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n".join(KEYS))
    for loader in (
        BundleLoader(s3, "photos", prefix="train/"),
        BundleLoader(s3, "photos", iter(KEYS)),
        BundleLoader(s3, "photos", tmp_path / "keys"),
    ):
        assert list(chain(*keys_of(loader))) == KEYS
    with pytest.raises(ValueError, match="no keys"):
        BundleLoader(s3, "photos", prefix="nothing/")


def test_decodes_in_the_background(s3: Any) -> None:
    def decode(key: str, body: bytes) -> tuple[str, int, str]:
        return key, len(body), current_thread().name

    found = list(BundleLoader(s3, "photos", KEYS, decode=decode).samples())
    assert found == [(key, 81, "amur-bundle") for key in KEYS]


def test_an_error_of_decode_tells_the_key(s3: Any) -> None:
    def decode(key: str, body: bytes) -> int:
        return int(body)

    with pytest.raises(ValueError, match="invalid literal") as caught:
        list(BundleLoader(s3, "photos", KEYS, decode=decode))
    assert "train/000" in caught.value.__notes__[0]


# --- order, epochs, resumption ---


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 60), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5)
)
def test_ranks_and_workers_share_an_epoch(
    s3: Any, samples: int, batch_size: int, world: int, workers: int, prefetch: int
) -> None:
    shares = [
        BundleLoader(
            s3, "photos", KEYS[:samples], batch_size=batch_size, shuffle=True, remainder="keep",
            rank=rank, world_size=world, worker=worker, workers=workers,
            prefetch=prefetch,
        )
        for rank in range(world)
        for worker in range(workers)
    ]  # fmt: skip
    found = [keys_of(loader) for loader in shares]
    assert [len(each) for each in found] == [len(loader) for loader in shares]
    assert sorted(chain(*chain(*found))) == KEYS[:samples]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 3), st.integers(0, 40))
def test_a_resumed_run_is_an_uninterrupted_one(
    s3: Any, samples: int, batch_size: int, workers: int, stop: int
) -> None:
    def loader() -> BundleLoader:
        return BundleLoader(s3, "photos", KEYS[:samples], batch_size=batch_size, shuffle=True,
                            seed=5, workers=workers, prefetch=2)  # fmt: skip

    def two_epochs(loader: BundleLoader) -> Any:
        for epoch in range(loader.epoch, 2):
            loader.set_epoch(epoch)
            yield from loader

    whole = keys_of(two_epochs(loader()))
    first, second = loader(), loader()
    running = two_epochs(first)
    before = keys_of(islice(running, stop))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    running.close()
    assert before + keys_of(two_epochs(second)) == whole


def test_an_iteration_that_is_left_begins_again(s3: Any) -> None:
    loader = BundleLoader(s3, "photos", KEYS, shuffle=True)
    first = next(iter(loader))
    assert next(iter(loader)) == first
    assert loader.epoch == 0
    _, *_ = loader
    assert loader.epoch == 1
    assert next(iter(loader)) != first
    loader.set_epoch(0)
    assert next(iter(loader)) == first


def test_a_state_of_other_keys_is_refused(s3: Any) -> None:
    state = BundleLoader(s3, "photos", KEYS).state_dict()
    with pytest.raises(ValueError, match="keys was"):
        BundleLoader(s3, "photos", KEYS[::-1]).load_state_dict(state)


# --- failures ---


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from([503, 500, 429]), st.floats(0.0, 0.99)), max_size=8))
@pytest.mark.usefixtures("hasty")
def test_failures_change_nothing_but_the_requests(s3: Any, stub: Any, plan: Any) -> None:
    stub.plan, stub.asked = list(plan), []
    loader = BundleLoader(s3, "photos", KEYS, batch_size=8, prefetch=3, retries=8)
    assert list(chain(*keys_of(loader))) == KEYS
    # one that is cut behind its last member needs no other
    assert 5 <= len(stub.asked) <= 5 + len(plan)


@pytest.mark.usefixtures("hasty")
def test_a_broken_stream_goes_on_where_it_broke(s3: Any, stub: Any) -> None:
    stub.plan = [0.5]
    loader = BundleLoader(s3, "photos", KEYS, batch_size=100)
    assert keys_of(loader) == [KEYS]
    (whole, rest) = stub.asked
    assert whole == KEYS
    assert rest == KEYS[-len(rest) :]
    assert 40 <= len(rest) <= 60


@pytest.mark.usefixtures("hasty")
def test_failures_in_a_row_are_bounded(s3: Any, stub: Any) -> None:
    stub.plan = [503] * 9
    with pytest.raises(BundleError, match="SlowDown"):
        list(BundleLoader(s3, "photos", KEYS, retries=2))
    assert len(stub.asked) == 3


def test_a_refusal_is_not_repeated(s3: Any, stub: Any) -> None:
    stub.plan = [403]
    with pytest.raises(BundleError) as caught:
        list(BundleLoader(s3, "photos", KEYS))
    assert caught.value.status == 403
    assert len(stub.asked) == 1


def test_foreign_members_are_never_samples(s3: Any, stub: Any) -> None:
    def shuffled(raw: bytes) -> bytes:
        members = [raw[at : at + 1024] for at in range(0, 1024 * len(KEYS), 1024)]
        random.Random(1).shuffle(members)
        return b"".join(members) + bytes(1024)

    stub.plan = [shuffled]
    with pytest.raises(BundleError, match="out of order"):
        list(BundleLoader(s3, "photos", KEYS, retries=0))


def test_missing_samples_leave_shorter_batches(
    s3: Any, stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gone = [*KEYS[:3], KEYS[50], *KEYS[88:]]
    for key in gone:
        del stub.objects[key]
    loader = BundleLoader(s3, "photos", KEYS, batch_size=8, prefetch=3)
    with caplog.at_level(logging.WARNING, "amur.client"):
        found = keys_of(loader)
    assert list(chain(*found)) == [key for key in KEYS if key not in gone]
    assert [len(batch) for batch in found] == [5, 8, 8, 8, 8, 8, 7, 8, 8, 8, 8]
    assert loader.skipped == dict.fromkeys(gone, "NoSuchKey")
    assert "3 of 24 keys skipped, the first: 'train/000' (NoSuchKey)" in caplog.text


@pytest.mark.usefixtures("hasty")
def test_skipped_samples_are_asked_for_again(s3: Any, stub: Any) -> None:
    late = {key: stub.objects.pop(key) for key in (KEYS[3], KEYS[40])}
    del stub.objects[KEYS[7]]

    def appear() -> None:
        if len(stub.asked) == 4:
            stub.objects.update(late)

    stub.before = appear
    loader = BundleLoader(s3, "photos", KEYS, batch_size=10, requests=1, retry_skipped=3)
    assert list(chain(*keys_of(loader))) == [key for key in KEYS if key != KEYS[7]]
    assert loader.skipped == {KEYS[7]: "NoSuchKey"}
    assert stub.asked[1:] == [[KEYS[3], KEYS[7]]] * 2 + [[KEYS[3], KEYS[7]], [KEYS[40]]]


def test_on_error_fail_raises(s3: Any, stub: Any) -> None:
    del stub.objects[KEYS[9]]
    with pytest.raises(BundleError) as caught:
        list(BundleLoader(s3, "photos", KEYS, on_error="fail"))
    assert caught.value.missing_keys == [KEYS[9]]


# --- other processes ---


def test_a_loader_can_be_pickled_unless_it_holds_a_client(s3: Any, access: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="another process"):
        pickle.dumps(BundleLoader(s3, "photos", KEYS))
    access.pop("config")
    loader = BundleLoader(access, "photos", prefix="train/")
    copy = pickle.loads(pickle.dumps(loader))
    assert list(copy) == list(loader)
    for each in (copy, loader):
        each._fetch.s3_client().close()


@pytest.mark.parametrize(
    "options",
    [{"requests": 0}, {"prefetch": 0}, {"retries": -1},
     {"batch_size": 5001}, {"batch_size": 0}, {"remainder": "x"}],
    ids=str,
)  # fmt: skip
def test_impossible_options_are_refused(s3: Any, options: Any) -> None:
    with pytest.raises(ValueError, match=r"no requests|at most|at least|none of"):
        BundleLoader(s3, "photos", KEYS, **options)
