"""What was refused, for the audit: gathered for a moment, alike ones counted, then written.

So a flood of refused requests costs a few entries. What is lost when a process dies is the last
moment's refusals, nothing that was changed.
"""

from __future__ import annotations

from typing import NamedTuple

from amur.iam.events import new_path
from amur.objects.registry import Registry, Transaction

FLUSH_SECONDS = 1.0
KINDS_MAX = 200  # that are told apart within FLUSH_SECONDS; the others are one event, counted
RESOURCE_CHARS_MAX = 1200  # a bucket and a key


class Refused(NamedTuple):
    organization: str  # the bucket's, or the caller's
    key_id: str
    action: str
    resource: str
    reason: str
    address: str


_OTHERS = Refused("", "", "", "", "more refused requests than are told apart", "")


class Denials:
    """Of one process."""

    def __init__(self) -> None:
        self._counts: dict[Refused, tuple[int, str]] = {}  # times, request id of the first

    def add(self, refused: Refused, request_id: str) -> None:
        if len(refused.resource) > RESOURCE_CHARS_MAX:
            refused = refused._replace(resource=refused.resource[:RESOURCE_CHARS_MAX])
        if refused not in self._counts and len(self._counts) >= KINDS_MAX:
            refused, request_id = _OTHERS, ""
        times, first = self._counts.get(refused, (0, request_id))
        self._counts[refused] = times + 1, first

    async def flush(self, registry: Registry) -> None:
        """Raises StoreError; what was gathered is then forgotten, lest it pile up."""
        counts, self._counts = self._counts, {}
        if not counts:
            return

        async def attempt(transaction: Transaction) -> None:
            for refused, (times, request_id) in counts.items():
                values = {
                    "organization": refused.organization,
                    "key": refused.key_id,
                    "action": refused.action,
                    "resource": refused.resource,
                    "decision": "Denied",
                    "reason": refused.reason,
                    "address": refused.address,
                    "region": registry.core.region,
                    "request": request_id,
                    "times": times,
                    "detail": {},
                }
                await transaction.create(new_path(registry), values)

        await registry.transact(attempt)
