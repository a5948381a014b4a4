"""The access keys of the settings: the root key, and administrators of their organizations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from amur.iam.access import Access, of_settings
from amur.iam.model import ROOT_ORGANIZATION


class StaticKey(NamedTuple):
    """`owner` is the organization."""

    id: str
    secret: str
    owner: str

    def __repr__(self) -> str:
        return f"<StaticKey {self.id}>"


def static_keys(root: tuple[str, str], extra: Iterable[StaticKey] = ()) -> Mapping[str, Access]:
    """By id; `root` is id and secret. Raises ValueError for what can't be a key."""
    found: dict[str, Access] = {}
    _add(found, StaticKey(*root, ROOT_ORGANIZATION), is_root=True)
    for key in extra:
        if key.owner.lower() == ROOT_ORGANIZATION:
            raise ValueError("the owner name 'root' is the root key's")
        _add(found, key)
    return found


def _add(found: dict[str, Access], key: StaticKey, *, is_root: bool = False) -> None:
    if not key.id or not key.id.isascii() or not key.id.isprintable() or "/" in key.id:
        raise ValueError("an access key id is printable ASCII without a slash")
    if not key.secret or not key.owner:
        raise ValueError(f"access key {key.id} needs a secret and an owner")
    if "\0" in key.owner or ":" in key.owner:
        raise ValueError(f"access key {key.id}: an owner has no colon")
    if key.id in found:
        raise ValueError(f"access key {key.id} is given twice")
    found[key.id] = of_settings(key.owner, key.id, key.secret, is_root=is_root)
