"""A region is lost in pieces, and comes back: what it took in is read, or is 503; never 404."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from amur.cluster.testing import ServedCluster
from tests.cluster.live import (
    BLOCK,
    FRA,
    INLINE,
    ORD,
    PACK,
    PART,
    SJC,
    Ledger,
    Live,
    body_of,
    is_there,
    regions_of,
    same,
    until,
)
from tests.faults.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.faults]

FAILS_WITHIN = 5.0
SLACK = 2.0  # of the machine's, not of the promise
SIZES = {"inline": INLINE, "pack": PACK}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("lose") / "dir") as cluster:
        made = Live(cluster)
        made.client(SJC).ok("PUT", "/box")
        until(made.is_in_step, "the regions are in step")
        yield made
        made.close()


def _upload(ledger: Ledger, client: Client, name: str) -> list[str]:
    """One object of each kind, the multipart one last; their paths."""
    for kind, size in SIZES.items():
        ledger.put(client, f"/box/{name}/{kind}", body_of(f"{name} {kind}", size))
    parts = [body_of(f"{name} {number}", size) for number, size in ((1, PART), (2, BLOCK - PART))]
    ledger.put_parts(client, f"/box/{name}/parts", parts)
    return [f"/box/{name}/{kind}" for kind in (*SIZES, "parts")]


def _has_copy(client: Client, region: str, path: str) -> bool:
    """Read it there until the region says that it keeps a copy."""
    client.ok("GET", path)
    return region in regions_of(client, path)


def test_a_region_is_lost_and_comes_back(live: Live) -> None:
    sjc, ord_, fra = (live.client(name) for name in (SJC, ORD, FRA))
    ledger = Ledger()
    copied, alone, unread = (_upload(ledger, sjc, name) for name in ("copied", "alone", "unread"))
    time.sleep(1)  # "uploaded one second ago"
    live.kill(SJC, "gateway", "replicate")
    for path in copied:  # from the block service of sjc, which lives on
        assert same(ord_, path, ledger.bodies[path])
    for path in alone[:2]:
        assert same(fra, path, ledger.bodies[path])
    for path in copied[1:]:  # what is inline came with its record
        until(lambda p=path: _has_copy(ord_, ORD, p), f"ord keeps a copy of {path}")
        until(lambda p=path: ORD in regions_of(fra, p), f"fra knows of the copy of {path}")

    live.kill(SJC)
    for path in copied:
        assert same(fra, path, ledger.bodies[path])
    impatient = live.client(ORD, seconds=FAILS_WITHIN + SLACK)
    for path in unread:
        assert impatient.call("HEAD", path).status == 200
        answer = impatient.call("GET", path)
        if path.endswith("inline"):  # it came with its record
            assert answer.body == ledger.bodies[path]
            continue
        assert (answer.status, b"<Code>ServiceUnavailable</Code>" in answer.body) == (503, True)
        assert int(answer.headers["retry-after"]) > 0
    answer = impatient.call("GET", unread[-1], "", {"range": "bytes=100-199"})
    assert answer.status == 503
    assert impatient.call("GET", "/box/never").status == 404

    elsewhere = _upload(ledger, ord_, "meanwhile")
    ledger.delete(fra, copied[0])
    ledger.put(fra, copied[1], b"written while its region was away")
    live.start(SJC)
    until(lambda: is_there(sjc, elsewhere[-1]), "sjc has heard of what was written meanwhile")
    until(live.is_in_step, "the regions are in step")
    ledger.check((sjc, ord_, fra))


def test_the_endpoint_leads_elsewhere_within_two_seconds(live: Live) -> None:
    sjc = live.client(SJC)
    sjc.ok("PUT", "/box/front", "", {}, b"front")
    until(lambda: is_there(live.client(ORD), "/box/front"), "ord has heard of it")
    until(lambda: live.preferred() == SJC, "the endpoint leads to sjc")
    live.kill(SJC, "gateway")
    time.sleep(2)
    for _ in range(5):  # new connections, no second try
        front = live.client(seconds=5)
        assert front.ok("GET", "/box/front").body == b"front"
        front.close()
    assert live.preferred() == ORD
    live.start(SJC)
    until(lambda: live.preferred() == SJC, "sjc takes clients again")
