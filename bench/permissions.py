"""What it costs to find out who asks and what they may: CPU of one GET's decision, in process.

The metadata engine is LMDB, as in a server. Kinds of callers take turns, round after round, and
each one's best round counts: on a machine that is not ours alone the others tell of the neighbours.
The GET itself (parsing, the signature, the object) is in the last figures only, where the decision
shares the processor's caches with all the rest; the HTTP server and the socket are in none.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.gateway.authorize import authorize
from amur.gateway.context import Context
from amur.gateway.endpoints import BY_NAME
from amur.gateway.presign import sign_request
from amur.gateway.request import Request
from amur.gateway.signers import Signers
from amur.iam.keys import StaticKey, static_keys
from amur.iam.model import Actor, RoleGrant
from amur.iam.sealing import MasterKey
from amur.iam.service import Iam
from amur.meta.lmdb_engine import LmdbEngine
from amur.objects.store import Store
from bench.rows import Row

ACME = Actor("acme", "bench")
POLICIES = 10
CALLS = 4000  # of one caller in one round
TARGET_US = 10.0
_SESSION = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
    }
)

WHOLE = ("the root key", "a key of the settings", "ten policies, with IP and time")


def policy(number: int, *, conditions: bool) -> str:
    """One of ten: four statements, of which only those of the last have to do with the bucket."""
    bucket = "bench" if number == POLICIES - 1 else f"data{number}"
    window: dict[str, Any] = {
        "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
        "DateLessThan": {"aws:CurrentTime": "2036-01-01T00:00:00Z"},
    }
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]},
        {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": ["arn:aws:s3:::bench/*"]},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": [f"arn:aws:s3:::{bucket}"]},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": [f"arn:aws:s3:::{bucket}/*"]},
    ]
    if conditions:
        statements[3]["Condition"] = window
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class Exchange:
    """One signed GET, as the HTTP server hands it over."""

    method, path, query, scheme = "GET", "/bench/key", "", "http"
    client, target, received, length, is_whole = "192.0.2.7:4711", b"/bench/key", 0, 0, True

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        self.status = 0

    async def read(self) -> bytes:
        return b""

    def answer(self, status: int, headers: object, body: bytes = b"") -> None:
        self.status = status


class Permissions:
    """Fills `rows`."""

    def __init__(self, work: Path, rounds: int) -> None:
        self._work = work
        self._rounds = rounds
        self._first = 0.0
        self.rows: list[Row] = []

    def fill(self) -> None:
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        clock = SystemClock()
        engine = LmdbEngine(self._work / "permissions", clock)
        store = Store(engine, MemoryDataStore(), clock)
        static = static_keys(("tid_root", "s"), [StaticKey("AKIAACME", "secret", "acme")])
        iam = Iam(store.core, MasterKey([bytes(32)]), static)
        await store.create_bucket("bench", owner="acme")
        await store.put("bench", "key", bytes(1024))
        names = await self._keys(iam)
        request = Request("GET", "/bench/key", "", [("host", "h")], client="192.0.2.7:4711")
        request.parse()
        signers, now_s = Signers(iam, 1), int(time.time())

        async def decide(key_id: str, token: str) -> None:
            access = await iam.find(key_id, token)
            endpoint, body = BY_NAME["GetObject"], None
            ctx = Context(request, endpoint, access, store, body, signers, now_s, now_s)  # type: ignore[arg-type]
            await authorize(ctx)

        app = App(store, iam)
        pairs = {}
        for name in WHOLE:
            key_id, _ = names[name]
            access = await iam.find(key_id)
            assert access is not None
            secret = access.secrets[0].secret
            headers = {"host": "s3.bench"}
            pairs[name] = list(
                sign_request(
                    "GET", "/bench/key", "", headers, key_id=key_id, secret=secret, now_s=now_s
                ).items()
            )

        async def whole(name: str) -> None:
            exchange = Exchange(pairs[name])
            await app(exchange)  # type: ignore[arg-type]
            assert exchange.status == 200, exchange.status

        calls = {name: partial(decide, *names[name]) for name in names}
        calls |= {f"a whole GET: {name}": partial(whole, name) for name in WHOLE}
        best = dict.fromkeys(calls, float("inf"))
        gc.collect()
        gc.freeze()
        gc.disable()
        for _ in range(self._rounds):
            for name, call in calls.items():
                began = time.process_time()
                for _ in range(CALLS):
                    await call()
                best[name] = min(best[name], (time.process_time() - began) / CALLS * 1e6)
        gc.enable()
        await self._after_a_change(iam, names)
        await store.close()
        root = best["the root key"]
        for name, spent in best.items():
            is_whole = name.startswith("a whole GET")
            more = spent - (best["a whole GET: the root key"] if is_whole else root)
            is_aim = "ten policies" in name and not is_whole
            target = f"at most {TARGET_US:g} us more than root" if is_aim else ""
            holds = more <= TARGET_US if is_aim else None
            self.rows.append(Row(name, spent, "us", target, holds, ratio=more))
        self.rows.append(Row("the first request after a change, ten policies", self._first, "us"))

    async def _keys(self, iam: Iam) -> dict[str, tuple[str, str]]:
        directory = iam.directory
        arns: dict[bool, list[str]] = {}
        for conditions in (False, True):
            arns[conditions] = [
                (
                    await directory.policies.create(
                        ACME, f"p{number}-{conditions}", policy(number, conditions=conditions)
                    )
                ).arn
                for number in range(POLICIES)
            ]
        role, _ = await directory.keys.create(ACME, "r", roles=[RoleGrant("bench", "ReadOnly")])
        one, _ = await directory.keys.create(ACME, "o", policies=arns[False][-1:])
        ten, _ = await directory.keys.create(ACME, "t", policies=arns[False])
        bound, _ = await directory.keys.create(ACME, "b", policies=arns[True])
        parent = await iam.find(bound.id)
        assert parent is not None
        session = iam.issue_session(parent, seconds=3600, policy=_SESSION)
        return {
            "the root key": ("tid_root", ""),
            "a key of the settings": ("AKIAACME", ""),
            "a role on the bucket": (role.id, ""),
            "one policy": (one.id, ""),
            "ten policies, 40 statements": (ten.id, ""),
            "ten policies, with IP and time": (bound.id, ""),
            "its session, with a policy of its own": (session.access_key_id, session.token),
        }

    async def _after_a_change(self, iam: Iam, names: dict[str, tuple[str, str]]) -> None:
        """What the first request pays: the key is read, opened and compiled again."""
        key_id, _ = names["ten policies, with IP and time"]
        spent = []
        for number in range(20):
            await iam.directory.keys.update(ACME, key_id, name=f"n{number}")
            began = time.process_time()
            await iam.find(key_id)
            spent.append((time.process_time() - began) * 1e6)
        self._first = min(spent)
