"""The link over a real socket: what it does of failures, strangers and forged answers."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from amur.clock import FakeClock, SystemClock
from amur.httpd.exchange import Exchange
from amur.regions import http_link, wire
from amur.regions.credentials import (
    ANSWER_HEADER,
    FRAME_BYTES,
    HEADER,
    Sealing,
    answer_tag,
    stream_bytes,
)
from amur.regions.http_link import Timing
from amur.regions.link import BodyMissing, PeerRefused, PeerUnreachable
from amur.regions.messages import Ack, Batch, Fetch, Hello, Item, MessageDamaged, Yes, encode
from tests.support.peers import (
    HASTY,
    HELLO,
    NAME,
    FakeRegion,
    gate,
    linked,
    listening,
    served,
    until,
)

SIZE = 3 * FRAME_BYTES + 5
BODY = bytes(i % 251 for i in range(SIZE))


async def test_a_call_and_its_answer() -> None:
    region = FakeRegion()
    region.reply = Ack(9, True, {"sjc": 3})
    async with served(region) as (_, port), linked(port) as link:
        batch = Batch("sjc", 1, 9, [Item(b"b", b"k", 2, b"state", 0, [b"part"])] * 1000)
        assert await link.call(batch) == Ack(9, True, {"sjc": 3})
        big = Batch("sjc", 1, 9, [Item(b"b", b"k", 2, bytes(8 << 20))])  # in pieces
        assert await link.call(big) == Ack(9, True, {"sjc": 3})
    assert region.asked == [batch, big]


async def test_how_far_it_is_is_known_by_greetings_only() -> None:
    async with served(FakeRegion()) as (_, port), linked(port) as link:
        assert link.rtt_s == inf
        await link.call(Fetch(NAME))
        assert link.rtt_s == inf
        assert await link.call(HELLO) == Hello("ord", 1, ["ord", "sjc"])
        assert 0 < link.rtt_s < 5


async def test_one_that_does_not_listen() -> None:
    async with served(FakeRegion()) as (_, port):
        pass
    async with linked(port) as link:
        for _ in range(2):
            with pytest.raises(PeerUnreachable):
                await link.call(HELLO)
            with pytest.raises(PeerUnreachable):
                await anext(link.read(NAME, 0, 10))
        assert link.rtt_s == inf


async def test_one_that_does_not_answer() -> None:
    region = FakeRegion()
    region.hold = asyncio.Event()
    async with served(region) as (_, port), linked(port) as link:
        await link.call(HELLO)
        with pytest.raises(PeerUnreachable, match="in time"):
            await link.call(Fetch(NAME), timeout_s=0.05)
        assert link.rtt_s == inf
        region.hold.set()
        await link.call(Fetch(NAME))
        assert link.rtt_s < inf


async def test_a_long_call_may_take_its_time() -> None:
    region = FakeRegion()
    region.hold = asyncio.Event()
    async with served(region) as (_, port), linked(port) as link:
        asyncio.get_running_loop().call_later(2 * HASTY.stall, region.hold.set)
        assert await link.call(Fetch(NAME), timeout_s=60) == Yes()


@pytest.mark.parametrize(
    "wrong",
    [{"secret": "another"}, {"peer": "fra"}, {"me": "ams"}, {"clock": FakeClock()}],
    ids=["secret", "receiver", "sender", "clock"],
)
async def test_who_is_refused(wrong, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    region = FakeRegion()
    async with served(region, SystemClock()) as (_, port), linked(port, **wrong) as link:
        for _ in range(3):
            with pytest.raises(PeerRefused, match="refuses our signature"):
                await link.call(HELLO)
            with pytest.raises(PeerRefused):
                await anext(link.read(NAME, 0, 10))
        assert link.rtt_s == inf
    assert region.asked == []
    ours = [r for r in caplog.records if r.name == "amur.regions"]
    assert len(ours) == 1  # not each time


async def test_another_region_than_configured(caplog: pytest.LogCaptureFixture) -> None:
    region = FakeRegion()
    async with served(region) as (_, port), linked(port, number=2) as link:
        for _ in range(3):
            with pytest.raises(PeerRefused, match="region ord number 1, configured as ord 2"):
                await link.call(HELLO)
        # nothing is said to it any more until that is put right
        with pytest.raises(PeerRefused, match="configured as ord 2"):
            await link.call(Fetch(NAME))
        with pytest.raises(PeerRefused, match="configured as ord 2"):
            await anext(link.read(NAME, 0, 10))
        assert all(isinstance(each, Hello) for each in region.asked)
        told = [r.message for r in caplog.records if r.name == "amur.regions"]
        assert len(told) == 1
        assert told[0].endswith("can't be used: it is region ord number 1, configured as ord 2")
        region.hello = Hello("ord", 2, [])
        await link.call(HELLO)
        assert await link.call(Fetch(NAME)) == Yes()


async def test_a_body_that_is_not_there_says_nothing_against_the_peer() -> None:
    region = FakeRegion()
    async with served(region) as (_, port), linked(port) as link:
        await link.call(HELLO)
        with pytest.raises(BodyMissing):
            await anext(link.read(NAME, 0, 11))
        assert link.rtt_s < inf


async def test_reads_share_a_connection_when_they_are_whole() -> None:
    region = FakeRegion()
    region.bodies[NAME] = BODY
    async with served(region) as (_, port), linked(port, timing=Timing()) as link:
        for _ in range(20):
            assert b"".join([piece async for piece in link.read(NAME, 1, SIZE)]) == BODY[1:]
        assert link._session is not None
        assert len(link._session.connector._conns) == 1  # type: ignore[union-attr]


async def test_a_connection_rests_between_reads() -> None:
    """aiohttp's own timeout for reading would still run, and break the next use of it."""
    region = FakeRegion()
    body = region.bodies[NAME] = bytes(4 << 20)
    async with served(region) as (_, port), linked(port) as link:
        for _ in range(3):
            got = 0
            async for piece in link.read(NAME, 0, len(body)):
                got += len(piece)
                await asyncio.sleep(0.01)  # slowly: what comes fills the buffer
            assert got == len(body)
            await asyncio.sleep(2 * HASTY.stall)


# --- answers that the peer did not give ---


class Forger:
    """A server between: it answers as the block service would, then changes something."""

    def __init__(self, change: str) -> None:
        self.change = change
        self.gone = asyncio.Event()

    async def __call__(self, http: Exchange) -> None:
        header = next(value for name, value in http.pairs if name == HEADER)
        key = gate().admit("POST", http.path, header, SystemClock().now_ns()).answer_key
        body = await http.read()
        change = self.change
        if http.path == "/-/peer/call":
            self._call(http, key)
            return
        mac = wire.decode_ask(body).mac
        sealing = Sealing(bytes(32) if change == "key" else key, SIZE, mac)
        sealed = bytearray(b"".join(sealing.seal(BODY)))
        if change == "byte":
            sealed[2 * FRAME_BYTES] ^= 1
        elif change == "order":
            frame = FRAME_BYTES + 32
            sealed[:frame], sealed[frame : 2 * frame] = sealed[frame : 2 * frame], sealed[:frame]
        elif change == "shorter":
            del sealed[-(FRAME_BYTES // 2) :]
        elif change in ("404", "404 and stall"):
            http.begin(404, [("content-length", "5" if "stall" in change else "0")])
            if "stall" in change:
                await self.gone.wait()
                http.abort()
            else:
                http.end()
            return
        told = stream_bytes(SIZE) if change in ("cut", "stall") else len(sealed)
        if change in ("cut", "stall"):
            del sealed[FRAME_BYTES * 3 // 2 :]
        http.begin(200, [("content-length", str(told))])
        await http.send(bytes(sealed))
        if change == "stall":
            await self.gone.wait()
        if change in ("cut", "stall"):
            http.abort()
        else:
            http.end()

    def _call(self, http: Exchange, key: bytes) -> None:
        yes = encode(Yes())
        headers = [(ANSWER_HEADER, answer_tag(key, 200, yes))]
        if self.change == "status":
            http.answer(404, headers, yes)
        elif self.change == "body":
            http.answer(200, headers, encode(HELLO))
        elif self.change == "no tag":
            http.answer(200, [], yes)
        elif self.change == "redirect":
            http.answer(307, [("location", f"http://{http.client}/")], b"")
        elif self.change == "newer":
            newer = b"\xc1"
            http.answer(200, [(ANSWER_HEADER, answer_tag(key, 200, newer))], newer)
        else:
            http.answer(200, headers, yes)


@pytest.mark.parametrize(
    "change", ["byte", "order", "key", "shorter", "cut", "stall", "404", "404 and stall"]
)
async def test_bytes_are_verified_before_they_are_handed_on(change: str) -> None:
    forger = Forger(change)
    async with listening(forger) as port, linked(port) as link:
        got = b""
        with pytest.raises(PeerUnreachable):  # noqa: PT012 - what came before it counts
            async for piece in link.read(NAME, 0, SIZE):
                got += piece
        forger.gone.set()
        assert BODY.startswith(got)
        assert len(got) <= 2 * FRAME_BYTES
        assert link.rtt_s == inf
        if change in ("cut", "stall"):
            assert len(got) == FRAME_BYTES


async def test_the_forger_is_caught_by_what_it_changes() -> None:
    async with listening(Forger("nothing")) as port, linked(port) as link:
        assert b"".join([piece async for piece in link.read(NAME, 0, SIZE)]) == BODY
        assert await link.call(Fetch(NAME)) == Yes()


@pytest.mark.parametrize("change", ["status", "body", "no tag", "redirect"])
async def test_an_answer_of_somebody_else_is_none(change: str) -> None:
    async with listening(Forger(change)) as port, linked(port) as link:
        with pytest.raises(PeerUnreachable, match="not from it"):
            await link.call(Fetch(NAME))


async def test_an_answer_of_a_newer_peer() -> None:
    async with listening(Forger("newer")) as port, linked(port) as link:
        with pytest.raises(PeerRefused, match="no message that we know"):
            await link.call(Fetch(NAME))


async def test_a_question_that_the_peer_does_not_know_says_nothing_of_others() -> None:
    region = FakeRegion()
    region.reply = MessageDamaged("newer than this")
    async with served(region) as (_, port), linked(port) as link:
        await link.call(HELLO)
        with pytest.raises(PeerRefused, match="is it older"):
            await link.call(Fetch(NAME))
        assert link.rtt_s < inf


# --- the probe ---


async def test_the_probe_notices_who_goes_and_who_comes_back() -> None:
    region = FakeRegion()
    async with served(region) as (_, port), linked(port) as link:
        link.start()
        await until(lambda: link.rtt_s < inf)
        greetings = len(region.asked)
        await until(lambda: len(region.asked) > greetings + 3)
    async with linked(port) as link:
        link.start()
        await until(lambda: link._trouble)
        assert link.rtt_s == inf
        service = FakeRegion()
        async with served_at(service, port):
            await until(lambda: link.rtt_s < inf)
        await until(lambda: link.rtt_s == inf)


def served_at(region: FakeRegion, port: int):  # type: ignore[no-untyped-def]
    from amur.blockservice.app import BlockService

    return listening(BlockService(region.answer, region.open_body, gate()), port)


async def test_greetings_pass_by_calls_and_reads_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_link, "CALLS_MAX", 2)
    monkeypatch.setattr(http_link, "READS_MAX", 2)
    region = FakeRegion()
    region.hold = asyncio.Event()
    async with served(region) as (_, port), linked(port, timing=Timing()) as link:
        calls = [asyncio.create_task(link.call(Fetch(NAME))) for _ in range(2)]
        reads = [link.read(NAME, 0, 10) for _ in range(2)]
        begun = [asyncio.create_task(anext(each)) for each in reads]
        await until(lambda: len(region.asked) == 2 and link._reads.locked())
        await link.call(HELLO)
        with pytest.raises(PeerUnreachable, match="too many calls"):
            await link.call(Fetch(NAME), timeout_s=0.05)
        link._timing = HASTY
        with pytest.raises(PeerUnreachable, match="too many transfers"):
            await anext(link.read(NAME, 0, 10))
        assert link.rtt_s < inf  # that is our own doing
        region.hold.set()
        assert await asyncio.gather(*calls) == [Yes(), Yes()]
        for task in begun:
            assert await task == b"0123456789"
        for each in reads:
            assert await anext(each, b"") == b""
        assert not link._reads.locked()
