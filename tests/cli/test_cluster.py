"""What `amur cluster status` shows, and mistakes of `amur edge`. (tests/cluster/ runs clusters.)"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from amur.cli import edge
from amur.cli.cluster_status import rendered
from amur.cluster.status import ClusterStatus, RegionStatus

Amur = Callable[..., "subprocess.CompletedProcess[str]"]

PAGE = {
    "region": "sjc",
    "peers": {
        "ord": {"lag_seconds": 0.0125, "backlog": 12345, "reachable": True, "rtt_ms": 80.4},
        "fra": {"lag_seconds": 9.5, "backlog": 3, "reachable": False},
    },
    "bytes": {"inline": 1_000, "durable": 2_500_000, "cached": 0},
    "cache": {"budget": 10_000_000, "used": 1_500_000},
    "tiers": {"inline": 50, "pack": 25, "block": 0, "cache": 20, "remote": 5},
}


def _shown(regions: dict[str, RegionStatus], paths: list[dict[str, Any]], preferred: str) -> str:
    console = Console(width=220, file=StringIO())
    console.print(rendered(ClusterStatus("http://127.0.0.1:9000", regions, paths, preferred)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def _region(health: str, page: dict[str, Any], **pids: list[int]) -> RegionStatus:
    return RegionStatus(health, "http://127.0.0.1:9001", "http://127.0.0.1:9002", pids, page)


def test_all_that_a_region_says() -> None:
    region = _region("ok", PAGE, supervisor=[1], gateway=[2, 3], blocks=[], jobs=[4])
    shown = _shown({"sjc": region}, [], "sjc")
    for part in (
        "endpoint http://127.0.0.1:9000", "sjc <", "gateway, jobs", "ord: 0.013 s, 12,345, 80 ms",
        "fra: 9.500 s, 3, - ms, not reachable", "1.0 kB", "2.5 MB", "0 bytes", "1.5 MB of 10.0 MB",
        "inline 50%, pack 25%, cache 20%, remote 5%", "new connections to the endpoint go to sjc",
    ):  # fmt: skip
        assert part in shown
    assert "blocks" not in shown


@pytest.mark.parametrize(
    "page", [{}, {"peers": {}, "bytes": None, "tiers": [], "cache": {"used": "much"}}]
)
def test_what_is_not_known_is_a_dash(page: dict[str, Any]) -> None:
    shown = _shown({"sjc": _region("down", page)}, [], "")
    row = next(line for line in shown.splitlines() if "sjc" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["sjc", "down", *["-"] * 7]
    assert "new connections" not in shown


def test_what_lies_between() -> None:
    path = {"a": "ord", "b": "sjc", "state": "open", "round_trip_ms": 0.0, "bytes_per_s": 0.0}
    shown = _shown({}, [path, path | {"a": "fra", "state": "lost", "round_trip_ms": 1.5}], "")
    assert "fra - sjc: partitioned (lost), 1.5 ms" in shown
    assert "ord" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the regions"),
        (("--region", "fra"), "looks like fra=https://"),
        (("--region", "FRA=http://x"), "region 'FRA': must be"),
        (("--region", "fra=x"), "is no URL"),
        (("--region", "fra=http://x", "--near", "10.0.0.0/8=lhr"), "there is no region 'lhr'"),
        (("--region", "fra=http://x", "--near", "10.0.0.1/8=fra"), "--near 10.0.0.1/8=fra: "),
        (("--region", "fra=http://x", "--output", "/none/there"), "can't write /none/there"),
        (("--config", "/none/cluster.json"), "no cluster.json"),
    ],
)
def test_mistakes_of_edge(amur: Amur, arguments: tuple[str, ...], said: str) -> None:
    done = amur("edge", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_edge_writes(amur: Amur, tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    shown = amur("edge", "--region", "fra=http://127.0.0.1:9001").stdout
    assert amur("edge", "--region", "fra=http://127.0.0.1:9001", "--output", path).stdout == ""
    assert path.read_text() == shown
    assert "server fra 127.0.0.1:9001 check" in shown


def test_edge_without_haproxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge.shutil, "which", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        edge.edge(region=["fra=http://127.0.0.1:9001"], run=True)
    assert "haproxy is not installed" in capsys.readouterr().err
    assert (tmp_path / "haproxy.cfg").exists()
