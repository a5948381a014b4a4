"""One call of an operation, as handlers get it: parsed, and allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amur.iam.model import Actor

if TYPE_CHECKING:
    from amur.gateway.context import Context
    from amur.gateway.iam.params import Params
    from amur.gateway.iam.render import Answer
    from amur.iam.access import Access
    from amur.iam.directory import Directory
    from amur.iam.principal import Principal
    from amur.iam.service import Iam


@dataclass(slots=True)
class Call:
    """`organization` is whose directory is asked: the caller's own, or what root has named."""

    ctx: Context
    iam: Iam
    params: Params
    access: Access
    organization: str
    body: bytes = b""  # of the REST part
    subject: str = ""  # id of the key that it is about, which was authorised; "" of all or none

    @property
    def principal(self) -> Principal:
        return self.access.principal

    @property
    def directory(self) -> Directory:
        return self.iam.directory

    @property
    def actor(self) -> Actor:
        """For the audit, and as creator."""
        request = self.ctx.request
        return Actor(self.organization, self.principal.key_id, request.address, request.id)


Handler = Callable[[Call], Awaitable["Answer"]]
