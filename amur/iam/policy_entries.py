"""Policies as entries, and finding the one that an ARN names."""

from __future__ import annotations

from amur.iam import paths
from amur.iam.model import NoSuchEntity, Policy, PolicyVersion, split_policy_arn
from amur.meta.records import EntryRecord
from amur.objects.registry import Registry, Transaction


def policy_of(path: bytes, record: EntryRecord) -> Policy:
    values = record.values
    default, _, versions = values["versions"]
    return Policy(
        id=paths.parts(path)[0],
        organization=values["organization"],
        name=values["name"],
        description=values["description"],
        created_ns=values["created"],
        changed_ns=max(created for _, _, created in versions),
        default=default,
        versions=tuple(PolicyVersion(*each) for each in versions),
        tags=dict(values["tags"]),
    )


def no_policy(arn: str) -> NoSuchEntity:
    return NoSuchEntity(f"Policy {arn} does not exist.")


def parsed_arn(organization: str, arn: str) -> tuple[bytes, str]:
    """Where to look for it, and its name. Raises NoSuchEntity for another organization's, and
    IamError for what is no ARN."""
    owner, name = split_policy_arn(arn)
    if owner != organization or "\0" in name:
        raise no_policy(arn)
    return paths.policy_named(owner, name), name


async def the_policy(transaction: Transaction, organization: str, arn: str) -> Policy:
    """Raises NoSuchEntity, as for a name in another case: a policy has one ARN."""
    index, name = parsed_arn(organization, arn)
    for path in await transaction.find(index):
        record = await transaction.get(path)
        if record is not None and record.values["name"] == name:
            return policy_of(path, record)
    raise no_policy(arn)


async def find_policy(registry: Registry, organization: str, arn: str) -> Policy:
    """As `the_policy`. (Two regions that made one name at the same time: one of the two.)"""
    index, name = parsed_arn(organization, arn)
    for path, record in await registry.find(index):
        if record.values["name"] == name:
            return policy_of(path, record)
    raise no_policy(arn)
