"""Temporary keys over the wire: headers, links, chunked uploads, forms; and what is refused."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64encode
from typing import Any

import pytest

from amur.gateway.app import App
from amur.gateway.presign import encode_chunks, sign_request
from amur.gateway.sigv4 import ChunkChain, amz_date_of, signing_key
from amur.iam.service import Iam
from amur.objects.store import Store
from tests.gateway.conftest import HOST
from tests.support.managed import ACME, Key, Signing, allow, made, session_of

DATA = ["arn:aws:s3:::data", "arn:aws:s3:::data/*"]


@pytest.fixture
async def parent(store: Store, iam: Iam) -> Key:
    await store.create_bucket("data", owner="acme")
    await store.create_bucket("more", owner="acme")
    await store.put("data", "key", b"body")
    return await made(iam, roles=[("data", "ReadWrite"), ("more", "ReadWrite")])


@pytest.fixture
async def call(app: App, iam: Iam, parent: Key) -> Signing:
    """A session that may read and write in `data` only."""
    session = await session_of(iam, parent, allow(["s3:GetObject", "s3:PutObject"], DATA))
    return Signing(app, session)


async def test_in_headers(call: Signing, parent: Key) -> None:
    assert (await call("GET", "/data/key")).body == b"body"
    assert (await call("PUT", "/data/new", b"x")).status == 200
    assert (await call("DELETE", "/data/key")).code == "AccessDenied"
    assert (await call("PUT", "/more/new", b"x")).code == "AccessDenied"
    assert (await call.by(parent)("PUT", "/more/new", b"x")).status == 200


async def test_in_links(call: Signing) -> None:
    answer = await call.send("GET", call.link("GET", "/data/key"), [("host", HOST)])
    assert answer.body == b"body"
    more = await call.send("GET", call.link("GET", "/more/key"), [("host", HOST)])
    assert more.code == "AccessDenied"


async def test_in_chunked_uploads(call: Signing) -> None:
    key = call.key
    assert key is not None
    body = b"chunked body"
    mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    now = int(time.time())
    headers = {
        "host": HOST,
        "x-amz-security-token": key.token,
        "x-amz-decoded-content-length": str(len(body)),
        "content-encoding": "aws-chunked",
    }
    sent = sign_request(
        "PUT", "/data/chunked", "", headers, key_id=key.id, secret=key.secret, now_s=now,
        payload=mode,
    )  # fmt: skip
    scope = f"{sent['x-amz-date'][:8]}/auto/s3/aws4_request"
    seed = sent["authorization"].rpartition("=")[2]
    chain = ChunkChain(signing_key(key.secret, scope), sent["x-amz-date"], scope, seed)
    wire = encode_chunks([body], chain)
    sent["content-length"] = str(len(wire))
    assert (await call.send("PUT", "/data/chunked", list(sent.items()), wire)).status == 200
    assert (await call("GET", "/data/chunked")).body == body


def form(key: Key, bucket: str, **fields: str) -> tuple[list[tuple[str, str]], bytes]:
    now = int(time.time())
    amz_date = amz_date_of(now)
    scope = f"{amz_date[:8]}/auto/s3/aws4_request"
    named = {
        "key": "from-form",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{key.id}/{scope}",
        "x-amz-date": amz_date,
    } | fields
    policy = {
        "expiration": "2036-01-01T00:00:00Z",
        "conditions": [{name: value} for name, value in named.items()],
    }
    encoded = b64encode(json.dumps(policy).encode()).decode()
    signature = hmac.digest(signing_key(key.secret, scope), encoded.encode(), "sha256").hex()
    named |= {"policy": encoded, "x-amz-signature": signature}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in named.items()
    ]
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    body = ("".join(parts) + head + "bytes\r\n--b--\r\n").encode()
    pairs = [
        ("host", HOST),
        ("content-type", "multipart/form-data; boundary=b"),
        ("content-length", str(len(body))),
    ]
    return pairs, body


async def test_in_forms(call: Signing) -> None:
    assert call.key is not None
    pairs, body = form(call.key, "data", **{"x-amz-security-token": call.key.token})
    assert (await call.send("POST", "/data", pairs, body)).status == 204
    assert (await call("GET", "/data/from-form")).body == b"bytes"
    assert (await call.send("POST", "/more", pairs, body)).code == "AccessDenied"


async def test_forms_without_or_with_another_token(call: Signing, iam: Iam, parent: Key) -> None:
    assert call.key is not None
    other = await session_of(iam, parent)
    for fields, code in (
        ({}, "InvalidAccessKeyId"),
        ({"x-amz-security-token": other.token}, "InvalidToken"),
        ({"x-amz-security-token": "abc"}, "InvalidToken"),
    ):
        pairs, body = form(call.key, "data", **fields)
        assert (await call.send("POST", "/data", pairs, body)).code == code
    pairs, body = form(parent, "data", **{"x-amz-security-token": call.key.token})
    assert (await call.send("POST", "/data", pairs, body)).code == "InvalidToken"


def with_token(key: Key, token: str) -> Key:
    return key._replace(token=token)


async def test_tokens_that_are_refused(call: Signing, iam: Iam, parent: Key) -> None:
    """RustFS GHSA-5qfg and others; MinIO CVE-2026-33322, Ceph CVE-2024-48916 (alg none)."""
    key = call.key
    assert key is not None
    other = await session_of(iam, parent)
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."
    for token in (other.token, key.token[:-8], key.token + "AAAA", jwt, "x", "a b"):
        answer = await call.by(with_token(key, token))("GET", "/data/key")
        assert (answer.status, answer.code) == (400, "InvalidToken"), token
    assert (await call.by(with_token(key, ""))("GET", "/data/key")).code == "InvalidAccessKeyId"
    assert (await call.by(with_token(parent, key.token))("GET", "/data/key")).code == "InvalidToken"
    root = Key("tid_root", "tsec_root_secret", key.token)
    assert (await call.by(root)("GET", "/data/key")).code == "InvalidToken"


async def test_the_secret_belongs_to_the_token(call: Signing, iam: Iam, parent: Key) -> None:
    key = call.key
    assert key is not None
    wrong = Key(key.id, parent.secret, key.token)
    assert (await call.by(wrong)("GET", "/data/key")).code == "SignatureDoesNotMatch"


async def test_a_token_in_the_wrong_place(call: Signing) -> None:
    key = call.key
    assert key is not None
    bare = call.link("GET", "/data/key", token="")
    answer = await call.send("GET", bare, [("host", HOST), ("x-amz-security-token", key.token)])
    assert answer.code == "InvalidToken"
    link = call.link("GET", "/data/key")
    answer = await call.send("GET", link, [("host", HOST), ("x-amz-security-token", key.token)])
    assert answer.code == "InvalidToken"
    added = f"{bare}&X-Amz-Security-Token={key.token}"  # not signed
    assert (await call.send("GET", added, [("host", HOST)])).code == "SignatureDoesNotMatch"
    unsigned = sign_request(
        "GET", "/data/key", "", {"host": HOST}, key_id=key.id, secret=key.secret,
        now_s=int(time.time()),
    )  # fmt: skip
    pairs = [*unsigned.items(), ("x-amz-security-token", key.token)]
    assert (await call.send("GET", "/data/key", pairs)).code == "AccessDenied"


async def test_a_token_alone_is_nobody(call: Signing) -> None:
    """What Tigris' SDK sends for a browser's session; OpenStack CVE-2025-65073."""
    key = call.key
    assert key is not None
    pairs = [("host", HOST), ("x-amz-security-token", key.token)]
    assert (await call.send("GET", "/data/key", pairs)).code == "InvalidToken"


async def test_a_session_ends(
    app: App, iam: Iam, parent: Key, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await session_of(iam, parent, seconds=60)
    call = Signing(app, session)
    link = call.link("GET", "/data/key", expires_s=600)
    assert (await call("GET", "/data/key")).status == 200
    later = time.time_ns() + 61 * 10**9
    monkeypatch.setattr(app._clock, "now_ns", lambda: later, raising=False)
    answer = await call("GET", "/data/key", now_s=later // 10**9)
    assert (answer.status, answer.code) == (400, "ExpiredToken")
    assert (await call.send("GET", link, [("host", HOST)])).code == "ExpiredToken"


@pytest.mark.parametrize("how", ["deleted", "disabled"])
async def test_a_session_ends_with_its_parent(
    call: Signing, iam: Iam, parent: Key, how: str
) -> None:
    from amur.iam.model import Status

    assert (await call("GET", "/data/key")).status == 200
    if how == "deleted":
        await iam.directory.keys.delete(ACME, parent.id)
    else:
        await iam.directory.keys.update(ACME, parent.id, status=Status.INACTIVE)
    answer = await call("GET", "/data/key")
    assert answer.status in (400, 403)
    assert answer.code in ("InvalidToken", "InvalidAccessKeyId")


# --- keys ---
async def test_disabled_expired_and_rotated_keys(
    app: App, iam: Iam, parent: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B6: disabled key, replay after rotation."""
    from amur.iam.model import Status

    call = Signing(app, parent)
    assert (await call("GET", "/data/key")).status == 200
    new = await iam.directory.keys.rotate(ACME, parent.id)
    assert (await call("GET", "/data/key")).code == "SignatureDoesNotMatch"
    call = call.by(Key(parent.id, new))
    assert (await call("GET", "/data/key")).status == 200
    newer = await iam.directory.keys.rotate(ACME, parent.id, overlap_s=3600)
    assert (await call("GET", "/data/key")).status == 200
    call = call.by(Key(parent.id, newer))
    await iam.directory.keys.update(ACME, parent.id, status=Status.INACTIVE)
    answer = await call("GET", "/data/key")
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")
    assert "inactive" in (answer.xml.findtext("Message") or "")
    wrong = await call.by(Key(parent.id, "x"))("GET", "/data/key")
    assert wrong.code == "SignatureDoesNotMatch"  # who has not the secret learns nothing
    await iam.directory.keys.update(
        ACME, parent.id, status=Status.ACTIVE, expires_ns=time.time_ns() + 10**10
    )
    assert (await call("GET", "/data/key")).status == 200
    later = time.time_ns() + 11 * 10**9
    monkeypatch.setattr(app._clock, "now_ns", lambda: later, raising=False)
    answer = await call("GET", "/data/key")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "expired" in (answer.xml.findtext("Message") or "")


# --- guessing ---
async def test_guessing_is_slowed_down(store: Store, iam: Iam, parent: Key) -> None:
    """S17: beyond the limit the same key and address are not even looked at; others are."""
    app = App(store, iam, auth_failures_per_second=3)
    now = time.time_ns() // 10**9 * 10**9
    app._clock = FixedClock(now)  # type: ignore[assignment]
    guesser = Signing(app, Key(parent.id, "guess"))
    codes = [(await guesser("GET", "/data/key")).code for _ in range(5)]
    assert codes == ["SignatureDoesNotMatch"] * 3 + ["SlowDown"] * 2
    right = Signing(app, parent)
    assert (await right("GET", "/data/key")).code == "SlowDown"
    elsewhere = Signing(app, parent)
    elsewhere.client = "198.51.100.1:9"
    assert (await elsewhere("GET", "/data/key")).status == 200
    assert (await right.by(await session_of(iam, parent))("GET", "/data/key")).status == 200
    app._clock = FixedClock(now + 10**9)  # type: ignore[assignment]
    assert (await right("GET", "/data/key")).status == 200


class FixedClock:
    def __init__(self, now_ns: int) -> None:
        self._now = now_ns

    def now_ns(self) -> int:
        return self._now


async def test_unknown_ids_and_tokens_are_counted_too(store: Store, iam: Iam) -> None:
    app = App(store, iam, auth_failures_per_second=2)
    app._clock = FixedClock(time.time_ns())  # type: ignore[assignment]
    for number, (key, code) in enumerate(
        (
            (Key("tid_nobody", "x"), "InvalidAccessKeyId"),
            (Key("tses_x", "x", "abc"), "InvalidToken"),
        )
    ):
        call = Signing(app, key)
        call.client = f"192.0.2.{number}:1"
        codes = [(await call("GET", "/data/key")).code for _ in range(3)]
        assert codes == [code, code, "SlowDown"]
        again = call.by(Key("tid_another", "x"))
        again.client = call.client
        assert (await again("GET", "/data/key")).code == "SlowDown"


def test_the_counts_do_not_pile_up(store: Store, iam: Iam) -> None:
    from amur.gateway.errors import S3Error
    from amur.gateway.request import Request
    from amur.gateway.signers import FAILURES_KEPT_MAX, Signer, Signers

    signers = Signers(iam, 1, 1)
    for number in range(30_000):
        request: Any = Request("GET", "/", "", [("host", "h")], client=f"10.0.{number}:1")
        signers.failed(request, Signer(f"tid_{number}", None, ()), S3Error("InvalidAccessKeyId"))
    assert len(signers._failures) == FAILURES_KEPT_MAX


async def test_an_ipv6_network_is_one_address(store: Store, iam: Iam) -> None:
    app = App(store, iam, auth_failures_per_second=2)
    app._clock = FixedClock(time.time_ns())  # type: ignore[assignment]
    codes = []
    for last in ("1", "2", "ffff:1", "2:3:4:5"):
        call = Signing(app, Key(f"tid_{last}", "x"))
        call.client = f"2001:db8:0:1::{last}:443" if last != "2:3:4:5" else "2001:db8:0:2::1:443"
        codes.append((await call("GET", "/data/key")).code)
    assert codes == ["InvalidAccessKeyId"] * 2 + ["SlowDown", "InvalidAccessKeyId"]
