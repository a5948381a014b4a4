"""Every refusal is on record: who, what, from where, and why; none of what was allowed is."""

from __future__ import annotations

import pytest

from amur.gateway.app import App
from amur.gateway.signers import AUTHENTICATE
from amur.iam.model import Event
from amur.iam.service import Iam
from amur.objects.store import Store
from tests.support.managed import ACME, Key, Signing, allow, deny, made, session_of

DATA = ["arn:aws:s3:::data", "arn:aws:s3:::data/*"]


@pytest.fixture(autouse=True)
async def data(store: Store) -> None:
    await store.create_bucket("data", owner="acme")
    await store.put("data", "key", b"body")


async def denied(iam: Iam, organization: str | None = "acme") -> list[Event]:
    await iam.flush()
    events, _ = await iam.directory.events(organization)
    return [event for event in events if event.decision == "Denied"]


async def test_by_a_statement(app: App, iam: Iam) -> None:
    key = await made(iam, allow("s3:*", DATA), deny("s3:GetObject", DATA, Sid="NotThis"))
    answer = await Signing(app, key)("GET", "/data/key")
    (event,) = await denied(iam)
    assert (event.key_id, event.action) == (key.id, "s3:GetObject")
    assert event.resource == "arn:aws:s3:::data/key"
    assert (event.address, event.times) == ("192.0.2.7", 1)
    assert event.request_id == answer.headers["x-amz-request-id"]
    assert "NotThis" in event.reason
    assert "Statement[2]" in event.reason
    assert "NotThis" in (answer.xml.findtext("Message") or "")


async def test_for_want_of_a_right(app: App, iam: Iam) -> None:
    key = await made(iam)
    call = Signing(app, key)
    for _ in range(3):
        assert (await call("GET", "/data/key")).status == 403
    assert (await call("GET", "/")).status == 403
    assert (await call("PUT", "/mine-now")).status == 403
    events = {event.action: event for event in await denied(iam)}
    assert events.keys() == {"s3:GetObject", "s3:ListAllMyBuckets", "s3:CreateBucket"}
    assert events["s3:GetObject"].times == 3
    assert {event.organization for event in events.values()} == {"acme"}


async def test_of_strangers_and_of_nobody(app: App, iam: Iam) -> None:
    """They are told nothing; the owner of the bucket sees who tried."""
    answer = await Signing(app, None)("GET", "/data/key")
    assert answer.xml.findtext("Message") == "Access Denied."
    stranger = await made(iam, actor=ACME._replace(organization="eve"))
    answer = await Signing(app, stranger)("PUT", "/data/key", b"x")
    assert answer.xml.findtext("Message") == "Access Denied."
    events = await denied(iam)
    assert sorted(event.key_id for event in events) == sorted(["", stranger.id])


async def test_what_cannot_be_authenticated(app: App, iam: Iam) -> None:
    key = await made(iam, roles=[("data", "ReadOnly")])
    session = await session_of(iam, key)
    for signer in (
        Key(key.id, "wrong"),
        Key("tid_nobody", "x"),
        session._replace(token=session.token[:-8]),
    ):
        assert (await Signing(app, signer)("GET", "/data/key")).status in (400, 403)
    events = await denied(iam, None)
    assert {event.action for event in events} == {AUTHENTICATE}
    assert {event.key_id for event in events} == {key.id, "tid_nobody", session.id}
    reasons = " ".join(event.reason for event in events)
    for code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken"):
        assert code in reasons
    assert key.secret not in reasons
    assert session.token[:40] not in reasons


async def test_of_keys_that_are_over(app: App, iam: Iam) -> None:
    from amur.iam.model import Status

    key = await made(iam, roles=[("data", "ReadOnly")])
    await iam.directory.keys.update(ACME, key.id, status=Status.INACTIVE)
    assert (await Signing(app, key)("GET", "/data/key")).status == 403
    (event,) = await denied(iam)
    assert (event.key_id, event.action) == (key.id, AUTHENTICATE)
    assert "inactive" in event.reason


async def test_what_is_allowed_makes_no_event(app: App, iam: Iam) -> None:
    key = await made(iam, roles=[("data", "ReadWrite")])
    call = Signing(app, key)
    assert (await call("GET", "/data/key")).status == 200
    assert (await call("GET", "/data/missing")).status == 404
    assert (await call("PUT", "/data/new", b"x")).status == 200
    assert await denied(iam, None) == []
