"""The block service over TLS, where each region must show a certificate of the cluster's own CA."""

from __future__ import annotations

import subprocess
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from amur.blockservice.app import BlockService
from amur.config import Settings
from amur.httpd.tls import Tls
from amur.regions.credentials import Credentials
from amur.regions.http_link import HttpLink
from amur.regions.link import PeerUnreachable
from amur.regions.topology import Region
from amur.serve.peering import client_tls
from tests.support.peers import HASTY, HELLO, NAME, SECRET, FakeRegion, gate, listening


def run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and region.pem of it; other.pem of nobody."""
    where = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    name = ("-addext", "subjectAltName=DNS:localhost")
    for each in ("ca", "other"):
        run("openssl", "req", "-x509", *key, *name, "-subj", f"/CN={each}",
            "-keyout", where / f"{each}.key", "-out", where / f"{each}.pem")  # fmt: skip
    run("openssl", "req", *key, "-subj", "/CN=region", "-keyout", where / "region.key",
        "-out", where / "region.csr")  # fmt: skip
    (where / "names").write_text("subjectAltName=DNS:localhost\n")
    run("openssl", "x509", "-req", "-in", where / "region.csr", "-CA", where / "ca.pem",
        "-CAkey", where / "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", where / "names", "-out", where / "region.pem")  # fmt: skip
    return where


def served(where: Path) -> AbstractAsyncContextManager[int]:
    region = FakeRegion()
    service = BlockService(region.answer, region.open_body, gate())
    tls = Tls(where / "region.pem", where / "region.key", where / "ca.pem")
    return listening(service, tls=tls)


def link_to(port: int, where: Path, shown: str) -> HttpLink:
    settings = Settings(
        region="sjc",
        blocks_tls_cert=where / f"{shown}.pem",
        blocks_tls_key=where / f"{shown}.key",
        peers_ca=where / "ca.pem",
    )
    region = Region("ord", 1, "", f"https://localhost:{port}")
    credentials = Credentials(SECRET, "sjc")
    return HttpLink(region, credentials, HELLO, timing=HASTY, tls=client_tls(settings))


async def test_regions_of_one_ca_talk(certificates: Path) -> None:
    async with served(certificates) as port:
        link = link_to(port, certificates, "region")
        try:
            assert await link.call(HELLO) is not None
            assert b"".join([piece async for piece in link.read(NAME, 2, 6)]) == b"2345"
        finally:
            await link.close()


async def test_a_certificate_of_nobody_is_not_let_in(certificates: Path) -> None:
    async with served(certificates) as port:
        link = link_to(port, certificates, "other")
        try:
            with pytest.raises(PeerUnreachable):
                await link.call(HELLO)
        finally:
            await link.close()
