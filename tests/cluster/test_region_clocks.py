"""R13: a region whose clock is ten minutes wrong. Who overwrites what he has read, wins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amur.cluster.testing import ServedCluster
from amur.serve.testing import KEY_ID, SECRET, clean_environment
from tests.cluster.live import ENABLED, FRA, INLINE, ORD, SJC, Live, body_of, is_well, same, until
from tests.faults.client import Client

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
MINUTE = 60
pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is missing: apt-get install faketime"),
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("clocks") / "dir") as cluster:
        made = Live(cluster)
        made.client(SJC).ok("PUT", "/box")
        made.client(SJC).ok("PUT", "/box", "versioning", {}, ENABLED)
        until(made.is_in_step, "the regions are in step")
        yield made
        made.close()


@contextmanager
def _wrong_clock(live: Live, seconds: int) -> Iterator[None]:
    """fra, with a clock that is ahead by so much; with the right one afterwards."""
    live.tell("stop", FRA)
    environment = clean_environment() | {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{seconds:+d}s",
        "AMUR_ROOT_ACCESS_KEY_ID": KEY_ID, "AMUR_ROOT_SECRET_ACCESS_KEY": SECRET,
    }  # fmt: skip
    command = [sys.executable, "-m", "amur.cli.main", "serve", "--config", str(live.config(FRA))]
    with live.data(FRA).with_name("wrong-clock.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: is_well(live.client(FRA, clock_s=seconds)), "fra answers")
        yield
    finally:
        process.terminate()
        process.wait(60)
        live.start(FRA)


def _put(client: Client, path: str, body: bytes) -> int:
    return int(client.ok("PUT", path, "", {}, body).headers["x-amz-version-id"])


@pytest.mark.parametrize("minutes", [10, -10])
def test_an_overwrite_of_what_was_read_wins(live: Live, minutes: int) -> None:
    skew = minutes * MINUTE
    path = f"/box/{'ahead' if minutes > 0 else 'behind'}"
    sjc, ord_ = live.client(SJC), live.client(ORD)
    with _wrong_clock(live, skew):
        fra = live.client(FRA, clock_s=skew)
        too_far = live.client(FRA, clock_s=skew + 16 * MINUTE)
        refused = too_far.call("GET", path)
        assert (refused.status, b"RequestTimeTooSkewed" in refused.body) == (403, True)
        assert live.client(FRA).call("GET", path).status == 404, "ten minutes are within bounds"
        ids = []
        for number in range(8):
            writer, others = ((sjc, (ord_, fra)), (fra, (sjc, ord_)))[number % 2]
            body = body_of(f"{path} {number}", INLINE)
            ids.append(_put(writer, path, body))
            for other in others:  # who writes next has read this
                until(lambda c=other, b=body: same(c, path, b), f"{path} {number} is seen")
        assert ids == sorted(ids)
    fra = live.client(FRA)
    ids.append(_put(fra, path, b"by the right clock"))
    assert ids == sorted(ids)
    for client in (sjc, ord_, fra):
        until(lambda c=client: same(c, path, b"by the right clock"), "it is seen everywhere")
