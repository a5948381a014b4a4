"""A real server, and what the clients send to it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

from amur.serve.testing import ServedAmur

SMALL_FILES = 2000
BIG_BYTES = 105 * 1024 * 1024 + 12_345
ROOT = Path(__file__).parents[2]
UNSAFE_KEYS = (
    "//", "/lead", "..", ".", "a/../b", "a/./b", "../../etc/passwd", "a\\b", "a:b",
)  # fmt: skip

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.compat)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAmur]:
    directory = tmp_path_factory.mktemp("server") / "data"
    with ServedAmur(directory, arguments=["--domain", "s3.test"]) as served:
        yield served
        for trouble in ("Traceback", "starting it again", "failed"):
            assert trouble not in served.output(), served.output()


@pytest.fixture(scope="session")
def s3(server: ServedAmur) -> Iterator[Any]:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="auto",
        aws_access_key_id=server.key_id,
        aws_secret_access_key=server.secret,
        config=Config(max_pool_connections=20, s3={"addressing_style": "path"}),
    )
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    letters = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    name = f"{letters.strip('-')[:40].strip('-')}-{random.randrange(16**6):06x}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def run(server: ServedAmur) -> Run:
    """Run a client's command, which must succeed; its output."""

    def runner(
        *command: str | Path, environment: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        program = shutil.which(command[0])
        assert program, f"{command[0]} is missing: `make test` installs it"
        done = subprocess.run(
            [program, *map(str, command[1:])],
            env=server.client_environment() | (environment or {}),
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    return runner


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 files of 0 to 20 KB, in folders, some with names that clients get wrong."""
    root = tmp_path_factory.mktemp("small")
    dice = random.Random(7)
    for number in range(SMALL_FILES):
        path = root / f"dir {number % 7}" / f"sub+{number % 13}" / f"file-{number:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(dice.choice((0, 1, 100, 1000, 5000, 20_000))))
    for name in ("per%cent", "plus+plus", "a b  c", "Ünïcødé-日本", "x&y=z;?#", "quote'", "tilde~"):
        (root / name).write_bytes(name.encode())
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # clients compare times of whole seconds
    return root


@pytest.fixture(scope="session")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.bin"
    path.write_bytes(random.Random(8).randbytes(BIG_BYTES))
    return path


@pytest.fixture(scope="session")
def odd_keys() -> list[str]:
    return [
        "a b", " lead", "trail ", "a+b", "a%b", "a%20b", "a%2Fb", "//", "a//b", "/lead", "trail/",
        "..", ".", "a/../b", "a/./b", "../../etc/passwd", "a\\b", "a?b", "a#b", "a&b=c", "a;b",
        "a:b", "a@b", "a'b", 'a"b', "a<b>c", "a*b", "a|b", "a(b)", "a[b]", "a{b}", "a^b", "a`b",
        "a~b", "a!b", "a$b", "a,b", "ключ", "日本語/ファイル", "🦭", "e\u0301", "\u00e9", "a\tb",
        "k" * 1024, "é" * 512, "d/" * 512,
    ]  # fmt: skip


@pytest.fixture
def same_tree() -> Callable[[Path, Path], None]:
    def compare(left: Path, right: Path) -> None:
        def tree(root: Path) -> dict[str, bytes]:
            files = (path for path in root.rglob("*") if path.is_file())
            return {str(path.relative_to(root)): path.read_bytes() for path in files}

        assert tree(left) == tree(right)

    return compare


class Bundled(NamedTuple):
    """A bucket to ask bundles of: the same keys, in the same order, of every client."""

    bucket: str
    keys: list[str]
    members: list[tuple[str, bytes]]  # names and bytes, in the order that the stream must have
    skipped: list[dict[str, str]]  # as the document of errors must have it

    @property
    def counters(self) -> tuple[int, int, int]:
        """Objects, bytes of objects, keys that were skipped."""
        return len(self.members), sum(len(body) for _, body in self.members), len(self.skipped)


@pytest.fixture(scope="session")
def bundled(s3: Any, odd_keys: list[str]) -> Bundled:
    """2,000 small objects, one of 20 MB, odd keys of which some may not be members, none at all."""
    dice = random.Random(9)
    bodies = {
        f"train/{number % 11}/img_{number:05d}.jpg": dice.randbytes(
            dice.choice((0, 1, 511, 512, 513, 4096, 10_000))
        )
        for number in range(SMALL_FILES)
    }
    bodies |= {key: key.encode() for key in odd_keys}
    bodies |= {"__bundle_errors.json": b"mine", "big.bin": dice.randbytes(20_000_000)}
    bucket = f"bundled-{random.randrange(16**6):06x}"
    s3.create_bucket(Bucket=bucket)

    def put(key: str) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=bodies[key])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, bodies))
    keys = [*bodies, "missing/one", "missing/two"]
    dice.shuffle(keys)
    reasons = (
        dict.fromkeys(UNSAFE_KEYS, "UnsafeName")
        | dict.fromkeys(("missing/one", "missing/two"), "NoSuchKey")
        | {"a\tb": "ControlCharacterInName", "__bundle_errors.json": "ReservedName"}
        | {"trail/": "DirectoryWithBody", "d/" * 512: "DirectoryWithBody"}
    )
    return Bundled(
        bucket,
        keys,
        [(key, bodies[key]) for key in keys if key not in reasons],
        [{"key": key, "reason": reasons[key]} for key in keys if key in reasons],
    )


@pytest.fixture
def tigris(run: Run, server: ServedAmur, tmp_path: Path) -> Run:
    """Run a shell line in which `tigris` is Tigris' own command line, in a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    programs = Path(__file__).parent / "node/node_modules/.bin"
    assert (programs / "tigris").exists(), "tigris is missing: `make test` installs it"

    def runner(line: str, **more: Any) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "AWS_ENDPOINT_URL_S3": server.endpoint,
            "TIGRIS_NO_UPDATE_CHECK": "1",
            "TIGRIS_NO_TELEMETRY": "1",
        }
        return run("bash", "-eo", "pipefail", "-c", line, environment=environment, **more)

    return runner
