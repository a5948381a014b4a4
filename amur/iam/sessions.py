"""Temporary keys: all there is to know of one is in its token, sealed under the master key.

Nothing is stored, so every region knows them at once; each use looks at the parent, so they
end with it. A token's content is msgpack; the secret is in it, so only who has the token and the
secret can sign.
"""

from __future__ import annotations

import secrets
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

import msgspec

from amur.iam.sealing import MasterKey, SealBroken

SESSION_ID_PREFIX = "tses_"
TOKEN_CHARS_MAX = 6 * 1024  # a header's share of the 16 KiB, and of a link's 8
POLICY_CHARS_MAX = 2048  # AWS, of a session policy
SECONDS_MIN = 60
SECONDS_MAX = 7 * 86_400  # a link signed with it may live as long
_PURPOSE = "session"
_ALPHABET = string.ascii_letters + string.digits


class Session(msgspec.Struct, array_like=True, frozen=True):
    """What a token says. `policy` narrows the parent's rights, "" leaves them as they are."""

    id: str
    secret: str
    parent: str
    issued_ns: int
    expires_ns: int
    policy: str = ""
    name: str = ""

    def __repr__(self) -> str:
        return f"<Session {self.id}>"


class SessionCredentials(NamedTuple):
    """What is given to who asked, once."""

    access_key_id: str
    secret: str
    token: str
    expires_ns: int

    def __repr__(self) -> str:
        return f"<SessionCredentials {self.access_key_id}>"


class TokenInvalid(Exception):
    """Not a token of ours."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Session).decode


def issue(
    master: MasterKey, parent: str, now_ns: int, expires_ns: int, policy: str = "", name: str = ""
) -> SessionCredentials:
    session = Session(
        SESSION_ID_PREFIX + _random(26), _random(48), parent, now_ns, expires_ns, policy, name
    )
    token = urlsafe_b64encode(master.seal(_encode(session), _PURPOSE)).decode()
    return SessionCredentials(session.id, session.secret, token, expires_ns)


def read(master: MasterKey, token: str) -> Session:
    """Raises TokenInvalid. Whether it has expired is for the caller."""
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenInvalid
    try:
        return _decode(master.open(urlsafe_b64decode(token.encode("ascii")), _PURPOSE))
    except (SealBroken, ValueError, msgspec.DecodeError):
        raise TokenInvalid from None


def _random(chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(chars))
