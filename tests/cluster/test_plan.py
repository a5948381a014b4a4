"""Names, ports and keys of a cluster: decided once, then kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from amur import config
from amur.cluster import plan
from amur.cluster.plan import Places
from amur.cluster.testing import first_of_free_ports
from amur.serve.layout import Refusal


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "cluster")
    made.create()
    return made


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGION", "LISTEN", "DATA", "WORKERS", "ROLES"):
        monkeypatch.delenv(f"AMUR_{name}", raising=False)


def test_all_listeners_differ_and_stay(places: Places) -> None:
    listen = f"127.0.0.1:{first_of_free_ports(4)}"
    first = plan.settle(places, ["sjc", "ord", "fra"], listen, 2, {("sjc", "ord"): 80.0})
    ports = [port for _, port, _ in first.ports()]
    assert len(set(ports)) == len(ports) == 1 + 3 * 2 + 6 * 2
    assert [region.number for region in first.regions] == [0, 1, 2]
    assert plan.settle(places) == plan.read(places) == first
    assert plan.settle(places, ["ord", "sjc", "fra"]) == first


def test_a_region_more(places: Places) -> None:
    first = plan.settle(places, ["sjc", "ord"], f"127.0.0.1:{first_of_free_ports(4)}")
    more = plan.settle(places, ["sjc", "fra", "ord"], distances={("fra", "sjc"): 1.0})
    assert more.regions[:2] == first.regions
    assert more.region("fra").number == 2
    assert set(first.links) < set(more.links)
    ports = [port for _, port, _ in more.ports()]
    assert len(set(ports)) == len(ports)


def test_each_region_can_be_started(places: Places) -> None:
    of = plan.settle(places, ["sjc", "ord", "fra"], f"127.0.0.1:{first_of_free_ports(4)}")
    plan.write_settings(places, of)
    secret = places.secret.read_text().strip()
    assert places.secret.stat().st_mode & 0o777 == 0o600
    ports = {(link.source, link.target, link.service): link.port for link in of.links}
    for region in of.regions:
        settings = config.load(places.config(region.name))
        assert settings.port == region.gateway_port
        assert settings.blocks_address == ("127.0.0.1", region.blocks_port)
        assert settings.cluster_secret == secret
        assert settings.data == places.data(region.name)
        peers = {peer.name: peer for peer in settings.peers}
        assert peers.keys() == {"sjc", "ord", "fra"} - {region.name}
        for name, peer in peers.items():
            assert peer.number == of.region(name).number
            assert peer.gateway.endswith(f":{ports[region.name, name, 'gateway']}")
            assert peer.block_service.endswith(f":{ports[region.name, name, 'blocks']}")
    plan.write_settings(places, of)
    assert places.secret.read_text().strip() == secret


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "--regions sjc,ord,fra"),
        (["sjc", "sjc"], "a name of its own"),
        (["SJC"], "region 'SJC': must be 1 to 32"),
        (["sjc", "run"], "can't be named 'run'"),
        ([f"r{n}" for n in range(65)], "at most 64"),
    ],
)
def test_names_that_do_not_go(places: Places, names: list[str], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        plan.settle(places, names)
    assert not places.plan.exists()


def test_refusals(places: Places) -> None:
    with pytest.raises(Refusal, match="is no cluster"):
        plan.read(places)
    with pytest.raises(Refusal, match="--listen: must be HOST:PORT"):
        plan.settle(places, ["sjc"], "9000")
    of = plan.settle(places, ["sjc", "ord"], f"127.0.0.1:{first_of_free_ports(4)}")
    with pytest.raises(Refusal, match="not left out"):
        plan.settle(places, ["sjc"])
    with pytest.raises(Refusal, match="no region 'lhr'; there are sjc, ord"):
        plan.settle(places, distances={("sjc", "lhr"): 1.0})
    with (
        socket.create_server(("127.0.0.1", of.region("ord").blocks_port)),
        pytest.raises(Refusal, match="the block service of ord, is taken"),
    ):
        plan.refuse_taken_ports(of)
    plan.refuse_taken_ports(of)
    places.plan.write_text("{")
    with pytest.raises(Refusal, match="is damaged"):
        plan.read(places)


def test_distances() -> None:
    assert plan.parse_distance("sjc:ord=80ms") == (("sjc", "ord"), 80.0)
    assert [plan.milliseconds(text) for text in ("1.5ms", "0.1s", "7")] == [1.5, 100.0, 7.0]
    for text in ("sjc=80ms", "sjc:sjc=1ms", "sjc:ord", "sjc:ord=far", "sjc:ord=-1ms", "a:b=61s"):
        with pytest.raises(Refusal, match="looks like"):
            plan.parse_distance(text)
