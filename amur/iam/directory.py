"""The directory: organizations, access keys, policies, members and shares, and changing them.

Who may change what is decided before (`amur/gateway/iam/`); here changes are checked for being
possible, made in one commit with their event, and told to the other regions. Every method raises
IamError for what can't be, and StoreError when the metadata can't be read or written.
"""

from __future__ import annotations

from amur.iam.directory_keys import Keys
from amur.iam.directory_members import Members
from amur.iam.directory_policies import Policies
from amur.iam.events import list_events
from amur.iam.model import Event
from amur.iam.sealing import MasterKey
from amur.objects.core import Core
from amur.objects.registry import Registry


class Directory:
    """Of one region. `keys`, `policies` and `members` are its rooms."""

    def __init__(self, core: Core, master: MasterKey) -> None:
        self.registry = Registry(core)
        self.master = master
        self.policies = Policies(self.registry)
        self.keys = Keys(self.registry, master)
        self.members = Members(self.registry)

    async def events(
        self, organization: str | None, *, since_ns: int = 0, before: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        """Events of an organization (None: of all), newest first, and `before` of the next page,
        "" at the end. A page may be short, or empty, and not the last."""
        page = await list_events(self.registry, since_ns=since_ns, before=before, limit=limit)
        rest = page[-1].id if len(page) >= limit else ""
        return [e for e in page if organization in (None, e.organization)], rest
