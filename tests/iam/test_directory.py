"""The directory: what holds while many change it at once, names, what is detached and shared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from random import Random
from typing import Any

import pytest

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.iam import directory_members, paths
from amur.iam.directory import Directory
from amur.iam.directory_keys import POLICIES_PER_KEY_MAX
from amur.iam.model import Actor, IamError, MemberRole, NoSuchEntity, Status
from amur.meta.memory import MemoryEngine
from amur.meta.records import EntryRecord
from amur.objects.store import Store
from tests.support.iam import MASTER
from tests.support.interleaving import InterleavedEngine

ACME, EVE = Actor("acme", "AKIAACME"), Actor("eve", "AKIAEVE")
SEEDS = range(20)
TEXT = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
    }
)


class Scene:
    def __init__(self, seed: int = 0) -> None:
        clock = SystemClock()
        engine = InterleavedEngine(MemoryEngine(clock), Random(seed))
        self.store = Store(engine, MemoryDataStore(), clock)
        self.directory = Directory(self.store.core, MASTER)
        self.keys = self.directory.keys
        self.policies = self.directory.policies
        self.members = self.directory.members

    async def rows(self, start: bytes) -> list[tuple[bytes, EntryRecord]]:
        return await self.directory.registry.scan(start, start + b"\xff", 1000)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def codes(*changes: Awaitable[Any]) -> list[str]:
    """Of changes made at once; "" of those that were made."""
    told = await asyncio.gather(*changes, return_exceptions=True)
    for each in told:
        if isinstance(each, BaseException) and not isinstance(each, IamError):
            raise each
    return [each.code if isinstance(each, IamError) else "" for each in told]


# --- many at once ---


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_key_made_with_a_policy_has_it_or_is_not_made(seed: int) -> None:
    scene = Scene(seed)
    policy = await scene.policies.create(ACME, "p", TEXT)
    told = await codes(
        scene.keys.create(ACME, "k", policies=[policy.arn]),
        scene.policies.delete(ACME, policy.arn),
    )
    assert told in (["", "DeleteConflict"], ["NoSuchEntity", ""])
    keys, _ = await scene.keys.page("acme")
    assert len(keys) == (told[0] == "")


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_member_who_leaves_takes_the_newest_key_along(seed: int) -> None:
    scene = Scene(seed)
    await scene.members.add(ACME, "owner@example.com", MemberRole.OWNER)
    ann = await scene.members.add(ACME, "ann@example.com", MemberRole.ADMIN)
    made, left = await codes(
        scene.keys.create(ACME, "k", member=ann.id), scene.members.remove(ACME, ann.id)
    )
    assert (made, left) in (("", ""), ("NoSuchEntity", ""))
    keys, _ = await scene.keys.page("acme")
    assert [key.status for key in keys] == [Status.INACTIVE] * (made == "")


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_address_is_one_members(seed: int) -> None:
    scene = Scene(seed)
    await scene.members.add(ACME, "owner@example.com", MemberRole.OWNER)
    emails = ["ann@example.com", "Ann@example.com", " ann@Example.com"]
    told = await codes(*(scene.members.add(ACME, each, MemberRole.MEMBER) for each in emails))
    assert sorted(told) == ["", "EntityAlreadyExists", "EntityAlreadyExists"]
    members = await scene.members.all("acme")
    assert len(members) == 2
    await scene.members.add(EVE, "ann@example.com", MemberRole.MEMBER)  # of another organization
    (ann,) = [each for each in members if each.role is MemberRole.MEMBER]
    await scene.members.remove(ACME, ann.id)
    await scene.members.add(ACME, "ann@example.com", MemberRole.MEMBER)


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_number_of_members_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_members, "MEMBERS_MAX", 3)
    scene = Scene(seed)
    await scene.members.add(ACME, "owner@example.com", MemberRole.OWNER)
    emails = [f"m{number}@example.com" for number in range(4)]
    told = await codes(*(scene.members.add(ACME, each, MemberRole.MEMBER) for each in emails))
    assert sorted(told) == ["", "", "LimitExceeded", "LimitExceeded"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_last_two_owners_do_not_both_leave(seed: int) -> None:
    scene = Scene(seed)
    one = await scene.members.add(ACME, "one@example.com", MemberRole.OWNER)
    two = await scene.members.add(ACME, "two@example.com", MemberRole.OWNER)
    told = await codes(
        scene.members.remove(ACME, one.id),
        scene.members.set_role(ACME, two.id, MemberRole.MEMBER),
    )
    assert sorted(told) == ["", "DeleteConflict"]
    assert any(each.role is MemberRole.OWNER for each in await scene.members.all("acme"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_left_of_a_key_that_is_deleted(seed: int) -> None:
    """Whatever else is done with it at the same time."""
    scene = Scene(seed)
    await scene.store.create_bucket("data", owner="eve")
    policy = await scene.policies.create(ACME, "p", TEXT)
    key, _ = await scene.keys.create(ACME, "k")
    told = await codes(
        scene.keys.attach(ACME, key.id, policy.arn),
        scene.keys.delete(ACME, key.id),
        scene.keys.share(EVE, "data", key.id, "ReadOnly"),
        scene.keys.note_use(key.id, "s3"),
    )
    assert told[1] == told[3] == ""
    assert set(told) <= {"", "NoSuchEntity"}
    for start in (b"a", b"k", b"s", b"u"):
        assert await scene.rows(start) == []
    assert await scene.policies.attachment_count(policy) == 0


# --- names ---


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("arn:aws:iam::acme:policy/READER", "NoSuchEntity"),
        ("arn:aws:iam::acme:policy/path/reader", "NoSuchEntity"),
        ("arn:aws:iam::acme:policy//reader", "NoSuchEntity"),
        ("arn:aws:iam::acme:policy/reader/", "NoSuchEntity"),
        ("arn:aws:iam::acme:policy/Reader\0", "NoSuchEntity"),
        ("arn:aws:iam::eve:policy/reader", "NoSuchEntity"),
        ("arn:aws:iam::ACME:policy/reader", "NoSuchEntity"),
        ("arn:aws:iam::acme:policy", "InvalidInput"),
        ("arn:aws:iam::acme:policy/", "InvalidInput"),
        ("arn:aws:iam::acme:Policy/reader", "InvalidInput"),
        ("arn:aws:iam::acme:user/policy/reader", "InvalidInput"),
        ("arn:aws:iam:::policy/reader", "InvalidInput"),
        ("arn:aws:iam:x:acme:policy/reader", "InvalidInput"),
        ("ARN:aws:iam::acme:policy/reader", "InvalidInput"),
        ("reader", "InvalidInput"),
        ("", "InvalidInput"),
    ],
)
async def test_a_policy_is_found_by_its_arn_only(scene: Scene, arn: str, code: str) -> None:
    policy = await scene.policies.create(ACME, "reader", TEXT)
    key, _ = await scene.keys.create(ACME, "k", policies=[policy.arn])
    for change in (
        scene.policies.get("acme", arn),
        scene.policies.update(ACME, arn, description="x"),
        scene.policies.delete(ACME, arn, force=True),
        scene.keys.attach(ACME, key.id, arn),
        scene.keys.detach(ACME, key.id, arn),
        scene.keys.create(ACME, "other", policies=[arn]),
    ):
        with pytest.raises(IamError) as refused:
            await change
        assert refused.value.code == code
    assert await scene.policies.get("acme", "arn:aws:iam::acme:policy/reader") == policy
    with pytest.raises(IamError) as refused:
        await scene.policies.create(ACME, "READER", TEXT)
    assert refused.value.code == "EntityAlreadyExists"


# --- what is attached ---


async def lose(scene: Scene, policy_id: str) -> None:
    """As when another region has deleted it."""

    async def attempt(transaction: Any) -> None:
        assert await transaction.get(paths.policy(policy_id)) is not None
        transaction.remove(paths.policy(policy_id))

    await scene.directory.registry.transact(attempt)


async def test_a_lost_policy_is_detached_by_its_arn(scene: Scene) -> None:
    lost = await scene.policies.create(ACME, "lost", TEXT)
    kept = await scene.policies.create(ACME, "kept", TEXT)
    key, _ = await scene.keys.create(ACME, "k", policies=[lost.arn, kept.arn])
    await lose(scene, lost.id)
    assert await scene.keys.policies_of("acme", key.id) == [kept]
    assert await scene.keys.policy_names([key.id]) == {key.id: ["kept"]}
    again = await scene.policies.create(ACME, "lost", TEXT)
    await scene.keys.attach(ACME, key.id, again.arn)
    await scene.keys.detach(ACME, key.id, lost.arn)  # all of that name
    assert await scene.keys.policies_of("acme", key.id) == [kept]
    with pytest.raises(NoSuchEntity, match="not attached"):
        await scene.keys.detach(ACME, key.id, lost.arn)


async def test_attaching_again_needs_no_room(scene: Scene) -> None:
    arns = [
        (await scene.policies.create(ACME, f"p{number}", TEXT)).arn
        for number in range(POLICIES_PER_KEY_MAX + 1)
    ]
    key, _ = await scene.keys.create(ACME, "k", policies=arns[:-1])
    await scene.keys.attach(ACME, key.id, arns[0])
    with pytest.raises(IamError, match="at most 20"):
        await scene.keys.attach(ACME, key.id, arns[-1])


async def test_the_document_in_force_is_said_again(scene: Scene) -> None:
    """No new version of it; but later than what another region may have put in force."""
    policy = await scene.policies.create(ACME, "p", TEXT)
    (before,) = await scene.rows(b"p")
    assert await scene.policies.update(ACME, policy.arn, document=TEXT) == policy
    (after,) = await scene.rows(b"p")
    assert after[1].changed["versions"] > before[1].changed["versions"]


# --- what is shared ---


async def test_a_share_is_of_the_bucket_that_there_was(scene: Scene) -> None:
    key, _ = await scene.keys.create(EVE, "k")
    await scene.store.create_bucket("data", owner="acme")
    share = await scene.keys.share(ACME, "data", key.id, "ReadOnly")
    assert share.bucket_id == (await scene.store.bucket("data")).id
    for asked in ({"bucket": "data"}, {"key_id": key.id}):
        assert await scene.keys.shares(**asked) == [share]
    await scene.store.delete_bucket("data")
    assert await scene.keys.shares(key_id=key.id) == []
    await scene.store.create_bucket("data", owner="acme")
    for asked in ({"bucket": "data"}, {"key_id": key.id}):
        assert await scene.keys.shares(**asked) == []
    again = await scene.keys.share(ACME, "data", key.id, "Editor")
    assert again.bucket_id == (await scene.store.bucket("data")).id != share.bucket_id
    assert await scene.keys.shares(key_id=key.id) == [again]
    await scene.keys.unshare(ACME, "data", key.id)
    assert await scene.keys.shares(key_id=key.id) == []


@pytest.mark.parametrize("name", ["theirs", "nothing", "No/Name", "", "x" * 300, "é"])
async def test_only_own_buckets_are_shared(scene: Scene, name: str) -> None:
    await scene.store.create_bucket("theirs", owner="eve")
    key, _ = await scene.keys.create(EVE, "k")
    with pytest.raises(NoSuchEntity, match="not one of the organization's"):
        await scene.keys.share(ACME, name, key.id, "ReadOnly")
