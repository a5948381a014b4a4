from __future__ import annotations

from amur.gateway.context import Context, Response


async def delete_object(ctx: Context) -> Response:
    raise NotImplementedError


async def delete_objects(ctx: Context) -> Response:
    raise NotImplementedError
