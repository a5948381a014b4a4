from __future__ import annotations

from amur.gateway.context import Context, Response


async def create_upload(ctx: Context) -> Response:
    raise NotImplementedError


async def upload_part(ctx: Context) -> Response:
    raise NotImplementedError


async def upload_part_copy(ctx: Context) -> Response:
    raise NotImplementedError


async def complete_upload(ctx: Context) -> Response:
    raise NotImplementedError


async def abort_upload(ctx: Context) -> Response:
    raise NotImplementedError


async def list_uploads(ctx: Context) -> Response:
    raise NotImplementedError


async def list_parts(ctx: Context) -> Response:
    raise NotImplementedError
