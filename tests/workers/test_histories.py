"""Random histories of writers and workers, killed anywhere: nothing acknowledged is lost, nothing
unreferenced stays. AMUR_HISTORIES asks for more of them, AMUR_SEED for a certain one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from amur.objects.errors import KeyAlreadyExists, NoSuchKey
from amur.workers.fsck import fsck

HISTORIES = int(os.environ.get("AMUR_HISTORIES", "40"))
FIRST_SEED = int(os.environ.get("AMUR_SEED", "0"))
KEYS = [f"k{number}" for number in range(12)]
Model = dict[str, bytes]


class Writers:
    """Does random things to the store; the model holds what was acknowledged."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.model: Model = {}
        self.doubt: tuple[str, set[bytes | None]] | None = None

    async def act(self) -> None:
        rng = self.world.rng
        key, other = rng.sample(KEYS, 2)
        action = rng.choice(["put", "put", "put", "multipart", "delete", "copy", "rename"])
        await getattr(self, action)(key, other)

    def body(self) -> bytes:
        rng = self.world.rng
        return rng.randbytes(rng.choice([0, 100, 5_000, 7_000, 9_000, 16_384, 40_000, 200_000]))

    async def commit(self, key: str, after: bytes | None, operation: Any) -> None:
        """Until the answer comes, the key holds what it held or what it is to hold."""
        self.doubt = (key, {self.model.get(key), after})
        await operation
        self.doubt = None
        if after is None:
            self.model.pop(key, None)
        else:
            self.model[key] = after

    async def put(self, key: str, _: str) -> None:
        body = self.body()
        await self.commit(key, body, self.world.store.put("bucket", key, body))

    async def multipart(self, key: str, _: str) -> None:
        bodies = [self.body() or b"x" for _ in range(self.world.rng.randint(1, 4))]
        await self.commit(key, b"".join(bodies), self.world.multipart(key, bodies))

    async def delete(self, key: str, _: str) -> None:
        await self.commit(key, None, self.world.store.delete("bucket", key))

    async def copy(self, key: str, other: str) -> None:
        if other in self.model:
            source = ("bucket", other, "")
            operation = self.world.store.copy(source, "bucket", key, None)
            await self.commit(key, self.model[other], operation)

    async def rename(self, key: str, other: str) -> None:
        if other not in self.model or key in self.model:
            return
        body = self.model[other]
        self.doubt = None
        try:
            await self.world.store.rename("bucket", other, key)
        except KeyAlreadyExists as error:
            raise AssertionError from error
        except BaseException:
            self.model.pop(other)
            if await self.peek(key) == body:  # it was carried out
                self.model[key] = body
            else:
                self.model[other] = body
            raise
        self.model[key] = self.model.pop(other)

    async def peek(self, key: str) -> bytes | None:
        self.world.engine.fuse.at = None
        try:
            return bytes(await self.world.get(key))
        except NoSuchKey:
            return None

    async def settle(self) -> None:
        """After a death: take note of what became of the operation in doubt."""
        if self.doubt is not None:
            key, allowed = self.doubt
            now = await self.peek(key)
            assert now in allowed
            self.model.pop(key, None)
            if now is not None:
                self.model[key] = now
            self.doubt = None

    async def check(self) -> None:
        for key in KEYS:
            assert await self.peek(key) == self.model.get(key), key


async def live(world: Any, writers: Writers, killed: type[BaseException]) -> None:
    rng = world.rng
    for _ in range(rng.randint(20, 60)):
        fuse = world.engine.fuse
        if rng.random() < 0.25:
            fuse.after = rng.random() < 0.5
            fuse.at = fuse.calls + rng.randint(1, 12)
        try:
            if rng.random() < 0.6:
                await writers.act()
            else:
                worker = rng.choice(world.workers)
                for _ in range(rng.randint(1, 6)):
                    await worker.work()
        except killed:
            world.die()
            await writers.settle()
        fuse.at = None
        world.clock.advance(rng.choice([0.1, 10, 101]))


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + HISTORIES))
async def test_history(
    new_world: Callable[[int], Any], seed: int, killed: type[BaseException]
) -> None:
    world = new_world(seed)
    versioning = world.rng.choice(["", "", "Suspended"])
    await world.bucket(versioning=versioning)
    writers = Writers(world)
    await live(world, writers, killed)
    await writers.check()
    await world.assert_sound()
    world.die()
    world.clock.advance(8 * 86_400)  # abandoned uploads are due
    await world.rest(6)
    await writers.check()
    await world.assert_nothing_left()
    report = await fsck(world.core)
    assert report.is_clean(), [finding.text() for finding in report.findings]


async def scenario(world: Any) -> Model:
    """All that the workers have to do, once."""
    model: Model = {}
    for number in (5, 3, 9, 1, 7, 2, 8, 6, 4, 0):
        model[f"k{number}"] = await world.put(f"k{number}", 14_000)
    model["m"] = await world.multipart("m", [world.body(6_000) for _ in range(4)])
    await world.store.copy(("bucket", "k3", ""), "bucket", "copy", None)
    model["copy"] = model["k3"]
    model["block"] = await world.put("block", 50_000)
    gone = ["k5", "k1", "k7"]
    await world.put("gone", 50_000)
    await world.multipart("gone2", [world.body(20_000) for _ in range(3)])
    for key in (*gone, "gone", "gone2"):
        await world.store.delete("bucket", key)
        model.pop(key, None)
    world.die()
    return model


@pytest.mark.parametrize("after", [False, True])
async def test_workers_killed_at_every_call(
    new_world: Callable[[int], Any], after: bool, killed: type[BaseException]
) -> None:
    at = 0
    while True:
        world = new_world(1)
        await world.bucket()
        model = await scenario(world)
        fuse = world.engine.fuse
        at += 1
        fuse.at, fuse.after = fuse.calls + at, after
        try:
            await world.rest()
            survived = True
        except killed:
            survived = False
            world.die()
            for key, body in model.items():
                assert await world.get(key) == body
            await world.assert_sound()
            await world.rest(6)
        fuse.at = None
        for key, body in model.items():
            assert await world.get(key) == body
        await world.assert_nothing_left()
        if survived:
            break
    assert at > 60, "the scenario makes the workers work"
