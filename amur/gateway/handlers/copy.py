from __future__ import annotations

from amur.gateway.context import Context, Response


async def copy_object(ctx: Context) -> Response:
    raise NotImplementedError
