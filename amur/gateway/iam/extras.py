"""What neither AWS nor Tigris has: the audit, shares of buckets, the linter. JSON only."""

from __future__ import annotations

from typing import Any

from amur.gateway.iam.authorize import ALL_ORGANIZATIONS
from amur.gateway.iam.call import Call
from amur.gateway.iam.params import PAGE_MAX
from amur.gateway.iam.render import Answer
from amur.gateway.iam.views import event_view, share_view
from amur.iam.model import NANOSECONDS, Event, IamError, Share
from amur.iam.policy.document import Kind, PolicyInvalid, parse

EVENTS_DEFAULT = 100
EVENTS_SEEN_MAX = 20_000  # of one call: a page may be empty, and not the last
_KINDS = {kind.value: kind for kind in Kind}


async def list_events(call: Call) -> Answer:
    """Newest first. `Before` of the answer leads to the next page, "" at the end."""
    params = call.params
    limit = params.number("Limit", EVENTS_DEFAULT, 1, PAGE_MAX)
    since_ns, before = params.time("Since"), params.text("Before")
    whose = None if params.flag(ALL_ORGANIZATIONS) else call.organization
    found: list[dict[str, Any]] = []
    seen = 0
    while True:
        try:
            page, rest = await call.directory.events(
                whose, since_ns=since_ns, before=before, limit=PAGE_MAX
            )
        except ValueError:
            raise IamError("ValidationError", "Before is no event's id.") from None
        seen += PAGE_MAX
        for event in page:
            if not _is_wanted(call, event):
                continue
            found.append(event_view(event))
            if len(found) == limit:
                return _events(found, event.id)
        if not rest or seen >= EVENTS_SEEN_MAX:
            return _events(found, rest)
        before = rest


def _events(found: list[dict[str, Any]], before: str) -> Answer:
    return Answer(document={"Events": found, "Before": before})


def _is_wanted(call: Call, event: Event) -> bool:
    """`Key` is who did it, or what key it was done to; `ActionName` may end in `*`."""
    params = call.params
    key, action, decision = params.text("Key"), params.text("ActionName"), params.text("Decision")
    if key and key != event.key_id and not event.resource.endswith(f":user/{key}"):
        return False
    if decision and decision.lower() != event.decision.lower():
        return False
    if action.endswith("*"):
        return event.action.lower().startswith(action[:-1].lower())
    return not action or action.lower() == event.action.lower()


async def share(call: Call) -> Answer:
    """To a key of another organization. The bucket must be the own organization's."""
    params = call.params
    bucket = params.required("Bucket")
    key_id, role = params.required("AccessKeyId"), params.required("Role")
    return _share(await call.directory.keys.share(call.actor, bucket, key_id, role))


def _share(share: Share) -> Answer:
    return Answer(document={"Share": share_view(share)})


async def unshare(call: Call) -> Answer:
    """Also of a bucket that is gone."""
    bucket, key_id = call.params.required("Bucket"), call.params.required("AccessKeyId")
    await call.directory.keys.unshare(call.actor, bucket, key_id)
    return Answer()


async def list_shares(call: Call) -> Answer:
    """Of a bucket, or with a key of the own organization."""
    keys, params = call.directory.keys, call.params
    if "Bucket" in params:
        bucket = params.required("Bucket")
        await keys.own_bucket(call.organization, bucket)
        found = await keys.shares(bucket=bucket)
    else:
        key_id = params.required("AccessKeyId")
        await keys.get(call.organization, key_id)
        found = await keys.shares(key_id=key_id)
    return Answer(document={"Shares": [share_view(each) for each in found]})


async def lint_policy(call: Call) -> Answer:
    """Problems, which make it no policy, and findings, which make it a doubtful one."""
    from amur.iam.policy.lint import lint

    kind = _KINDS.get(call.params.text("Kind", Kind.IDENTITY.value))
    if kind is None:
        raise IamError("ValidationError", f"Kind is one of {', '.join(_KINDS)}.")
    findings = []
    problems = []
    try:
        policy = parse(call.params.required("PolicyDocument"), kind)
        now_s = call.directory.registry.core.clock.now_ns() / NANOSECONDS
        findings = [
            {
                "Code": each.code,
                "Statement": each.statement,
                "Member": each.member,
                "Message": each.message,
                "Remedy": each.remedy,
            }
            for each in lint(policy, now_s=now_s)
        ]
    except PolicyInvalid as error:
        problems = [
            {
                "Statement": each.statement,
                "Member": each.member,
                "Message": each.message,
                "Remedy": each.remedy,
            }
            for each in error.problems
        ]
    document = {"IsValid": not problems, "Problems": problems, "Findings": findings}
    return Answer(document=document)


async def policy_schema(call: Call) -> Answer:
    """For editors."""
    from amur.iam.policy.schema import schema

    kind = _KINDS.get(call.params.text("Kind", Kind.IDENTITY.value))
    if kind is None:
        raise IamError("ValidationError", f"Kind is one of {', '.join(_KINDS)}.")
    return Answer(document=schema(kind))
