"""Where entries of the directory lie, and under which index values they are found.

    o ORG                    organization             under "o"
    k KEY                    access key               under "k ORG"
    u KEY REGION             when a key was last used there
    p ID                     policy                   under "p ORG", "n ORG NAME"
    a KEY ID                 attachment               under "a KEY", "A ID"
    m ID                     member                   under "m ORG", "M ORG EMAIL"
    t ID                     team                     under "t ORG"
    s BUCKET KEY             share                    under "s KEY", "S BUCKET"
    e time random            event

Parts are joined by NUL, which is in none of them.
"""

from __future__ import annotations

from amur.meta.stamping import version_bytes
from amur.objects.registry import EVENTS

_NUL = "\0"


def _path(kind: str, *parts: str) -> bytes:
    assert not any(_NUL in part for part in parts)
    return (kind + _NUL.join(parts)).encode()


def parts(path: bytes) -> list[str]:
    """What follows the kind."""
    return path[1:].decode().split(_NUL)


ORGANIZATIONS = b"o"


def organization(org: str) -> bytes:
    return _path("o", org)


def key(key_id: str) -> bytes:
    return _path("k", key_id)


def keys_of(org: str) -> bytes:
    return _path("k", org)


def used(key_id: str, region: str) -> bytes:
    return _path("u", key_id, region)


def policy(policy_id: str) -> bytes:
    return _path("p", policy_id)


def policies_of(org: str) -> bytes:
    return _path("p", org)


def policy_named(org: str, name: str) -> bytes:
    return _path("n", org, name.lower())


def attachment(key_id: str, policy_id: str) -> bytes:
    return _path("a", key_id, policy_id)


def attachments_of(key_id: str) -> bytes:
    return _path("a", key_id)


def attached_to(policy_id: str) -> bytes:
    return _path("A", policy_id)


def member(member_id: str) -> bytes:
    return _path("m", member_id)


def members_of(org: str) -> bytes:
    return _path("m", org)


def member_named(org: str, email: str) -> bytes:
    return _path("M", org, email)


def team(team_id: str) -> bytes:
    return _path("t", team_id)


def teams_of(org: str) -> bytes:
    return _path("t", org)


def share(bucket: str, key_id: str) -> bytes:
    return _path("s", bucket, key_id)


def shares_with(key_id: str) -> bytes:
    return _path("s", key_id)


def shares_of(bucket: str) -> bytes:
    return _path("S", bucket)


def event(time_ns: int, random: bytes) -> bytes:
    return EVENTS + version_bytes(time_ns) + random
