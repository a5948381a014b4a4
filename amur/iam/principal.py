"""Who is asking."""

from __future__ import annotations

from typing import NamedTuple


class Principal(NamedTuple):
    """`owner` is the account that buckets and objects belong to; "" for the anonymous."""

    owner: str = ""
    key_id: str = ""
    is_root: bool = False

    @property
    def is_anonymous(self) -> bool:
        return not self.key_id


ANONYMOUS = Principal()
