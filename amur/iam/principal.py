"""Who is asking."""

from __future__ import annotations

from typing import NamedTuple


class Principal(NamedTuple):
    """`owner` is the organization that buckets and objects belong to; "" for the anonymous."""

    owner: str = ""
    key_id: str = ""  # of a session: its own id
    is_root: bool = False
    is_admin: bool = False  # everything in the organization, but for what a Deny takes
    may_administer: bool = False  # keys and policies, too: nothing restricts this administrator
    parent: str = ""  # of a session: the key that it was made from
    name: str = ""  # the key's, for people
    member: str = ""  # whose key it is

    @property
    def is_anonymous(self) -> bool:
        return not self.key_id


ANONYMOUS = Principal()
