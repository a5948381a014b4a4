from __future__ import annotations

from amur.gateway.context import Context, Response


async def get_object(ctx: Context) -> Response:
    raise NotImplementedError


async def head_object(ctx: Context) -> Response:
    raise NotImplementedError
