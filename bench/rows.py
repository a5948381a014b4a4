"""The rows of the table: each measures one thing on a running server."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np

from amur.serve.testing import ServedAmur
from bench.bare import Bare
from bench.load import Load, Measured, cpu_seconds, curl, private_bytes
from bench.packs import measure as measure_packs
from bench.signing import Signer

KIB, MIB = 1024, 1024 * 1024
HOT_KEYS = 4000  # of the GET and PUT rows
MIX_REQUESTS = 60_000  # signed beforehand, then sent again and again
RESIGN_SECONDS = 120
ZIPFIAN = 0.99  # YCSB's constant
BODIES = [random.Random(n).randbytes(KIB) for n in range(64)]


@dataclass
class Row:
    """`ratio` is against the bare server doing the same kind of thing."""

    name: str
    value: float
    unit: str
    target: str = ""
    holds: bool | None = None
    ratio: float | None = None
    cpu_us: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    bad: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Plan:
    """How much of everything."""

    seconds: float
    records: int
    big_bytes: int
    streams: int
    workers: int


def rated(name: str, measured: Measured, bare: Measured | None, **more: Any) -> Row:
    return Row(
        name, measured.rate, "req/s", ratio=measured.rate / bare.rate if bare else None,
        cpu_us=measured.cpu_us, p50=measured.p50, p90=measured.p90, p99=measured.p99,
        bad=measured.bad, **more,
    )  # fmt: skip


class Table:
    """Fills in the rows one by one and tells `say` of each."""

    def __init__(self, plan: Plan, work: Path, say: Any) -> None:
        self.rows: list[Row] = []
        self._plan = plan
        self._work = work
        self._say = say
        self._big = work / "big"
        self._bare: dict[str, Any] = {}

    def fill(self) -> None:
        with self._big.open("wb") as file:
            for _ in range(self._plan.big_bytes // MIB):
                file.write(os.urandom(MIB))
        self._bare_rows()
        server = ServedAmur(self._work / "data", workers=self._plan.workers)
        try:
            self._server_rows(server)
        finally:
            server.stop()
        self._pack_rows()

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self._say(row)

    # --- the bare server ---
    def _bare_rows(self) -> None:
        seconds, size = self._plan.seconds, self._plan.big_bytes
        with Bare(self._plan.workers) as bare:
            load = Load(bare.url, bare.pids, self._work)
            signer = Signer(bare.host, "bench", "bench")
            gets = [signer.request("GET", "/b/k")]
            puts = [signer.request("PUT", "/b/k", body=BODIES[0])]
            self._bare["GET"] = load.cycle(gets, seconds)
            self._bare["PUT"] = load.cycle(puts, seconds)
            self._bare["down"] = curl("-o", "/dev/null", f"{bare.url}/stream/{size}")
            self._bare["up"] = curl("-T", self._big, f"{bare.url}/sink")
        self._add(rated("bare server: GET 1 KiB", self._bare["GET"], None))
        self._add(rated("bare server: PUT 1 KiB", self._bare["PUT"], None))
        for name, way in (("GET", "down"), ("PUT", "up")):
            self._add(Row(f"bare server: {name} {size // MIB} MiB", self._bare[way] / 1e6, "MB/s"))

    # --- amur ---
    def _server_rows(self, server: ServedAmur) -> None:
        began = server.start()
        self._add(Row("start to first request", began, "s", "<= 1.5", began <= 1.5))
        host = f"127.0.0.1:{server.port}"

        def signer() -> Signer:
            return Signer(host, server.key_id, server.secret)

        load = Load(server.endpoint, server.processes, self._work)
        for bucket in ("hot", "ycsb", "big"):
            call(signer(), "PUT", f"/{bucket}")
        self._small_rows(load, signer())
        self._ycsb_rows(load, signer)
        self._list_row(load, signer())
        self._big_rows(server, signer())
        server.kill()
        again = server.start()
        name = f"restart after kill -9, {self._plan.records:,} objects"
        self._add(Row(name, again, "s", "<= 2", again <= 2))

    def _small_rows(self, load: Load, signer: Signer) -> None:
        keys = [f"/hot/key-{n:05d}" for n in range(HOT_KEYS)]
        random.Random(1).shuffle(keys)
        puts = (signer.request("PUT", k, body=BODIES[n % 64]) for n, k in enumerate(keys))
        put = load.cycle(puts, self._plan.seconds, connections=64)
        get = load.cycle((signer.request("GET", k) for k in keys), self._plan.seconds)
        share = get.rate / self._bare["GET"].rate
        self._add(
            rated("signed GET 1 KiB", get, self._bare["GET"], target=">= 45 % of bare, <= 110 us",
                  holds=share >= 0.45 and get.cpu_us <= 110)
        )  # fmt: skip
        self._add(
            rated("signed durable PUT 1 KiB", put, self._bare["PUT"],
                  target=">= 8,000/s, <= 180 us", holds=put.rate >= 8000 and put.cpu_us <= 180)
        )  # fmt: skip

        bodies = [body * 16 for body in BODIES]
        puts = (signer.request("PUT", k, body=bodies[n % 64]) for n, k in enumerate(keys))
        put = load.cycle(puts, self._plan.seconds, connections=64)
        self._add(rated("signed durable PUT 16 KiB (pack)", put, None))
        get = load.cycle((signer.request("GET", k) for k in keys), self._plan.seconds)
        self._add(rated("signed GET 16 KiB (pack)", get, None))

    def _pack_rows(self) -> None:
        """In process: see packs.py."""
        count = max(16_000, self._plan.records // 4)
        packs = measure_packs(self._work / "packs", count)
        reading = f"{count // 2:,} x 16 KiB in key order, cold"
        self._add(Row("compaction of packs, half of them dead", packs.compaction, "MB/s"))
        self._add(Row(f"{reading}, before compaction", packs.cold_before, "MB/s"))
        self._add(Row(f"{reading}, after compaction", packs.cold_after, "MB/s"))
        self._add(Row("the same, warm", packs.warm, "MB/s"))

    def _ycsb_rows(self, load: Load, signer: Any) -> None:
        count = self._plan.records
        self._add(
            rated(f"YCSB load, {count:,} x 1 KiB", load.stream(_loading(signer, count), 64),
                  self._bare["PUT"])
        )  # fmt: skip
        mix = load.cycle(_mixing(signer(), count), self._plan.seconds * 2, connections=64)
        self._add(rated("YCSB 80/20 mix, Zipfian", mix, self._bare["GET"]))

    def _list_row(self, load: Load, signer: Signer) -> None:
        dice = random.Random(3)
        pages = [
            signer.request("GET", "/ycsb", f"list-type=2&start-after={_user(at)}")
            for at in (dice.randrange(max(1, self._plan.records - 1000)) for _ in range(500))
        ]
        page = load.cycle(pages, self._plan.seconds, connections=4)
        self._add(
            rated(f"LIST 1,000 of {self._plan.records:,}", page, None, target="<= 6 ms CPU",
                  holds=page.cpu_us <= 6000)
        )  # fmt: skip

    def _big_rows(self, server: ServedAmur, signer: Signer) -> None:
        size = self._plan.big_bytes
        label = f"{size // MIB} MiB"

        def add(name: str, rate: float, way: str, least: float) -> None:
            row = Row(name, rate / 1e6, "MB/s", f">= {least:,.0f}", rate / 1e6 >= least)
            row.ratio = rate / self._bare[way]
            row.cpu_us = (cpu_seconds(server.processes()) - before) / (size / MIB) * 1e6
            self._add(row)

        before = cpu_seconds(server.processes())
        put = curl("-T", self._big, signer.link("PUT", "/big/one"))
        add(f"PUT {label}, one stream (us per MiB)", put, "up", 400)
        before = cpu_seconds(server.processes())
        add(f"PUT {label}, 4 parallel parts", self._parts(signer), "up", 700)
        for name in ("one", "parts"):  # the second finds the page cache warm, as the bare one does
            before = cpu_seconds(server.processes())
            get = curl("-o", "/dev/null", signer.link("GET", f"/big/{name}"))
        add(f"GET {label}, one stream", get, "down", 1000)
        self._memory_row(server, signer)

    def _parts(self, signer: Signer) -> float:
        """Bytes a second from the creation of the upload to its completion."""
        size = self._plan.big_bytes
        pieces = [self._work / f"part-{n}" for n in range(4)]
        with self._big.open("rb") as whole:
            for piece in pieces:
                piece.write_bytes(whole.read(size // 4))
        began = time.monotonic()
        told = ET.fromstring(call(signer, "POST", "/big/parts", "uploads="))
        upload = told.findtext("{*}UploadId") or ""

        def send(n: int) -> str:
            query = f"partNumber={n + 1}&uploadId={quote(upload, safe='')}"
            headers = self._work / f"headers-{n}"
            curl("-T", pieces[n], "-D", headers, signer.link("PUT", "/big/parts", query))
            lines = headers.read_text().splitlines()
            return next(line[5:].strip() for line in lines if line.lower().startswith("etag:"))

        with ThreadPoolExecutor(4) as pool:
            etags = list(pool.map(send, range(4)))
        listed = "".join(
            f"<Part><PartNumber>{n + 1}</PartNumber><ETag>{etag}</ETag></Part>"
            for n, etag in enumerate(etags)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        call(signer, "POST", "/big/parts", f"uploadId={quote(upload, safe='')}", body)
        return size / (time.monotonic() - began)

    def _memory_row(self, server: ServedAmur, signer: Signer) -> None:
        link, most, stop = signer.link("GET", "/big/one"), [0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.1):
                most[0] = max(most[0], *map(private_bytes, server.processes()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        command = ["curl", "-s", "-o", "/dev/null", "--max-time", "8", "--limit-rate", "40M", link]
        with ExitStack() as stack:
            streams = [
                stack.enter_context(subprocess.Popen(command)) for _ in range(self._plan.streams)
            ]
            for stream in streams:
                stream.wait()
        stop.set()
        watcher.join()
        name = f"most private memory of a worker, {self._plan.streams} streams"
        value = most[0] / MIB
        self._add(Row(name, value, "MiB", "<= 150", value <= 150))


def call(signer: Signer, method: str, path: str, query: str = "", body: bytes = b"") -> bytes:
    """One signed request, which must succeed; the body of its answer."""
    head = signer.request(method, path, query, body).partition(b"\r\n\r\n")[0].decode()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    connection = HTTPConnection(signer.host, timeout=120)
    connection.request(method, f"{path}?{query}" if query else path, body or None, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 200, (method, path, answer.status, content)
    return content


def _user(number: int) -> str:
    return f"user{number:010d}"


def _loading(signer: Any, count: int) -> Iterator[bytes]:
    """Each record once, in random order. The tail is repeated: wrk stops with some under way."""
    hashes = [Signer.digest(body) for body in BODIES]
    fresh, renew_at = signer(), time.monotonic() + RESIGN_SECONDS
    order = np.random.default_rng(4).permutation(count)
    for place in range(count + 256):
        number = int(order[place % count])
        if place % 1000 == 0 and time.monotonic() > renew_at:
            fresh, renew_at = signer(), time.monotonic() + RESIGN_SECONDS
        at = number % 64
        yield fresh.request("PUT", f"/ycsb/{_user(number)}", "", BODIES[at], hashes[at])


def _mixing(signer: Signer, count: int) -> Iterator[bytes]:
    """80 % reads, 20 % updates; which records are popular has nothing to do with their order."""
    dice = np.random.default_rng(5)
    weights = np.arange(1, count + 1, dtype=np.float64) ** -ZIPFIAN
    sums = np.cumsum(weights)
    ranks = np.searchsorted(sums, dice.random(MIX_REQUESTS) * sums[-1])
    scrambled = dice.permutation(count)[ranks]
    updates = dice.random(MIX_REQUESTS) < 0.2
    for number, is_update in zip(scrambled.tolist(), updates.tolist(), strict=True):
        path = f"/ycsb/{_user(number)}"
        if is_update:
            yield signer.request("PUT", path, body=BODIES[number % 64])
        else:
            yield signer.request("GET", path)
