"""`amur access-keys create`: a key with its rights from the start, and what was made on the way is
taken back when a step fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import msgspec
import typer

from amur.cli import moments
from amur.cli import policy_source as source
from amur.cli.buckets import pairs
from amur.cli.exports import ADMIN, export_lines, roles_shown
from amur.cli.iam_remote import IamRemote
from amur.cli.remote import Problem

ROLES = ("ReadOnly", "ReadWrite", "Editor")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9+=,.@_-]+")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the key, for people.")]
Buckets = Annotated[
    list[str] | None,
    typer.Option("--bucket", metavar="BUCKET", help="With --role; * is every; may be repeated."),
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE", help=f"{', '.join(ROLES)}: one for each, or for all."),
]
Admin = Annotated[
    bool, typer.Option("--admin", help="Everything in the organization, keys and policies, too.")
]


class MadePolicy(NamedTuple):
    name: str
    arn: str
    document: str


def create(
    iam: IamRemote,
    name: Name,
    bucket: Buckets = None,
    role: Roles = None,
    admin: Admin = False,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="POLICY", help="Name or ARN; may be repeated."),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME|SPAN", help="It stops by itself: 12h, 7d.")
    ] = "",
    member: Annotated[
        str, typer.Option("--member", metavar="ID|EMAIL", help="It goes with the member.")
    ] = "",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    template: source.TemplateName = "",
    policy_name: Annotated[
        str, typer.Option("--policy-name", help="Of the template's policy [the key's name].")
    ] = "",
    dataset: source.Datasets = None,
    base_models: source.BaseModels = None,
    output: source.ResultBucket = "",
    prefix: source.Prefix = "",
    address: source.Addresses = None,
    start: source.Start = "",
    end: source.End = "",
    param: source.Param = None,
) -> None:
    """Make an access key; with --template also its policy, and the key ends when that does.

    amur access-keys create job --template training-job --dataset wiki --base-models base
    --output tuned --start now --end 12h
    """
    given = {
        "datasets": dataset, "models": base_models, "output": output, "prefix": prefix,
        "addresses": address, "start": start, "end": end,
    }  # fmt: skip
    if not template and (policy_name or param or any(given.values())):
        raise Problem("these options are of a template: give --template, too")
    document, ends, bucket = "", "", list(bucket or ())
    if template:
        if not role and not admin:
            given["bucket"], bucket = bucket, []
        chosen = source.template_of(template)
        values = source.parameters(chosen, given, param or ())
        document, ends = source.build(chosen, values), values.get("end", "")
    request: dict[str, Any] = {
        "req_uuid": str(uuid4()), "name": name, "tags": pairs(tag or ()),
        "buckets_role": grants_of(bucket, role or (), admin=admin),
        "expires_at": moments.time_of(expires) if expires else ends,
        "member": _member_id(iam, member) if member else "",
        "policies": [iam.policy_arn(each) for each in policy or ()],
    }  # fmt: skip
    if not document:
        _tell(iam, request, _made(iam, request), None)
        return
    source.warn(iam.out, document)
    with _made_policy(iam, policy_name or _NOT_IN_NAMES.sub("-", name), template, document) as new:
        request["policies"].append(new.arn)
        key = _made(iam, request)
    _tell(iam, request, key, new)


def grants_of(
    buckets: Sequence[str], roles: Sequence[str], *, admin: bool = False
) -> list[dict[str, str]]:
    """As requests have them. Raises Problem."""
    if admin:
        if buckets or roles:
            raise Problem("--admin is everything: without --bucket and --role")
        return [{"bucket": "*", "role": ADMIN}]
    if bool(buckets) != bool(roles) or len(roles) not in (0, 1, len(buckets)):
        raise Problem("give a --role for each --bucket, or one for all of them")
    if len(roles) == 1:
        roles = list(roles) * len(buckets)
    known = {each.lower(): each for each in ROLES}
    for each in roles:
        if each.lower() not in known:
            raise Problem(f"{each!r} is not a role: {', '.join(ROLES)}, or --admin")
    return [
        {"bucket": bucket, "role": known[role.lower()]}
        for bucket, role in zip(buckets, roles, strict=True)
    ]


def encoded(request: dict[str, Any]) -> str:
    return msgspec.json.encode(request).decode()


def _member_id(iam: IamRemote, text: str) -> str:
    if "@" not in text:
        return text
    from amur.cli.iam_members import member_of

    return str(member_of(iam, text)["id"])


@contextmanager
def _made_policy(iam: IamRemote, name: str, template: str, document: str) -> Iterator[MadePolicy]:
    """Taken back when what follows fails."""
    answer = iam.call(
        "CreatePolicy",
        {"PolicyName": name, "PolicyDocument": document, "ReqUUID": str(uuid4()),
         "Description": f"Made for one key, from the template {template}."},
    )  # fmt: skip
    arn = answer["CreatePolicyResult"]["Policy"]["Arn"]
    try:
        yield MadePolicy(name, arn, document)
    except BaseException as error:
        _take_back(iam, arn)
        if not isinstance(error, Problem):  # no answer came
            iam.out.remark("the key may have been made all the same: see amur access-keys list")
        raise


def _take_back(iam: IamRemote, arn: str) -> None:
    """It must not hide what has failed before."""
    try:
        iam.call("ForceDeletePolicy", {"PolicyArn": arn})
    except Exception:
        iam.out.remark(f"the policy {arn} was made and is still there: delete it")
    else:
        iam.out.remark(f"the policy {arn} was made, and was taken back")


def _made(iam: IamRemote, request: dict[str, Any]) -> dict[str, Any]:
    answer = iam.call("CreateAccessKeyWithBucketsRole", {"Req": encoded(request)})
    key: dict[str, Any] = answer["CreateAccessKeyResult"]["AccessKey"]
    return key


def _tell(
    iam: IamRemote, request: dict[str, Any], key: dict[str, Any], new: MadePolicy | None
) -> None:
    key_id, secret, ends = key["AccessKeyId"], key["SecretAccessKey"], request["expires_at"]
    names = ", ".join(arn.rpartition("/")[2] for arn in request["policies"]) or "-"
    remarks = [
        f"access key {request['name']}: {key_id}",
        f"roles: {roles_shown(request['buckets_role'], ', ')}; policies: {names}",
        f"it ends at {moments.shown(ends)}" if ends else "it does not expire",
    ]
    if not request["policies"] and not request["buckets_role"]:
        remarks.append("it may nothing yet: amur access-keys assign, or attach-policy")
    iam.out.document(
        {"action": "created", "id": key_id, "secret": secret, "name": request["name"],
         "status": key["Status"].lower(), "created": key["CreateDate"], "expires": ends,
         "roles": request["buckets_role"], "policies": request["policies"],
         "created_policy": new._asdict() if new else None, "endpoint": iam.endpoint},
        export_lines(remarks, iam.endpoint, key_id, secret),
    )  # fmt: skip
