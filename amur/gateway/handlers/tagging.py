from __future__ import annotations

from amur.gateway.context import Context, Response


async def get_object_tagging(ctx: Context) -> Response:
    raise NotImplementedError


async def put_object_tagging(ctx: Context) -> Response:
    raise NotImplementedError


async def delete_object_tagging(ctx: Context) -> Response:
    raise NotImplementedError
