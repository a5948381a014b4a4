"""Ways to read many objects, each by the client that does it best: `read()` gives the seconds.

Every reader checks that each byte came.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import boto3
import urllib3
from botocore.config import Config

from amur.client import bundle_objects
from bench.load import Load
from bench.signing import Signer

AT_ONCE = 64  # GETs
_NOISE = random.Random(1).randbytes(4 << 20)


class Access(NamedTuple):
    """To a server, or to it through a proxy."""

    host: str
    key_id: str
    secret: str

    def signer(self) -> Signer:
        return Signer(*self)

    def s3_client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=f"http://{self.host}", region_name="auto",
            aws_access_key_id=self.key_id, aws_secret_access_key=self.secret,
            config=Config(max_pool_connections=AT_ONCE),
        )  # fmt: skip


class Source:
    """The same objects on a server and as local files, in the order in which they are read."""

    def __init__(
        self, access: Access, bucket: str, keys: Sequence[str], size: int, work: Path
    ) -> None:
        self.access, self.bucket, self.keys, self.size = access, bucket, keys, size
        self.client = access.s3_client()
        self._work = work
        self.files = work / bucket
        self._list = work / f"{bucket}.txt"
        self._document = work / f"{bucket}.json"
        self.tar_bytes = len(keys) * (512 + size + -size % 512) + 1024
        """Of the bundle; GNU tar fills its last record up."""

    def store(self, load: Load, files: bool = True) -> None:
        """Put all objects, and write the files."""
        self._list.write_text("".join(f"{key}\n" for key in self.keys))
        self._document.write_text(json.dumps({"keys": list(self.keys)}))
        signer = self.access.signer()
        puts = (
            signer.request("PUT", f"/{self.bucket}/{key}", "", self._body(key), "UNSIGNED-PAYLOAD")
            for key in (*self.keys, *self.keys[:256])  # wrk drops the first one, and the last ones
        )
        assert load.stream(puts, AT_ONCE).bad == 0
        if not files:
            return
        for folder in {Path(key).parent for key in self.keys}:
            (self.files / folder).mkdir(parents=True, exist_ok=True)
        for key in self.keys:
            (self.files / key).write_bytes(self._body(key))

    def _body(self, key: str) -> bytes:
        at = crc32(key.encode()) % (len(_NOISE) - self.size)
        return _NOISE[at : at + self.size]

    def tar(self) -> float:
        """`tar c` of the files, in the same order, to a pipe; from its start to its end."""
        command = ["tar", "-cf", "-", "-C", str(self.files), "-T", str(self._list)]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            count, pipe = 0, process.stdout.fileno()
            while piece := os.read(pipe, 1 << 20):
                count += len(piece)
        assert process.returncode == 0
        assert count >= self.tar_bytes
        return time.perf_counter() - began

    def curl(self, *more: str) -> float:
        """A bundle to /dev/null, on a connection of its own; curl's own count of the time."""
        said = subprocess.run(self.curl_command(*more), capture_output=True, text=True, check=True)
        seconds, size, status = said.stdout.split()
        assert status == "200", said.stdout
        assert int(size) == self.tar_bytes or more, (size, self.tar_bytes)
        return float(seconds)

    def curl_command(self, *more: str) -> list[str]:
        user = f"{self.access.key_id}:{self.access.secret}"
        digest = hashlib.sha256(self._document.read_bytes()).hexdigest()
        return [
            "curl", "-sS", "-o", "/dev/null", "-w", "%{time_total} %{size_download} %{http_code}",
            "--aws-sigv4", "aws:amz:auto:s3", "--user", user,
            # curl before 8 signs neither this header nor a query without "=" by itself
            "-H", f"x-amz-content-sha256: {digest}", "--data-binary", f"@{self._document}",
            *more, f"http://{self.access.host}/{self.bucket}?bundle=",
        ]  # fmt: skip

    def bundle(self) -> float:
        """By amur.client, to (key, bytes) of every member."""
        began = time.perf_counter()
        with bundle_objects(self.client, self.bucket, self.keys) as bundle:
            members = list(bundle)
        seconds = time.perf_counter() - began
        assert [key for key, _ in members] == list(self.keys)
        assert all(len(body) == self.size for _, body in members)
        return seconds

    def boto3_get(self, key: str) -> int:
        return len(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def paths(self) -> list[str]:
        """Presigned, so that whoever reads them spends nothing on signatures."""
        host, signer = f"http://{self.access.host}", self.access.signer()
        links = (signer.link("GET", f"/{self.bucket}/{key}") for key in self.keys)
        return [link.removeprefix(host) for link in links]

    def gets(self) -> list[bytes]:
        signer = self.access.signer()
        return [signer.request("GET", f"/{self.bucket}/{key}") for key in self.keys]


class Gets:
    """GETs of presigned links by urllib3, `processes` times `threads` at once; 0 is this one."""

    def __init__(self, source: Source, processes: int, threads: int) -> None:
        self._size = source.size
        host, _, port = source.access.host.partition(":")
        self._paths = source.paths()
        self._processes = processes
        place = (host, int(port), threads)
        self._here = _Getter(*place)
        self._pool: Executor | None = None
        if processes:
            self._pool = ProcessPoolExecutor(processes, get_context("spawn"), _start, place)
        self.read(self._paths[: 4 * max(1, processes) * threads])  # opens connections

    def read(self, paths: Sequence[str] | None = None) -> float:
        paths = self._paths if paths is None else paths
        began = time.perf_counter()
        if self._pool is None:
            total = self._here.all(paths)
        else:
            parts = [paths[n :: self._processes] for n in range(self._processes)]
            total = sum(self._pool.map(_get_all, parts))
        seconds = time.perf_counter() - began
        assert total == self._size * len(paths)
        return seconds

    def __enter__(self) -> Gets:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        if self._pool is not None:
            self._pool.shutdown()


class _Getter:
    def __init__(self, host: str, port: int, threads: int) -> None:
        self._connections = urllib3.HTTPConnectionPool(host, port, maxsize=threads, block=True)
        self._threads = ThreadPoolExecutor(threads) if threads > 1 else None

    def all(self, paths: Sequence[str]) -> int:
        """Bytes of all the bodies."""
        return sum((self._threads.map if self._threads else map)(self._get, paths))

    def _get(self, path: str) -> int:
        response = self._connections.request("GET", path)
        assert response.status == 200, response.data
        return len(response.data)

    def close(self) -> None:
        if self._threads:
            self._threads.shutdown()
        self._connections.close()


_getter: _Getter  # of a process of a pool


def _start(host: str, port: int, threads: int) -> None:
    global _getter  # noqa: PLW0603 - an initializer has nowhere else to leave it
    _getter = _Getter(host, port, threads)


def _get_all(paths: Sequence[str]) -> int:
    return _getter.all(paths)
