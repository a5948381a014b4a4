"""Random pipelines against a model: the same exchanges wherever they are cut, and never more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random

import pytest
import uvloop

from amur.httpd.exchange import BodyBroken, Exchange
from amur.limits import KIB
from tests.support.http_talk import talking

SIZES = (0, 1, 17, 1000, 60 * KIB, 64 * KIB, 64 * KIB + 1, 130 * KIB, 256 * KIB, 1200 * KIB)
ENDINGS = ("read", "refuse", "late", "stream")


@dataclass(frozen=True)
class Sent:
    """What one request was, and what must be heard of it."""

    number: int
    ending: str  # what the application does
    body: bytes
    is_last: bool
    wire: bytes


def request(random: Random, number: int) -> Sent:
    ending = random.choice(ENDINGS)
    size = random.choice(SIZES)
    body = random.randbytes(min(size, 97)) * (size // 97 + 1)
    body = (b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n" + body)[:size]
    is_chunked = random.random() < 0.15
    lines = [b"PUT /%d/%s HTTP/1.1" % (number, ending.encode()), b"Host: x"]
    lines += [b"X-%d: %s" % (each, b"y" * each) for each in range(random.randrange(4))]
    if is_chunked:
        lines.append(b"Transfer-Encoding: chunked")
        step = random.choice((1, 7, 1000, 70_000)) if size < 2000 else 5000
        pieces = [body[at : at + step] for at in range(0, size, step)]
        wire = b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        wire += b"0\r\n" + b"X-Evil: 1\r\n" * random.randrange(2) + b"\r\n"
    else:
        lines.append(b"Content-Length: %d" % size)
        wire = body
    return Sent(number, ending, body, is_chunked, b"\r\n".join(lines) + b"\r\n\r\n" + wire)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing at all is logged."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep, root = Keep(level=logging.INFO), logging.getLogger()
    root.addHandler(keep)
    try:
        yield
    finally:
        root.removeHandler(keep)
    assert not [each.getMessage() for each in records]


class App:
    """Notes the exchanges that were begun: number, and the body as far as it was read."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes | None]] = []

    async def __call__(self, exchange: Exchange) -> None:
        at = len(self.seen)
        self.seen.append((exchange.path, None))
        head = [("x-path", exchange.path.encode("ascii", "replace").decode())]
        ending = exchange.path.rpartition("/")[2]
        if ending == "refuse":
            exchange.answer(403, head, b"no")
            return
        if ending == "stream":
            exchange.begin(200, [*head, ("content-length", "4")])
            await exchange.send(b"ab")
            await exchange.send(b"cd")
            exchange.end()
            return
        if ending == "late":
            await asyncio.sleep(0)
        try:
            self.seen[at] = (exchange.path, await exchange.read())
            exchange.answer(200, head, b"ok")
        except BodyBroken:
            exchange.answer(400, head)


async def converse(wire: bytes, cuts: list[int], *, is_patient: bool) -> tuple[App, bytes]:
    """Send it in pieces; what the application saw and what came back."""
    app = App()
    async with talking(app) as client:
        got = bytearray()

        async def listen() -> None:
            with suppress(ConnectionError):
                while piece := await client.reader.read(1 << 20):
                    got.extend(piece)

        listening = asyncio.create_task(listen())
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            client.send(wire[start:end])
            await asyncio.sleep(0.001 if is_patient else 0)
        with suppress(ConnectionError, RuntimeError, OSError):
            await client.writer.drain()
            client.writer.write_eof()
        async with asyncio.timeout(20):
            await listening
    return app, bytes(got)


def run(wire: bytes, cuts: list[int], *, is_patient: bool = False) -> tuple[App, bytes]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, silence():
        return runner.run(converse(wire, cuts, is_patient=is_patient))


@pytest.mark.parametrize("seed", range(60))
def test_pipelines_are_the_same_wherever_they_are_cut(seed: int) -> None:
    random = Random(seed)
    sent = [request(random, number) for number in range(random.randrange(1, 12))]
    wire = b"".join(each.wire for each in sent)
    cuts = sorted(random.randrange(len(wire) + 1) for _ in range(random.choice((0, 1, 5, 40))))
    app, got = run(wire, cuts, is_patient=random.random() < 0.3)
    for each, (path, body) in zip(sent, app.seen, strict=False):
        assert path == f"/{each.number}/{each.ending}"
        assert body in (None, each.body)
        if each.ending in ("read", "late"):
            assert body == each.body
    assert len(app.seen) == got.count(b"HTTP/1.1 ")
    for (path, _), answer in zip(app.seen, got.split(b"HTTP/1.1 ")[1:], strict=True):
        assert f"x-path: {path}\r\n".encode() in answer
    # only a request in chunks, or one whose body was not wanted, may be the last before the end
    if len(app.seen) < len(sent):
        last = sent[len(app.seen) - 1]
        assert last.is_last or (last.ending in ("refuse", "stream") and last.body)


@pytest.mark.parametrize("seed", range(150))
def test_damaged_pipelines_give_no_more_than_they_hold(seed: int) -> None:
    random = Random(1000 + seed)
    sent = [request(random, number) for number in range(random.randrange(1, 5))]
    wire = bytearray(b"".join(each.wire for each in sent))
    for _ in range(random.choice((1, 1, 3, 10))):
        near = random.choice((200, 200, len(wire)))
        at = random.randrange(min(near, len(wire)))
        match random.randrange(4):
            case 0:
                wire[at] = random.choice((0, 10, 13, 32, 48, 57, 58, 255))
            case 1:
                del wire[at : at + random.choice((1, 2, 20))]
            case 2:
                wire[at:at] = random.choice(
                    (b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b" ", b"\x00", b"9")
                )
            case _:
                wire[at:at] = random.choice((
                    b"\r\nTransfer-Encoding: chunked\r\n", b"\r\nContent-Length: 3\r\n",
                    b"\r\nConnection: upgrade\r\nUpgrade: x\r\n", b"\r\nExpect: 100-continue\r\n",
                    b"\r\nConnection: close\r\n", b"GET / HTTP/1.0\r\n\r\n",
                ))  # fmt: skip
        wire = wire or bytearray(b"x")
    cuts = sorted(random.randrange(len(wire) + 1) for _ in range(random.choice((0, 1, 9))))
    app, got = run(bytes(wire), cuts)
    assert len(app.seen) <= wire.count(b" HTTP/1.")
    said = got.count(b"HTTP/1.1 ") - got.count(b"HTTP/1.1 100 ")
    assert said in (len(app.seen), len(app.seen) + 1)  # and one 400 for the rest
