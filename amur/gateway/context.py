"""What a handler is given and what it gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amur.gateway.policy_context import (
    COPIES,
    STORES,
    TOLD_BY_DOCUMENT,
    RequestContext,
    tags_of_header,
)
from amur.iam.acl import Need
from amur.iam.denials import Refused
from amur.iam.principal import ANONYMOUS

if TYPE_CHECKING:
    from amur.gateway.body import RequestBody
    from amur.gateway.endpoints import Endpoint
    from amur.gateway.request import Request
    from amur.gateway.rights import Rights
    from amur.gateway.signers import Signers
    from amur.iam.access import Access
    from amur.iam.principal import Principal
    from amur.iam.service import Iam
    from amur.objects.store import Permit, Store


@dataclass(slots=True)
class Context:
    """A request that was parsed, authenticated and authorised: handlers never do that again."""

    request: Request  # method, bucket, key, params, headers: see request.py
    endpoint: Endpoint
    access: Access | None  # what the caller's key may; None of the anonymous
    store: Store
    body: RequestBody  # bytes, or an async stream of decoded payload; verifies completeness
    signers: Signers  # for the policy of a form, which carries its signature among its fields
    now_s: int = 0  # wall clock when the request arrived, epoch seconds
    signed_s: int = 0  # when it was signed; 0: it was not
    permit: Permit | None = None  # for the store's reads; None when the bucket's right is enough
    rights: Rights | None = None  # in the request's bucket; None: everything
    _conditions: RequestContext | None = None

    @property
    def principal(self) -> Principal:
        return self.access.principal if self.access is not None else ANONYMOUS

    @property
    def iam(self) -> Iam:
        return self.signers.iam

    @property
    def conditions(self) -> RequestContext:
        """What policies may ask about this request."""
        if self._conditions is None:
            self._conditions = self._own_conditions()
        return self._conditions

    def _own_conditions(self) -> RequestContext:
        request, endpoint = self.request, self.endpoint
        made = self.conditions_of()
        params, headers, name = request.params, request.headers, endpoint.name
        made.is_read = not request.key
        if endpoint.need is Need.LIST and name != "HeadBucket":
            made.listing = {**params, "max-keys": params.get("max-keys") or "1000"}
        if request.key and params:
            made.version_id = params.get("versionId", "")
        if endpoint.action in STORES:
            made.headers = headers
        made.is_copy = name in COPIES
        if name in TOLD_BY_DOCUMENT:
            made.await_document(name)
        elif name == "CopyObject":
            if headers.get("x-tigris-rename", "").lower() == "true":  # the others are passed over
                made.headers = {"x-amz-copy-source": headers["x-amz-copy-source"]}
            elif headers.get("x-amz-tagging-directive") == "REPLACE":
                made.tags = tags_of_header(headers)
        elif endpoint.action == "s3:PutObject":
            made.tags = tags_of_header(headers)
        return made

    def conditions_of(self, *, version_id: str = "") -> RequestContext:
        """Of one object among others that the request is about; its version, "" for the newest."""
        region = self.store.core.region
        made = RequestContext(self.request, self.access, self.now_s, self.signed_s, region)
        made.version_id, made.tags = version_id, {}
        return made

    def note_refusal(self, action: str, resource: str, organization: str, reason: str) -> None:
        """For the audit."""
        request = self.request
        organization = organization or self.principal.owner
        refused = Refused(
            organization, self.principal.key_id, action, resource, reason, request.address
        )
        self.iam.refused(refused, request.id)


@dataclass(slots=True)
class Response:
    """Headers without request id, date and server: the app adds those."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None  # without Content-Length it goes out in chunks
    trailers: Callable[[], list[tuple[str, str]]] | None = None  # after a stream in chunks
    is_forwarded: bool = False  # another region's answer, which has all of its headers
