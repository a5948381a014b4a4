"""Links between regions, played with over their socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from amur.cluster import control, plan
from amur.cluster.links import Links
from amur.cluster.plan import HOST, Places, Plan
from amur.cluster.testing import first_of_free_ports
from amur.serve.layout import Refusal
from tests.cluster.conftest import echo

Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / ("a-long-name-" * 10))  # longer than a socket's address may be
    made.create()
    return made


@pytest.fixture
async def of(places: Places) -> AsyncIterator[Plan]:
    """Three regions, each of which echoes what it is told, and the links between them."""
    settled = plan.settle(
        places, ["sjc", "ord", "fra"], f"127.0.0.1:{first_of_free_ports(4)}",
        distances={("fra", "sjc"): 150.0},
    )  # fmt: skip
    servers = [
        await asyncio.start_server(echo, HOST, port)
        for region in settled.regions
        for port in (region.gateway_port, region.blocks_port)
    ]
    links = Links(settled)
    await links.open()
    socket = await control.serve(places.links, links.answer)
    yield settled
    socket.close()
    links.close()
    for server in servers:
        server.close()
    await asyncio.sleep(0.01)


@pytest.fixture
def ask(places: Places) -> Ask:
    async def asked(**request: Any) -> dict[str, Any]:
        paths = (await asyncio.to_thread(control.ask, places.links, request))["paths"]
        return {f"{each['a']}-{each['b']}": each for each in paths}

    return asked


async def _say(of: Plan, source: str, target: str, service: str = "blocks") -> bytes:
    """One word there and back."""
    port = next(
        link.port for link in of.links
        if (link.source, link.target, link.service) == (source, target, service)
    )  # fmt: skip
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"hello")
        return await reader.readexactly(5)
    finally:
        writer.close()


async def test_every_link_leads_somewhere(of: Plan) -> None:
    for link in of.links:
        assert await _say(of, link.source, link.target, link.service) == b"hello"


async def test_distances_of_the_plan_and_later(of: Plan, ask: Ask) -> None:
    told = await ask(do="show")
    assert {name: each["round_trip_ms"] for name, each in told.items()} == {
        "ord-sjc": 0.0, "fra-sjc": 150.0, "fra-ord": 0.0,
    }  # fmt: skip
    told = await ask(do="latency", a="sjc", b="ord", ms=80.0)
    assert told["ord-sjc"]["round_trip_ms"] == 80.0
    told = await ask(do="bandwidth", a="sjc", b="ord", bytes_per_s=1e6)
    assert (told["ord-sjc"]["bytes_per_s"], told["fra-ord"]["bytes_per_s"]) == (1e6, 0.0)


async def test_a_partition_of_two_is_both_ways(of: Plan, ask: Ask) -> None:
    told = await ask(do="partition", a="ord", b="sjc")
    assert {name: each["state"] for name, each in told.items()} == {
        "ord-sjc": "lost", "fra-sjc": "open", "fra-ord": "open",
    }  # fmt: skip
    lost = [asyncio.create_task(_say(of, *pair)) for pair in (("ord", "sjc"), ("sjc", "ord"))]
    assert await _say(of, "ord", "fra") == b"hello"
    assert not any(task.done() for task in lost)
    await ask(do="heal", a="sjc", b="ord")
    assert await asyncio.gather(*lost) == [b"hello", b"hello"]


async def test_one_region_is_cut_off(of: Plan, ask: Ask) -> None:
    told = await ask(do="partition", a="fra", reset=True)
    assert {name: each["state"] for name, each in told.items()} == {
        "ord-sjc": "open", "fra-sjc": "reset", "fra-ord": "reset",
    }  # fmt: skip
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await _say(of, "sjc", "fra")
    assert await _say(of, "sjc", "ord") == b"hello"
    told = await ask(do="heal")
    assert {each["state"] for each in told.values()} == {"open"}
    assert await _say(of, "sjc", "fra") == b"hello"


async def test_refusals(of: Plan, ask: Ask, places: Places) -> None:
    with pytest.raises(Refusal, match="no region 'lhr'"):
        await ask(do="partition", a="sjc", b="lhr")
    with pytest.raises(Refusal, match="name two regions"):
        await ask(do="partition", a="sjc", b="sjc")
    with pytest.raises(control.NotRunning, match="no cluster runs in"):
        control.ask(places.keeper, {"do": "status"})
