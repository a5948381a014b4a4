"""Identity and access in one process: who a key is, what it may, and what was refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from hmac import compare_digest

import structlog

from amur.iam import sessions
from amur.iam.access import Access, SecretUntil, load_access
from amur.iam.deciding import Verdict, verdict_elsewhere
from amur.iam.denials import FLUSH_SECONDS, Denials, Refused
from amur.iam.directory import Directory
from amur.iam.directory_keys import KEY_ID_PREFIX, LAST_USED_SECONDS
from amur.iam.model import NANOSECONDS, IamError
from amur.iam.policy.compiling import Compiled, principal_facts
from amur.iam.policy.contextkeys import Context
from amur.iam.policy.document import Kind, PolicyInvalid, parse
from amur.iam.principal import Principal
from amur.iam.sealing import MasterKey
from amur.iam.sessions import SESSION_ID_PREFIX, SessionCredentials
from amur.meta.engine import EngineError
from amur.objects.core import Core
from amur.objects.errors import StoreError

log = structlog.get_logger("amur.iam")

KEPT_MAX = 10_000  # keys and sessions of which the rights are kept in memory ...
KEPT_STATEMENTS_MAX = 50_000  # ... with this many statements together: some 2 KB each
SESSIONS_KEPT_MAX = 100  # of one key


class TokenRefused(Exception):
    """A session token that is not ours, not this key's, or expired."""

    def __init__(self, message: str, *, is_expired: bool = False) -> None:
        super().__init__(message)
        self.is_expired = is_expired


class Iam:
    """Of one process; belongs to its event loop."""

    def __init__(
        self,
        core: Core,
        master: MasterKey,
        static: Mapping[str, Access],
    ) -> None:
        """`static` are the keys of the settings."""
        self.directory = Directory(core, master)
        self._core = core
        self._master = master
        self._registry = self.directory.registry
        self._static = static
        self._owners = {access.principal.owner for access in self._static.values()}
        self._kept: dict[str, Access] = {}  # by key id, of sessions by token
        self._sessions: dict[str, deque[str]] = {}  # names in `_kept`, by parent
        self._weight = 0  # of all that is kept
        self._epoch = -1
        self._denials = Denials()
        self._used: dict[str, int] = {}  # key: when its use was last noted, ns
        self._to_note: dict[str, str] = {}  # key: service

    # --- who ---
    async def find(self, key_id: str, token: str = "") -> Access | None:
        """None of an unknown key. Raises TokenRefused, StoreError."""
        static = self._static.get(key_id)
        if static is not None and not token:
            return static
        if token and not key_id.startswith(SESSION_ID_PREFIX):
            raise TokenRefused("The token belongs to another access key.")
        if not key_id.startswith((KEY_ID_PREFIX, SESSION_ID_PREFIX)) or "\0" in key_id:
            return None
        epoch = await self._registry.epoch()
        if epoch != self._epoch:
            self._forget()
            self._epoch = epoch
        name = token or key_id
        access = self._kept.get(name)
        if access is None or access.principal.key_id != key_id:
            load = self._session(key_id, token) if token else self._key(key_id)
            access = await load
            if access is not None and epoch == self._epoch:  # else it may be of before a change
                self._keep(name, access)
        return access

    def _keep(self, name: str, access: Access) -> None:
        self._weight += access.weight
        if len(self._kept) >= KEPT_MAX or self._weight > KEPT_STATEMENTS_MAX:
            self._forget()
            self._weight = access.weight
        self._kept[name] = access
        parent = access.principal.parent
        if parent:
            own = self._sessions.setdefault(parent, deque())
            own.append(name)
            if len(own) > SESSIONS_KEPT_MAX:
                gone = self._kept.pop(own.popleft(), None)
                self._weight -= gone.weight if gone is not None else 0

    def _forget(self) -> None:
        self._kept, self._sessions, self._weight = {}, {}, 0

    async def _key(self, key_id: str) -> Access | None:
        if not key_id.startswith(KEY_ID_PREFIX):
            return None
        return await load_access(self._registry, self._master, key_id)

    async def _session(self, key_id: str, token: str) -> Access | None:
        try:
            session = sessions.read(self._master, token)
        except sessions.TokenInvalid:
            raise TokenRefused("The token is not one of this store.") from None
        if session.id != key_id:
            raise TokenRefused("The token belongs to another access key.")
        parent = self._static.get(session.parent) or await self._key(session.parent)
        if parent is None:
            raise TokenRefused("The access key that the session was made from is gone.")
        for secret in parent.secrets:
            if compare_digest(session.mark, sessions.mark_of(secret.secret)):
                return _narrowed(parent, session, secret.until_ns)
        raise TokenRefused("The access key that the session was made from has a new secret.")

    def check_usable(self, access: Access, now_s: int) -> str:
        """Why a key whose signature holds is refused all the same; "" when it is not."""
        if access.problem:
            return access.problem
        if access.expires_ns and access.expires_ns <= now_s * NANOSECONDS:
            return "The access key has expired."
        return ""

    def is_session(self, key_id: str) -> bool:
        return key_id.startswith(SESSION_ID_PREFIX)

    async def organizations(self) -> frozenset[str]:
        """Ids of all that may own something."""
        made = await self.directory.members.list_organizations()
        return frozenset(self._owners | {each.id for each in made})

    # --- what ---
    def elsewhere(self, access: Access, action: str, resource: str, context: Context) -> Verdict:
        """Of what is in no bucket."""
        return verdict_elsewhere(access, action, resource, context)

    def issue_session(
        self, access: Access, *, seconds: int, policy: str = "", name: str = ""
    ) -> SessionCredentials:
        """A temporary key that may what `access` may, and of that what `policy` allows. Raises
        IamError."""
        if access.principal.parent:
            raise IamError("AccessDenied", "A temporary key can't make another one.")
        if not sessions.SECONDS_MIN <= seconds <= sessions.SECONDS_MAX:
            raise IamError(
                "ValidationError",
                f"DurationSeconds is {sessions.SECONDS_MIN} to {sessions.SECONDS_MAX}.",
            )
        if policy:
            _check_session_policy(policy)
        now = self._core.clock.now_ns()
        # while an old secret goes on beside the new one, who asks may have the old one
        ends = [access.expires_ns, *(each.until_ns for each in access.secrets)]
        expires = min([now + seconds * NANOSECONDS, *(end for end in ends if end > now)])
        secret, key_id = access.secrets[0].secret, access.principal.key_id
        return sessions.issue(self._master, key_id, secret, now, expires, policy, name)

    # --- the record ---
    def refused(self, refused: Refused, request_id: str) -> None:
        """Note a refusal for the audit."""
        self._denials.add(refused, request_id)

    def used(self, access: Access, service: str, now_s: int) -> None:
        """Note that a key was used; for a session, its parent."""
        principal = access.principal
        key_id = principal.parent or principal.key_id
        now = now_s * NANOSECONDS
        if now - self._used.get(key_id, 0) < LAST_USED_SECONDS * NANOSECONDS:
            return
        if len(self._used) >= KEPT_MAX:
            self._used.clear()
        self._used[key_id] = now
        if key_id.startswith(KEY_ID_PREFIX):
            self._to_note[key_id] = service

    async def flush(self) -> None:
        """Write what was gathered. Raises StoreError."""
        await self._denials.flush(self._registry)
        noted, self._to_note = self._to_note, {}
        for key_id, service in noted.items():
            await self.directory.keys.note_use(key_id, service)

    async def warn_of_lost_secrets(self) -> None:
        """Say so when there are keys that can't be used as the master key is not the one of old."""
        try:
            lost, count = await self.directory.keys.sealed_elsewhere()
        except StoreError as error:
            log.warning("access keys could not be read", error=str(error))
            return
        if lost:
            log.error(
                f"{lost} of {count} access keys can't be used: their secrets are sealed under "
                "another master key. Put the old one beside the new one, or rotate their secrets."
            )

    async def run(self) -> None:
        """Write what is gathered, for ever. What can't be written is forgotten: the disk is full,
        or there is worse."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except StoreError as error:
                log.warning("refusals were not recorded", error=str(error))
            except EngineError:
                raise  # the process stops
            except Exception:
                log.exception("refusals were not recorded")


def _narrowed(parent: Access, session: sessions.Session, until_ns: int) -> Access:
    """`until_ns`: when the secret ends that the session was made with; 0 is never."""
    principal = Principal(
        owner=parent.principal.owner,
        key_id=session.id,
        is_admin=parent.principal.is_admin,
        parent=parent.principal.key_id,
        name=session.name or parent.principal.name,
        member=parent.principal.member,
        is_root=parent.principal.is_root and not session.policy,
    )
    compiled = None
    problem = parent.problem
    if session.policy:
        try:
            compiled = Compiled([(session.name or "session", parse(session.policy, Kind.SESSION))])
        except PolicyInvalid:  # of a newer Amur
            problem = "The session's policy can't be understood here."
    ends = [each for each in (session.expires_ns, parent.expires_ns, until_ns) if each]
    return parent._replace(
        principal=principal,
        secrets=(SecretUntil(session.secret),),
        expires_ns=min(ends),
        problem=problem,
        session=compiled,
        facts=principal_facts(principal.owner, parent.principal.key_id),
    )


def _check_session_policy(policy: str) -> None:
    if len(policy) > sessions.POLICY_CHARS_MAX:
        raise IamError("PackedPolicyTooLarge", f"At most {sessions.POLICY_CHARS_MAX} characters.")
    try:
        parse(policy, Kind.SESSION)
    except PolicyInvalid as error:
        raise IamError("MalformedPolicyDocument", str(error)) from None
