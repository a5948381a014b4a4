"""S3: every endpoint x kind of caller x bucket, through the whole gateway, against the model.

Handlers are stood in for: whoever is refused must not have reached one, and what one would read has
to be permitted. So nothing of the storage was touched on a refusal but records that decide.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.gateway.authorize import authorize_key
from amur.gateway.context import Context, Response
from amur.gateway.endpoints import ALL, Endpoint
from amur.gateway.presign import sign_request
from amur.iam.acl import Need
from amur.iam.model import Actor, RoleGrant
from amur.iam.service import Iam
from amur.meta.memory import MemoryEngine
from amur.meta.records import BucketRecord
from amur.objects.store import Store
from amur.objects.types import Attributes
from tests.gateway.conftest import FakeExchange
from tests.security.access_model import Bucket, Caller, Rule, may
from tests.security.test_cves import HOST, bare
from tests.support.iam import iam_of

ROOT = ("tid_root", "tsec_root_secret")
SETTINGS = [("AKIAACME", "secret of acme", "acme"), ("AKIAEVE", "secret of eve", "eve")]
ACME, EVE = Actor("acme", "AKIAACME"), Actor("eve", "AKIAEVE")
ENDPOINTS = [e for e in ALL if not e.is_iam and "header" in e.modes]
CELLS_MIN = 5000


class Key(NamedTuple):
    """What a caller signs with. `id` "" is nobody."""

    id: str
    secret: str
    token: str = ""


NOBODY = Key("", "")


def document(rules: tuple[Rule, ...], actions: dict[str, str], *, for_all: bool = False) -> str:
    """The policy that says what the model's rules say."""
    statements = []
    for rule in rules:
        named = sorted({actions[name] for name in rule.operations or ()})
        name = rule.bucket or "*"
        resource = ["*"] if rule.bucket is None else [f"arn:aws:s3:::{name}{x}" for x in ("", "/*")]
        if for_all and rule.bucket is None:
            resource = ["arn:aws:s3:::bkt", "arn:aws:s3:::bkt/*"]
        statement: dict[str, Any] = {
            "Effect": "Allow" if rule.allows else "Deny",
            "Action": named or "s3:*",
            "Resource": resource,
        }
        if for_all:
            statement["Principal"] = "*"
        statements.append(statement)
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


ACTIONS = {endpoint.name: endpoint.action for endpoint in ENDPOINTS}


def same(endpoint: Endpoint) -> frozenset[str]:
    """A statement means an action, which may be of several operations."""
    return frozenset(name for name, action in ACTIONS.items() if action == endpoint.action)


def other(endpoint: Endpoint) -> frozenset[str]:
    action = "s3:GetBucketCORS" if endpoint.action != "s3:GetBucketCORS" else "s3:GetBucketAcl"
    return frozenset(name for name, each in ACTIONS.items() if each == action)


BUCKETS = [
    Bucket("bkt", "acme"),
    Bucket("bkt", "acme", "public-read-write"),
    Bucket("bkt", "acme", "public-read", ignores_acls=True),
    Bucket("bkt", "acme", rules=(Rule(True),)),
    Bucket("bkt", "acme", rules=(Rule(True),), restricts_policy=True),
    Bucket("bkt", "acme", "public-read-write", rules=(Rule(False),)),
    Bucket("bkt", "eve"),
    Bucket("bkt", "eve", "public-read"),
]


class World:
    """One bucket, with an object, and keys that are made when they are asked for."""

    def __init__(self, bucket: Bucket) -> None:
        clock = SystemClock()
        self.bucket = bucket
        self.store = Store(MemoryEngine(clock), MemoryDataStore(), clock)
        self.iam: Iam = iam_of(self.store, ROOT, SETTINGS)
        self.app = App(self.store, self.iam)
        self._keys: dict[object, Key] = {}

    async def fill(self) -> None:
        bucket = self.bucket
        block = [
            name
            for name, on in (
                ("IgnorePublicAcls", bucket.ignores_acls),
                ("RestrictPublicBuckets", bucket.restricts_policy),
            )
            if on
        ]
        policy = document(bucket.rules, ACTIONS, for_all=True) if bucket.rules else ""
        await self.store.create_bucket(
            BucketRecord(
                name="bkt", owner=bucket.owner, acl=bucket.acl, public_list=True, policy=policy,
                public_block=block,
            )
        )  # fmt: skip
        await self.store.put("bkt", "key", b"x", Attributes(owner=bucket.owner))

    async def key_of(self, caller: Caller) -> Key:
        if not caller.organization:
            return NOBODY
        if caller.is_root:
            return Key(*ROOT)
        name = repr(caller)
        if name not in self._keys:
            self._keys[name] = await self._made(caller)
        return self._keys[name]

    async def _made(self, caller: Caller) -> Key:
        actor = Actor(caller.organization, "maker")
        keys, policies = self.iam.directory.keys, self.iam.directory.policies
        roles = [RoleGrant(bucket, role) for bucket, role in caller.roles.items()]
        if caller.is_admin:
            roles = [RoleGrant("*", "NamespaceAdmin")]
        attached = []
        if caller.rules:
            text = document(caller.rules, ACTIONS)
            name = f"p{len(self._keys)}"
            attached = [(await policies.create(actor, name, text)).arn]
        if caller.has_lost_policy:
            attached.append(await self._lost(actor))
        made, secret = await keys.create(actor, "key", roles=roles, policies=attached)
        if caller.has_lost_policy:
            await self._lose(attached[-1])
        if caller.share:
            await keys.share(Actor(self.bucket.owner, "owner"), "bkt", made.id, caller.share)
        if caller.session is None:
            return Key(made.id, secret)
        access = await self.iam.find(made.id)
        assert access is not None
        policy = document(caller.session, ACTIONS)
        session = self.iam.issue_session(access, seconds=900, policy=policy)
        return Key(session.access_key_id, session.secret, session.token)

    async def _lost(self, actor: Actor) -> str:
        text = document((Rule(True),), ACTIONS)
        name = f"lost{len(self._keys)}"
        return (await self.iam.directory.policies.create(actor, name, text)).arn

    async def _lose(self, arn: str) -> None:
        from amur.iam import paths

        policy = await self.iam.directory.policies.get(arn.split(":")[4], arn)

        async def attempt(transaction: Any) -> None:
            assert await transaction.get(paths.policy(policy.id)) is not None
            transaction.remove(paths.policy(policy.id))

        await self.iam.directory.registry.transact(attempt)


def callers(endpoint: Endpoint) -> list[Caller]:
    """Kinds of callers; those with policies name the endpoint's own action, or another one."""
    this, that = same(endpoint), other(endpoint)
    plain = Caller("acme")
    return [
        Caller(),
        Caller("root", is_root=True),
        plain,
        Caller("acme", is_admin=True),
        *(Caller("acme", roles={"bkt": role}) for role in ("ReadOnly", "ReadWrite", "Editor")),
        Caller("acme", roles={"*": "ReadOnly"}),
        Caller("acme", roles={"bkt-2": "Editor"}),
        Caller("acme", rules=(Rule(True),)),
        Caller("acme", rules=(Rule(True, this),)),
        Caller("acme", rules=(Rule(True, that),)),
        Caller("acme", rules=(Rule(True, this, "bkt"),)),
        Caller("acme", rules=(Rule(True, this, "bkt-2"),)),
        Caller("acme", rules=(Rule(True), Rule(False, this))),
        Caller("acme", rules=(Rule(False, that),), roles={"bkt": "Editor"}),
        Caller("acme", is_admin=True, rules=(Rule(False, this, "bkt"),)),
        Caller("acme", is_admin=True, has_lost_policy=True),
        Caller("acme", is_admin=True, session=(Rule(True, this),)),
        Caller("acme", is_admin=True, session=(Rule(True, that),)),
        Caller("acme", session=(Rule(True),)),
        Caller("acme", is_admin=True, session=(Rule(True), Rule(False, this, "bkt"))),
        Caller("eve"),
        Caller("eve", is_admin=True),
        Caller("eve", rules=(Rule(True),)),
    ]


def with_share(kinds: list[Caller], bucket: Bucket) -> list[Caller]:
    """A share is for a key of another organization."""
    stranger = "eve" if bucket.owner == "acme" else "acme"
    return [
        *kinds,
        Caller(stranger, share="ReadOnly"),
        Caller(stranger, share="ExternalCollaborator"),
        Caller(stranger, share="Editor", rules=(Rule(False),)),
    ]


def stand_in(endpoint: Endpoint, reached: list[str]) -> Any:
    """A handler that asks of each key what the real one asks."""

    async def handler(ctx: Context) -> Response:
        if endpoint.name == "DeleteObjects":
            await authorize_key(ctx, "s3:DeleteObject", "key", "")
        elif ctx.permit is not None and endpoint.need in (Need.READ, Need.OBJECT_OWNER):
            ctx.permit("key", await ctx.store.head("bkt", "key"))
        reached.append(endpoint.name)
        return Response(204)

    return handler


async def status_of(app: App, endpoint: Endpoint, key: Key) -> int:
    path, query = bare(endpoint)
    headers = {"host": HOST, "content-length": "0"}
    if "Copy" in endpoint.name:
        headers["x-amz-copy-source"] = "bkt/key"
    if key.token:
        headers["x-amz-security-token"] = key.token
    if endpoint.name.endswith("Version"):
        query = query.replace("=2", "=null")
    if key.id:
        headers = sign_request(
            endpoint.method, path, query, headers, key_id=key.id, secret=key.secret,
            now_s=int(time.time()),
        )  # fmt: skip
    exchange = FakeExchange(endpoint.method, f"{path}?{query}", list(headers.items()), b"")
    await app(exchange)  # type: ignore[arg-type]
    return exchange.status


@pytest.fixture
async def worlds() -> list[World]:
    made = [World(bucket) for bucket in BUCKETS]
    for world in made:
        await world.fill()
    return made


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
async def test_matrix(
    endpoint: Endpoint, worlds: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []
    monkeypatch.setattr(endpoint, "handler", stand_in(endpoint, reached))
    cells = 0
    for world in worlds:
        for caller in with_share(callers(endpoint), world.bucket):
            reached.clear()
            status = await status_of(world.app, endpoint, await world.key_of(caller))
            expected = may(endpoint.name, caller, world.bucket)
            assert status == (204 if expected else 403), (caller, world.bucket)
            assert bool(reached) is expected
            cells += 1
    assert cells * len(ENDPOINTS) >= CELLS_MIN
