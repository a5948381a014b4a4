"""Temporary keys: all there is to know of one is in its token, sealed under the master key.

Nothing is stored, so every region knows them at once; each use looks at the parent, so they
end with it. A token's content is msgpack; the secret is in it, so only who has the token and the
secret can sign.
"""

from __future__ import annotations

import secrets
import string
from base64 import b64decode, urlsafe_b64encode
from hashlib import blake2b
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
    mark: bytes = b""  # of the parent's secret when it was made: see `mark_of`

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


def mark_of(secret: str) -> bytes:
    """Tells one secret of a key from the next: a rotation ends the sessions of the old one."""
    return blake2b(secret.encode(), digest_size=8, person=b"amur-session").digest()


def issue(
    master: MasterKey,
    parent: str,
    secret: str,
    now_ns: int,
    expires_ns: int,
    policy: str = "",
    name: str = "",
) -> SessionCredentials:
    """`secret` is the parent's."""
    session = Session(
        SESSION_ID_PREFIX + _random(26), _random(48), parent, now_ns, expires_ns, policy, name,
        mark_of(secret),
    )  # fmt: skip
    token = urlsafe_b64encode(master.seal(_encode(session), _PURPOSE)).decode()
    return SessionCredentials(session.id, session.secret, token, expires_ns)


def read(master: MasterKey, token: str) -> Session:
    """Raises TokenInvalid. Whether it has expired is for the caller."""
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenInvalid
    try:
        sealed = b64decode(token.encode("ascii"), b"-_", validate=True)
        session = _decode(master.open(sealed, _PURPOSE))
    except (SealBroken, ValueError, msgspec.DecodeError):
        raise TokenInvalid from None
    if urlsafe_b64encode(sealed).decode() != token:  # one session, one token
        raise TokenInvalid
    return session


def _random(chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(chars))
