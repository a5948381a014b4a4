"""Attacks by sheer work, by odd tokens, and by addresses in odd clothes."""

from __future__ import annotations

import pytest

from amur.gateway.app import App
from amur.gateway.proxies import Proxies
from amur.gateway.request import Request
from amur.iam.denials import BURST, KINDS_MAX, PER_FLUSH, Denials, Refused
from amur.iam.policy import vocabulary
from amur.iam.policy.document import Kind, parse
from amur.iam.policy.lint import lint
from tests.security.test_attack_conditions import ACME, Key, Scene, allow, deny, document, scene

__all__ = ["scene"]

LOOKUPS_MAX = 20_000  # each some microseconds: what one call of any key may cost the others


def hostile_document() -> str:
    """4.6 KB, well within the limits; linting it takes three seconds, 12 KB of it sixteen."""
    everybody = {"Principal": "*"}
    return document(
        allow("s3:*", [f"arn:aws:s3:::bkt/{number}*" for number in range(100)]) | everybody,
        *(deny("s3:Get*", f"arn:aws:s3:::bkt/x{number}*") | everybody for number in range(20)),
        deny("s3:*", ["arn:aws:s3:::bkt/*", "arn:aws:s3:::bkt"]) | everybody,
    )


def test_linting_takes_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """LintPolicy is anybody's with a key, and runs in the worker's event loop."""
    policy = parse(hostile_document(), Kind.BUCKET)
    asked = 0
    real = vocabulary.matching

    def counted(pattern: str) -> tuple[vocabulary.Action, ...]:
        nonlocal asked
        asked += 1
        return real(pattern)

    monkeypatch.setattr(vocabulary, "matching", counted)
    lint(policy, now_s=0.0)
    assert asked <= LOOKUPS_MAX


async def session_of(scene: Scene) -> Key:
    await scene.bucket("data")
    await scene.put("data", "k")
    key = await scene.key(allow("s3:*"))
    access = await scene.iam.find(key.id)
    assert access is not None
    made = scene.iam.issue_session(access, seconds=900)
    return Key(made.access_key_id, made.secret, made.token)


@pytest.mark.parametrize("junk", ["AAAA", "==", "!!!!", "AAAAAAAA"])
async def test_a_session_has_one_token(scene: Scene, junk: str) -> None:
    """What is not what was issued is refused, also where a lax decoder reads the same."""
    key = await session_of(scene)
    assert (await scene.send(key, "GET", "/data/k")).status == 200
    answer = await scene.send(key._replace(token=key.token + junk), "GET", "/data/k")
    assert answer.status == 400


async def test_spellings_of_one_token_do_not_fill_the_memory(scene: Scene) -> None:
    key = await session_of(scene)
    for number in range(50):
        await scene.send(key._replace(token=key.token + "=" * number), "GET", "/data/k")
    assert len(scene.iam._kept) <= 3


async def test_a_request_with_two_tokens_is_refused(scene: Scene) -> None:
    """One in the header, another in the query."""
    key = await session_of(scene)
    answer = await scene.send(key, "GET", f"/data/k?X-Amz-Security-Token={'A' * 40}")
    assert answer.status == 400


def address_of(client: str, *forwarded: str, trusted: tuple[str, ...] = ("10.0.0.0/8",)) -> str:
    pairs = [("host", "x"), *(("x-forwarded-for", each) for each in forwarded)]
    request = Request("GET", "/", "", pairs, client=client)
    Proxies(trusted).apply(request)
    return request.address


@pytest.mark.parametrize("address", ["2001:db8::7", "2001:db8::a", "2001:db8:0:0:0:0:0:1", "::1"])
def test_an_ipv6_client_of_a_proxy_is_whole(address: str) -> None:
    """Proxies write it without brackets and port: its last group is no port."""
    assert address_of("10.0.0.1:80", address) == address


async def test_a_policy_knows_an_ipv6_client_of_a_proxy(scene: Scene) -> None:
    app = App(
        scene.store, scene.iam, domains=("s3.test",), proxies=Proxies(["192.0.2.7"]),
    )  # fmt: skip
    await scene.bucket("data")
    key = await scene.key(allow("s3:*", IpAddress={"aws:SourceIp": "2001:db8::/32"}))
    for address in ("2001:db8::a", "2001:db8::7"):
        answer = await scene.send(
            key, "GET", "/data", headers={"x-forwarded-for": address}, app=app
        )
        assert answer.status == 200


@pytest.mark.parametrize("client", ["[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1:80"])
def test_a_proxy_in_ipv6_clothes_is_that_proxy(client: str) -> None:
    """On a socket for both protocols. Unknown, every client would have the proxy's address, and
    a policy for 10.0.0.0/8 would let the whole world in."""
    assert address_of(client, "203.0.113.9") == "203.0.113.9"


def test_an_organizations_refusals_are_not_hidden_by_anothers() -> None:
    """Whoever probes could have himself refused elsewhere, and so not be told apart."""
    denials = Denials()
    for number in range(KINDS_MAX * 5):
        denials.add(Refused("eve", "AKIAEVE", "s3:GetObject", f"arn:{number}", "x", "a"), "r")
    denials.add(Refused("acme", "", "s3:GetObject", "arn:data", "x", "203.0.113.9"), "r")
    assert any(each.organization == "acme" for each in denials._counts)


async def test_a_long_flood_of_refusals_is_bounded(scene: Scene) -> None:
    flushes = 10
    await scene.bucket("data")
    for flush in range(flushes):
        for number in range(KINDS_MAX):
            await scene.send(None, "GET", f"/data/{flush}-{number}")
        await scene.iam.flush()
    events, _ = await scene.iam.directory.events(None, limit=1000)
    assert len(events) <= BURST + flushes * (PER_FLUSH + 1)


async def test_sessions_in_memory_are_bounded_in_bytes(scene: Scene) -> None:
    """10,000 sessions with a policy of 2 KB each are 380 MB in every worker: a leaked key can
    make them. What one key keeps there must be bounded."""
    key = await scene.key(allow("s3:*"))
    access = await scene.iam.find(key.id)
    assert access is not None
    for number in range(300):
        policy = document(allow("s3:GetObject", f"arn:aws:s3:::data/{number}/*"))
        made = scene.iam.issue_session(access, seconds=900, policy=policy)
        assert await scene.iam.find(made.access_key_id, made.token) is not None
    own = [each for each in scene.iam._kept.values() if each.principal.parent == key.id]
    assert len(own) <= 200


async def test_a_retired_master_key_takes_no_rotated_key_along(scene: Scene) -> None:
    """How a master key is replaced: the new one is put first, all keys are rotated with an
    overlap, the overlap ends, the old one is taken away. The old secret is over by then: that it
    can't be opened any more must not make the new one unusable."""
    from amur.iam.directory import Directory
    from amur.iam.model import Actor
    from amur.iam.sealing import MasterKey
    from amur.iam.service import Iam

    core = scene.store.core
    actor = Actor("acme", "AKIAACME")
    old, new = b"o" * 32, b"n" * 32
    key, _ = await Directory(core, MasterKey([old])).keys.create(actor, "key")
    secret = await Directory(core, MasterKey([new, old])).keys.rotate(actor, key.id, overlap_s=1)
    after = Iam(core, MasterKey([new]), {})
    access = await after.find(key.id)
    assert access is not None
    assert access.problem == ""
    assert secret in access.secrets_at(core.clock.now_ns() + 10**10)


async def test_a_full_disk_tells_no_secret(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from amur.meta.engine import EngineFull

    async def full(commit: object) -> int:
        raise EngineFull("no room")

    monkeypatch.setattr(scene.store.core.engine, "commit", full)
    answer = await scene.send(
        scene.admin, "POST", "/?Action=CreateAccessKey&UserName=x", b"",
        {"accept": "application/json"},
    )  # fmt: skip
    assert answer.status in (503, 507)
    assert b"tsec_" not in answer.body


async def test_one_decision_of_twenty_hostile_policies_takes_bounded_work(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four slow patterns a document are allowed, and twenty documents a key: 145 ms a decision,
    and DeleteObjects makes a thousand of them without a pause."""
    from amur.iam.policy.patterns import _Segment

    await scene.bucket("bkt")
    slow = [f"arn:aws:s3:::bkt/*{'a?' * 16}{end}*" for end in "bcde"]
    policies = scene.iam.directory.policies
    arns = [
        (await policies.create(ACME, f"slow{number}", document(deny("s3:*", slow)))).arn
        for number in range(20)
    ]
    made, secret = await scene.iam.directory.keys.create(ACME, "key", policies=arns)
    steps = 0
    real = _Segment.is_at

    def counted(self: _Segment, text: str, start: int) -> bool:
        nonlocal steps
        steps += 1
        return real(self, text, start)

    monkeypatch.setattr(_Segment, "is_at", counted)
    answer = await scene.send(Key(made.id, secret), "GET", "/bkt/" + "a" * 1000)
    assert answer.status == 403
    assert steps <= 10_000
