"""What was refused, for the audit: gathered for a moment, alike ones counted, then written.

So a flood of refused requests costs a few entries, and one that lasts for months does not fill the
disk. What is lost when a process dies is the last moment's refusals, nothing that was changed.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from amur.iam.events import new_path
from amur.objects.registry import Registry, Transaction

FLUSH_SECONDS = 1.0
KINDS_MAX = 200  # that are told apart within FLUSH_SECONDS; the others are one event, counted
BURST = 200.0  # events that may be written at once ...
PER_FLUSH = 0.5  # ... and then in each FLUSH_SECONDS: 43,000 a day, some 15 MB
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
        self._budget = BURST
        self._others = 0  # that were not told apart, and are still to be told

    def add(self, refused: Refused, request_id: str) -> None:
        if len(refused.resource) > RESOURCE_CHARS_MAX:
            refused = refused._replace(resource=refused.resource[:RESOURCE_CHARS_MAX])
        if refused not in self._counts and len(self._counts) >= KINDS_MAX:
            refused, request_id = _OTHERS, ""
        times, first = self._counts.get(refused, (0, request_id))
        self._counts[refused] = times + 1, first

    def _affordable(self) -> dict[Refused, tuple[int, str]]:
        """What is written now: of more than may be, the rest is counted."""
        counts, self._counts = self._counts, {}
        if _OTHERS in counts:
            self._others += counts.pop(_OTHERS)[0]
        room = int(self._budget)
        if self._others or len(counts) > room:
            room -= 1  # for the event of the others
        told = dict(islice(counts.items(), max(0, room)))
        self._others += sum(times for refused, (times, _) in counts.items() if refused not in told)
        self._budget -= len(told)
        if self._others and self._budget >= 1:
            told[_OTHERS] = self._others, ""
            self._others = 0
            self._budget -= 1
        return told

    async def flush(self, registry: Registry) -> None:
        """Raises StoreError; what was gathered is then forgotten, lest it pile up."""
        self._budget = min(BURST, self._budget + PER_FLUSH)
        counts = self._affordable()
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
