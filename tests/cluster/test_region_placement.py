"""Where bytes lie: restricted buckets keep them off every other region's disks, accelerated ones
bring them everywhere, and the home goes where an object is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from amur.cluster.testing import ServedCluster
from tests.cluster.live import (
    FRA,
    INLINE,
    ORD,
    PART,
    REGIONS,
    SJC,
    Ledger,
    Live,
    body_of,
    files_with,
    regions_of,
    same,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.faults]

MARKER = 200
SIZES = {"inline": INLINE, "pack": 100 * 1024}
ACCELERATED = b"<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("placement") / "dir") as cluster:
        made = Live(cluster)
        until(made.is_in_step, "the regions are in step")
        yield made
        made.close()


def _upload(live: Live, ledger: Ledger, region: str, bucket: str, **headers: str) -> None:
    """An object of each kind."""
    client = live.client(region)
    for kind, size in SIZES.items():
        ledger.put(client, f"/{bucket}/{kind}", body_of(f"{bucket} {kind}", size), **headers)
    parts = [body_of(f"{bucket} {number}", PART + 1000 * number) for number in range(2)]
    ledger.put_parts(client, f"/{bucket}/parts", parts, **headers)


def _markers(body: bytes) -> list[bytes]:
    """From its beginning, middle and end, where no checksum stands between (each MiB)."""
    return [body[at : at + MARKER] for at in (0, len(body) // 2, len(body) - MARKER)]


def _traces(live: Live, region: str, ledger: Ledger) -> list[str]:
    """Where bytes of the bodies lie in a region."""
    bodies = [body for body in ledger.bodies.values() if body]
    return [
        str(path.relative_to(live.data(region)))
        for body in bodies
        for marker in _markers(body)
        for path in files_with(live.data(region), marker)
    ]


def _has_all(live: Live, region: str, ledger: Ledger) -> bool:
    return all(
        files_with(live.data(region), marker)
        for body in ledger.bodies.values()
        if body
        for marker in _markers(body)
    )


@pytest.mark.parametrize("level", ["bucket", "object"])
def test_bytes_of_a_single_region_lie_nowhere_else(live: Live, level: str) -> None:
    ledger, clients = Ledger(), live.everywhere()
    pinned = {"x_tigris_regions": FRA}
    named = {"x-tigris-regions": FRA} if level == "bucket" else {}
    clients[SJC].ok("PUT", f"/single-{level}", "", named)
    until(live.is_in_step, "all have heard of the bucket")
    _upload(live, ledger, SJC, f"single-{level}", **(pinned if level == "object" else {}))
    until(live.is_in_step, "all have heard")
    for _ in range(2):
        ledger.check((clients[ORD], clients[SJC], clients[FRA]))
    for path, body in ledger.bodies.items():
        assert body is not None
        ranged = clients[ORD].ok("GET", path, "", {"range": "bytes=100-199"})
        assert ranged.body == body[100:200]
        assert regions_of(clients[ORD], path) == [FRA]
    assert _has_all(live, FRA, ledger)
    assert _traces(live, SJC, ledger) == []
    assert _traces(live, ORD, ledger) == []


def test_bytes_of_a_dual_region_lie_in_both(live: Live) -> None:
    ledger, clients = Ledger(), live.everywhere()
    clients[ORD].ok("PUT", "/dual", "", {"x-tigris-regions": f"{SJC},{FRA}"})
    until(live.is_in_step, "all have heard of the bucket")
    _upload(live, ledger, ORD, "dual")
    for region in (SJC, FRA):
        until(lambda r=region: _has_all(live, r, ledger), f"{region} has a copy")
        for path in list(ledger.bodies)[1:]:  # but the inline one, which came with its record
            until(
                lambda r=region, p=path: {SJC, FRA} == set(regions_of(clients[r], p)),
                f"{region} knows of both copies",
            )
    ledger.check(clients.values())
    assert _traces(live, ORD, ledger) == []
    live.kill(SJC)  # each copy is whole
    ledger.check((clients[ORD], clients[FRA]))
    live.start(SJC)
    live.kill(FRA)
    ledger.check((clients[ORD], clients[SJC]))
    live.start(FRA)
    until(live.is_in_step, "the regions are in step")


def test_an_accelerated_bucket_is_everywhere(live: Live) -> None:
    ledger, clients = Ledger(), live.everywhere()
    clients[SJC].ok("PUT", "/fast")
    clients[SJC].ok("PUT", "/fast", "accelerate", {}, ACCELERATED)
    until(live.is_in_step, "all have heard of the bucket")
    _upload(live, ledger, SJC, "fast")
    for region in REGIONS:
        until(lambda r=region: _has_all(live, r, ledger), f"{region} has a copy that nobody read")
    live.kill(SJC)
    ledger.check((clients[ORD], clients[FRA]))
    live.start(SJC)
    until(live.is_in_step, "the regions are in step")


def test_the_home_follows_the_readers(live: Live) -> None:
    ledger, clients = Ledger(), live.everywhere()
    clients[SJC].ok("PUT", "/roaming")
    for kind in ("read", "left"):
        ledger.put(clients[SJC], f"/roaming/{kind}", body_of(f"roaming {kind}", SIZES["pack"]))
    until(live.is_in_step, "all have heard")
    for _ in range(30):
        assert same(clients[FRA], "/roaming/read", ledger.bodies["/roaming/read"])
    until(lambda: regions_of(clients[FRA], "/roaming/read")[0] == FRA, "the home is fra")
    for client in clients.values():
        until(lambda c=client: regions_of(c, "/roaming/read")[0] == FRA, "all have heard of it")
        assert regions_of(client, "/roaming/left") == [SJC]
    ledger.check(clients.values())
