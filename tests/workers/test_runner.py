"""The runner: pace, failures, one process only, and its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from amur.meta.engine import EngineFailed
from amur.workers.runner import Runner
from amur.workers.worker import State, Worked, Worker


class Scripted(Worker):
    def __init__(self, name: str, *script: State | Exception, wait: float = 60.0) -> None:
        self.name = name
        self.wait_seconds = wait
        self._script = list(script)
        self.steps = 0

    async def work(self) -> Worked:
        self.steps += 1
        item = self._script.pop(0) if self._script else State.IDLE
        if isinstance(item, Exception):
            raise item
        return Worked(item, {"units": 2})


async def until(condition: object) -> None:
    assert callable(condition)
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


async def test_busy_workers_go_on_and_idle_ones_wait() -> None:
    worker = Scripted("a", State.BUSY, State.BUSY)
    runner = Runner([worker], pace=0)
    task = asyncio.create_task(runner.run())
    await until(lambda: runner.status["a"].steps == 3)
    await asyncio.sleep(0.01)
    runner.stop()
    await asyncio.wait_for(task, 5)
    status = runner.status["a"]
    assert (worker.steps, status.state, status.counts["units"]) == (3, "idle", 6)


async def test_the_rest_grows_with_the_cost() -> None:
    times = iter(range(0, 1000, 7))
    rests: list[float] = []
    runner = Runner([Scripted("a", State.BUSY, State.DONE)], pace=3, now=lambda: next(times))

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    runner._rest = rest  # type: ignore[method-assign]
    await asyncio.wait_for(runner.run(), 5)
    assert rests == [21]
    assert runner.status["a"].seconds == 14


async def test_a_failure_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amur.workers.runner.BACKOFF_MIN_S", 0.001)
    bad = Scripted("bad", ValueError("no"), ValueError("no"), State.DONE)
    good = Scripted("good", State.BUSY, State.DONE)
    runner = Runner([bad, good], pace=0)
    await asyncio.wait_for(runner.run(), 5)
    status = runner.status["bad"]
    assert (status.failures, status.state, status.error) == (2, "done", "")
    assert runner.status["good"].state == "done"


@pytest.mark.parametrize("error", [EngineFailed("gone"), AssertionError("wrong")])
async def test_what_is_fatal_ends_the_run(error: Exception) -> None:
    other = Scripted("other")
    runner = Runner([Scripted("a", error), other], pace=0)
    with pytest.raises(type(error)):
        await asyncio.wait_for(runner.run(), 5)


async def test_a_unit_of_work_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amur.workers.runner.STOP_SECONDS", 0.01)
    cut = asyncio.Event()

    class Hanging(Worker):
        name = "hanging"

        async def work(self) -> Worked:
            try:
                await asyncio.Event().wait()
            finally:
                cut.set()
            raise AssertionError

    runner = Runner([Hanging()])
    task = asyncio.create_task(runner.run())
    await asyncio.sleep(0.01)
    runner.stop()
    await asyncio.wait_for(task, 5)
    assert cut.is_set()


async def test_only_one_of_two_works_and_the_other_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.workers.runner.LOCK_RETRY_S", 0.001)
    first, second = Scripted("a"), Scripted("a")
    one, two = Runner([first], tmp_path / "lock"), Runner([second], tmp_path / "lock")
    task_one = asyncio.create_task(one.run())
    await until(lambda: first.steps)
    task_two = asyncio.create_task(two.run())
    await asyncio.sleep(0.02)
    assert second.steps == 0
    one.stop()
    await asyncio.wait_for(task_one, 5)
    await asyncio.wait_for(until(lambda: second.steps), 5)
    two.stop()
    await asyncio.wait_for(task_two, 5)


async def test_a_runner_that_waits_for_the_lock_stops(tmp_path: Path) -> None:
    one, two = Runner([Scripted("a")], tmp_path / "lock"), Runner([], tmp_path / "lock")
    task_one = asyncio.create_task(one.run())
    await asyncio.sleep(0.01)
    task_two = asyncio.create_task(two.run())
    await asyncio.sleep(0.01)
    two.stop()
    await asyncio.wait_for(task_two, 5)
    one.stop()
    await asyncio.wait_for(task_one, 5)
