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


def index_of(organization: str, arn: str) -> bytes:
    """Where to look for it. Raises NoSuchEntity for another organization's."""
    owner, name = split_policy_arn(arn)
    if owner != organization or "\0" in name:
        raise no_policy(arn)
    return paths.policy_named(owner, name)


async def the_policy(transaction: Transaction, organization: str, arn: str) -> Policy:
    """Raises NoSuchEntity."""
    for path in await transaction.find(index_of(organization, arn), 1):
        record = await transaction.get(path)
        if record is not None:
            return policy_of(path, record)
    raise no_policy(arn)


async def find_policy(registry: Registry, organization: str, arn: str) -> Policy:
    """Raises NoSuchEntity. (Two regions that made one name at the same time: one of the two.)"""
    for path, record in await registry.find(index_of(organization, arn), limit=1):
        return policy_of(path, record)
    raise no_policy(arn)
