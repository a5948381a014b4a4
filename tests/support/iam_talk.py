"""The IAM and STS APIs over memory, without HTTP; botocore makes requests and reads answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlencode

import botocore.session
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.body import RequestBody, Taken
from amur.gateway.context import Context, Response
from amur.gateway.endpoints import Endpoint
from amur.gateway.iam.failures import failure
from amur.gateway.iam.rest import iam_route
from amur.gateway.request import Request
from amur.gateway.signers import Signers
from amur.gateway.sigv4 import Authentication
from amur.iam.keys import StaticKey, static_keys
from amur.iam.model import Actor, RoleGrant
from amur.iam.sealing import MasterKey
from amur.iam.service import Iam
from amur.meta.engine import Engine
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from tests.support.interleaving import InterleavedEngine

ROOT = ("AKIAROOTOFALL0000", "the secret of root")
ACME = StaticKey("AKIAACME000000000", "the secret of acme", "acme")
OTHER = StaticKey("AKIAOTHER00000000", "the secret of other", "other")
READER = (
    '{"Version":"2012-10-17",'
    '"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}'
)
ADMIN_ROLE = RoleGrant("*", "NamespaceAdmin")

_MODELS = botocore.session.get_session()


class Caller(NamedTuple):
    """Who signs; nobody without an id."""

    key_id: str = ""
    token: str = ""
    secret: str = ""


class ApiError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """One region's API over memory."""

    def __init__(self, chance: Random | None = None) -> None:
        """`chance` lets requests that come at once be served between each other's steps."""
        clock = SystemClock()
        engine: Engine = MemoryEngine(clock)
        if chance is not None:
            engine = InterleavedEngine(engine, chance)
        self.store = Store(engine, MemoryDataStore(), clock, region="fra")
        master = MasterKey([bytes(range(32))])
        self.iam = Iam(self.store.core, master, static_keys(ROOT, [ACME, OTHER]))
        self.root = Caller(ROOT[0])
        self.acme = Caller(ACME.id)
        self.other = Caller(OTHER.id)
        self.signers = Signers(self.iam, max_expires_s=3600)
        self.requests = 0

    async def key(self, name: str = "a key", organization: str = "acme", **more: Any) -> Caller:
        """A key that exists before the test begins. `more` as for `Keys.create`."""
        actor = Actor(organization, "somebody")
        key, secret = await self.iam.directory.keys.create(actor, name, **more)
        return Caller(key.id, secret=secret)

    async def policy(self, name: str = "reader", document: str = READER) -> str:
        """Its ARN."""
        actor = Actor("acme", "somebody")
        return (await self.iam.directory.policies.create(actor, name, document)).arn

    async def session(self, parent: Caller, policy: str = "") -> Caller:
        access = await self.iam.find(parent.key_id)
        assert access is not None
        issued = self.iam.issue_session(access, seconds=900, policy=policy, name="narrowed")
        return Caller(issued.access_key_id, issued.token, issued.secret)

    async def send(
        self,
        caller: Caller,
        method: str = "POST",
        target: str = "/",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Told:
        """One request on the IAM port."""
        path, _, query = target.partition("?")
        sent = {"host": "iam.test", "content-length": str(len(body))} | (headers or {})
        if body and "content-type" not in sent:
            sent["content-type"] = "application/x-www-form-urlencoded"
        self.requests += 1
        request = Request(
            method, path, query, list(sent.items()), client="192.0.2.7:4711",
            request_id=f"request-{self.requests}",
        )  # fmt: skip
        try:
            request.parse()
            endpoint = iam_route(request)
            response = await endpoint.handler(await self._context(caller, request, endpoint, body))
        except Exception as error:
            if type(error) in (AssertionError, TypeError, AttributeError, KeyError):
                raise
            response = failure(request, error)
        assert isinstance(response, Response)
        return Told(response.status, dict(response.headers), response.body)

    async def _context(
        self, caller: Caller, request: Request, endpoint: Endpoint, body: bytes
    ) -> Context:
        access = await self.iam.find(caller.key_id, caller.token) if caller.key_id else None
        assert (access is None) == (not caller.key_id)
        stream = RequestBody(Taken(body), request.headers, Authentication("anonymous"))
        now_s = self.store.core.clock.now_ns() // 10**9
        return Context(request, endpoint, access, self.store, stream, self.signers, now_s)

    async def ask(
        self, caller: Caller, action: str, headers: dict[str, str] | None = None, **params: str
    ) -> Any:
        """In JSON, the way of Tigris' clients. Raises ApiError."""
        sent = {"accept": "application/json"} | (headers or {})
        told = await self.send(
            caller, "POST", f"/?Action={action}", urlencode(params).encode(), sent
        )
        if told.status != 200:
            raise ApiError(told.status, told.json["Code"], told.json["Message"])
        return told.json

    async def aws(self, caller: Caller, operation: str, **arguments: Any) -> Any:
        """In XML, as boto3 does it. Raises ApiError."""
        service = "sts" if operation in STS else "iam"
        model = _MODELS.get_service_model(service)
        shape = model.operation_model(operation)
        made = create_serializer(model.metadata["protocol"]).serialize_to_request(arguments, shape)
        body = urlencode(made["body"]).encode()
        told = await self.send(caller, body=body, headers=dict(made["headers"]) | _FORM)
        answer = {"body": told.body, "headers": told.headers, "status_code": told.status}
        found = create_parser(model.metadata["protocol"]).parse(answer, shape.output_shape)
        assert found["ResponseMetadata"]["RequestId"] == f"request-{self.requests}"
        if told.status != 200:
            assert found["Error"]["Type"] == ("Sender" if told.status < 500 else "Receiver")
            raise ApiError(told.status, found["Error"]["Code"], found["Error"]["Message"])
        return found

    async def rest(
        self, caller: Caller, method: str, path: str, document: Any = None
    ) -> tuple[int, Any]:
        body = b"" if document is None else json.dumps(document).encode()
        told = await self.send(caller, method, path, body, {"content-type": "application/json"})
        return told.status, told.json

    async def events(self, organization: str | None = "acme") -> list[tuple[str, str]]:
        """Actions and decisions, newest first."""
        await self.iam.flush()
        found, _ = await self.iam.directory.events(organization)
        return [(event.action, event.decision) for event in found]


STS = frozenset({"GetCallerIdentity", "GetSessionToken", "GetFederationToken", "AssumeRole"})
_FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def names(rows: Iterable[dict[str, Any]], member: str) -> list[str]:
    return [row[member] for row in rows]
