"""The HTTP server over TLS: large bodies, clients that break off, and a renewed certificate."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from amur.httpd import connection as connection_module
from amur.httpd import server as server_module
from amur.httpd.exchange import BodyBroken, ClientGone, Exchange
from amur.httpd.tls import Tls
from amur.limits import KIB, MIB
from tests.support.http_talk import HEAD, address_of, echo, refuse, talking, until


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two certificates for localhost, 1.pem and 2.pem, and their keys."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("1", "2"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost", "-keyout", directory / f"{name}.key", "-out",
             directory / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    return directory


@pytest.fixture
def files(pairs: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The first pair, where a test may change it."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(pairs / "1.pem", cert)
    shutil.copy(pairs / "1.key", key)
    return cert, key


@pytest.fixture
def tls(files: tuple[Path, Path]) -> Tls:
    return Tls(*files)


@pytest.fixture
def trusting(pairs: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pairs / "1.pem"))
    context.load_verify_locations(str(pairs / "2.pem"))
    return context


@pytest.mark.parametrize("size", [0, 100, 60_000, 200_000, 3 * MIB, 20 * MIB])
async def test_bodies_both_ways(size: int, tls: Tls, trusting: ssl.SSLContext) -> None:
    body = os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB)
    async with talking(echo, tls=tls, trusting=trusting) as client:
        for _ in range(2):
            client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body)
            status, _, got = await client.answer()
            assert status == 200
            assert got == body


async def test_the_scheme_and_the_protocol(tls: Tls, trusting: ssl.SSLContext) -> None:
    schemes: list[str] = []

    async def handle(exchange: Exchange) -> None:
        schemes.append(exchange.scheme)
        exchange.answer(200, [])

    trusting.set_alpn_protocols(["h2", "http/1.1"])
    async with talking(handle, tls=tls, trusting=trusting) as client:
        spoken = client.writer.get_extra_info("ssl_object")
        assert (spoken.version(), spoken.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        client.send(HEAD % 1)
        await client.answer()
    assert schemes == ["https"]


async def test_old_versions_are_refused(tls: Tls, trusting: ssl.SSLContext) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with talking(echo, tls=tls, trusting=trusting):
            pass


@pytest.mark.parametrize("sent", [HEAD % 1, b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x00" * 99])
async def test_what_is_no_handshake(
    sent: bytes,
    tls: Tls,
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """... is closed without a word in the log, and in time."""
    monkeypatch.setattr(server_module, "HANDSHAKE_SECONDS", 0.2)
    async with talking(echo, tls=tls, trusting=trusting) as client:
        reader, writer = await asyncio.open_connection(*address_of(client.server))
        writer.write(sent)
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):
                assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
        client.send(HEAD % 2)
        assert (await client.answer())[0] == 200
    assert not caplog.records


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_an_upload_that_breaks_off(how: str, tls: Tls, trusting: ssl.SSLContext) -> None:
    broken = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        try:
            await exchange.read()
        except BodyBroken:
            broken.set()
            exchange.answer(400, [])

    async with talking(handle, tls=tls, trusting=trusting) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + bytes(MIB))
        await client.writer.drain()
        client.reset() if how == "reset" else client.writer.close()
        async with asyncio.timeout(5):
            await broken.wait()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_download_that_breaks_off(
    how: str, tls: Tls, trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.begin(200, [])
        try:
            while True:
                await exchange.send(bytes(MIB))
                await asyncio.sleep(0)
        except ClientGone:
            gone.set()

    async with talking(handle, tls=tls, trusting=trusting) as client:
        client.send(HEAD % 1)
        await client.reader.readexactly(1000)
        client.reset() if how == "reset" else client.writer.close()
        async with asyncio.timeout(5):
            await gone.wait()
    assert not caplog.records


async def test_a_refused_upload_tells_why(tls: Tls, trusting: ssl.SSLContext) -> None:
    async with talking(refuse, tls=tls, trusting=trusting) as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        for _ in range(8):
            client.send(bytes(MIB))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (403, "close", b"no")


async def test_a_slow_reader_holds_the_writer_back(tls: Tls, trusting: ssl.SSLContext) -> None:
    sent = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal sent
        exchange.begin(200, [("content-length", str(50 * MIB))])
        for _ in range(50):
            await exchange.send(bytes(MIB))
            sent += 1
        exchange.end()

    async with talking(handle, tls=tls, trusting=trusting, receive_buffer=4096) as client:
        client.pause()
        client.send(HEAD % 1)
        await until(lambda: sent > 0)
        await asyncio.sleep(0.2)
        assert sent < 10
        client.resume()
        assert len((await client.answer())[2]) == 50 * MIB


async def test_the_end_of_an_answer_waits_for_a_slow_reader(
    tls: Tls, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last answer, too, of which uvloop still holds some."""
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(connection_module, "STALL_BYTES", 1)
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.01)
    size = 16 * MIB

    async def handle(exchange: Exchange) -> None:
        exchange.answer(200, [("connection", "close")], bytes(size))

    def download(address: tuple[str, int]) -> int:
        """By a socket: uvloop's client drops what it has not given away when the server closes."""
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.settimeout(10)
            plain.connect(address)
            with trusting.wrap_socket(plain, server_hostname="localhost") as sock:
                sock.sendall(HEAD % 1)
                got = bytearray()
                while piece := sock.recv(64 * KIB):
                    got += piece
                    time.sleep(0.001)
        return len(got.partition(b"\r\n\r\n")[2])

    async with talking(handle, tls=tls, trusting=trusting) as client:
        assert await asyncio.to_thread(download, address_of(client.server)) == size


async def served(address: tuple[str, int], trusting: ssl.SSLContext) -> bytes:
    _, writer = await asyncio.open_connection(*address, ssl=trusting, server_hostname="localhost")
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


async def test_a_renewed_certificate(
    pairs: Path, files: tuple[Path, Path], tls: Tls, trusting: ssl.SSLContext
) -> None:
    first, second = (ssl.PEM_cert_to_DER_cert((pairs / f"{n}.pem").read_text()) for n in (1, 2))
    async with talking(echo, tls=tls, trusting=trusting) as client:
        address = address_of(client.server)
        assert not tls.renew()
        assert await served(address, trusting) == first
        shutil.copy(pairs / "2.pem", files[0])  # one of the two is not there yet
        assert not tls.renew()
        assert await served(address, trusting) == first
        shutil.copy(pairs / "2.key", files[1])
        assert tls.renew()
        assert await served(address, trusting) == second
        client.send(HEAD % 1)  # begun with the first
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("text", [None, "", "nonsense", "-----BEGIN CERTIFICATE-----\nx\n"])
async def test_broken_files_keep_the_old_certificate(
    text: str | None,
    pairs: Path,
    files: tuple[Path, Path],
    tls: Tls,
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with talking(echo, tls=tls, trusting=trusting) as client:
        for path in files:
            path.unlink() if text is None else path.write_text(text)
            assert not tls.renew()
            assert not tls.renew()
            await served(address_of(client.server), trusting)
        assert "old one stays" in caplog.text
        for name, path in zip(("2.pem", "2.key"), files, strict=True):
            shutil.copy(pairs / name, path)
        assert tls.renew()
