"""Who signed a request: finds the key that it names, verifies, and refuses keys that are over.

What can't be verified is counted by key and address (an IPv6 network of 64 bits is one address),
all unknown keys of an address together; beyond AUTH_FAILURES_PER_SECOND the next ones of the same
second are told to slow down, whatever they have signed: guessing takes for ever. But for a key that
has signed well from that address of late: nobody beside it can keep it out.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

from amur.gateway.errors import S3Error
from amur.gateway.request import Request
from amur.gateway.sigv4 import Authentication, authenticate, claimed
from amur.iam.access import Access
from amur.iam.denials import Refused
from amur.iam.model import NANOSECONDS
from amur.iam.service import Iam, TokenRefused
from amur.limits import AUTH_FAILURES_PER_SECOND

FAILURES_KEPT_MAX = 10_000  # keys and addresses that are told apart within a second
PROVEN_SECONDS = 900  # "of late"
PROVEN_KEPT_MAX = 10_000
FAILURES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})


AUTHENTICATE = "amur:Authenticate"
"""The action of an event that tells of a request which could not be authenticated."""
_ID_CHARS_NOTED = 64  # of what claims to be a key's id


class Signer(NamedTuple):
    """Who a request or form says that it is from: `secrets` are those that may have signed it."""

    key_id: str
    access: Access | None
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Signer {self.key_id}>"

    def find(self, key_id: str) -> tuple[str, ...]:
        """For a verifier, which parses the claim by itself."""
        return self.secrets if key_id == self.key_id else ()


class Signers:
    """Of one process."""

    def __init__(
        self, iam: Iam, max_expires_s: int, failures_per_second: int = AUTH_FAILURES_PER_SECOND
    ) -> None:
        self.iam = iam
        self._max_expires_s = max_expires_s
        self._failures_max = failures_per_second
        self._second = 0
        self._failures: dict[tuple[str, str], int] = {}  # of this second, by key and address
        self._proven: dict[tuple[str, str], int] = {}  # by key and address: when, epoch seconds
        self._seen: set[tuple[str, str]] = set()  # key and connection: noted
        self._forget_at = 0  # epoch seconds

    async def verify(
        self, request: Request, services: Container[str], body_sha256: str, now_s: int
    ) -> tuple[Authentication, Access | None]:
        """Raises S3Error; the access is None of the anonymous."""
        key_id, token = claimed(request.headers, request.params)
        signer = await self.signer(request, key_id, token, now_s)
        try:
            authentication = authenticate(
                request.method,
                request.path,
                request.raw_query,
                request.pairs,
                find_secrets=signer.find,
                now_s=now_s,
                max_expires_s=self._max_expires_s,
                services=services,
                body_sha256=body_sha256,
            )
        except S3Error as error:
            self.failed(request, signer, error)
            raise
        if not authentication.key_id:
            return authentication, None
        self.admit(request, signer, authentication.service, now_s)
        return authentication, signer.access

    async def signer(self, request: Request, key_id: str, token: str, now_s: int) -> Signer:
        """The key that is named, not yet proven. Raises S3Error InvalidToken, SlowDown."""
        if not key_id and not token:
            return _NOBODY
        if now_s != self._second:
            self._second, self._failures = now_s, {}
        try:
            access = await self.iam.find(key_id, token)
        except TokenRefused as error:
            self._check(request, "")
            told = S3Error("InvalidToken", str(error))
            self.failed(request, Signer(key_id, None, ()), told)
            raise told from None
        if self._failures:
            self._check(request, key_id if access is not None else "")
        secrets = () if access is None else access.secrets_at(now_s * NANOSECONDS)
        return Signer(key_id, access, secrets)

    def _check(self, request: Request, key_id: str) -> None:
        name = key_id, _network(request.address)
        if self._failures.get(name, 0) >= self._failures_max and name not in self._proven:
            raise S3Error("SlowDown", "Too many requests that can't be authenticated.")

    def _prove(self, request: Request, seen: tuple[str, str], now_s: int) -> None:
        """Note that the key has signed well from there."""
        if now_s >= self._forget_at or len(self._seen) >= PROVEN_KEPT_MAX:
            self._seen, self._forget_at = set(), now_s + PROVEN_SECONDS // 2
            self._proven = {n: at for n, at in self._proven.items() if at > now_s - PROVEN_SECONDS}
        self._seen.add(seen)
        if len(self._proven) < PROVEN_KEPT_MAX:
            self._proven[seen[0], _network(request.address)] = now_s

    def failed(self, request: Request, signer: Signer, error: S3Error) -> None:
        """Count what was not verified, and note it for the audit."""
        if error.code in FAILURES:
            name = signer.key_id if signer.access is not None else "", _network(request.address)
            if name in self._failures or len(self._failures) < FAILURES_KEPT_MAX:
                self._failures[name] = self._failures.get(name, 0) + 1
            self._note(request, signer, error)

    def admit(self, request: Request, signer: Signer, service: str, now_s: int) -> None:
        """Of a key whose signature holds: raise S3Error if it is over."""
        access = signer.access
        assert access is not None
        error = None
        if access.problem:
            error = S3Error("InvalidAccessKeyId", access.problem, AWSAccessKeyId=signer.key_id)
        elif access.expires_ns and access.expires_ns <= now_s * NANOSECONDS:
            is_session = bool(access.principal.parent)
            error = (
                S3Error("ExpiredToken")
                if is_session
                else S3Error("AccessDenied", "The access key has expired.")
            )
        if error is not None:
            self._note(request, signer, error)
            raise error
        seen = signer.key_id, request.client
        if seen not in self._seen or now_s >= self._forget_at:  # once for a connection
            self._prove(request, seen, now_s)
            self.iam.used(access, service, now_s)

    def _note(self, request: Request, signer: Signer, error: S3Error) -> None:
        organization = signer.access.principal.owner if signer.access is not None else ""
        claimed_id = signer.key_id[:_ID_CHARS_NOTED]
        resource = f"arn:aws:s3:::{request.bucket or '*'}"
        reason = f"{error.code}: {error.message}"
        self.iam.refused(
            Refused(organization, claimed_id, AUTHENTICATE, resource, reason, request.address),
            request.id,
        )


_NOBODY = Signer("", None, ())


def _network(address: str) -> str:
    """Whoever has an IPv6 address has 2**64 of them."""
    if ":" not in address:
        return address
    try:
        known = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(IPv6Network((int(known), 64), strict=False))


FindSecrets = Callable[[str], Sequence[str]]
"""The secrets that a key may sign with now; none of an unknown key."""
