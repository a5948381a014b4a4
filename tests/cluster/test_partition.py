"""Regions that can't hear each other go on; afterwards all of them have the same, and the last
writer has won. A queue of 10,000 keys, a slow line and a black hole harm nobody but who waits for
what lies behind them."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import psutil
import pytest

from amur.cluster.testing import ServedCluster
from tests.cluster.live import (
    ENABLED,
    FRA,
    INLINE,
    ORD,
    PACK,
    REGIONS,
    SJC,
    Ledger,
    Line,
    Live,
    body_of,
    is_there,
    same,
    until,
    versions_of,
)
from tests.faults.client import NAMESPACE, Client

pytestmark = [pytest.mark.slow, pytest.mark.faults]

MIB = 1 << 20
QUEUED = 10_000
WRITTEN = 2_000  # of them with a body; the others are deleted by the thousand: a marker each
RSS_GROWTH_MAX = 100 * MIB
SLOW_BYTES_PER_S = 8_000  # 64 kbit/s
PATIENCE_S = 7.0  # 5 s are promised; the rest is for a busy machine


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with ServedCluster(tmp_path_factory.mktemp("partition") / "dir") as cluster:
        made = Live(cluster)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def open_links(live: Live) -> Iterator[None]:
    until(live.is_in_step, "the regions are in step")
    yield
    live.links("heal")
    live.links("bandwidth", bytes_per_s=0)


def _tags(*pairs: str) -> bytes:
    items = "".join(
        f"<Tag><Key>{pair.split('=')[0]}</Key><Value>{pair.split('=')[1]}</Value></Tag>"
        for pair in pairs
    )
    return f"<Tagging><TagSet>{items}</TagSet></Tagging>".encode()


def _told_tags(client: Client, path: str) -> dict[str, str]:
    document = ElementTree.fromstring(client.ok("GET", path, "tagging").body)
    return {
        tag.findtext(f"{NAMESPACE}Key") or "": tag.findtext(f"{NAMESPACE}Value") or ""
        for tag in document.iter(f"{NAMESPACE}Tag")
    }


def _buckets(client: Client) -> list[str]:
    document = ElementTree.fromstring(client.ok("GET", "/").body)
    return [each.findtext(f"{NAMESPACE}Name") or "" for each in document.iter(f"{NAMESPACE}Bucket")]


def _everything(client: Client) -> tuple[dict[str, list[Line]], dict[str, str]]:
    """What a region knows: versions of each bucket, and the settings of each."""
    buckets = _buckets(client)
    settings = {
        f"{bucket} {setting}": client.call("GET", f"/{bucket}", setting).body.decode()
        for bucket in buckets
        for setting in ("versioning", "acl", "accelerate")
    }
    return {bucket: versions_of(client, bucket) for bucket in buckets}, settings


def _agree(clients: dict[str, Client]) -> bool:
    told = [_everything(client) for client in clients.values()]
    return all(each == told[0] for each in told)


def test_writes_on_both_sides(live: Live) -> None:
    clients = live.everywhere()
    sjc, ord_, fra = (clients[name] for name in (SJC, ORD, FRA))
    ledger = Ledger()
    for bucket in ("plain", "versioned", "settings"):
        sjc.ok("PUT", f"/{bucket}")
    sjc.ok("PUT", "/versioned", "versioning", {}, ENABLED)
    before = [f"/{b}/{k}" for b in ("plain", "versioned") for k in ("kept", "gone", "back", "tags")]
    for path in before:
        ledger.put(sjc, path, body_of(f"before {path}", PACK))
    first = ledger.put(sjc, "/versioned/first", b"first").headers["x-amz-version-id"]
    ledger.put(sjc, "/versioned/first", b"second")
    for client in (ord_, fra):
        until(lambda c=client: is_there(c, "/versioned/first"), "all have heard")
        for path in before:
            until(lambda c=client, p=path: same(c, p, ledger.bodies[p]), "all have heard")

    live.links("partition", FRA)
    ids: dict[str, list[str]] = {}
    sides = {"sjc": sjc, "fra": fra}
    for number, bucket in itertools.product(range(12), ("plain", "versioned")):
        path = f"/{bucket}/both{number}"
        order = sorted(sides, reverse=bool(number % 2))  # either side is the last writer at times
        for side in order:
            size = (INLINE, PACK)[number // 2 % 2]
            told = ledger.put(sides[side], path, body_of(f"{side} {path}", size))
            ids.setdefault(path, []).append(told.headers.get("x-amz-version-id", ""))
    for bucket in ("plain", "versioned"):
        ledger.put(fra, f"/{bucket}/gone", b"written before it is deleted on the other side")
        ledger.delete(sjc, f"/{bucket}/gone")
        ledger.delete(fra, f"/{bucket}/back")
        ledger.put(ord_, f"/{bucket}/back", b"written after it was deleted on the other side")
        ledger.put(ord_, f"/{bucket}/new-at-ord", body_of("ord", PACK))
        ledger.put(fra, f"/{bucket}/new-at-fra", body_of("fra", PACK))
        ledger.put(fra, f"/{bucket}/short-lived", b"x")
        ledger.delete(fra, f"/{bucket}/short-lived")
        sjc.ok("PUT", f"/{bucket}/tags", "tagging", {}, _tags("side=sjc", "only=sjc"))
        fra.ok("PUT", f"/{bucket}/tags", "tagging", {}, _tags("side=fra"))
    sjc.ok("DELETE", "/versioned/first", f"versionId={first}")
    fra.ok("PUT", "/settings", "versioning", {}, ENABLED)
    sjc.ok("PUT", "/settings", "acl", {"x-amz-acl": "public-read"})
    for side in (fra, sjc):
        side.ok("PUT", "/made-by-both")
    ledger.put(fra, "/made-by-both/of-fra", b"fra")
    ledger.put(sjc, "/made-by-both/of-sjc", b"sjc")
    assert not is_there(sjc, "/plain/new-at-fra"), "there was no partition: the test shows nothing"
    assert fra.ok("GET", "/plain/both0").body == body_of("fra /plain/both0", INLINE)

    live.links("heal")
    until(lambda: _agree(clients), "all regions list the same")
    ledger.check(clients.values())
    for client in clients.values():
        for bucket in ("plain", "versioned"):
            assert _told_tags(client, f"/{bucket}/tags") == {"side": "fra"}
        assert b"Enabled" in client.ok("GET", "/settings", "versioning").body
        assert b"AllUsers" in client.ok("GET", "/settings", "acl").body
        lines = versions_of(client, "versioned")
        listed = {line[2] for line in lines}
        assert first not in listed
        for path, made in ids.items():
            key = path.removeprefix("/versioned/")
            if key != path:
                here = [line[2] for line in lines if line[1] == key]
                assert here == sorted(made, key=int, reverse=True)


def test_no_deleted_key_comes_back(live: Live) -> None:
    """Whoever heard of a delete, of what was deleted, or of neither."""
    clients = live.everywhere()
    sjc, fra = clients[SJC], clients[FRA]
    ledger = Ledger()
    sjc.ok("PUT", "/graves")
    paths = [f"/graves/{number}" for number in range(40)]
    for path in paths:
        ledger.put(sjc, path, body_of(path, INLINE))
    until(lambda: is_there(fra, paths[-1]), "fra has heard")
    live.links("partition", FRA)
    for path in paths:
        ledger.delete(sjc, path)
    live.strike(FRA, "replicate")
    live.strike(SJC, "replicate")
    assert same(fra, paths[0], body_of(paths[0], INLINE))
    live.links("heal")
    until(lambda: not versions_of(fra, "graves"), "fra has heard of the deletes")
    live.links("partition", SJC)  # ord must not tell fra of what it no longer has, nor sjc ord
    live.strike(ORD, "replicate")
    live.links("heal")
    until(live.is_in_step, "the regions are in step")
    ledger.check(clients.values())
    assert all(not versions_of(client, "graves") for client in clients.values())


def _delete(client: Client, bucket: str, names: list[str]) -> None:
    items = "".join(f"<Object><Key>{name}</Key></Object>" for name in names)
    body = f"<Delete><Quiet>true</Quiet>{items}</Delete>".encode()
    checksum = base64.b64encode(hashlib.md5(body).digest()).decode()
    told = client.ok("POST", f"/{bucket}", "delete", {"content-md5": checksum}, body)
    assert b"<Error>" not in told.body


def _memory(live: Live, region: str) -> dict[str, int]:
    """Of the processes that send and receive: their own pages, not those of mapped files."""
    return {
        role: sum(psutil.Process(pid).memory_full_info().uss for pid in live.pids(region, role))
        for role in ("replicate", "blocks")
    }


def test_a_long_queue_behind_a_partition(live: Live) -> None:
    """R10, R11: it is shown, it drains through kills of both ends, and memory stays bounded."""
    sjc, fra = live.client(SJC), live.client(FRA)
    sjc.ok("PUT", "/queue")
    sjc.ok("PUT", "/queue", "versioning", {}, ENABLED)
    until(live.is_in_step, "the regions are in step")
    before = {region: _memory(live, region) for region in (SJC, FRA)}
    live.links("partition", SJC, FRA)

    def fill(numbers: range) -> None:
        client = live.client(SJC)
        for number in numbers:
            client.ok("PUT", f"/queue/{number:05d}", "", {}, b"%d" % number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(fill, (range(start, WRITTEN, 4) for start in range(4))))
    for start in range(WRITTEN, QUEUED, 1000):
        _delete(sjc, "queue", [f"{number:05d}" for number in range(start, start + 1000)])
    shown = until(
        lambda: (peer := live.page(SJC)["peers"][FRA])["backlog"] >= QUEUED and peer,
        "the page shows how many wait",
    )
    assert shown["lag_seconds"] > 0
    ahead = live.page(SJC)["peers"][ORD]
    assert (ahead["backlog"], ahead["reachable"]) == (0, True)

    live.links("bandwidth", SJC, FRA, bytes_per_s=MIB // 4)  # slow enough to be killed on the way
    live.links("heal")
    for region, role in ((SJC, "replicate"), (FRA, "blocks")) * 2:
        live.strike(region, role)
        assert live.page(SJC)["peers"][FRA]["backlog"] > 0, "all is there: the kill shows nothing"
    live.links("bandwidth", SJC, FRA, bytes_per_s=0)
    until(lambda: live.page(SJC)["peers"][FRA]["backlog"] == 0, "the queue is drained")
    until(lambda: len(versions_of(fra, "queue")) == QUEUED, "all of it is there")
    for number in range(0, WRITTEN, 97):
        assert same(fra, f"/queue/{number:05d}", b"%d" % number)
    for region, memory in before.items():
        for role, now in _memory(live, region).items():
            assert now - memory[role] <= RSS_GROWTH_MAX, (region, role, memory, now)


@pytest.mark.parametrize("trouble", ["black hole", "64 kbit/s"])
def test_a_bad_line_slows_nobody_who_does_not_need_it(live: Live, trouble: str) -> None:
    """R12."""
    sjc, fra = live.client(SJC, seconds=PATIENCE_S), live.client(FRA)
    name = trouble.split()[0]
    ledger = Ledger()
    fra.ok("PUT", f"/line-{name}")
    far = f"/line-{name}/only-in-fra"
    ledger.put(fra, far, body_of(far, MIB))
    until(lambda: is_there(sjc, far), "sjc has heard")
    if name == "black":
        live.links("partition", FRA)
    else:
        for other in (SJC, ORD):
            live.links("bandwidth", FRA, other, bytes_per_s=SLOW_BYTES_PER_S)

    def fill(region: str) -> None:
        client = live.client(region, seconds=PATIENCE_S)
        for number in range(60):
            path = f"/line-{name}/{region}{number}"
            ledger.put(client, path, body_of(path, (INLINE, PACK)[number % 10 == 0]))

    with ThreadPoolExecutor() as threads:
        list(threads.map(fill, REGIONS))  # no PUT fails, none waits for a peer
    if name == "black":
        answer = sjc.call("GET", far)
        assert answer.status == 503, answer.body
        assert int(answer.headers["retry-after"]) > 0
    live.links("heal")
    live.links("bandwidth", bytes_per_s=0)
    ledger.check(live.everywhere().values())
