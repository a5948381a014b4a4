"""A running cluster as the fault tests see it: clients, faults, and a ledger of what was said."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen
from xml.etree import ElementTree

from amur.cluster import control
from amur.cluster.plan import Places
from amur.cluster.testing import ServedCluster
from amur.serve.testing import clean_environment
from tests.faults.client import NAMESPACE, Answer, Client, UnansweredError

SJC, ORD, FRA = REGIONS = ("sjc", "ord", "fra")
WAIT_SECONDS = 60.0  # what a test waits for comes much sooner, but for a machine that is busy
INLINE, PACK, BLOCK = 1024, 50 * 1024, 8 << 20
PART = 5 << 20

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def body_of(label: str, size: int) -> bytes:
    """Bytes that nobody can compress, the same for the same label."""
    return hashlib.shake_128(label.encode()).digest(size)


def until(check: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Wait until it is so; what `check` said."""
    end = time.monotonic() + seconds
    while not (said := check()):
        assert time.monotonic() < end, f"after {seconds:g} s: {what}"
        time.sleep(0.02)
    return said


class Gateway:
    """What a client must know of a server."""

    def __init__(self, endpoint: str, key_id: str, secret: str) -> None:
        self.endpoint, self.key_id, self.secret = endpoint, key_id, secret
        port = urlsplit(endpoint).port
        assert port is not None
        self.port = port


class Live:
    """Regions of a served cluster."""

    def __init__(self, cluster: ServedCluster) -> None:
        self.cluster = cluster
        self._places = Places(cluster.directory)
        self._clients: list[Client] = []
        self.gateways = {
            name: Gateway(cluster.endpoint(name), cluster.key_id, cluster.secret)
            for name in ("", *cluster.regions)
        }

    def client(self, region: str = "", *, seconds: float = 30.0, clock_s: int = 0) -> Client:
        """Of a region's gateway; of the endpoint."""
        made = Client(self.gateways[region], seconds=seconds, clock_s=clock_s)
        self._clients.append(made)
        return made

    def everywhere(self) -> dict[str, Client]:
        return {name: self.client(name) for name in self.cluster.regions}

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def data(self, region: str) -> Path:
        return self._places.data(region)

    def config(self, region: str) -> Path:
        return self._places.config(region)

    # --- faults ---
    def tell(self, what: str, region: str, **more: str) -> None:
        """kill (of a role, or all), start or stop a region."""
        control.ask(self._places.keeper, {"do": what, "region": region, **more})

    def kill(self, region: str, *roles: str) -> None:
        """They stay down until the region is started."""
        for role in roles or ("all",):
            self.tell("kill", region, role=role)

    def start(self, region: str) -> None:
        self.tell("start", region)

    def strike(self, region: str, role: str) -> None:
        """SIGKILL; the region's supervisor starts it again. Returns when it has."""
        before = self.pids(region, role)
        for pid in before:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(
            lambda: (now := self.pids(region, role)) and not set(now) & set(before),
            f"{role} of {region} is started again",
        )

    def links(self, what: str, a: str = "", b: str = "", **more: float | bool) -> None:
        """partition, heal, latency (ms), bandwidth (bytes_per_s): between two, around one, all."""
        control.ask(self._places.links, {"do": what, "a": a, "b": b, **more})

    # --- what it says ---
    def fsck(self, region: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """`amur fsck` of a region, which is down if anything is to be repaired."""
        command = [sys.executable, "-m", "amur.cli.main", "fsck", str(self.data(region)), *flags]
        return subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, check=False
        )

    def pids(self, region: str, role: str) -> list[int]:
        found: list[int] = self.cluster.pids(region).get(role, [])
        return found

    def page(self, region: str) -> dict[str, Any]:
        """Its `/-/region`."""
        with urlopen(f"{self.gateways[region].endpoint}/-/region", timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def preferred(self) -> str:
        """The region that the endpoint leads new connections to."""
        told = control.ask(self._places.front, {"do": "show"})["regions"]
        return next((each["name"] for each in told if each["is_well"]), "")

    def is_in_step(self) -> bool:
        """Whether every region says that its peers have all that it has."""
        with suppress(OSError):
            peers = [p for name in self.cluster.regions for p in self.page(name)["peers"].values()]
            return all(peer["reachable"] and peer["backlog"] == 0 for peer in peers)
        return False


class Ledger:
    """What was acknowledged: each object's bytes, None once it was deleted."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes | None] = {}

    def put(self, client: Client, path: str, body: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.ok("PUT", path, "", named, body)
        self.bodies[path] = body
        return answer

    def put_parts(self, client: Client, path: str, parts: list[bytes], **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        begun = client.ok("POST", path, "uploads", named).body
        upload = ElementTree.fromstring(begun).findtext(f"{NAMESPACE}UploadId")
        items = ""
        for number, part in enumerate(parts, 1):
            query = f"partNumber={number}&uploadId={upload}"
            etag = client.ok("PUT", path, query, {}, part).headers["etag"]
            items += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{items}</CompleteMultipartUpload>".encode()
        done = client.ok("POST", path, f"uploadId={upload}", {}, document)
        assert b"<Error>" not in done.body, done.body
        self.bodies[path] = b"".join(parts)

    def delete(self, client: Client, path: str) -> None:
        client.ok("DELETE", path)
        self.bodies[path] = None

    def check(self, clients: Iterable[Client]) -> None:
        """Every client sees exactly this, byte for byte, as soon as its region has heard of it."""
        for client in clients:
            for path, body in self.bodies.items():
                until(lambda c=client, p=path, b=body: same(c, p, b), f"{path} is as it was told")


def same(client: Client, path: str, body: bytes | None) -> bool:
    try:
        answer = client.call("GET", path)
    except UnansweredError:  # its region was killed since it last asked
        return False
    if body is None:
        return answer.status == 404
    return answer.status == 200 and answer.body == body


def is_well(client: Client) -> bool:
    """Whether it answers."""
    try:
        return client.call("GET", "/").status == 200
    except UnansweredError:
        return False


def is_there(client: Client, path: str) -> bool:
    try:
        return client.call("HEAD", path).status == 200
    except UnansweredError:
        return False


def regions_of(client: Client, path: str) -> list[str]:
    """Where the bytes of an object are, its home first."""
    return client.ok("HEAD", path).headers["x-tigris-regions"].split(",")


def files_with(directory: Path, marker: bytes) -> list[Path]:
    """Files below it that hold these bytes."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with suppress(FileNotFoundError):  # it went while we looked
                if marker in path.read_bytes():
                    found.append(path)
    return found


Line = tuple[str, str, str, str]  # kind, key, version id, ETag


def versions_of(client: Client, bucket: str) -> list[Line]:
    """Everything in a bucket, in the order it is listed, with what is latest marked by a star."""
    found: list[Line] = []
    query = "versions"
    while True:
        page = ElementTree.fromstring(client.ok("GET", f"/{bucket}", query).body)
        for item in page:
            kind = item.tag.removeprefix(NAMESPACE)
            if kind in ("Version", "DeleteMarker"):
                told = [
                    item.findtext(f"{NAMESPACE}{n}") or "" for n in ("Key", "VersionId", "ETag")
                ]
                star = "*" if item.findtext(f"{NAMESPACE}IsLatest") == "true" else ""
                found.append((kind + star, told[0], told[1], told[2]))
        if page.findtext(f"{NAMESPACE}IsTruncated") != "true":
            return found
        key = page.findtext(f"{NAMESPACE}NextKeyMarker") or ""
        version = page.findtext(f"{NAMESPACE}NextVersionIdMarker") or ""
        query = f"key-marker={key}&version-id-marker={version}&versions="
