"""Keys of the directory, and clients that sign with them, for tests of the gateway in process."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from amur.gateway.presign import presign_url, sign_request
from amur.iam.model import Actor, RoleGrant
from amur.iam.service import Iam
from tests.gateway.conftest import HOST, Answer, FakeExchange

ACME = Actor("acme", "maker")


class Key(NamedTuple):
    id: str
    secret: str
    token: str = ""


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: Sequence[str] | str, resources: Sequence[str] | str, **more: Any) -> Any:
    """`more` are other members of the statement, such as Condition."""
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def deny(actions: Sequence[str] | str, resources: Sequence[str] | str, **more: Any) -> Any:
    return {"Effect": "Deny", "Action": actions, "Resource": resources, **more}


async def made(
    iam: Iam,
    *statements: dict[str, Any],
    roles: Sequence[tuple[str, str]] = (),
    actor: Actor = ACME,
    **more: Any,
) -> Key:
    """A key with these roles and a policy of these statements."""
    arns = []
    if statements:
        name = f"p{time.monotonic_ns()}"
        policy = await iam.directory.policies.create(actor, name, document(*statements))
        arns = [policy.arn]
    grants = [RoleGrant(*each) for each in roles]
    key, secret = await iam.directory.keys.create(actor, "k", roles=grants, policies=arns, **more)
    return Key(key.id, secret)


async def session_of(iam: Iam, key: Key, *statements: dict[str, Any], seconds: int = 900) -> Key:
    access = await iam.find(key.id)
    assert access is not None
    policy = document(*statements) if statements else ""
    made = iam.issue_session(access, seconds=seconds, policy=policy)
    return Key(made.access_key_id, made.secret, made.token)


class Signing:
    """`await call("GET", "/bucket?acl")`, signed by a key; None is nobody."""

    def __init__(self, app: Any, key: Key | None) -> None:
        self.app = app
        self.key = key
        self.client = "192.0.2.7:4711"

    def by(self, key: Key | None) -> Signing:
        return Signing(self.app, key)

    async def __call__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        now_s: int = 0,
        service: str = "s3",
    ) -> Answer:
        path, _, query = target.partition("?")
        sent = {"host": HOST, "content-length": str(len(body))} | (headers or {})
        key = self.key
        if key is not None:
            if key.token:
                sent.setdefault("x-amz-security-token", key.token)
            sent = sign_request(
                method, path, query, sent, key_id=key.id, secret=key.secret,
                now_s=now_s or int(time.time()), service=service, payload=sha256(body).hexdigest(),
            )  # fmt: skip
        return await self.send(method, target, list(sent.items()), body)

    async def send(
        self, method: str, target: str, pairs: list[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        exchange = FakeExchange(method, target, pairs, body)
        exchange.client = self.client
        await self.app(exchange)
        return Answer(exchange)

    def link(
        self,
        method: str,
        target: str,
        *,
        expires_s: int = 60,
        now_s: int = 0,
        token: str | None = None,
    ) -> str:
        """Path and query of a presigned request; `token` other than the key's own, "" for none."""
        assert self.key is not None
        path, _, query = target.partition("?")
        pairs = [(n, v) for n, _, v in (each.partition("=") for each in query.split("&") if each)]
        given = self.key.token if token is None else token
        if given:
            pairs.append(("X-Amz-Security-Token", given))
        url = presign_url(
            method, f"http://{HOST}", path, pairs, key_id=self.key.id, secret=self.key.secret,
            now_s=now_s or int(time.time()), expires_s=expires_s,
        )  # fmt: skip
        return url.removeprefix(f"http://{HOST}")
