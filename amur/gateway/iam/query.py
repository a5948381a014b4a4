"""`POST /`: the query protocol of IAM and STS, from the body to the answer."""

from __future__ import annotations

from amur.gateway.context import Context, Response
from amur.gateway.iam.authorize import authorize, signer
from amur.gateway.iam.call import Call
from amur.gateway.iam.operations import find
from amur.gateway.iam.params import BODY_BYTES_MAX, read_params
from amur.gateway.iam.render import response


async def answer_query(ctx: Context) -> Response:
    """Raises IamError, S3Error, StoreError: see `failures`."""
    access = signer(ctx)
    request = ctx.request
    body = await ctx.body.read(BODY_BYTES_MAX)
    params = read_params(request.params, request.headers.get("content-type", ""), body)
    operation = find(params.text("Action"))
    call = Call(ctx, ctx.iam, params, access, access.principal.owner)
    await authorize(call, operation)
    answer = await operation.handler(call)
    json = request.wants_json or operation.is_ours
    return response(answer, operation.name, operation.service, request.id, json=json)
