"""Access keys and shares as entries."""

from __future__ import annotations

from collections.abc import Sequence

from amur.iam import paths
from amur.iam.model import AccessKey, NoSuchEntity, RoleGrant, Share, Status
from amur.meta.records import EntryRecord
from amur.objects.registry import Registry


def key_of(path: bytes, record: EntryRecord, used: Sequence[EntryRecord | None] = ()) -> AccessKey:
    values = record.values
    last = max((each for each in used if each), key=lambda r: int(r.values["at"]), default=None)
    return AccessKey(
        id=paths.parts(path)[0],
        organization=values["organization"],
        name=values["name"],
        status=Status(values["status"]),
        creator=values["creator"],
        created_ns=values["created"],
        expires_ns=values["expires"],
        roles=tuple(RoleGrant(bucket, role) for bucket, role in values["roles"]),
        member=values["member"],
        tags=dict(values["tags"]),
        secret=values["secrets"][0],
        previous_secret=values["secrets"][1],
        previous_until_ns=values["secrets"][2],
        last_used_ns=last.values["at"] if last else 0,
        last_used_service=last.values["service"] if last else "",
        last_used_region=last.values["region"] if last else "",
    )


def share_of(path: bytes, record: EntryRecord) -> Share:
    bucket, key_id = paths.parts(path)
    values = record.values
    return Share(
        bucket,
        values["bucket_id"],
        values["organization"],
        key_id,
        values["role"],
        values["created"],
    )


def no_key(key_id: str) -> NoSuchEntity:
    return NoSuchEntity(f"The access key {key_id} does not exist.")


async def attached_ids(registry: Registry, key_id: str) -> list[str]:
    """Ids of the policies that are attached to a key, those that can't be found among them."""
    rows = await registry.find(paths.attachments_of(key_id))
    return [paths.parts(path)[1] for path, record in rows if record.values["is_attached"]]
