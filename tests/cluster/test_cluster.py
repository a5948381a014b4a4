"""`amur cluster` for real: up, a region killed, everything killed, up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import psutil
import pytest
from botocore.config import Config

from amur.cluster.testing import ServedCluster, first_of_free_ports
from amur.serve.testing import clean_environment

REGIONS = ["sjc", "ord", "fra"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedCluster]:
    made = ServedCluster(
        tmp_path_factory.mktemp("cluster") / "dir", REGIONS, arguments=["--latency=sjc:ord=10ms"]
    )
    told = made.start()
    assert f"AWS_ENDPOINT_URL={made.endpoint()} " in told
    assert made.secret not in told
    yield made
    made.stop()
    assert [made.pids(region) for region in REGIONS] == [{}, {}, {}]


def _is_well(url: str) -> bool:
    try:
        with urlopen(f"{url}/-/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


Client = Callable[[str], Any]


@pytest.fixture
def client(cluster: ServedCluster) -> Iterator[Client]:
    made = []

    def of(url: str) -> Any:
        retries: Any = {"mode": "standard", "total_max_attempts": 5}
        made.append(
            boto3.client(
                "s3", endpoint_url=url, region_name="auto", config=Config(retries=retries),
                aws_access_key_id=cluster.key_id, aws_secret_access_key=cluster.secret,
            )
        )  # fmt: skip
        return made[-1]

    yield of
    for each in made:
        each.close()


@pytest.fixture
def s3(cluster: ServedCluster, client: Client) -> Any:
    return client(cluster.endpoint())


def test_everything_is_up(cluster: ServedCluster, s3: Any) -> None:
    facts = cluster.facts()
    assert list(facts["regions"]) == REGIONS
    for region in facts["regions"].values():
        assert _is_well(region["endpoint"])
        assert len(region["pids"]["gateway"]) == len(region["pids"]["supervisor"]) == 1
        assert all(_lives(pid) for pids in region["pids"].values() for pid in pids)
    s3.create_bucket(Bucket="box")
    s3.put_object(Bucket="box", Key="k", Body=b"content")
    status = cluster.status()
    assert status["preferred"] == "sjc"
    assert {each["health"] for each in status["regions"].values()} == {"ok"}
    distances = {(each["a"], each["b"]): each["round_trip_ms"] for each in status["paths"]}
    assert distances[("ord", "sjc")] == 10.0
    table = cluster.run("status", cluster.directory).stdout
    assert all(name in table for name in REGIONS)
    assert "ord - sjc: 10 ms" in table


def test_one_region_is_killed_and_comes_back(
    cluster: ServedCluster, s3: Any, client: Client
) -> None:
    assert s3.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200
    before = [pid for pids in cluster.pids("sjc").values() for pid in pids]
    cluster.run("kill", "sjc")
    assert not any(map(_lives, before))
    assert cluster.pids("sjc") == {}
    assert s3.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200  # of another region
    status = cluster.status()
    assert (status["regions"]["sjc"]["health"], status["preferred"]) == ("down", "ord")
    cluster.run("start", "sjc")
    assert _is_well(cluster.endpoint("sjc"))
    _until(lambda: cluster.status()["preferred"] == "sjc")
    anew = client(cluster.endpoint())  # not over the connection to the other region
    assert anew.get_object(Bucket="box", Key="k")["Body"].read() == b"content"


def test_a_role_is_killed_and_the_others_live(cluster: ServedCluster) -> None:
    before = cluster.pids("ord")
    cluster.run("kill", "ord", "--role", "gateway")
    now = cluster.pids("ord")
    assert (now["gateway"], now["jobs"], now["supervisor"]) == ([], [], before["supervisor"])
    assert now.get("blocks") == before.get("blocks")
    assert not _is_well(cluster.endpoint("ord"))
    cluster.run("start", "ord")
    assert _is_well(cluster.endpoint("ord"))
    again = cluster.pids("ord")
    assert len(again["gateway"]) == len(again["jobs"]) == 1
    assert set(again["gateway"]).isdisjoint(before["gateway"])


def test_one_region_is_stopped_in_order(cluster: ServedCluster) -> None:
    cluster.run("down", "fra")
    assert cluster.pids("fra") == {}
    cluster.run("start", "fra")
    assert _is_well(cluster.endpoint("fra"))


def test_links_are_played_with(cluster: ServedCluster) -> None:
    cluster.run("latency", "sjc", "fra", "0.03s")
    cluster.run("partition", "sjc", "ord")
    cluster.run("bandwidth", "ord", "fra", "5")
    told = cluster.run("status", cluster.directory).stdout
    assert "ord - sjc: partitioned (lost), 10 ms" in told
    assert "fra - sjc: 30 ms" in told
    assert "fra - ord: 5.0 MB/s" in told
    cluster.run("heal")
    cluster.run("bandwidth", "ord", "fra", "0")
    told = cluster.run("status", cluster.directory).stdout
    assert "partitioned" not in told
    assert "MB/s" not in told


def test_the_endpoint_and_the_links_are_kept_alive(cluster: ServedCluster) -> None:
    before = cluster.facts()
    for name in ("front", "links"):
        os.kill(before["processes"][name], signal.SIGKILL)
    _until(lambda: cluster.facts()["processes"].keys() == before["processes"].keys())
    _until(lambda: _is_well(before["endpoint"]))
    _until(lambda: len(cluster.status()["paths"]) == 3)


def test_mistakes_are_one_line(cluster: ServedCluster, tmp_path: Path) -> None:
    new, none = tmp_path / "new", tmp_path / "none"
    for arguments, said in (
        (("kill", "lhr"), "no region 'lhr'"),
        (("kill", "sjc", "--role", "cook"), "no role 'cook'"),
        (("partition", "sjc", "sjc"), "name two regions"),
        (("latency", "sjc", "ord", "soon"), "looks like 80ms"),
        (("up", cluster.directory), "running already"),
        (("up", cluster.directory, "--detach"), "running already"),
        (("up", new), "--regions sjc,ord,fra"),
        (("up", new, "--regions", "a,b", "--latency", "a=1"), "looks like"),
        (("status", none), "is no cluster"),
    ):
        done = cluster.run(*map(str, arguments), code=1)
        assert said in done.stderr, done
        assert done.stderr.count("\n") == 1
    assert "is no cluster" in ServedCluster(none).run("down", code=1).stderr


def test_up_again_after_everything_was_killed(cluster: ServedCluster, s3: Any) -> None:
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"acknowledged")
    before = cluster.facts()
    cluster.kill()
    status = cluster.status()
    assert [status["is_running"], status["regions"]["sjc"]["pids"]] == [False, {}]
    assert "amur cluster up" in cluster.run("status", cluster.directory).stdout
    assert "no cluster runs" in cluster.run("kill", "sjc", code=1).stderr
    cluster.run("up", cluster.directory, "--detach")
    after = cluster.facts()
    assert after["endpoint"] == before["endpoint"]
    for name in REGIONS:
        for member in ("endpoint", "block_service", "data"):
            assert after["regions"][name][member] == before["regions"][name][member]
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"acknowledged"


def test_in_the_foreground_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """With a root key of its own."""
    command = [sys.executable, "-m", "amur.cli.main", "cluster", "up", str(tmp_path / "dir")]
    flags = ["--regions", "a,b", "--listen", f"127.0.0.1:{first_of_free_ports(2)}"]
    with subprocess.Popen(
        command + flags, env=clean_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert any("to use it, paste" in line for line in process.stdout)
        facts = json.loads((tmp_path / "dir" / "cluster.json").read_bytes())
        assert (tmp_path / "dir" / "root-key.json").stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    for region in facts["regions"].values():
        assert not any(_lives(pid) for pids in region["pids"].values() for pid in pids)
    assert not any(map(_lives, facts["processes"].values()))
