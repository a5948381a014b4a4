"""The access keys that are known: the root key and those of the configuration."""

from __future__ import annotations

from collections.abc import Iterable

from amur.iam.principal import Principal

ROOT_OWNER = "root"


class KeyRing:
    """Access key id -> secret and principal. Secrets never leave but through `secret`."""

    __slots__ = ("_owners", "_principals", "_secrets")

    def __init__(
        self,
        root_key_id: str,
        root_secret: str,
        extra: Iterable[tuple[str, str, str]] = (),
    ) -> None:
        """`extra` are (key id, secret, owner). Raises ValueError for what can't be a key."""
        self._secrets: dict[str, str] = {}
        self._principals: dict[str, Principal] = {}
        self._owners: set[str] = set()
        self._add(root_key_id, root_secret, Principal(ROOT_OWNER, root_key_id, is_root=True))
        for key_id, secret, owner in extra:
            if owner == ROOT_OWNER:
                raise ValueError("the owner name 'root' is the root key's")
            self._add(key_id, secret, Principal(owner, key_id))

    def _add(self, key_id: str, secret: str, principal: Principal) -> None:
        if not key_id or not key_id.isascii() or not key_id.isprintable() or "/" in key_id:
            raise ValueError("an access key id is printable ASCII without a slash")
        if not secret or not principal.owner:
            raise ValueError(f"access key {key_id} needs a secret and an owner")
        if key_id in self._secrets:
            raise ValueError(f"access key {key_id} is given twice")
        self._secrets[key_id] = secret
        self._principals[key_id] = principal
        self._owners.add(principal.owner)

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._secrets)} keys>"

    def secret(self, key_id: str) -> str | None:
        return self._secrets.get(key_id)

    def knows_owner(self, owner: str) -> bool:
        return owner in self._owners

    def principal(self, key_id: str) -> Principal:
        """Of a key that was authenticated."""
        return self._principals[key_id]
