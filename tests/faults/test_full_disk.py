"""A full disk: writes are refused, all else goes on, and what is freed is used again at once."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from amur.serve.testing import ServedAmur
from amur.workers.fsck import Report
from tests.faults.client import Answer, Client
from tests.faults.conftest import HURRIED

FAILURES = 300
RECOVERY_SECONDS = 40.0  # of which four are the grace of the hurried jobs
MIB = 1 << 20

Mount = Callable[[Path, int], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount a tmpfs of so many bytes on a directory, made for it."""
    mounted: list[Path] = []

    def run(path: Path, size: int) -> None:
        path.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
        mounted.append(path)

    yield run
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def used(path: Path) -> int:
    space = os.statvfs(path)
    return (space.f_blocks - space.f_bfree) * space.f_frsize


class Filling:
    """Puts objects until there is no room, and knows what was taken."""

    def __init__(self, client: Client, dice: Random, sizes: list[int]) -> None:
        self.client = client
        self.dice = dice
        self.sizes = sizes
        self.taken: dict[str, bytes] = {}

    def put(self, name: str = "") -> Answer:
        key = name or f"key{len(self.taken)}"
        body = self.dice.randbytes(self.dice.choice(self.sizes))
        answer = self.client.call("PUT", f"/full/{key}", "", {}, body)
        if answer.status == 200:
            self.taken[key] = body
        else:
            assert answer.status == 507, (answer.status, answer.body)
            assert b"<Code>StorageFull</Code>" in answer.body
        return answer

    def fill(self) -> None:
        refused = 0
        while refused < 20:
            refused = 0 if self.put().status == 200 else refused + 1
            assert len(self.taken) < 20_000

    def check(self) -> None:
        for key, body in self.taken.items():
            assert self.client.ok("GET", f"/full/{key}").body == body
        first = min(self.taken)
        self.client.ok("HEAD", f"/full/{first}")
        listed = self.client.ok("GET", "/full", "list-type=2").body
        assert f"<Key>{first}</Key>".encode() in listed

    def delete_half(self) -> None:
        for key in list(self.taken)[::2]:
            self.client.ok("DELETE", f"/full/{key}")
            del self.taken[key]

    def wait_for_room(self) -> None:
        deadline = time.monotonic() + RECOVERY_SECONDS
        while self.put("again").status != 200:
            assert time.monotonic() < deadline, "what was deleted is not used again"
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("which", "megabytes", "sizes"),
    [("data", 40, [60_000, 900_000, 1_200_000]), ("meta", 69, [100, 3000, 4096, 20_000])],
)
def test_full(
    tmp_path: Path, mount: Mount, look: Callable[[Path], Report], which: str,
    megabytes: int, sizes: list[int],
) -> None:  # fmt: skip
    directory = tmp_path / "data"
    mount(directory / which, megabytes * MIB)
    dice = Random(1)
    with ServedAmur(directory, workers=2, wrapper=HURRIED) as server:
        processes = server.processes()
        client = Client(server)
        client.ok("PUT", "/full")
        filling = Filling(client, dice, sizes)
        filling.fill()
        assert len(filling.taken) > 10
        before = {name: used(directory / name) for name in ("meta", "data")}
        stored = _stored(directory)
        for _ in range(FAILURES):
            filling.put("again" if dice.random() < 0.5 else "")
        assert used(directory / which) <= before[which] + MIB, "failed writes leave something"
        filling.check()
        filling.delete_half()
        filling.wait_for_room()
        filling.check()
        _wait_until_small(directory, stored)
        assert server.processes() == processes, "it was restarted"
        client.close()
        assert "Traceback" not in server.output(), server.output()
    report = look(directory)
    assert report.is_healthy(), [finding.text() for finding in report.findings]


def _stored(directory: Path) -> int:
    return sum(file.stat().st_size for file in (directory / "data").rglob("*") if file.is_file())


def _wait_until_small(directory: Path, stored: int) -> None:
    """What the failed writes left in packs goes by itself, while their writer lives."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (now := _stored(directory)) > stored + 4 * MIB:
        assert time.monotonic() < deadline, f"{now} bytes of data, before the failures {stored}"
        time.sleep(0.5)


def test_a_disk_filled_by_others(
    tmp_path: Path, mount: Mount, look: Callable[[Path], Report]
) -> None:
    """Not a byte is left, not even for metadata: reads go on, and writes when there is room."""
    directory = tmp_path / "disk" / "data"
    mount(tmp_path / "disk", 200 * MIB)
    with ServedAmur(directory, workers=1, wrapper=HURRIED) as server:
        processes = server.processes()
        client = Client(server)
        client.ok("PUT", "/full")
        filling = Filling(client, Random(2), [100, 5000, 1_200_000])
        for _ in range(20):
            assert filling.put().status == 200
        ballast = tmp_path / "disk" / "ballast"
        with pytest.raises(OSError, match="No space left"), ballast.open("wb") as file:  # noqa: PT012
            while True:
                os.write(file.fileno(), bytes(MIB))
        refused = sum(filling.put("again").status == 507 for _ in range(FAILURES))
        assert refused > FAILURES / 2
        filling.check()
        ballast.unlink()
        filling.wait_for_room()
        filling.delete_half()
        filling.check()
        assert server.processes() == processes, "it was restarted"
        client.close()
        assert "Traceback" not in server.output(), server.output()
    report = look(directory)
    assert report.is_healthy(), [finding.text() for finding in report.findings]
