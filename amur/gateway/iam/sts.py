"""Temporary keys, and who am I."""

from __future__ import annotations

import re

from amur.gateway.iam.call import Call
from amur.gateway.iam.render import Answer, iso
from amur.iam.model import IamError, key_arn
from amur.iam.principal import Principal
from amur.iam.sessions import POLICY_CHARS_MAX, SECONDS_MAX, SECONDS_MIN, SessionCredentials

SECONDS_DEFAULT = 12 * 3600  # AWS
_NAME = re.compile(r"[\w+=,.@-]{2,32}", re.ASCII)  # AWS, of a federated user


def _federated_arn(principal: Principal, name: str) -> str:
    return f"arn:aws:sts::{principal.owner}:federated-user/{name}"


async def caller_identity(call: Call) -> Answer:
    """A session without a policy of its own is its parent; another is a federated user."""
    principal = call.principal
    key_id = principal.parent or principal.key_id
    arn, user = key_arn(principal.owner, key_id), key_id
    if call.access.session is not None:
        arn, user = _federated_arn(principal, principal.name), f"{key_id}:{principal.name}"
    return Answer({"UserId": user, "Account": principal.owner, "Arn": arn})


def _seconds(call: Call) -> int:
    """Ours go beyond AWS's 900 seconds to 36 hours, at both ends."""
    return call.params.number("DurationSeconds", SECONDS_DEFAULT, SECONDS_MIN, SECONDS_MAX)


def _credentials(issued: SessionCredentials) -> dict[str, str]:
    return {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.token,
        "Expiration": iso(issued.expires_ns),
    }


async def session_token(call: Call) -> Answer:
    """With all rights of its parent, but for administering."""
    if "SerialNumber" in call.params or "TokenCode" in call.params:
        raise IamError("ValidationError", "There are no multi-factor devices here.")
    issued = call.iam.issue_session(call.access, seconds=_seconds(call))
    return Answer({"Credentials": _credentials(issued)})


async def federation_token(call: Call) -> Answer:
    """Narrowed by a policy, which must be there: AWS gives a federated user no rights without."""
    params = call.params
    name = params.required("Name")
    if not _NAME.fullmatch(name):
        raise IamError("ValidationError", "Name is 2 to 32 letters, digits and any of +=,.@-_")
    if params.structures("PolicyArns") or params.members("PolicyArns"):
        raise IamError("ValidationError", "Give the policy's document as Policy, not PolicyArns.")
    policy = params.text("Policy")
    if not policy:
        raise IamError(
            "ValidationError",
            "Give a Policy that narrows the key. For one with the same rights use GetSessionToken.",
        )
    issued = call.iam.issue_session(call.access, seconds=_seconds(call), policy=policy, name=name)
    user = {
        "FederatedUserId": f"{call.principal.owner}:{name}",
        "Arn": _federated_arn(call.principal, name),
    }
    return Answer(
        {
            "Credentials": _credentials(issued),
            "FederatedUser": user,
            "PackedPolicySize": 100 * len(policy) // POLICY_CHARS_MAX,  # percent
        }
    )
