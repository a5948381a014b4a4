"""What would be decided: AWS's two simulations, and in JSON the reasons."""

from __future__ import annotations

from asyncio import sleep
from typing import Any

from amur.gateway.errors import S3Error
from amur.gateway.iam.call import Call
from amur.gateway.iam.render import Answer
from amur.gateway.rights import ARN, Rights, facts_of
from amur.iam.acl import Need
from amur.iam.deciding import BucketFacts
from amur.iam.model import IamError, NoSuchEntity, key_arn
from amur.iam.simulating import Simulation, Simulator, now_s
from amur.objects.errors import InvalidBucketName, NoSuchBucket
from amur.objects.types import BucketRecord

SIMULATIONS_MAX = 100  # actions times resources of one call (ours, some ms each); AWS pages them
RESOURCE_CHARS_MAX = 2048  # as long as a pattern may be
DOCUMENTS_MAX = 20  # as many as a key may have
EVERYTHING = "*"
POLICY_LEFT_OUT = "The bucket's policy was left out: the caller may not s3:GetBucketPolicy."


async def principal_policy(call: Call) -> Answer:
    """PolicySourceArn is a key's ARN, or its id."""
    source, key_id = call.params.required("PolicySourceArn"), call.subject
    if source not in (key_id, key_arn(call.organization, key_id)):
        raise NoSuchEntity(
            f"{source} does not exist: write {key_arn(call.organization, 'tid_...')}"
        )
    return await _simulate(call, key_id)


async def custom_policy(call: Call) -> Answer:
    if not call.params.members("PolicyInputList"):
        raise IamError("ValidationError", "The parameter PolicyInputList is missing.")
    return await _simulate(call, "")


async def _simulate(call: Call, key_id: str) -> Answer:
    params = call.params
    actions = params.members("ActionNames")
    resources = params.members("ResourceArns") or [EVERYTHING]
    documents = params.members("PolicyInputList")
    if not actions:
        raise IamError("ValidationError", "The parameter ActionNames is missing.")
    if len(actions) * len(resources) > SIMULATIONS_MAX or len(documents) > DOCUMENTS_MAX:
        raise IamError(
            "ValidationError",
            f"At most {SIMULATIONS_MAX} actions times resources, and {DOCUMENTS_MAX} documents.",
        )
    if any(len(each) > RESOURCE_CHARS_MAX for each in resources):
        raise IamError("ValidationError", f"A resource has at most {RESOURCE_CHARS_MAX} chars.")
    simulator = await Simulator.of_key(
        call.iam, call.organization, key_id, documents, _context(call), now_s(call.iam)
    )
    json = call.ctx.request.wants_json
    shown: list[dict[str, Any]] = []
    explained: list[dict[str, Any]] = []
    for resource in resources:
        bucket, note = await _bucket(call, resource)
        for action in actions:
            await sleep(0)  # other requests are served between
            found = simulator.ask(action, resource, bucket, with_reasons=json)
            shown.append(_shown(action, resource, found))
            why = {"By": str(found.verdict), "Explanation": [*found.lines, *note]}
            explained.append(shown[-1] | why)
    result = {"EvaluationResults": shown, "IsTruncated": False}
    in_json = {"EvaluationResults": explained, "IsTruncated": False}
    operation = "SimulatePrincipalPolicy" if key_id else "SimulateCustomPolicy"
    return Answer(result, {f"{operation}Result": in_json})


async def _bucket(call: Call, resource: str) -> tuple[BucketFacts | None, tuple[str, ...]]:
    """That of an ARN, and what is to be said of it. What another organization's bucket gives by its
    policy is not told; one that is not there yet is taken for an own."""
    if not resource.startswith(ARN) and resource != EVERYTHING:
        return None, ()
    name = resource.removeprefix(ARN).partition("/")[0]
    try:
        record = await call.ctx.store.bucket(name)
    except (NoSuchBucket, InvalidBucketName):
        return BucketFacts(name, call.organization), ()
    if record.owner != call.organization:
        return BucketFacts(name, record.owner, record.id), ()
    if _may_get_policy(call, record):
        return facts_of(record), ()
    return facts_of(record)._replace(policy=None), (POLICY_LEFT_OUT,)


def _may_get_policy(call: Call, bucket: BucketRecord) -> bool:
    """What a policy decides tells what is in it. That one asks for it is no refusal to be noted."""
    conditions = call.ctx.conditions_of()
    conditions.read(None)
    try:
        rights = Rights(call.access, bucket, conditions, lambda *_: None)
        rights.check("s3:GetBucketPolicy", "", Need.BUCKET_OWNER)
    except S3Error:
        return False
    return True


def _context(call: Call) -> dict[str, list[str]]:
    """ContextEntries by name, without the types: the keys' own are known."""
    found: dict[str, list[str]] = {}
    for each in call.params.structures("ContextEntries"):
        found[each.required("ContextKeyName")] = each.members("ContextKeyValues")
    return found


def _shown(action: str, resource: str, found: Simulation) -> dict[str, Any]:
    verdict = found.verdict
    matched = []
    if verdict.source is not None:
        matched = [{"SourcePolicyId": verdict.source.policy, "SourcePolicyType": "IAM Policy"}]
    if verdict.is_allowed:
        decision = "allowed"
    else:
        decision = "explicitDeny" if verdict.is_explicit else "implicitDeny"
    return {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": decision,
        "MatchedStatements": matched,
        "MissingContextValues": list(found.missing),
    }
