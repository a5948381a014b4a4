from __future__ import annotations

from amur.gateway.context import Context, Response


async def get_object_attributes(ctx: Context) -> Response:
    raise NotImplementedError
