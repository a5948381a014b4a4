"""Forwarding when somebody stalls, goes away, lies or is slow; large bodies in little memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from zlib import crc32

import pytest

from amur.gateway.forward import connection as connection_module
from amur.gateway.forward import forwarder as forwarder_module
from amur.gateway.forward.note import HEADER, Notary, Note
from amur.httpd.exchange import BodyBroken, ClientGone, Exchange
from amur.limits import MIB
from amur.objects.types import BucketRecord
from tests.support.gateways import (
    ROOT,
    SECRET,
    Cluster,
    calling,
    cluster,
    head_of,
    signed,
    until,
    until_bucket,
)

PIECE = bytes(range(256)) * 4096
assert len(PIECE) == MIB


@pytest.fixture
async def pair() -> AsyncIterator[Cluster]:
    """sjc, and fra where the bucket bkt is."""
    async with cluster(("sjc", "fra")) as found:
        await found["fra"].store.create_bucket(
            BucketRecord(name="bkt", owner="root", regions="fra")
        )
        await until_bucket(found["sjc"].store, "bkt")
        yield found


def upload_head(key: str, length: int, **extra: str) -> bytes:
    headers = {"host": "s3.test", "content-length": str(length)}
    headers |= {name.replace("_", "-"): value for name, value in extra.items()}
    headers.setdefault("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    return head_of("PUT", f"/bkt/{key}", signed("PUT", f"/bkt/{key}", headers, b"", ROOT))


# --- notes ---


@pytest.mark.parametrize(
    "header",
    [
        (HEADER, "sjc 1 http 1.2.3.4:5 1 " + "0" * 64),
        (HEADER, ""),
        (HEADER, "x" * 5000),
        ("x-amur-anything", "1"),
        ("x-amur-", ""),
    ],
)
async def test_nobody_else_says_that_he_forwards(pair: Cluster, header: tuple[str, str]) -> None:
    for region in ("sjc", "fra"):
        async with calling(pair[region]) as call:
            answer = await call("GET", "/bkt", headers=dict([header]))
            assert answer.status == 400
            assert b"<Code>InvalidArgument</Code>" in answer.body
            address = call.writer.get_extra_info("sockname")
            assert pair[region].log.lines[-1].client == f"{address[0]}:{address[1]}"
    assert len(pair["fra"].targets) == 1, "nothing of it is passed on"


async def test_a_note_is_for_one_request_of_one_receiver_at_one_time(pair: Cluster) -> None:
    note = Note(("sjc",), "http", "192.0.2.1:99", "17")
    now_s = pair["fra"].core.clock.now_ns() // 10**9
    notary = Notary(SECRET, "sjc")
    good = notary.write(note, "fra", "GET", b"/bkt?a", now_s)
    assert Notary(SECRET, "fra").read(good, "GET", b"/bkt?a", now_s) == note
    others = [
        notary.write(note, "sjc", "GET", b"/bkt", now_s),
        notary.write(note, "fra", "PUT", b"/bkt", now_s),
        notary.write(note, "fra", "GET", b"/bkt?x", now_s),
        notary.write(note, "fra", "GET", b"/bkt", now_s - 3600),
        Notary("another secret", "sjc").write(note, "fra", "GET", b"/bkt", now_s),
    ]
    async with calling(pair["fra"]) as call:
        for value in others:
            answer = await call("GET", "/bkt", headers={HEADER: value})
            assert answer.status == 400, value
        twice = head_of("GET", "/bkt", [("host", "h"), (HEADER, good), (HEADER, good)])
        call.writer.write(twice)
        assert (await call.answer("GET")).status == 400


async def test_regions_that_disagree_do_not_go_round(pair: Cluster) -> None:
    pair["fra"].link("sjc").core = None  # sjc will not hear of it
    await pair["fra"].store.update_bucket("bkt", lambda each: setattr(each, "regions", "sjc"))
    async with calling(pair["sjc"]) as call:
        answer = await call("GET", "/bkt/key")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert b"do not agree" in answer.body
    assert (len(pair["sjc"].targets), len(pair["fra"].targets)) == (1, 1)


# --- who may be carried ---


async def test_a_body_is_taken_of_nobody_unknown(pair: Cluster) -> None:
    async with calling(pair["sjc"]) as call:
        answer = await call("PUT", "/bkt/key", b"x", key=("tid_root", "a wrong secret"))
        assert answer.status == 403
        answer = await call("PUT", "/bkt/key", b"x", key=("tid_nobody", "a wrong secret"))
        assert answer.status == 403
        answer = await call("PUT", "/bkt/key", b"x", key=None)
        assert answer.status == 403
    assert not pair["fra"].targets


# --- bodies ---


async def test_a_large_upload_in_little_memory(pair: Cluster) -> None:
    """100 MiB in aws-chunks, byte for byte."""
    seen = sha256()
    received = 0

    async def sink(exchange: Exchange) -> None:
        nonlocal received
        while piece := await exchange.piece():
            seen.update(piece)
            received += len(piece)
        exchange.answer(200, [("etag", '"x"')])

    pair["fra"].handler = sink
    chunks = 100
    frame = b"%x\r\n" % MIB + PIECE + b"\r\n"
    tail = b"0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n"
    sent = sha256()
    async with calling(pair["sjc"]) as call:
        await call("GET", "/bkt")  # connections are open, modules loaded
        tracemalloc.start()
        try:
            call.writer.write(chunked_head(chunks * MIB, chunks * len(frame) + len(tail)))
            for part in (*[frame] * chunks, tail):
                sent.update(part)
                call.writer.write(part)
                await call.writer.drain()
            answer = await call.answer("PUT")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert answer.status == 200
    assert (received, seen.digest()) == (chunks * len(frame) + len(tail), sent.digest())
    assert peak < 16 * MIB


def chunked_head(size: int, wire: int) -> bytes:
    return upload_head(
        "key", wire, x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_decoded_content_length=str(size), x_amz_trailer="x-amz-checksum-crc32",
        content_encoding="aws-chunked",
    )  # fmt: skip


@pytest.mark.parametrize("is_right", [True, False])
async def test_chunks_are_verified_where_they_are_stored(pair: Cluster, is_right: bool) -> None:
    body = PIECE * 3
    told = crc32(body) if is_right else 0
    framed = b"".join(b"%x\r\n" % MIB + PIECE + b"\r\n" for _ in range(3))
    value = b64encode(told.to_bytes(4, "big"))
    framed += b"0\r\nx-amz-checksum-crc32: " + value + b"\r\n\r\n"
    async with calling(pair["sjc"]) as call:
        call.writer.write(chunked_head(len(body), len(framed)) + framed)
        answer = await call.answer("PUT")
        assert answer.status == (200 if is_right else 400), answer.body
        read = await call("GET", "/bkt/key")
        assert read.body == body if is_right else read.status == 404


async def test_a_large_download_no_faster_than_it_is_taken(pair: Cluster) -> None:
    sent = 0

    async def source(exchange: Exchange) -> None:
        nonlocal sent
        exchange.begin(200, [("content-length", str(64 * MIB))])
        for _ in range(64):
            await exchange.send(PIECE)
            sent += MIB
        exchange.end()

    pair["fra"].handler = source
    async with calling(pair["sjc"]) as call:
        call.writer.write(head_of("GET", "/bkt/k", signed("GET", "/bkt/k", {"host": "s3.test"}, b"",
                                                          ROOT)))  # fmt: skip
        status, _ = await call.head()
        assert status == 200
        await until(lambda: sent >= 1 * MIB)
        await asyncio.sleep(0.3)  # time in which all of it would have come
        assert sent < 40 * MIB
        seen = sha256()
        for _ in range(64):
            seen.update(await call.reader.readexactly(MIB))
    assert seen.digest() == sha256(PIECE * 64).digest()


async def test_expect_is_left_to_the_target(pair: Cluster) -> None:
    asked = asyncio.Event()

    async def ask_later(exchange: Exchange) -> None:
        await asked.wait()
        exchange.answer(200, [], b"%d" % len(await exchange.read()))

    pair["fra"].handler = ask_later
    for size in (5, 2 * MIB):
        async with calling(pair["sjc"]) as call:
            call.writer.write(upload_head("key", size, expect="100-continue"))
            first = asyncio.create_task(call.reader.readline())
            if size == 5:  # not worth the round trip between the regions
                async with asyncio.timeout(5):
                    await first
            else:
                await asyncio.wait({first}, timeout=0.2)
                assert not first.done()
            asked.set()
            async with asyncio.timeout(5):
                assert await first == b"HTTP/1.1 100 Continue\r\n"
            await call.reader.readline()
            call.writer.write(bytes(size))
            assert (await call.answer("PUT")).body == b"%d" % size
        asked.clear()
    pair["fra"].handler = None
    assert (await pair["fra"].store.put("bkt", "key", b"x")).size == 1
    async with calling(pair["sjc"]) as call:  # refused before a byte is sent
        call.writer.write(upload_head("key", 2 * MIB, expect="100-continue", if_none_match="*"))
        assert (await call.answer("PUT")).status == 412


async def test_refused_in_the_middle(pair: Cluster) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.piece()
        exchange.answer(403, [("x-said", "no")], b"no")

    pair["fra"].handler = refuse
    async with calling(pair["sjc"]) as call:
        call.writer.write(upload_head("key", 50 * MIB) + PIECE)
        answer = await call.answer("PUT")
        assert (answer.status, answer.headers["x-said"], answer.body) == (403, "no", b"no")
    await until(lambda: pair["sjc"].forwarder.active == 0)


# --- who goes away ---


async def test_a_client_that_goes_ends_its_upload_there(pair: Cluster) -> None:
    became: list[str] = []

    async def sink(exchange: Exchange) -> None:
        try:
            while await exchange.piece():
                became.append("piece")
        except BodyBroken:
            became.append("broken")
            raise

    pair["fra"].handler = sink
    async with calling(pair["sjc"]) as call:
        call.writer.write(upload_head("key", 50 * MIB) + PIECE)
        await until(lambda: "piece" in became)
    await until(lambda: "broken" in became)
    await until(lambda: pair["sjc"].forwarder.active == 0)


async def test_a_client_that_goes_ends_its_download_there(pair: Cluster) -> None:
    became: list[str] = []

    async def source(exchange: Exchange) -> None:
        exchange.begin(200, [("content-length", str(10_000 * MIB))])
        try:
            while True:
                await exchange.send(PIECE)
                await asyncio.sleep(0)
        except ClientGone:
            became.append("gone")
            raise

    pair["fra"].handler = source
    async with calling(pair["sjc"]) as call:
        pairs = signed("GET", "/bkt/k", {"host": "s3.test"}, b"", ROOT)
        call.writer.write(head_of("GET", "/bkt/k", pairs))
        await call.head()
    await until(lambda: became == ["gone"])
    await until(lambda: pair["sjc"].forwarder.active == 0)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_target_that_goes_breaks_the_download(pair: Cluster, is_chunked: bool) -> None:
    async def source(exchange: Exchange) -> None:
        exchange.begin(200, [] if is_chunked else [("content-length", str(2 * MIB))])
        await exchange.send(PIECE)
        exchange.abort()

    pair["fra"].handler = source
    async with calling(pair["sjc"]) as call:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError, ValueError)):
            await call("GET", "/bkt/k")
    await until(lambda: pair["sjc"].forwarder.active == 0)


async def test_a_target_that_goes_in_an_upload(pair: Cluster) -> None:
    async def leave(exchange: Exchange) -> None:
        await exchange.piece()
        exchange.abort()

    pair["fra"].handler = leave
    async with calling(pair["sjc"]) as call:
        call.writer.write(upload_head("key", 20 * MIB) + PIECE)
        answer = await call.answer("PUT")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


async def test_a_target_that_is_down(pair: Cluster) -> None:
    pair["fra"].server.stop()
    await asyncio.sleep(0.05)
    async with calling(pair["sjc"]) as call:
        answer = await call("PUT", "/bkt/key", b"x")
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert b"<Code>ServiceUnavailable</Code>" in answer.body
        assert (await call("HEAD", "/bkt/key")).status == 503


async def test_a_target_that_stalls(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(forwarder_module, "ANSWER_SECONDS", 0.2)
    released = asyncio.Event()

    async def stall(exchange: Exchange) -> None:
        if exchange.method == "GET":
            exchange.begin(200, [("content-length", str(2 * MIB))])
            await exchange.send(PIECE)
        await released.wait()
        exchange.abort()

    pair["fra"].handler = stall
    async with calling(pair["sjc"]) as call:
        answer = await call("PUT", "/bkt/key", b"x")
        assert answer.status == 503
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await call("GET", "/bkt/k")
    async with calling(pair["sjc"]) as call:  # the target takes nothing of a large upload
        call.writer.write(upload_head("key", 100 * MIB))
        for _ in range(30):
            call.writer.write(PIECE)
        answer = await call.answer("PUT")
        assert answer.status == 503
    released.set()
    await until(lambda: pair["sjc"].forwarder.active == 0)


async def test_a_connection_that_was_closed_meanwhile(pair: Cluster) -> None:
    """Kept connections are used again; one that the target has closed costs nobody an error."""
    async with calling(pair["sjc"]) as call:
        assert (await call("PUT", "/bkt/key", b"x")).status == 200
        kept = pair["sjc"].forwarder._pool._idle["fra"]
        assert len(kept) == 1
        one = kept[0]
        assert (await call("GET", "/bkt/key")).body == b"x"
        assert kept == [one]
        one._transport.abort()
        assert (await call("GET", "/bkt/key")).body == b"x"
        assert kept != [one]


async def test_nonsense_is_no_answer(pair: Cluster) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    topology = pair["sjc"].core.topology
    there = topology.regions["fra"]._replace(gateway=f"http://127.0.0.1:{port}")
    topology.regions["fra"] = there
    async with calling(pair["sjc"]) as call:
        for said in (
            b"",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end",  # nothing tells where that is
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        ):
            assert (await call("GET", "/bkt/key")).status == 503, said
    server.close()
    await until(lambda: pair["sjc"].forwarder.active == 0)


async def test_many_at_once(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder_module, "FORWARDS_MAX", 1)
    held, released = asyncio.Event(), asyncio.Event()

    async def hold(exchange: Exchange) -> None:
        held.set()
        await released.wait()
        exchange.answer(204, [])

    pair["fra"].handler = hold
    async with calling(pair["sjc"]) as one, calling(pair["sjc"]) as other:
        first = asyncio.create_task(one("DELETE", "/bkt/key"))
        await held.wait()
        assert (await other("GET", "/bkt/key")).status == 503
        released.set()
        assert (await first).status == 204
