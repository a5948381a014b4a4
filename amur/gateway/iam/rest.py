"""The routes of the IAM port: the REST part, and `POST /`, which the S3 port has, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from amur.gateway.context import Context, Response
from amur.gateway.endpoints import IAM_QUERY, IAM_SERVICES, SIGNED, Endpoint
from amur.gateway.iam import organization
from amur.gateway.iam.authorize import authorize, signer
from amur.gateway.iam.call import Call
from amur.gateway.iam.operation import Need, Operation, of_caller
from amur.gateway.iam.params import BODY_BYTES_MAX, Params
from amur.gateway.iam.render import json_response
from amur.gateway.request import Request
from amur.iam.acl import Need as Right
from amur.iam.model import IamError


class Route(NamedTuple):
    """A path may end in `/*`: one more part."""

    method: str
    path: str
    operation: Operation


_C, _R, _A = Need.CALLER, Need.READ, Need.ADMIN
_NAMESPACES, _INVITATIONS = "/tigris-iam/namespaces", "/tigris-iam/invitations"
_TEAMS, _TEAM = "/tigris-iam/teams", "/tigris-iam/teams/*"

_WHOAMI = Operation("WhoAmI", "sts:GetCallerIdentity", _C, organization.whoami, of_caller)
_GET = Operation("GetOrganization", "iam:ListMembers", _R, organization.get_organization)
_LIST = Operation("ListOrganizations", "iam:ListOrganizations", _C, organization.list_organizations)
_CREATE = Operation(
    "CreateOrganization", "iam:CreateOrganization", Need.ROOT, organization.create_organization
)
_CHANGE = Operation("ChangeMembers", "iam:UpdateMember", _A, organization.change_members)
_INVITE = Operation("InviteMembers", "iam:InviteMember", _A, organization.invite)
_REVOKE = Operation("RevokeInvitations", "iam:RemoveMember", _A, organization.revoke_invitations)
_LIST_TEAMS = Operation("ListTeams", "iam:ListMembers", _R, organization.list_teams)
_CREATE_TEAM = Operation("CreateTeam", "iam:UpdateMember", _A, organization.create_team)
_UPDATE_TEAM = Operation("UpdateTeam", "iam:UpdateMember", _A, organization.update_team)
_DELETE_TEAM = Operation("DeleteTeam", "iam:UpdateMember", _A, organization.delete_team)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/users/whoami", _WHOAMI),
    Route("GET", "/users/get-org", _GET),
    Route("GET", _NAMESPACES, _LIST),
    Route("POST", _NAMESPACES, _CREATE),
    Route("PATCH", _NAMESPACES, _CHANGE),
    Route("POST", _INVITATIONS, _INVITE),
    Route("DELETE", _INVITATIONS, _REVOKE),
    Route("GET", _TEAMS, _LIST_TEAMS),
    Route("POST", _TEAMS, _CREATE_TEAM),
    Route("PATCH", _TEAM, _UPDATE_TEAM),
    Route("DELETE", _TEAM, _DELETE_TEAM),
)


async def answer_rest(operation: Operation, ctx: Context) -> Response:
    """Raises IamError, S3Error, StoreError: see `failures`."""
    access = signer(ctx)
    body = await ctx.body.read(BODY_BYTES_MAX)
    params = Params(ctx.request.params)
    call = Call(ctx, ctx.iam, params, access, access.principal.owner, body)
    await authorize(call, operation)
    return json_response((await operation.handler(call)).document)


_ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    (route.method, route.path): Endpoint(
        route.operation.name,
        f"{route.method} service",
        route.operation.action,
        Right.ACCOUNT,
        partial(answer_rest, route.operation),
        modes=SIGNED,
        headers="x-tigris-namespace",
        services=IAM_SERVICES,
    )
    for route in ROUTES
}
_PATHS = frozenset(path for _, path in _ENDPOINTS)


async def _no_method(ctx: Context) -> Response:
    raise IamError("MethodNotAllowed", f"{ctx.request.method} is not possible here.")


async def _no_path(ctx: Context) -> Response:
    raise IamError("NotFound", "This is the IAM endpoint, which has no such path.")


def _refusing(name: str, handler: Callable[[Context], Awaitable[Response]]) -> Endpoint:
    """What is asked for is not there: told as IAM's clients read it, whoever asks."""
    return Endpoint(
        name, "GET service", "sts:GetCallerIdentity", Right.ACCOUNT, handler, services=IAM_SERVICES
    )


_NO_METHOD = _refusing("IamNoMethod", _no_method)
_NO_PATH = _refusing("IamNoPath", _no_path)


def iam_route(request: Request) -> Endpoint:
    """The endpoint on the IAM port."""
    path = request.path
    if path == "/" and request.method == "POST":
        return IAM_QUERY
    found = _ENDPOINTS.get((request.method, path))
    if found is None:
        before, _, last = path.rpartition("/")
        path = f"{before}/*" if last else path
        found = _ENDPOINTS.get((request.method, path))
    if found is not None:
        return found
    is_known = request.path in _PATHS or path in _PATHS or request.path == "/"
    return _NO_METHOD if is_known else _NO_PATH
