"""Keys, sessions and what they may, as one process knows them; and how soon it notices changes."""

from __future__ import annotations

from typing import Any

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.iam.deciding import BucketFacts, Verdict, verdict_elsewhere, verdict_on_bucket
from amur.iam.denials import BURST, KINDS_MAX, PER_FLUSH, Refused
from amur.iam.directory_keys import LAST_USED_SECONDS, OVERLAP_SECONDS_MAX
from amur.iam.keys import StaticKey, static_keys
from amur.iam.model import Actor, IamError, MemberRole, NoSuchEntity, RoleGrant, Status
from amur.iam.sealing import MasterKey
from amur.iam.service import Iam, TokenRefused
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from tests.support.managed import allow, deny, document

ROOT = ("tid_root", "tsec_root_secret")
ACME = Actor("acme", "AKIAACME", "192.0.2.7", "r1")
HOUR = 3600


class Asked:
    """A context with nothing in it but what it was given."""

    def __init__(self, **values: str) -> None:
        self._values = values

    def values(self, key: str) -> tuple[str, ...] | None:
        value = self._values.get(key)
        return None if value is None else (value,)


def master(number: int = 0) -> MasterKey:
    return MasterKey([bytes([number]) * 32])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_790_000_000_000_000_000)


@pytest.fixture
def store(clock: FakeClock) -> Store:
    return Store(MemoryEngine(clock), MemoryDataStore(), clock)


def service(store: Store, key: MasterKey | None = None) -> Iam:
    static = static_keys(ROOT, [StaticKey("AKIAACME", "secret", "acme")])
    return Iam(store.core, key or master(), static)


@pytest.fixture
def iam(store: Store) -> Iam:
    return service(store)


@pytest.fixture
def other(store: Store) -> Iam:
    """Another worker of the same region."""
    return service(store)


async def verdict(
    iam: Iam, key_id: str, action: str, bucket: str, key: str = "", token: str = ""
) -> Verdict:
    access = await iam.find(key_id, token)
    assert access is not None
    resource = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    return verdict_on_bucket(access, BucketFacts(bucket, "acme"), action, resource, Asked())


async def may(*args: Any, **more: Any) -> bool:
    return (await verdict(*args, **more)).is_allowed


# --- keys ---
async def test_a_key_may_nothing_until_it_is_given_something(iam: Iam) -> None:
    key, secret = await iam.directory.keys.create(ACME, "fresh")
    access = await iam.find(key.id)
    assert access is not None
    assert access.secrets_at(0) == (secret,)
    assert secret.startswith("tsec_")
    for action in ("s3:GetObject", "s3:ListBucket", "s3:PutBucketPolicy"):
        assert not await may(iam, key.id, action, "b", "k")
    for action in ("s3:ListAllMyBuckets", "s3:CreateBucket", "iam:ListPolicies"):
        told = verdict_elsewhere(access, action, "arn:aws:s3:::*", Asked())
        assert not told.is_allowed, action


async def test_nothing_of_a_secret_is_stored_in_clear(iam: Iam, store: Store) -> None:
    _, secret = await iam.directory.keys.create(ACME, "fresh")
    rows = await store.core.engine.scan(b"\x00", b"\xff", 1000)
    assert rows
    assert not any(secret.encode() in row.key + row.value for row in rows)


@pytest.mark.parametrize(
    ("role", "does", "does_not"),
    [
        ("ReadOnly", ["s3:GetObject", "s3:ListBucket"], ["s3:PutObject", "s3:DeleteObject"]),
        ("ReadWrite", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], ["s3:DeleteBucket"]),
        ("Editor", ["s3:PutObject", "s3:DeleteBucket"], ["s3:PutBucketAcl", "s3:PutBucketPolicy"]),
    ],
)
async def test_roles_are_of_one_bucket(
    iam: Iam, role: str, does: list[str], does_not: list[str]
) -> None:
    key, _ = await iam.directory.keys.create(ACME, "k", roles=[RoleGrant("data", role)])
    for action in does:
        assert await may(iam, key.id, action, "data", "k")
        assert not await may(iam, key.id, action, "data-other", "k")
    for action in does_not:
        assert not await may(iam, key.id, action, "data", "k")


async def test_a_role_is_for_buckets_of_the_own_organization(iam: Iam) -> None:
    key, _ = await iam.directory.keys.create(ACME, "k", roles=[RoleGrant("*", "NamespaceAdmin")])
    access = await iam.find(key.id)
    theirs = BucketFacts("data", "others")
    told = verdict_on_bucket(access, theirs, "s3:GetObject", "arn:aws:s3:::data/k", Asked())
    assert not told.is_allowed


async def test_a_deny_holds_for_administrators_but_not_for_root(iam: Iam) -> None:
    policies, keys = iam.directory.policies, iam.directory.keys
    policy = await policies.create(ACME, "no", document(deny("s3:*", "arn:aws:s3:::vault/*")))
    admin, _ = await keys.create(
        ACME, "admin", roles=[RoleGrant("*", "NamespaceAdmin")], policies=[policy.arn]
    )
    told = await verdict(iam, admin.id, "s3:GetObject", "vault", "k")
    assert told.is_explicit
    assert told.source is not None
    assert told.source.policy == "no"
    assert await may(iam, admin.id, "s3:GetObject", "open", "k")
    assert await may(iam, ROOT[0], "s3:GetObject", "vault", "k")


async def test_only_who_is_not_restricted_administers(iam: Iam, clock: FakeClock) -> None:
    policy = await iam.directory.policies.create(
        ACME, "p", document(allow("s3:GetObject", "arn:aws:s3:::a/*"))
    )
    admin = [RoleGrant("*", "NamespaceAdmin")]
    later = clock.now_ns() + 10**12
    free, _ = await iam.directory.keys.create(ACME, "free", roles=admin)
    expiring, _ = await iam.directory.keys.create(ACME, "e", roles=admin, expires_ns=later)
    bound, _ = await iam.directory.keys.create(ACME, "b", roles=admin, policies=[policy.arn])
    for key, expected in ((free, True), (expiring, False), (bound, False)):
        access = await iam.find(key.id)
        assert access is not None
        assert access.principal.is_admin
        assert access.principal.may_administer is expected
        told = verdict_elsewhere(access, "iam:CreateAccessKey", "*", Asked())
        assert told.is_allowed is expected
    session = iam.issue_session(await found(iam, free.id), seconds=HOUR)
    access = await found(iam, session.access_key_id, session.token)
    assert not access.principal.may_administer


async def found(iam: Iam, key_id: str, token: str = "") -> Any:
    access = await iam.find(key_id, token)
    assert access is not None
    return access


# --- how soon ---
async def test_every_change_is_seen_by_the_next_request_of_every_worker(
    iam: Iam, other: Iam
) -> None:
    keys, policies = iam.directory.keys, iam.directory.policies
    key, _ = await keys.create(ACME, "k")

    async def both(expected: bool) -> None:
        for worker in (iam, other):
            assert await may(worker, key.id, "s3:GetObject", "data", "k") is expected

    await both(False)
    policy = await policies.create(
        ACME, "p", document(allow("s3:GetObject", "arn:aws:s3:::data/*"))
    )
    await keys.attach(ACME, key.id, policy.arn)
    await both(True)
    await policies.update(
        ACME, policy.arn, document=document(allow("s3:PutObject", "arn:aws:s3:::data/*"))
    )
    await both(False)
    await policies.set_default_version(ACME, policy.arn, "v1")
    await both(True)
    await keys.detach(ACME, key.id, policy.arn)
    await both(False)
    await keys.update(ACME, key.id, roles=[RoleGrant("data", "ReadOnly")])
    await both(True)
    await keys.update(ACME, key.id, status=Status.INACTIVE)
    for worker in (iam, other):
        assert (await found(worker, key.id)).problem
    await keys.update(ACME, key.id, status=Status.ACTIVE)
    await both(True)
    await keys.delete(ACME, key.id)
    for worker in (iam, other):
        assert await worker.find(key.id) is None


async def test_a_policy_that_is_made_again_has_no_keys(iam: Iam) -> None:
    """lakeFS CVE-2024-43784, of policies: what comes back under a name is something new."""
    keys, policies = iam.directory.keys, iam.directory.policies
    text = document(allow("s3:GetObject", "arn:aws:s3:::data/*"))
    policy = await policies.create(ACME, "p", text)
    key, _ = await keys.create(ACME, "k", policies=[policy.arn])
    assert await may(iam, key.id, "s3:GetObject", "data", "k")
    await policies.delete(ACME, policy.arn, force=True)
    assert not await may(iam, key.id, "s3:GetObject", "data", "k")
    again = await policies.create(ACME, "p", text)
    assert again.arn == policy.arn
    assert not await may(iam, key.id, "s3:GetObject", "data", "k")
    assert await policies.keys_of("acme", again.arn) == []


async def test_a_lost_policy_refuses_everything(iam: Iam) -> None:
    """The Deny that was in it is not known: two regions, one attaches what the other deletes."""
    keys, policies = iam.directory.keys, iam.directory.policies
    policy = await policies.create(ACME, "p", document(deny("s3:*", "arn:aws:s3:::vault/*")))
    key, _ = await keys.create(
        ACME, "k", roles=[RoleGrant("data", "Editor")], policies=[policy.arn]
    )
    assert await may(iam, key.id, "s3:GetObject", "data", "k")

    async def lose(transaction: Any) -> None:
        from amur.iam import paths

        path = paths.policy(policy.id)
        assert await transaction.get(path) is not None
        transaction.remove(path)

    await iam.directory.registry.transact(lose)
    told = await verdict(iam, key.id, "s3:GetObject", "data", "k")
    assert not told.is_allowed
    assert "can't be found" in str(told)


async def test_another_master_key_opens_nothing(iam: Iam, store: Store) -> None:
    key, _ = await iam.directory.keys.create(ACME, "k")
    access = await found(service(store, master(1)), key.id)
    assert access.secrets_at(0) == ()
    assert "master key" in access.problem
    assert await iam.directory.keys.sealed_elsewhere() == (0, 1)
    assert await service(store, master(1)).directory.keys.sealed_elsewhere() == (1, 1)
    both = service(store, MasterKey([bytes([1]) * 32, bytes(32)]))
    assert (await found(both, key.id)).secrets_at(0) == (await found(iam, key.id)).secrets_at(0)


# --- rotation, expiry ---
async def test_an_old_secret_goes_on_for_its_overlap(iam: Iam, clock: FakeClock) -> None:
    key, first = await iam.directory.keys.create(ACME, "k")
    second = await iam.directory.keys.rotate(ACME, key.id, overlap_s=HOUR)
    now = clock.now_ns()
    access = await found(iam, key.id)
    assert access.secrets_at(now) == (second, first)
    assert access.secrets_at(now + HOUR * 10**9) == (second,)
    third = await iam.directory.keys.rotate(ACME, key.id)
    assert (await found(iam, key.id)).secrets_at(now) == (third,)
    for bad in (-1, OVERLAP_SECONDS_MAX + 1):
        with pytest.raises(IamError, match="overlap"):
            await iam.directory.keys.rotate(ACME, key.id, overlap_s=bad)


async def test_a_key_is_not_made_expired(iam: Iam, clock: FakeClock) -> None:
    with pytest.raises(IamError, match="expired already"):
        await iam.directory.keys.create(ACME, "k", expires_ns=clock.now_ns())


# --- organizations ---
async def test_other_organizations_see_nothing(iam: Iam) -> None:
    keys, policies = iam.directory.keys, iam.directory.policies
    key, _ = await keys.create(ACME, "k")
    policy = await policies.create(ACME, "p", document(allow("s3:GetObject", "*")))
    eve = Actor("eve", "AKIAEVE")
    with pytest.raises(NoSuchEntity):
        await keys.get("eve", key.id)
    for change in (
        keys.update(eve, key.id, name="x"),
        keys.rotate(eve, key.id),
        keys.delete(eve, key.id),
        keys.attach(eve, key.id, policy.arn),
        policies.update(eve, policy.arn, description="x"),
        policies.delete(eve, policy.arn, force=True),
    ):
        with pytest.raises(NoSuchEntity):
            await change
    mine, _ = await keys.create(eve, "mine")
    with pytest.raises(NoSuchEntity):
        await keys.attach(eve, mine.id, policy.arn)
    assert [k.id for k in (await keys.page("eve"))[0]] == [mine.id]
    assert [k.id for k in (await keys.page("acme"))[0]] == [key.id]


async def test_a_member_takes_their_keys_along(iam: Iam) -> None:
    members, keys = iam.directory.members, iam.directory.keys
    await members.add(ACME, "owner@example.com", MemberRole.OWNER)
    ann = await members.add(ACME, "Ann@Example.com", MemberRole.ADMIN)
    key, _ = await keys.create(ACME, "anns", member=ann.id)
    assert (await found(iam, key.id)).principal.may_administer
    await members.set_role(ACME, ann.id, MemberRole.MEMBER)
    assert not (await found(iam, key.id)).principal.is_admin
    await members.remove(ACME, ann.id)
    assert (await found(iam, key.id)).problem
    assert (await keys.get("acme", key.id)).status is Status.INACTIVE
    with pytest.raises(NoSuchEntity):
        await keys.create(ACME, "again", member=ann.id)


async def test_the_last_owner_stays(iam: Iam) -> None:
    members = iam.directory.members
    owner = await members.add(ACME, "owner@example.com", MemberRole.OWNER)
    for change in (
        members.remove(ACME, owner.id),
        members.set_role(ACME, owner.id, MemberRole.MEMBER),
    ):
        with pytest.raises(IamError, match="last owner"):
            await change


async def test_shares_are_of_the_bucket_that_was_there(iam: Iam, store: Store) -> None:
    keys = iam.directory.keys
    key, _ = await keys.create(Actor("eve", "AKIAEVE"), "k")
    await store.create_bucket("data", owner="acme")
    await keys.share(ACME, "data", key.id, "ReadOnly")

    async def may_now(action: str) -> bool:
        access, bucket = await found(iam, key.id), await store.bucket("data")
        facts = BucketFacts("data", bucket.owner, bucket.id)
        told = verdict_on_bucket(access, facts, action, "arn:aws:s3:::data/k", Asked())
        return told.is_allowed

    assert await may_now("s3:GetObject")
    assert not await may_now("s3:PutObject")
    await keys.unshare(ACME, "data", key.id)
    assert not await may_now("s3:GetObject")
    await keys.share(ACME, "data", key.id, "ReadOnly")
    assert await may_now("s3:GetObject")
    await store.delete_bucket("data")
    for owner in ("mallory", "acme"):
        await store.create_bucket("data", owner=owner)
        assert not await may_now("s3:GetObject")
        await store.delete_bucket("data")
    await keys.unshare(ACME, "data", key.id)
    with pytest.raises(NoSuchEntity):
        await keys.unshare(ACME, "data", key.id)


# --- sessions ---
async def test_a_session_may_what_its_parent_may(iam: Iam, other: Iam) -> None:
    key, _ = await iam.directory.keys.create(ACME, "k", roles=[RoleGrant("data", "ReadWrite")])
    session = iam.issue_session(await found(iam, key.id), seconds=HOUR)
    where = {"token": session.token}
    assert await may(other, session.access_key_id, "s3:PutObject", "data", "k", **where)
    assert not await may(other, session.access_key_id, "s3:PutObject", "more", "k", **where)
    await iam.directory.keys.update(ACME, key.id, roles=[RoleGrant("data", "ReadOnly")])
    assert not await may(other, session.access_key_id, "s3:PutObject", "data", "k", **where)
    await iam.directory.keys.delete(ACME, key.id)
    with pytest.raises(TokenRefused, match="gone"):
        await other.find(session.access_key_id, session.token)


async def test_a_session_policy_narrows_and_never_widens(iam: Iam) -> None:
    key, _ = await iam.directory.keys.create(ACME, "k", roles=[RoleGrant("data", "ReadOnly")])
    policy = document(allow("s3:*", ["arn:aws:s3:::data/in/*", "arn:aws:s3:::more/*"]))
    session = iam.issue_session(await found(iam, key.id), seconds=HOUR, policy=policy)
    for action, bucket, name, expected in (
        ("s3:GetObject", "data", "in/k", True),
        ("s3:GetObject", "data", "out/k", False),
        ("s3:PutObject", "data", "in/k", False),
        ("s3:GetObject", "more", "k", False),
    ):
        told = await may(iam, session.access_key_id, action, bucket, name, token=session.token)
        assert told is expected, (action, bucket, name)


async def test_a_session_makes_no_session(iam: Iam) -> None:
    session = iam.issue_session(await found(iam, ROOT[0]), seconds=HOUR)
    access = await found(iam, session.access_key_id, session.token)
    with pytest.raises(IamError, match="can't make another"):
        iam.issue_session(access, seconds=60)


async def test_a_session_ends_with_its_parent_at_the_latest(iam: Iam, clock: FakeClock) -> None:
    soon = clock.now_ns() + 600 * 10**9
    key, _ = await iam.directory.keys.create(ACME, "k", expires_ns=soon)
    session = iam.issue_session(await found(iam, key.id), seconds=HOUR)
    assert session.expires_ns == soon
    assert (await found(iam, session.access_key_id, session.token)).expires_ns == soon


@pytest.mark.parametrize("seconds", [0, 59, 8 * 86_400])
async def test_a_session_lasts_minutes_to_days(iam: Iam, seconds: int) -> None:
    with pytest.raises(IamError, match="DurationSeconds"):
        iam.issue_session(await found(iam, ROOT[0]), seconds=seconds)


async def test_tokens_that_are_refused(iam: Iam, store: Store) -> None:
    one = iam.issue_session(await found(iam, ROOT[0]), seconds=HOUR)
    two = iam.issue_session(await found(iam, ROOT[0]), seconds=HOUR)
    strange = service(store, master(7)).issue_session(await found(iam, ROOT[0]), seconds=HOUR)
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."  # alg none
    flipped = one.token[:40] + ("A" if one.token[40] != "A" else "B") + one.token[41:]
    for key_id, token in (
        (one.access_key_id, two.token),
        (ROOT[0], one.token),
        ("", one.token),
        (strange.access_key_id, strange.token),
        (one.access_key_id, flipped),
        (one.access_key_id, one.token[:-4]),
        (one.access_key_id, jwt),
        (one.access_key_id, "x" * 100_000),
        (one.access_key_id, "é"),
    ):
        with pytest.raises(TokenRefused):
            await iam.find(key_id, token)
    assert await iam.find(one.access_key_id) is None


# --- names ---
@pytest.mark.parametrize("key_id", ["", "x", "tid_nobody", "tid_\0x", "tses_x", "tid_root2"])
async def test_unknown_keys(iam: Iam, key_id: str) -> None:
    assert await iam.find(key_id) is None


async def test_names_and_limits(iam: Iam) -> None:
    keys, policies = iam.directory.keys, iam.directory.policies
    text = document(allow("s3:GetObject", "*"))
    for name in ("", "a b", "a/b", "x" * 129, "a\0b", "é"):
        with pytest.raises(IamError, match="name"):
            await policies.create(ACME, name, text)
    for name in ("", "x" * 129, "a\nb"):
        with pytest.raises(IamError, match="name"):
            await keys.create(ACME, name)
    for roles in (
        [RoleGrant("b", "Owner")],
        [RoleGrant("b", "NamespaceAdmin")],
        [RoleGrant("*", "NamespaceAdmin"), RoleGrant("b", "Editor")],
        [RoleGrant("b", "Editor"), RoleGrant("b", "ReadOnly")],
        [RoleGrant("", "Editor")],
        [RoleGrant(f"b{n}", "Editor") for n in range(101)],
    ):
        with pytest.raises(IamError):
            await keys.create(ACME, "k", roles=roles)
    await policies.create(ACME, "Same", text)
    with pytest.raises(IamError, match="exists"):
        await policies.create(ACME, "same", text)
    key, _ = await keys.create(ACME, "k")
    for number in range(20):
        policy = await policies.create(ACME, f"p{number}", text)
        await keys.attach(ACME, key.id, policy.arn)
    with pytest.raises(IamError, match="at most 20"):
        await keys.attach(ACME, key.id, "arn:aws:iam::acme:policy/Same")


# --- the record ---
async def test_changes_are_events_in_their_commit(iam: Iam) -> None:
    key, secret = await iam.directory.keys.create(ACME, "k")
    await iam.directory.keys.rotate(ACME, key.id)
    with pytest.raises(NoSuchEntity):
        await iam.directory.keys.delete(ACME, "tid_none")
    events, _ = await iam.directory.events("acme")
    assert [event.action for event in events] == ["iam:RotateAccessKey", "iam:CreateAccessKey"]
    assert {event.key_id for event in events} == {"AKIAACME"}
    assert events[0].address == "192.0.2.7"
    assert events[1].resource == f"arn:aws:iam::acme:user/{key.id}"
    assert secret not in repr(events)
    assert (await iam.directory.events("eve"))[0] == []


async def test_refusals_that_are_alike_are_one_event(iam: Iam) -> None:
    alike = Refused("acme", "tid_x", "s3:GetObject", "arn:aws:s3:::b/k", "no", "192.0.2.7")
    for number in range(50):
        iam.refused(alike, f"r{number}")
    iam.refused(alike._replace(action="s3:PutObject"), "r50")
    await iam.flush()
    await iam.flush()
    events, _ = await iam.directory.events("acme")
    counts = {event.action: (event.times, event.request_id) for event in events}
    assert counts == {"s3:GetObject": (50, "r0"), "s3:PutObject": (1, "r50")}
    assert {event.decision for event in events} == {"Denied"}


async def test_a_flood_of_refusals_makes_few_events(iam: Iam) -> None:
    for number in range(5000):
        iam.refused(Refused("acme", "", "s3:GetObject", f"b/{number}", "no", "::1"), "r")
    await iam.flush()
    events, _ = await iam.directory.events(None)
    assert len(events) <= KINDS_MAX + 1
    assert sum(event.times for event in events) == 5000


async def test_a_flood_that_lasts_is_bounded(iam: Iam) -> None:
    for second in range(1000):
        for number in range(50):
            iam.refused(Refused("acme", "", "s3:GetObject", f"b/{second}/{number}", "", "::1"), "r")
        await iam.flush()
    rows = await iam.directory.registry.scan(b"", b"\xff", 100_000)
    assert len(rows) <= BURST + 1000 * PER_FLUSH
    told = sum(record.values["times"] for _, record in rows)
    assert told >= 49_000  # the last ones are still to be told


async def test_events_come_in_pages(iam: Iam) -> None:
    for number in range(7):
        await iam.directory.keys.create(ACME, f"k{number}")
    seen, before = [], ""
    while True:
        page, before = await iam.directory.events("acme", before=before, limit=3)
        seen += [event.detail["name"] for event in page]
        if not before:
            break
    assert seen == [f"k{number}" for number in reversed(range(7))]


async def test_when_a_key_was_last_used(iam: Iam, clock: FakeClock) -> None:
    key, _ = await iam.directory.keys.create(ACME, "k")
    access = await found(iam, key.id)
    epoch = await iam.directory.registry.epoch()
    first = clock.now_ns() // 10**9
    iam.used(access, "s3", first)
    await iam.flush()
    told = await iam.directory.keys.get("acme", key.id)
    assert (told.last_used_ns // 10**9, told.last_used_service) == (first, "s3")
    clock.advance(LAST_USED_SECONDS - 1)
    iam.used(access, "iam", clock.now_ns() // 10**9)
    await iam.flush()
    assert (await iam.directory.keys.get("acme", key.id)).last_used_service == "s3"
    clock.advance(2)
    iam.used(access, "iam", clock.now_ns() // 10**9)
    await iam.flush()
    assert (await iam.directory.keys.get("acme", key.id)).last_used_service == "iam"
    assert await iam.directory.registry.epoch() == epoch  # it changes nobody's rights
    await iam.directory.keys.delete(ACME, key.id)
    clock.advance(LAST_USED_SECONDS + 1)
    iam.used(access, "s3", clock.now_ns() // 10**9)
    await iam.flush()  # its key is gone: nothing to note, nothing to fail
