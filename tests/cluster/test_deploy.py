"""The files of deploy/ fit each other, and what amur, systemd and Kubernetes take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from amur import config
from amur.cluster import haproxy
from amur.cluster.haproxy import Edge

DEPLOY = Path(__file__).parents[2] / "deploy"
REGIONS = ("sjc", "ord", "fra")
SETS = {
    "config": DEPLOY / "config",
    "compose": DEPLOY / "compose",
    "kubernetes": DEPLOY / "kubernetes",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the secrets of each deployment give it."""
    for name in os.environ:
        if name.startswith("AMUR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AMUR_ROOT_ACCESS_KEY_ID", "tid_root")
    monkeypatch.setenv("AMUR_ROOT_SECRET_ACCESS_KEY", "tsec_root_secret")


def _settings(kind: str, region: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    secret = "s" * 48
    if kind == "kubernetes":
        path = SETS[kind] / region / "amur.toml"
    else:
        path = SETS[kind] / f"{region}.toml"
    if kind == "config":
        kept = tmp_path / "cluster-secret"
        kept.write_text(secret)
        kept.chmod(0o640)
        text = path.read_text().replace("/etc/amur/cluster-secret", str(kept))
        path = tmp_path / path.name
        path.write_text(text)
    else:
        monkeypatch.setenv("AMUR_CLUSTER_SECRET", secret)
    return config.load(path)


@pytest.mark.parametrize("kind", SETS)
def test_settings_load_and_agree(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    regions = {name: _settings(kind, name, monkeypatch, tmp_path) for name in REGIONS}
    addresses: dict[str, set[tuple[str, str]]] = {name: set() for name in REGIONS}
    for name, settings in regions.items():
        assert settings.region == name
        assert settings.roles == config.ROLES
        assert {peer.name for peer in settings.peers} == set(REGIONS) - {name}
        for peer in settings.peers:
            there = regions[peer.name]
            assert peer.number == there.region_number
            assert urlsplit(peer.gateway).port == there.port
            assert urlsplit(peer.block_service).port == there.blocks_address[1]
            if kind == "config":
                assert urlsplit(peer.gateway).hostname == there.host
                assert urlsplit(peer.block_service).hostname == there.blocks_address[0]
            addresses[peer.name].add((peer.gateway, peer.block_service))
    assert all(len(known) == 1 for known in addresses.values())  # all call it by the same


def _units() -> list[Path]:
    return sorted((DEPLOY / "systemd").glob("*.service"))


def test_a_unit_for_each_role() -> None:
    assert {path.name for path in _units()} == {f"amur-{role}@.service" for role in config.ROLES}
    target = (DEPLOY / "systemd" / "amur@.target").read_text()
    for path in _units():
        role = path.name.removeprefix("amur-").removesuffix("@.service")
        assert f"amur serve --config /etc/amur/%i.toml --roles {role}\n" in path.read_text()
        assert path.name.replace("@.", "@%i.") in target


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = tmp_path / "amur"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text().replace("/opt/amur/.venv/bin/amur", str(program))
        (tmp_path / path.name.replace("@.", "@sjc.")).write_text(text)
    units = [str(path) for path in tmp_path.glob("amur*@sjc.*")]
    assert len(units) == len(config.ROLES) + 1
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "amur" in line]
    assert (done.returncode, ours) == (0, [])


def test_compose() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {*REGIONS, "edge"}
    assert set(compose["volumes"]) == set(REGIONS)
    known = {f"AMUR_{name.upper()}" for name in config.Settings.model_fields}
    for name in REGIONS:
        assert set(services[name]["environment"]) <= known
        mounted = dict(volume.split(":")[:2] for volume in services[name]["volumes"])
        assert mounted[f"./{name}.toml"] == services[name]["command"][-1]
        assert mounted[name] == "/var/lib/amur"
        file = DEPLOY / "compose" / services[name]["build"]["context"]
        assert (file / services[name]["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    for volume in services["edge"]["volumes"]:
        assert (DEPLOY / "compose" / volume.split(":")[0]).is_file()


def test_kubernetes_region() -> None:
    text = (DEPLOY / "kubernetes" / "base" / "region.yaml").read_text()
    stateful, gateway, blocks = yaml.safe_load_all(text)
    pod = stateful["spec"]["template"]["spec"]
    assert pod["shareProcessNamespace"] is True
    assert [each["name"] for each in pod["containers"]] == list(config.ROLES)
    ports = {}
    for container in pod["containers"]:
        assert container["args"][-2:] == ["--roles", container["name"]]
        assert container["envFrom"] == [{"secretRef": {"name": "amur"}}]
        ports.update({port["name"]: port["containerPort"] for port in container.get("ports", ())})
    for service in (gateway, blocks):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    assert blocks["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubernetes_parts_are_whole() -> None:
    services: set[str] = set()
    named: set[str] = set()
    for part in (*REGIONS, "edge"):
        built = subprocess.run(
            ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / part)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        objects = list(yaml.safe_load_all(built.stdout))
        assert {each["metadata"]["namespace"] for each in objects} == {"amur"}
        configs = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
        for each in objects:
            if each["kind"] == "Service":
                services.add(each["metadata"]["name"])
            elif each["kind"] in ("StatefulSet", "Deployment"):
                pod = each["spec"]["template"]["spec"]
                used = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
                assert used == configs
            elif each["kind"] == "ConfigMap":
                for text in each["data"].values():
                    named |= set(re.findall(r"http://([a-z-]+):", text))
                    named |= set(re.findall(r"server \w+ ([a-z-]+):", text))
    assert named
    assert named <= services


@pytest.mark.parametrize(
    ("path", "host"), [("compose/haproxy.cfg", "{}"), ("kubernetes/edge/haproxy.cfg", "{}-amur")]
)
def test_the_edge_is_what_amur_edge_writes(path: str, host: str) -> None:
    regions = {name: f"http://{host.format(name)}:9000" for name in REGIONS}
    written = haproxy.configuration(Edge(":9000", regions))
    assert (DEPLOY / path).read_text() == written
