"""Events: what was changed and by whom, and what was refused. Entries that go by their age."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_bytes
from typing import Any

from amur.iam import paths
from amur.iam.model import Actor, Event
from amur.meta.engine import prefix_end
from amur.meta.records import EntryRecord
from amur.objects.registry import EVENTS, Registry, Transaction, event_time

_ID_RANDOM_BYTES = 4
PAGE_MAX = 1000


async def record_change(
    transaction: Transaction,
    registry: Registry,
    actor: Actor,
    action: str,
    resource: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """In the commit of the change itself."""
    values = {
        "organization": actor.organization,
        "key": actor.key_id,
        "action": action,
        "resource": resource,
        "decision": "Allowed",
        "reason": "",
        "address": actor.address,
        "region": registry.core.region,
        "request": actor.request_id,
        "times": 1,
        "detail": dict(detail or {}),
    }
    await transaction.create(new_path(registry), values)


def new_path(registry: Registry) -> bytes:
    return paths.event(registry.event_time(), token_bytes(_ID_RANDOM_BYTES))


def event_of(path: bytes, record: EntryRecord) -> Event:
    values = record.values
    return Event(
        id=path[1:].hex(),
        time_ns=event_time(path),
        organization=values["organization"],
        key_id=values["key"],
        action=values["action"],
        resource=values["resource"],
        decision=values["decision"],
        reason=values["reason"],
        address=values["address"],
        region=values["region"],
        request_id=values["request"],
        times=values["times"],
        detail=values["detail"],
    )


async def list_events(
    registry: Registry, *, since_ns: int = 0, before: str = "", limit: int = PAGE_MAX
) -> list[Event]:
    """Newest first; `before` is the id of the last one of the page before. Raises ValueError."""
    start = paths.event(max(0, since_ns), b"")
    end = EVENTS + bytes.fromhex(before) if before else prefix_end(EVENTS)
    rows = await registry.scan(start, max(start, end), min(limit, PAGE_MAX), reverse=True)
    return [event_of(path, record) for path, record in rows]
