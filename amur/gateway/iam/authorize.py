"""Who may call an operation: one function, before any handler.

Administering asks for a key that nothing restricts (decision 5), whatever a policy allows; reading
is what roles and policies are asked for, and about itself every key may ask. An explicit Deny
refuses all of it. A session may what its policy and its parent's rights allow, nothing by itself.
"""

from __future__ import annotations

from amur.gateway.context import Context
from amur.gateway.iam.call import Call
from amur.gateway.iam.operation import Need, Operation
from amur.iam.access import Access
from amur.iam.model import IamError, NoSuchEntity, key_arn

NAMESPACE_HEADER = "x-tigris-namespace"
ALL_ORGANIZATIONS = "AllOrganizations"
ADMINISTERING = (
    "it is for an administrator whom nothing restricts: a key with the role NamespaceAdmin, "
    "no expiry and no attached policy, and not a session"
)


def signer(ctx: Context) -> Access:
    """Raises IamError for the anonymous."""
    if ctx.access is None:
        raise IamError("MissingAuthenticationToken", "The request is not signed by an access key.")
    return ctx.access


async def authorize(call: Call, operation: Operation) -> None:
    """Sets `organization` and `subject`: who asks without rights is asked about his own key.

    Raises AccessDenied, which is noted for the audit.
    """
    await _choose_organization(call, operation)
    call.subject = operation.subject(call)
    principal = call.principal
    if principal.is_root and not principal.parent:
        return
    resource = operation.resource(call)
    reason = _why_not(call, operation, resource)
    if reason:
        raise _refused(call, operation, resource, reason)
    if operation.guard is not None:
        await operation.guard(call, operation.action)


def may_read(call: Call, action: str, key_id: str) -> bool:
    """Whether the caller, whose conditions `authorize` has prepared, may do this to a key, too."""
    resource = key_arn(call.organization, key_id)
    verdict = call.iam.elsewhere(call.access, action, resource, call.ctx.conditions)
    is_own = key_id == call.principal.key_id and not call.principal.parent
    return verdict.is_allowed or (is_own and not verdict.is_explicit)


async def _choose_organization(call: Call, operation: Operation) -> None:
    """The organization that is named, which must be the caller's own, unless he is root."""
    header = call.ctx.request.headers.get(NAMESPACE_HEADER, "")
    named = call.params.text("OrganizationId") or header
    if header and named != header:
        raise IamError("ValidationError", f"OrganizationId and {NAMESPACE_HEADER} differ.")
    asks_all = call.params.flag(ALL_ORGANIZATIONS)
    if named in ("", call.principal.owner) and not asks_all:
        return
    if not call.principal.is_root:
        resource = f"arn:aws:iam::{'*' if asks_all else named}:*"
        raise _refused(call, operation, resource, "the key is of another organization")
    if named and named not in await call.iam.organizations():
        raise NoSuchEntity(f"The organization {named} does not exist.")
    call.organization = named or call.principal.owner


def _refused(call: Call, operation: Operation, resource: str, reason: str) -> IamError:
    call.ctx.note_refusal(operation.action, resource, call.principal.owner, reason)
    who = call.principal.key_id
    return IamError("AccessDenied", f"{who} may not {operation.action} on {resource}: {reason}.")


def _why_not(call: Call, operation: Operation, resource: str) -> str:
    """Why it is refused, "" when it is not."""
    principal, need = call.principal, operation.need
    conditions = call.ctx.conditions
    conditions.read(None)  # no object is asked about: it has no tags,
    conditions.tags = {}  # and neither has the request, as S3 understands it
    verdict = call.iam.elsewhere(call.access, operation.action, resource, conditions)
    if verdict.is_explicit or call.access.has_lost_policy:
        return str(verdict)
    if need is Need.CALLER:
        return ""
    if need is Need.KEY:
        return "a session can't make sessions" if principal.parent else ""
    if need is Need.ADMIN:
        return "" if principal.may_administer else ADMINISTERING
    if need is Need.ROOT:
        return "it is for the root key"
    if verdict.is_allowed:
        return ""
    is_own = not principal.parent and call.subject in ("", principal.key_id)
    if need is Need.SELF_OR_READ and is_own:
        call.subject = principal.key_id
        return ""
    return str(verdict)
