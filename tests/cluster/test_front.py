"""The endpoint: to the first region that is well, at once elsewhere when it is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from amur.cluster import front as module
from amur.cluster.front import Front, Region
from amur.serve.testing import free_port
from tests.cluster.conftest import HOST, Gateways, serving

Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Endpoint:
    def __init__(self, front: Front, port: int) -> None:
        self.front, self.port = front, port
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        self.writers.append(writer)
        return reader, writer

    async def who(self) -> str:
        """Who answers on a new connection."""
        reader, writer = await self.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return (await reader.read()).rpartition(b"\r\n\r\n")[2].decode()


@asynccontextmanager
async def endpoint_of(regions: list[Region]) -> AsyncIterator[Endpoint]:
    front, port = Front(regions), free_port()
    await front.open(HOST, port)
    made = Endpoint(front, port)
    try:
        yield made
    finally:
        for writer in made.writers:
            writer.close()
        front.close()
        await asyncio.sleep(0.01)


@pytest.fixture
async def endpoint(gateways: Gateways) -> AsyncIterator[Endpoint]:
    regions = [Region(name, HOST, port) for name, port in gateways.ports.items()]
    async with endpoint_of(regions) as made:
        yield made


async def test_to_the_first(endpoint: Endpoint) -> None:
    assert [await endpoint.who() for _ in range(3)] == ["near"] * 3


async def test_at_once_elsewhere_when_it_is_killed(
    endpoint: Endpoint, gateways: Gateways, until: Until
) -> None:
    reader, writer = await endpoint.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"near")).endswith(b"near")
    gateways.kill("near")
    assert await endpoint.who() == "far"  # the very next connection
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)  # and those that it had are cut
    gateways.start("near")
    await until(lambda: endpoint.front.regions[0].is_well)
    assert await endpoint.who() == "near"


async def test_elsewhere_when_it_hangs(
    endpoint: Endpoint, gateways: Gateways, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.CHECK_SECONDS + module.CHECK_TIMEOUT_SECONDS < 2.0
    reader, writer = await endpoint.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"near")
    gateways.signal("near", signal.SIGSTOP)
    await until(lambda: not endpoint.front.regions[0].is_well)
    assert await endpoint.who() == "far"
    assert endpoint.front.regions[0].path.connections == 1  # it may come back
    monkeypatch.setattr(module, "CUT_SECONDS", 0.0)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    gateways.signal("near", signal.SIGCONT)
    await until(lambda: endpoint.front.regions[0].is_well)
    assert await endpoint.who() == "near"


async def test_broken_when_nobody_is_left(endpoint: Endpoint, gateways: Gateways) -> None:
    gateways.close()
    with pytest.raises(ConnectionError):
        await endpoint.who()


async def test_one_that_is_unwell_is_better_than_none(gateways: Gateways) -> None:
    async def unwell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Sorry\r\nContent-Length: 6\r\n\r\nunwell")
        writer.close()

    async with serving(unwell) as port:
        async with endpoint_of([Region("a", HOST, port), Region("b", HOST, port)]) as endpoint:
            assert not any(region.is_well for region in endpoint.front.regions)
            assert await endpoint.who() == "unwell"
        far = Region("far", HOST, gateways.ports["far"])
        async with endpoint_of([Region("a", HOST, port), far]) as endpoint:
            assert await endpoint.who() == "far"
            facts = await endpoint.front.answer({"do": "show"})
            assert [(each["name"], each["is_well"]) for each in facts["regions"]] == [
                ("a", False), ("far", True),
            ]  # fmt: skip
