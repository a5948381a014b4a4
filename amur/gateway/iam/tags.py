"""Tags of keys (AWS: users) and policies."""

from __future__ import annotations

from amur.gateway.iam.call import Call
from amur.gateway.iam.keys import own_or_known
from amur.gateway.iam.render import Answer
from amur.gateway.iam.views import tag_list


async def tag_key(call: Call) -> Answer:
    key_id, tags = call.params.required("UserName"), call.params.tags()
    await call.directory.keys.change_tags(call.actor, key_id, add=tags)
    return Answer()


async def untag_key(call: Call) -> Answer:
    key_id, names = call.params.required("UserName"), call.params.members("TagKeys")
    await call.directory.keys.change_tags(call.actor, key_id, remove=names)
    return Answer()


async def list_key_tags(call: Call) -> Answer:
    key = await own_or_known(call, call.subject or call.principal.key_id)
    return Answer({"Tags": tag_list(key.tags), "IsTruncated": False})


async def tag_policy(call: Call) -> Answer:
    arn, tags = call.params.required("PolicyArn"), call.params.tags()
    await call.directory.policies.change_tags(call.actor, arn, add=tags)
    return Answer()


async def untag_policy(call: Call) -> Answer:
    arn, names = call.params.required("PolicyArn"), call.params.members("TagKeys")
    await call.directory.policies.change_tags(call.actor, arn, remove=names)
    return Answer()


async def list_policy_tags(call: Call) -> Answer:
    arn = call.params.required("PolicyArn")
    policy = await call.directory.policies.get(call.organization, arn)
    return Answer({"Tags": tag_list(policy.tags), "IsTruncated": False})
