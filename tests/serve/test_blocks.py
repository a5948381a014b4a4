"""The block service as a process of a region, and what the settings make of peers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config

import amur
from amur.config import PeerSettings, Settings
from amur.gateway.metrics import Snapshot, load
from amur.meta.records import ObjectRecord, decode
from amur.regions.link import BodyMissing, PeerRefused
from amur.regions.messages import BodyName, Hello, Items, ItemsAsk
from amur.regions.topology import Region
from amur.serve.peering import gate_of, links_of, topology_of
from amur.serve.testing import ServedAmur, free_port

SECRET = "a secret of the cluster, of some length"
BODY = bytes(i % 251 for i in range(3 << 20))
MINE = free_port()


def settings(port: int, *, number: int = 1, secret: str = SECRET) -> Settings:
    """Of region sjc, whose peer ord has its block service on `port`."""
    peer = PeerSettings(
        name="ord",
        number=number,
        gateway="http://127.0.0.1:1/",
        block_service=f"http://127.0.0.1:{port}/",
    )
    return Settings(
        region="sjc", blocks_listen="127.0.0.1:9001", cluster_secret=secret, peers=(peer,)
    )


def test_topology_and_links_of_a_region_alone() -> None:
    alone = topology_of(Settings(region="fra"))
    assert alone.me == Region("fra", 0)
    assert not alone.is_cluster
    assert links_of(Settings(region="fra"), alone) == {}


async def test_topology_and_links_of_one_of_two() -> None:
    mine = settings(9)
    topology = topology_of(mine)
    peer = Region("ord", 1, "http://127.0.0.1:1", "http://127.0.0.1:9")
    assert topology.peers == {"ord": peer}
    links = links_of(mine, topology)
    assert {name: link.region for name, link in links.items()} == {"ord": peer}
    assert gate_of(mine, topology).me == "sjc"


async def had_data(directory: Path) -> None:
    """Who had data before it had peers serves without having met them."""
    async with amur.open(directory, region="ord") as store:
        await store.create_bucket("first")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    """Region ord, with sjc for its peer, which does not run."""
    peer = {
        "name": "sjc",
        "number": 0,
        "gateway": "http://127.0.0.1:1",
        "block_service": f"http://127.0.0.1:{free_port()}",
    }
    environment = {
        "AMUR_REGION": "ord",
        "AMUR_REGION_NUMBER": "1",
        "AMUR_BLOCKS_LISTEN": f"127.0.0.1:{MINE}",
        "AMUR_CLUSTER_SECRET": SECRET,
        "AMUR_PEERS": json.dumps([peer]),
    }
    directory = tmp_path_factory.mktemp("blocks") / "ord"
    asyncio.run(had_data(directory))
    with ServedAmur(directory, workers=1, environment=environment) as server:
        s3 = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.key_id,
            aws_secret_access_key=server.secret,
            region_name="auto",
            config=Config(retries={"max_attempts": 1}),
        )
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="large", Body=BODY)
        s3.close()
        yield server


async def test_it_answers_peers_of_what_the_gateway_took(server: ServedAmur) -> None:
    mine = settings(MINE)
    link = links_of(mine, topology_of(mine))["ord"]
    try:
        assert await link.call(Hello("sjc", 0, [])) == Hello("ord", 1, ["ord", "sjc"])
        items = await link.call(ItemsAsk(b"", b"\xff" * 40, 10, "sjc"))
        assert isinstance(items, Items)
        (large,) = (item for item in items.items if item.key == b"large")
        version = decode(large.state, ObjectRecord).version
        assert version & 63 == 1  # made in region 1
        name = BodyName(large.bucket_id, large.key, version)
        got = b"".join([piece async for piece in link.read(name, 100, len(BODY))])
        assert got == BODY[100:]
        with pytest.raises(BodyMissing):
            await anext(link.read(BodyName(name.bucket_id, name.key, 1), 0, 1))
    finally:
        await link.close()


@pytest.mark.parametrize("wrong", [{"number": 2}, {"secret": SECRET.upper()}], ids=str)
async def test_a_wrong_number_or_secret_is_refused(wrong, server: ServedAmur) -> None:  # type: ignore[no-untyped-def]
    mine = settings(MINE, **wrong)
    link = links_of(mine, topology_of(mine))["ord"]
    try:
        with pytest.raises(PeerRefused):
            await link.call(Hello("sjc", 0, []))
    finally:
        await link.close()


def test_it_tells_health_to_anybody_and_nothing_else(server: ServedAmur) -> None:
    with urlopen(f"http://127.0.0.1:{MINE}/-/health") as response:
        assert response.read() == b"ok"
    for path in ("/", "/-/metrics", "/photos/large"):
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://127.0.0.1:{MINE}{path}")
        assert refused.value.code == 403
        assert refused.value.read() == b""
        refused.value.close()


def has_calls(seen: Snapshot) -> bool:
    return any(route == "PeerCall" for route, *_ in seen.rows)


def test_it_is_seen_in_the_metrics_and_started_again(server: ServedAmur) -> None:
    first = snapshot(server, has_calls)
    os.kill(first.pid, signal.SIGKILL)
    second = snapshot(server, lambda seen: seen.pid != first.pid)
    assert has_calls(second)  # counters go on
    for _ in range(1000):
        try:
            with urlopen(f"http://127.0.0.1:{MINE}/-/health") as response:
                assert response.read() == b"ok"
                return
        except URLError:
            time.sleep(0.02)
    raise AssertionError("it does not answer again")


def snapshot(server: ServedAmur, is_right: Callable[[Snapshot], bool]) -> Snapshot:
    for _ in range(1000):
        found = load(server.directory / "run" / "metrics", "blocks")
        if found is not None and is_right(found):
            return found
        time.sleep(0.02)
    raise AssertionError("no such numbers")
