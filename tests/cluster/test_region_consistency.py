"""Buckets of one region, and of a geography, are registers through every gateway; global ones
agree in the end."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from random import Random

import pytest

from amur.cluster.testing import ServedCluster
from tests.cluster.live import FRA, ORD, REGIONS, SJC, Live, is_well, until, versions_of
from tests.faults.client import Client, UnansweredError
from tests.support.registers import Operation, is_linearizable

SEED = int(os.environ.get("AMUR_SEED", "1"))
KEYS = ("/one", "/two", "/three")
CLIENTS_EACH = 2  # at each gateway
OPERATIONS = 60  # of each client


def _operation(start: float, end: float, value: bytes | None, *, read: bool = False) -> Operation:
    return Operation(start, end, not read, value)


def test_the_checker_knows_a_register() -> None:
    a, b = b"a", b"b"
    told = _operation(0, 1, a), _operation(2, 3, b)
    assert is_linearizable([*told, _operation(4, 5, b, read=True)])
    assert not is_linearizable([*told, _operation(4, 5, a, read=True)]), "a stale read"
    assert not is_linearizable([*told, _operation(4, 5, None, read=True)]), "a lost write"
    during = _operation(0, 1, a), _operation(2, 9, b)
    new, old = _operation(4, 5, b, read=True), _operation(3, 6, a, read=True)
    assert is_linearizable([*during, new, old])
    assert not is_linearizable([*during, new, _operation(6, 7, a, read=True)]), "back in time"
    unanswered = _operation(0, 1, a), _operation(2, inf, b)
    assert is_linearizable([*unanswered, _operation(8, 9, a, read=True)])
    assert is_linearizable([*unanswered, _operation(8, 9, b, read=True)])
    assert not is_linearizable([*unanswered, new, _operation(6, 7, a, read=True)])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("consistency") / "dir") as cluster:
        made = Live(cluster)
        sjc = made.client(SJC)
        sjc.ok("PUT", "/single", "", {"x-tigris-regions": FRA})
        sjc.ok("PUT", "/multi", "", {"x-tigris-regions": "usa"})
        sjc.ok("PUT", "/global")
        until(made.is_in_step, "the regions are in step")
        yield made
        made.close()


class _Session:
    """One client that writes, reads and deletes, and notes what it saw."""

    def __init__(self, client: Client, bucket: str, name: str, seed: int) -> None:
        self.client, self.bucket, self.name = client, bucket, name
        self.dice = Random(seed)
        self.seen: dict[str, list[Operation]] = defaultdict(list)

    def run(self) -> None:
        for number in range(OPERATIONS):
            key = self.dice.choice(KEYS)
            what = self.dice.choices(("PUT", "GET", "DELETE"), (4, 5, 1))[0]
            value = b"%s %d" % (self.name.encode(), number) if what == "PUT" else None
            start = time.monotonic()
            try:
                answer = self.client.call(what, f"/{self.bucket}{key}", "", {}, value or b"")
                status, body = answer.status, answer.body
            except UnansweredError:
                status, body = 0, b""
            end = time.monotonic() if 200 <= status < 300 or status == 404 else inf
            if what == "GET":
                value = body if status == 200 else None
            self.seen[key].append(Operation(start, end, what != "GET", value))
            if end == inf:
                time.sleep(0.1)


def _run(live: Live, bucket: str) -> dict[str, list[Operation]]:
    """What clients at all gateways saw of each key, while processes were killed."""
    sessions = [
        _Session(live.client(region, seconds=10), bucket, f"{region}{n}", SEED * 10 + n)
        for region in REGIONS
        for n in range(CLIENTS_EACH)
    ]
    with ThreadPoolExecutor(len(sessions)) as threads:
        running = [threads.submit(session.run) for session in sessions]
        for region, role in ((FRA, "gateway"), (ORD, "replicate"), (SJC, "gateway")):
            time.sleep(0.3)
            live.strike(region, role)
        for each in running:
            each.result()
    seen = {key: [each for session in sessions for each in session.seen[key]] for key in KEYS}
    answered = sum(each.end < inf for history in seen.values() for each in history)
    assert answered > len(sessions) * OPERATIONS // 3
    return seen


def _values(live: Live, bucket: str) -> dict[str, dict[str, bytes | None]]:
    """Of each key, in each region."""
    found: dict[str, dict[str, bytes | None]] = {}
    for region, client in live.everywhere().items():
        until(lambda c=client: is_well(c), f"{region} answers")
        answers = {key: client.call("GET", f"/{bucket}{key}") for key in KEYS}
        assert {each.status for each in answers.values()} <= {200, 404}
        found[region] = {k: a.body if a.status == 200 else None for k, a in answers.items()}
    return found


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("bucket", ["single", "multi"])
def test_a_strong_bucket_is_a_register(live: Live, bucket: str) -> None:
    seen = _run(live, bucket)
    at = time.monotonic()
    for values in _values(live, bucket).values():
        for key, value in values.items():
            seen[key].append(Operation(at, time.monotonic(), False, value))
    for key, history in seen.items():
        assert is_linearizable(history), f"AMUR_SEED={SEED}: {key}: {sorted(history)}"


@pytest.mark.slow
@pytest.mark.faults
def test_a_global_bucket_converges(live: Live) -> None:
    seen = _run(live, "global")
    until(live.is_in_step, "the regions are in step")
    values = _values(live, "global")
    assert values[SJC] == values[ORD] == values[FRA], f"AMUR_SEED={SEED}"
    for key, value in values[SJC].items():
        assert value in {each.value for each in seen[key] if each.is_write}
    listed = [versions_of(client, "global") for client in live.everywhere().values()]
    assert listed[0] == listed[1] == listed[2]
