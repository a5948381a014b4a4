"""What would be decided for a key, or by documents alone, and why: nothing is done, nothing noted.

The answer is that of `deciding`, over the same compiled policies; the reasons are `explain`'s. What
it does not ask are access control lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from amur.iam.access import Access, parsed
from amur.iam.deciding import BucketFacts, Verdict, verdict_elsewhere, verdict_on_bucket
from amur.iam.key_entries import no_key
from amur.iam.model import NANOSECONDS, IamError, NoSuchEntity, key_arn
from amur.iam.policy import contextkeys, values, vocabulary
from amur.iam.policy.compiling import Compiled, principal_facts
from amur.iam.policy.document import Kind, Policy, PolicyInvalid
from amur.iam.policy.explain import explain
from amur.iam.principal import Principal
from amur.iam.service import Iam

LINES_MAX = 200  # of one explanation; a key may have 2,000 statements
NOBODY = "simulated"  # whose key the documents are imagined on
EVERY_KEY = "every access key may ask this"
_IN_NO_BUCKET = frozenset({"s3:CreateBucket"})


class Simulation(NamedTuple):
    """`lines` are for a person; `missing` the condition keys that were asked for and not given."""

    verdict: Verdict
    lines: tuple[str, ...]
    missing: tuple[str, ...]


class Given:
    """A request that is imagined, for conditions; remembers what it was asked for in vain."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        """Raises IamError for a key that there is not."""
        self._values: dict[str, tuple[str, ...]] = {}
        self.missing: set[str] = set()
        for name, each in values.items():
            if contextkeys.find(name) is None:
                raise IamError("InvalidInput", f"There is no condition key {name}.")
            self._values[contextkeys.lookup(name)] = tuple(each)

    def values(self, key: str) -> tuple[str, ...] | None:
        found = self._values.get(key)
        if not found:
            self.missing.add(contextkeys.canonical(key))
        return found


class Simulator:
    """Of one key and request; asked about one action and resource after the other."""

    def __init__(self, access: Access, context: Mapping[str, Sequence[str]]) -> None:
        self._access = access
        self._context = context

    @classmethod
    async def of_key(
        cls,
        iam: Iam,
        organization: str,
        key_id: str,
        documents: Sequence[str],
        context: Mapping[str, Sequence[str]],
        now_s: int,
    ) -> Simulator:
        """The key as if it had `documents`, too; "" for `documents` alone. Raises IamError."""
        imagined = [
            (f"PolicyInputList.{number}", _document(text))
            for number, text in enumerate(documents, 1)
        ]
        if key_id:
            access = await iam.find(key_id)
            if access is None or access.principal.owner != organization:
                raise no_key(key_id)
            if imagined:
                own = await _policies(iam, organization, key_id)
                principal = access.principal._replace(may_administer=False)
                both = Compiled([*own, *imagined])
                access = access._replace(policies=both, principal=principal)
        else:
            facts = principal_facts(organization, NOBODY)
            principal = Principal(organization, NOBODY)
            access = Access(principal, (), policies=Compiled(imagined), facts=facts)
        principal = access.principal
        known = {
            "aws:CurrentTime": [str(now_s)],
            "aws:EpochTime": [str(now_s)],
            "aws:PrincipalArn": [key_arn(organization, principal.key_id)],
            "aws:PrincipalType": ["User"],
            "aws:userid": [principal.key_id],
            "aws:username": [principal.key_id],
        }
        known |= {f"aws:PrincipalTag/{name}": [value] for name, value in access.tags.items()}
        return cls(access, known | dict(context))

    def ask(
        self, action: str, resource: str, bucket: BucketFacts | None, *, with_reasons: bool = True
    ) -> Simulation:
        """`bucket` is the one that `resource` lies in. Raises IamError."""
        meant = _named(action)
        given = Given(self._context)
        access = self._access
        unusable = access.problem or self._expired(given)
        if unusable:
            return Simulation(Verdict(False, unusable), (f"Denied: {unusable}",), ())
        if meant.level == vocabulary.SERVICE or meant.name in _IN_NO_BUCKET or bucket is None:
            bucket = None
            verdict = verdict_elsewhere(access, meant.name, resource, given)
        else:
            verdict = verdict_on_bucket(access, bucket, meant.name, resource, given)
        if meant.name.startswith("sts:") and not verdict.is_explicit:
            verdict = Verdict(True, EVERY_KEY)
        lines = [f"{'Allowed' if verdict.is_allowed else 'Denied'} by {verdict}"]
        for compiled in (access.policies, bucket.policy if bucket is not None else None):
            if compiled is not None and with_reasons:
                told = explain(compiled, meant.name, resource, given, access.facts)
                lines += [f"{each.name}: {each.why}" for each in told.statements]
                lines += [] if verdict.is_allowed else [f"Needed: {each}" for each in told.needed]
        return Simulation(verdict, tuple(lines[:LINES_MAX]), tuple(sorted(given.missing)))

    def _expired(self, given: Given) -> str:
        """Why the key can't be used at the time that is imagined, "" when it can."""
        ends = self._access.expires_ns
        for text in given.values("aws:currenttime") or ():
            at = values.instant(text)
            if ends and at is not None and at >= ends:
                return f"The access key expires at {values.iso(ends)}."
        return ""


def _named(action: str) -> vocabulary.Action:
    """The one action that a name means whatever its case. Raises IamError."""
    found = () if "*" in action or "?" in action else vocabulary.matching(action)
    if len(found) != 1:
        raise IamError("InvalidInput", f"No action is {action}: {vocabulary.remedy(action)}.")
    return found[0]


def now_s(iam: Iam) -> int:
    return iam.directory.registry.core.clock.now_ns() // NANOSECONDS


def _document(text: str) -> Policy:
    try:
        return parsed(text, Kind.IDENTITY)
    except PolicyInvalid as error:
        raise IamError("MalformedPolicyDocument", str(error)) from None


async def _policies(iam: Iam, organization: str, key_id: str) -> list[tuple[str, Policy]]:
    """Attached ones by name; a key of the settings has none."""
    try:
        found = await iam.directory.keys.policies_of(organization, key_id)
    except NoSuchEntity:
        return []
    return [(policy.name, _document(policy.document)) for policy in found]
