"""Gateways behind https."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from amur.gateway.forward.forwarder import Forwarder, Outgoing
from amur.gateway.forward.note import Note
from amur.httpd.exchange import Exchange
from amur.httpd.server import Server
from amur.httpd.tls import Tls
from amur.limits import MIB
from amur.objects.errors import RegionUnreachable
from amur.regions.topology import Region, Topology
from tests.support.http_talk import address_of

NOTE = Note(("sjc",), "https", "192.0.2.1:9", "1")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of localhost."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.fixture
async def gateway(pair: tuple[Path, Path]) -> AsyncIterator[str]:
    """URL of a gateway that gives back what it gets."""

    async def echo(exchange: Exchange) -> None:
        pieces = []
        while piece := await exchange.piece():
            pieces.append(bytes(piece))
        exchange.begin(200, [("x-scheme", exchange.scheme)])
        for each in pieces:
            await exchange.send(each)
        exchange.end([("x-end", "1")])

    server = Server(echo)
    await server.listen("127.0.0.1", 0, Tls(*pair))
    yield f"https://localhost:{address_of(server)[1]}"
    server.stop()
    await server.serve()


def forwarder(gateway: str, trust: ssl.SSLContext | None) -> Forwarder:
    topology = Topology(Region("sjc", 0), [Region("fra", 1, gateway)])
    return Forwarder(topology, "s" * 32, trust=trust)


async def body() -> AsyncIterator[bytes]:
    for _ in range(8):
        yield bytes(MIB)


async def test_both_ways(gateway: str, pair: tuple[Path, Path]) -> None:
    forward = forwarder(gateway, ssl.create_default_context(cafile=str(pair[0])))
    pairs = [("host", "h"), ("transfer-encoding", "chunked")]
    for _ in range(2):
        asked = Outgoing("PUT", b"/x", pairs, body(), NOTE)
        response = await forward.forward(["fra"], asked, 1_800_000_000)
        assert ("x-scheme", "https") in response.headers
        assert response.stream is not None
        assert response.trailers is not None
        assert sum([len(piece) async for piece in response.stream]) == 8 * MIB
        assert response.trailers() == [("x-end", "1")]
    assert forward.active == 0
    forward.close()


async def test_a_certificate_that_nobody_vouches_for(gateway: str) -> None:
    forward = forwarder(gateway, None)
    asked = Outgoing("GET", b"/x", [("host", "h")], None, NOTE)
    with pytest.raises(RegionUnreachable):
        await forward.forward(["fra"], asked, 1_800_000_000)
    assert forward.active == 0
