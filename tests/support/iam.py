"""Keys of the settings, for gateways in process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from amur.iam.keys import StaticKey, static_keys
from amur.iam.sealing import MasterKey
from amur.iam.service import Iam
from amur.objects.store import Store

MASTER = MasterKey([b"the master key of the tests, 32b"])


def iam_of(store: Store, root: tuple[str, str], extra: Iterable[tuple[str, str, str]] = ()) -> Iam:
    """`extra` are (key id, secret, owner)."""
    static = static_keys(root, [StaticKey(*each) for each in extra])
    return Iam(store.core, MASTER, static)


def finding(secrets: Mapping[str, str]) -> Callable[[str], Sequence[str]]:
    """What a verifier asks for secrets; each key has one."""
    return lambda key_id: [secrets[key_id]] if key_id in secrets else []
