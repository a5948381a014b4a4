"""What the configuration for HAProxy says, and what HAProxy does with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from amur.cluster import haproxy
from amur.cluster.haproxy import Edge
from amur.serve.layout import Refusal
from amur.serve.testing import free_port
from tests.cluster.conftest import Gateways

PROGRAM = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
REGIONS = {
    "sjc": "http://127.0.0.1:9001",
    "ord": "http://[::1]:9003",
    "fra": "https://10.0.0.3",
}
needs_haproxy = pytest.mark.skipif(PROGRAM is None, reason="haproxy is not installed")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _near(*texts: str) -> list[tuple[haproxy.Network, haproxy.Order]]:
    return [haproxy.parse_near(text, REGIONS) for text in texts]


def _lines(text: str, start: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(start)]


def test_the_smallest_network_decides() -> None:
    near = _near(
        "10.0.0.0/8=ord", "10.1.2.0/24=fra,ord", "2001:db8::/32=fra,ord", "10.9.0.0/16=ord"
    )
    assert _lines(haproxy.configuration(Edge(":9000", REGIONS, near)), "use_backend") == [
        "use_backend near_fra_ord_sjc if { src 2001:db8::/32 10.1.2.0/24 }",
        "use_backend near_ord_sjc_fra if { src 10.9.0.0/16 10.0.0.0/8 }",
    ]


def test_other_regions_stand_by_in_order() -> None:
    text = haproxy.configuration(Edge(":9000", REGIONS, _near("10.0.0.0/8=ord")))
    backend = text[text.index("\nbackend near_ord_sjc_fra") :].splitlines()[2:5]
    assert [(line.split()[1], line.split()[-1]) for line in backend] == [
        ("ord", "regions/ord"), ("sjc", "backup"), ("fra", "backup"),
    ]  # fmt: skip
    assert "default_backend near_sjc_ord_fra" in text


@pytest.mark.parametrize(
    ("edge", "said"),
    [
        (Edge(":9000", {}), "name the regions"),
        (Edge("9000", REGIONS), "--listen: must be HOST:PORT"),
        (Edge(":9000", {"a": "ftp://x"}), "is no URL"),
        (Edge(":9000", {"a": "http://x:port"}), "is no URL"),
        (Edge(":9000", {"a": "http://x\n    server evil y"}), "is no URL"),
        (Edge(":9000", REGIONS, [], "/tmp/a'b.pem"), "rename it"),
        (Edge(":9000", REGIONS, [], "", ["a b"]), "is no domain name"),
    ],
)
def test_what_can_not_be_said(edge: Edge, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        haproxy.configuration(edge)


@pytest.mark.parametrize("text", ["10.0.0.1/8=ord", "ord", "10.0.0.0/8=", "10.0.0.0/8=lhr"])
def test_networks_that_do_not_go(text: str) -> None:
    with pytest.raises(Refusal, match="--near"):
        haproxy.parse_near(text, REGIONS)


@needs_haproxy
@pytest.mark.parametrize("listen", ["127.0.0.1:9080", "[::1]:9080", ":9080"])
def test_haproxy_takes_it(tmp_path: Path, listen: str) -> None:
    near = _near("2001:db8::/32=fra", *(f"10.{n}.0.0/16=ord" for n in range(200)))
    path = tmp_path / "haproxy.cfg"
    path.write_text(haproxy.configuration(Edge(listen, REGIONS, near, "", ["s3.example.com"])))
    done = subprocess.run(
        [str(PROGRAM), "-c", "-f", path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@needs_haproxy
def test_haproxy_takes_it_with_tls(tmp_path: Path) -> None:
    pem, key = tmp_path / "both.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", pem, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + key.read_text())
    path = tmp_path / "haproxy.cfg"
    path.write_text(haproxy.configuration(Edge(":9080", REGIONS, [], str(pem))))
    done = subprocess.run(
        [str(PROGRAM), "-c", "-f", path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class RunningEdge:
    def __init__(self, directory: Path, gateways: Gateways, *arguments: str) -> None:
        cluster = directory / "cluster.json"
        regions = {
            name: {"endpoint": f"http://127.0.0.1:{p}"} for name, p in gateways.ports.items()
        }
        cluster.write_text(json.dumps({"endpoint": "", "regions": regions}))
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "amur.cli.main", "edge", "--config", str(cluster), "--run",
             "--listen", f"127.0.0.1:{self.port}", *arguments],
            cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def who(self, path: str = "/") -> str:
        """Who answers; "" while nobody does."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def until(self, name: str) -> None:
        deadline = time.monotonic() + 30
        while self.who() != name:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def running(tmp_path: Path, gateways: Gateways) -> Iterator[Callable[..., RunningEdge]]:
    made: list[RunningEdge] = []

    def run(*arguments: str) -> RunningEdge:
        made.append(RunningEdge(tmp_path, gateways, *arguments))
        return made[-1]

    yield run
    for each in made:
        each.close()


@needs_haproxy
def test_a_killed_region_gets_no_clients(
    running: Callable[..., RunningEdge], gateways: Gateways
) -> None:
    edge = running()
    edge.until("near")
    gateways.kill("near")
    assert edge.who() == "far"  # the very next request is tried again there
    gateways.start("near")
    edge.until("near")
    gateways.signal("near", signal.SIGSTOP)
    edge.until("far")
    gateways.signal("near", signal.SIGCONT)


@needs_haproxy
def test_clients_of_a_network_go_to_their_region(
    running: Callable[..., RunningEdge], gateways: Gateways
) -> None:
    edge = running("--near", "127.0.0.0/8=far", "--near", "10.0.0.0/8=near")
    edge.until("far")
    assert edge.who("/-/metrics") == ""
    gateways.kill("far")
    assert edge.who() == "near"
