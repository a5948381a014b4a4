"""Access log, counters across processes, health."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from amur.data.memory import MemoryDataStore
from amur.gateway import accesslog, metrics
from amur.gateway.accesslog import AccessLog
from amur.gateway.observe import Observer
from amur.meta.engine import EngineDamaged, EngineError, EngineFailed
from amur.meta.memory import MemoryEngine


def _done(
    observer: Observer, status: int = 200, seconds: float = 0.002, path: str = "/b/k"
) -> None:
    observer.done(
        "17", "127.0.0.1:5", "tid_x", "GET", path, "GetObject", status, "", seconds, 3, 5, "curl"
    )


def _value(text: bytes, name: str) -> float:
    lines = [line for line in text.decode().splitlines() if line.startswith(name + " ")]
    assert len(lines) == 1, (name, text.decode())
    return float(lines[0].rpartition(" ")[2])


async def test_lines_are_whole_and_ordered(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    observer = Observer(log=log)
    observer.start(asyncio.get_running_loop())
    for path in ("/b/1", '/b/"\n\x00', "/b/ü"):
        _done(observer, path=path)
    observer.stop()
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["/b/1", '/b/"\n\x00', "/b/ü"]
    first = lines[0]
    assert first.pop("time").endswith("Z")
    assert first == {
        "request_id": "17", "client": "127.0.0.1:5", "access_key_id": "tid_x", "method": "GET",
        "path": "/b/1", "operation": "GetObject", "status": 200, "code": "", "seconds": 0.002,
        "bytes_in": 3, "bytes_out": 5, "agent": "curl",
    }  # fmt: skip


def test_log_rotates_once_for_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "ROTATE_BYTES", 500)
    path = tmp_path / "access.log"
    logs = [AccessLog(path), AccessLog(path)]
    observers = [Observer(log=log) for log in logs]
    for turn in range(6):
        for observer, log in zip(observers, logs, strict=True):
            _done(observer, path=f"/{turn}")
            log.flush()
    for log in logs:
        log.stop()
    kept = path.with_name("access.log.1").read_text() + path.read_text()
    assert all(json.loads(line) for line in kept.splitlines())
    assert '"path":"/5"' in kept
    assert len(kept) < 1500


def test_log_moved_by_others_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
    observer = Observer(log=log)
    _done(observer)
    log.flush()
    path.rename(tmp_path / "moved")
    _done(observer)
    log.stop()
    assert len(path.read_text().splitlines()) == 1


def test_counts_of_all_processes_are_summed(tmp_path: Path) -> None:
    one, two = Observer(tmp_path, "worker-0"), Observer(tmp_path, "worker-1")
    _done(one, 200, 0.0004)
    _done(one, 404, 0.3)
    _done(two, 206, 7.0)
    two.stop()
    text = one.exposition()
    prefix = "amur_request_duration_seconds"
    ok = 'operation="GetObject",status="2xx"'
    assert _value(text, f"{prefix}_count{{{ok}}}") == 2
    assert _value(text, f"{prefix}_sum{{{ok}}}") == pytest.approx(7.0004)
    assert _value(text, f'{prefix}_bucket{{le="0.0005",{ok}}}') == 1
    assert _value(text, f'{prefix}_bucket{{le="2.5",{ok}}}') == 1
    assert _value(text, f'{prefix}_bucket{{le="+Inf",{ok}}}') == 2
    assert _value(text, f'{prefix}_count{{operation="GetObject",status="4xx"}}') == 1
    assert _value(text, 'amur_response_body_bytes_total{operation="GetObject"}') == 15


def test_a_worker_goes_on_from_the_counts_of_a_dead_one(tmp_path: Path) -> None:
    dead = Observer(tmp_path, "worker-0")
    _done(dead)
    dead.stop()
    fresh = Observer(tmp_path, "worker-0")
    _done(fresh)
    name = 'amur_request_duration_seconds_count{operation="GetObject",status="2xx"}'
    assert _value(fresh.exposition(), name) == 2


def test_a_torn_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "worker-1.json").write_bytes(b'{"at": 1')
    assert b"amur_uptime_seconds" in Observer(tmp_path, "worker-0").exposition()


async def test_health(tmp_path: Path) -> None:
    engine, data = MemoryEngine(), MemoryDataStore()
    observer = Observer(tmp_path)

    async def health() -> tuple[int, dict[str, Any]]:
        status, body = await observer.health(engine, data)
        return status, json.loads(body)

    assert (await health())[1]["status"] == "degraded"
    metrics.save(tmp_path, "jobs", metrics.Snapshot(time.time(), 1))
    status, told = await health()
    assert (status, told["status"], told["jobs_alive"]) == (200, "ok", True)
    data.free_bytes = lambda: 0  # type: ignore[method-assign]
    status, told = await health()
    assert (status, told["status"], told["disk_has_room"]) == (200, "degraded", False)

    for error, answer in ((EngineDamaged, (200, "degraded")), (EngineFailed, (503, "failed"))):

        async def get(key: bytes, error: type[EngineError] = error) -> None:
            raise error

        data.free_bytes = lambda: 1  # type: ignore[method-assign]
        engine.get = get  # type: ignore[method-assign]
        status, told = await health()
        assert (status, told["status"]) == answer
    await data.close()
