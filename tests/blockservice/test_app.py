"""The block service over a real socket: who is answered, what, and how it fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from amur.blockservice import app
from amur.clock import FakeClock, SystemClock
from amur.objects.errors import StorageDamaged
from amur.regions import wire
from amur.regions.credentials import (
    FRAME_BYTES,
    Opening,
    TamperedWith,
    stream_bytes,
)
from amur.regions.http_link import Timing
from amur.regions.link import BodyMissing, PeerUnreachable
from amur.regions.messages import Ack, Batch, BodyName, Hello, Offer, Yes, decode_reply, encode
from tests.support.peers import HELLO, NAME, FakeRegion, Knock, linked, served, until

ASK = wire.encode_ask(wire.ReadAsk(NAME, 2, 6))
HELLO_BYTES = encode(HELLO)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_health_is_told_to_anybody(clock: FakeClock) -> None:
    async with served(FakeRegion(), clock) as (_, port):
        assert await Knock(port).send("/-/health", method="GET") == (200, b"ok")
        assert await Knock(port).send("/-/health", method="HEAD") == (200, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/-/peer/call"),
        ("POST", "/-/peer/read"),
        ("GET", "/-/peer/call"),
        ("POST", "/-/health"),
        ("GET", "/-/metrics"),
        ("GET", "/"),
        ("PUT", "/bucket/key"),
        ("GET", "/-/peer/../health"),
        ("GET", "/-/health/"),
        ("OPTIONS", "*"),
    ],
)
async def test_nothing_else_is_answered_without_a_signature(
    method: str, path: str, clock: FakeClock
) -> None:
    region = FakeRegion()
    async with served(region, clock) as (_, port):
        knock = Knock(port, clock)
        for headers in (
            {},
            {"authorization": "Bearer x"},
            {"authorization": knock.signed(path, HELLO_BYTES, method, receiver="fra")},
            {"authorization": knock.signed("/another", HELLO_BYTES, method)},
        ):
            assert await knock.send(path, HELLO_BYTES, method, headers) == (403, b"")
    assert region.asked == []


async def test_who_can_not_sign_has_no_body_read(clock: FakeClock) -> None:
    async with served(FakeRegion(), clock) as (service, port):
        head = b"POST /-/peer/call HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n"
        assert await Knock(port).raw(head) == (403, b"")  # though nothing of it came
        assert service._held == 0


async def test_a_question_is_answered_once(clock: FakeClock) -> None:
    region = FakeRegion()
    region.reply = Ack(5, True)
    batch = encode(Batch("sjc", 1, 5))
    async with served(region, clock) as (_, port):
        knock = Knock(port, clock)
        headers = {"authorization": knock.signed("/-/peer/call", batch)}
        status, body = await knock.send("/-/peer/call", batch, headers=headers)
        assert (status, decode_reply(body)) == (200, Ack(5, True))
        assert await knock.send("/-/peer/call", batch, headers=headers) == (403, b"")
    assert region.asked == [Batch("sjc", 1, 5)]


async def test_the_body_must_be_the_signed_one(clock: FakeClock) -> None:
    region = FakeRegion()
    async with served(region, clock) as (_, port):
        knock = Knock(port, clock)
        headers = {"authorization": knock.signed("/-/peer/call", HELLO_BYTES)}
        other = encode(Hello("sjc", 9, []))
        assert await knock.send("/-/peer/call", other, headers=headers) == (400, b"")
    assert region.asked == []


async def test_two_signatures_are_none(clock: FakeClock) -> None:
    async with served(FakeRegion(), clock) as (_, port):
        knock = Knock(port, clock)
        signed = [knock.signed("/-/peer/call", HELLO_BYTES) for _ in range(2)]
        lines = "".join(f"authorization: {each}\r\n" for each in signed)
        head = f"POST /-/peer/call HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}"
        data = f"{head}content-length: {len(HELLO_BYTES)}\r\n\r\n".encode() + HELLO_BYTES
        assert await knock.raw(data) == (403, b"")


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/-/peer/call", "POST", b"\xc1", 400),
        ("/-/peer/call", "POST", encode(Yes()), 400),
        ("/-/peer/read", "POST", HELLO_BYTES, 400),
        ("/-/peer/read", "POST", wire.encode_ask(wire.ReadAsk(NAME, 3, 2)), 400),
        ("/-/peer/read", "POST", wire.encode_ask(wire.ReadAsk(NAME, -1, 2)), 400),
        ("/-/peer/read", "POST", wire.encode_ask(wire.ReadAsk(NAME, 1, 2, "crc")), 400),
        ("/-/peer/call", "GET", b"", 400),
        ("/-/peer/call?x", "POST", HELLO_BYTES, 400),
        ("/-/peer/newer", "POST", HELLO_BYTES, 400),
        ("/-/peer/read", "POST", wire.encode_ask(wire.ReadAsk(BodyName(b"", b"", 1), 0, 1)), 404),
        ("/-/peer/read", "POST", wire.encode_ask(wire.ReadAsk(NAME, 0, 11)), 404),
    ],
)
async def test_what_is_signed_and_wrong_is_told_by_its_status(
    path: str, method: str, body: bytes, status: int, clock: FakeClock
) -> None:
    async with served(FakeRegion(), clock) as (_, port):
        knock = Knock(port, clock)
        headers = {"authorization": knock.signed(path, body, method)}
        assert await knock.send(path, body, method, headers) == (status, b"")


async def test_a_request_has_a_length_and_it_is_bounded(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(FakeRegion(), clock) as (service, port):
        knock = Knock(port, clock)

        def head(line: str) -> bytes:
            signed = knock.signed("/-/peer/call", b"")
            first = "POST /-/peer/call HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            first += f"authorization: {signed}\r\n"
            return f"{first}{line}\r\n\r\n".encode()

        assert await knock.raw(head(f"content-length: {wire.CALL_BYTES_MAX + 1}")) == (413, b"")
        assert await knock.raw(head("transfer-encoding: chunked")) == (411, b"")
        service._held = app.BODIES_BYTES_MAX - 100
        assert await knock.raw(head("content-length: 101")) == (503, b"")
        service._held = 0
        monkeypatch.setattr(app, "BODY_STALL_SECONDS", 0.05)
        assert await knock.raw(head("content-length: 101")) == (408, b"")
        assert service._held == 0


async def test_what_fails_below_is_503_and_a_line_in_our_log(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    region = FakeRegion()
    region.reply = StorageDamaged("what lies where")
    async with served(region, clock) as (service, port):
        knock = Knock(port, clock)
        offer = encode(Offer(NAME, "sjc", 1.0))
        headers = {"authorization": knock.signed("/-/peer/call", offer)}
        assert await knock.send("/-/peer/call", offer, headers=headers) == (503, b"")
        assert service.calls == 0
    assert "what lies where" in caplog.text


async def test_refusals_are_logged_with_the_reason_and_not_each(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(FakeRegion(), clock) as (_, port):
        for _ in range(5):
            await Knock(port).send("/-/peer/call", headers={"authorization": "x"})
            await Knock(port).send("/-/peer/call")
    told = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == 2
    assert told[0].endswith("a malformed signature")
    assert told[1].endswith("no signature")


async def test_reasons_that_somebody_makes_up_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    service = FakeRegion()
    async with served(service) as (blocks, _):
        for i in range(1000):
            blocks._note_refusal("x", f"signed by region r{i}: none of our peers")
    assert len(caplog.records) == len(blocks._refusals) == 64


async def test_bytes_come_sealed_and_the_length_is_told(clock: FakeClock) -> None:
    region = FakeRegion()
    async with served(region, clock) as (_, port):
        knock = Knock(port, clock)
        signed = knock.signed("/-/peer/read", ASK)
        status, sealed = await knock.send("/-/peer/read", ASK, headers={"authorization": signed})
        assert status == 200
        assert len(sealed) == stream_bytes(4)
        assert sealed.startswith(b"2345")
        with pytest.raises(TamperedWith):
            list(Opening(bytes(32), 4, "blake2b").open(sealed))
        assert region.closed == 1


async def read(port: int, start: int, end: int, name: BodyName = NAME) -> bytes:
    async with linked(port) as link:
        return b"".join([piece async for piece in link.read(name, start, end)])


@pytest.mark.parametrize("size", [1, FRAME_BYTES, 3 * FRAME_BYTES + 17])
@pytest.mark.parametrize("piece", [1000, 1 << 20])
async def test_ranges(size: int, piece: int) -> None:
    region = FakeRegion()
    region.piece_bytes = piece
    body = region.bodies[NAME] = bytes(i % 251 for i in range(size))
    async with served(region) as (service, port):
        for start, end in ((0, size), (0, 0), (size, size), (size // 2, size), (0, size // 2)):
            assert await read(port, start, end) == body[start:end]
        assert service.reads == 0
    assert region.closed == 5


async def test_a_body_that_breaks_off_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    region = FakeRegion()
    region.bodies[NAME] = bytes(4 * FRAME_BYTES)
    region.piece_bytes = FRAME_BYTES
    region.fails_at = 3 * FRAME_BYTES
    async with served(region) as (service, port):
        async with linked(port) as link:
            got = 0
            with pytest.raises(PeerUnreachable):  # noqa: PT012 - what came before it counts
                async for piece in link.read(NAME, 0, 4 * FRAME_BYTES):
                    got += len(piece)
            assert got <= 3 * FRAME_BYTES
        assert service.reads == 0
    assert "a bad disk" in caplog.text


async def test_a_body_shorter_than_it_was_is_missing_or_breaks_off() -> None:
    class Short(FakeRegion):
        async def open_body(self, name, start, end):  # type: ignore[no-untyped-def]
            for piece in self.bodies[name], b"":
                if piece:
                    yield piece

    region = Short()
    async with served(region) as (_, port):
        with pytest.raises(PeerUnreachable):
            await read(port, 0, 1000)
        with pytest.raises(PeerUnreachable):  # more than was asked for
            await read(port, 0, 5)
        region.bodies[NAME] = b""
        with pytest.raises(BodyMissing):
            await read(port, 0, 1000)


async def test_only_so_many_at_once_but_greetings_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "CALLS_MAX", 1)
    monkeypatch.setattr(app, "READS_MAX", 1)
    region = FakeRegion()
    region.hold = asyncio.Event()
    async with served(region) as (service, port), linked(port, timing=Timing()) as link:
        first = asyncio.create_task(link.call(Offer(NAME, "sjc", 1.0)))
        await until(lambda: service.calls)
        with pytest.raises(PeerUnreachable, match="too much to do"):
            await link.call(Offer(NAME, "sjc", 2.0))
        assert await link.call(HELLO) == region.hello
        pieces = link.read(NAME, 0, 10)
        reading = asyncio.create_task(anext(pieces))
        await until(lambda: service.reads)
        with pytest.raises(PeerUnreachable, match="too much to do"):
            await anext(link.read(NAME, 0, 10))
        region.hold.set()
        assert await first == Yes()
        assert await reading == b"0123456789"
        await pieces.aclose()


async def test_who_goes_away_ends_the_read() -> None:
    region = FakeRegion()
    region.bodies[NAME] = bytes(64 << 20)
    async with served(region) as (service, port), linked(port) as link:
        pieces = link.read(NAME, 0, 64 << 20)
        await anext(pieces)
        await pieces.aclose()
        await until(lambda: not service.reads)
        assert region.closed == 1


async def test_what_happened_is_counted() -> None:
    seen = []
    region = FakeRegion()
    async with served(region, SystemClock()) as (service, port), linked(port) as link:
        service._observe = lambda *facts: seen.append(facts)
        await link.call(HELLO)
        assert [piece async for piece in link.read(NAME, 0, 10)] == [b"0123456789"]
        await Knock(port).send("/")
    assert [(route, status) for route, status, *_ in seen] == [
        ("PeerCall", 200), ("PeerRead", 200), ("PeerRefused", 403),
    ]  # fmt: skip
