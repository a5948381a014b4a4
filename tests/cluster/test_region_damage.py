"""R7: flipped bits in one region. Readers get another region's bytes, and the damage is mended; of
what lies nowhere else they get an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amur.cluster.testing import ServedCluster
from tests.cluster.live import (
    FRA,
    ORD,
    PACK,
    SJC,
    Ledger,
    Live,
    body_of,
    files_with,
    regions_of,
    same,
    until,
)
from tests.faults.client import Client, UnansweredError

pytestmark = [pytest.mark.slow, pytest.mark.faults]

BLOCK = 2_500_000
MARK = slice(20_000, 20_200)  # of a body: where the bit is flipped


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("damage") / "dir") as cluster:
        made = Live(cluster)
        made.client(SJC).ok("PUT", "/box")
        until(made.is_in_step, "the regions are in step")
        yield made
        made.close()


def _flip(directory: Path, body: bytes) -> None:
    """One bit of it, wherever it lies there."""
    files = files_with(directory, body[MARK])
    assert len(files) == 1
    at = files[0].read_bytes().index(body[MARK]) + 100
    with files[0].open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes((byte ^ 8,)))
    assert not files_with(directory, body[MARK])


def _written(live: Live, name: str) -> dict[str, bytes]:
    """Objects by path that sjc has, and nobody else."""
    ledger, sjc = Ledger(), live.client(SJC)
    for kind, size in (("pack", PACK), ("block", BLOCK)):
        ledger.put(sjc, f"/box/{name}-{kind}", body_of(f"{name} {kind}", size))
    until(live.is_in_step, "the others have heard")
    return {path: body for path, body in ledger.bodies.items() if body is not None}


def _copied(client: Client, path: str, region: str) -> bool:
    client.ok("GET", path)
    return region in regions_of(client, path)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_damage_is_mended_from_another_region(live: Live, state: str) -> None:
    sjc, ord_ = live.client(SJC), live.client(ORD)
    bodies = _written(live, state)
    for path in bodies:
        until(lambda p=path: _copied(ord_, p, ORD), f"ord keeps a copy of {path}")
    until(lambda: all(ORD in regions_of(sjc, path) for path in bodies), "sjc has heard of it")
    if state == "stopped":
        live.tell("stop", SJC)
    for body in bodies.values():
        _flip(live.data(SJC), body)
    if state == "stopped":
        live.start(SJC)
        sjc = live.client(SJC)
    for path, body in bodies.items():
        assert same(sjc, path, body)
    for body in bodies.values():
        until(lambda b=body: files_with(live.data(SJC), b[MARK]), "the damage is mended")
    live.kill(ORD)
    live.kill(FRA)
    for path, body in bodies.items():
        assert same(sjc, path, body), "of its own copy"
    live.start(ORD)
    live.start(FRA)
    until(live.is_in_step, "the regions are in step")


def test_damage_of_the_only_copy_is_an_error(live: Live) -> None:
    clients = live.everywhere()
    for path, body in _written(live, "only").items():
        _flip(live.data(SJC), body)
        for region in (ORD, SJC, FRA):
            for _ in range(2):
                assert _refused(clients[region], path), f"{region} serves damaged bytes of {path}"
        for region in (ORD, FRA):
            assert region not in regions_of(clients[region], path)


def _refused(client: Client, path: str) -> bool:
    try:
        return client.call("GET", path).status in (500, 503)
    except UnansweredError:  # it had begun to send good bytes
        return True
