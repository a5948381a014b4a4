"""What a handler is given and what it gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amur.gateway.body import RequestBody
    from amur.gateway.endpoints import Endpoint
    from amur.gateway.request import Request
    from amur.iam.keys import KeyRing
    from amur.iam.principal import Principal
    from amur.objects.store import Permit, Store


@dataclass(slots=True)
class Context:
    """A request that was parsed, authenticated and authorised: handlers never do that again."""

    request: Request  # method, bucket, key, params, headers: see request.py
    endpoint: Endpoint
    principal: Principal
    store: Store
    body: RequestBody  # bytes, or an async stream of decoded payload; verifies completeness
    keys: KeyRing  # for the policy of a form, which carries its signature among its fields
    now_s: int = 0  # wall clock when the request arrived, epoch seconds
    permit: Permit | None = None  # for the store's reads; None when the bucket's right is enough
    owns_bucket: bool = False  # the bucket's owner (or root): may delete versions, set any ACL


@dataclass(slots=True)
class Response:
    """Headers without request id, date and server: the app adds those."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None  # without Content-Length it goes out in chunks
    trailers: Callable[[], list[tuple[str, str]]] | None = None  # after a stream in chunks
    is_forwarded: bool = False  # another region's answer, which has all of its headers
