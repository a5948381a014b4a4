"""What was refused, for the audit: gathered for a moment, alike ones counted, then written.

So a flood of refused requests costs a few entries, and one that lasts for months does not fill the
disk. What is lost when a process dies is the last moment's refusals, nothing that was changed.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import NamedTuple

from amur.iam.events import new_path
from amur.objects.registry import Registry, Transaction

FLUSH_SECONDS = 1.0
KINDS_MAX = 200  # of an organization that are told apart within FLUSH_SECONDS; others are counted
BURST = 200.0  # events of an organization that may be written at once ...
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

_Counts = dict[Refused, tuple[int, str]]
"""Times, and the request id of the first."""


class Denials:
    """Of one process. Each organization has room of its own: nobody's refusals hide another's."""

    def __init__(self) -> None:
        self._counts: _Counts = {}
        self._kinds: Counter[str] = Counter()  # in `_counts`, by organization
        self._budgets: dict[str, float] = {}  # those that are not at BURST
        self._others: Counter[str] = Counter()  # not told apart, and still to be told

    def add(self, refused: Refused, request_id: str) -> None:
        if len(refused.resource) > RESOURCE_CHARS_MAX:
            refused = refused._replace(resource=refused.resource[:RESOURCE_CHARS_MAX])
        organization = refused.organization
        if refused not in self._counts:
            if self._kinds[organization] >= KINDS_MAX:
                self._others[organization] += 1
                return
            self._kinds[organization] += 1
        times, first = self._counts.get(refused, (0, request_id))
        self._counts[refused] = times + 1, first

    def _taken(self) -> _Counts:
        """What is written now; of more than may be, the rest is counted."""
        counts, self._counts, self._kinds = self._counts, {}, Counter()
        self._refill()
        told: _Counts = {}
        for organization in {*self._others, *(refused.organization for refused in counts)}:
            own = {r: count for r, count in counts.items() if r.organization == organization}
            told |= self._affordable(organization, own)
        return told

    def _refill(self) -> None:
        budgets = {name: budget + PER_FLUSH for name, budget in self._budgets.items()}
        self._budgets = {name: budget for name, budget in budgets.items() if budget < BURST}

    def _affordable(self, organization: str, counts: _Counts) -> _Counts:
        budget = self._budgets.get(organization, BURST)
        room = int(budget)
        if self._others[organization] or len(counts) > room:
            room -= 1  # for the event of the others
        told = dict(islice(counts.items(), max(0, room)))
        rest = sum(times for refused, (times, _) in counts.items() if refused not in told)
        if rest:
            self._others[organization] += rest
        if self._others[organization] and budget >= 1:
            told[_OTHERS._replace(organization=organization)] = self._others.pop(organization), ""
        self._budgets[organization] = budget - len(told)
        return told

    async def flush(self, registry: Registry) -> None:
        """Raises StoreError; what was gathered is then forgotten, lest it pile up."""
        counts = self._taken()
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
