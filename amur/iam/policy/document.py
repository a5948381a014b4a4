"""Policy documents: from JSON to typed statements, strictly.

The grammar is Amazon's of version 2012-10-17, without NotPrincipal and principals that do not
exist here. A document is refused, with every problem named, for a member given twice, a member,
action, operator or condition key that is not known, and whatever could never take effect.
`*` and `iam:*` may be allowed but give reading of `iam:` only: whoever decides sees to that, as
administering is for keys with the role NamespaceAdmin (decision 5).
"""

from __future__ import annotations

from typing import Any

from amur import limits
from amur.iam.policy import elements, operators, vocabulary
from amur.iam.policy.conditions import ConditionClause
from amur.iam.policy.contextkeys import Key, canonical
from amur.iam.policy.jsontext import Members, NotJson, Number, load
from amur.iam.policy.patterns import is_floating
from amur.iam.policy.problems import PolicyInvalid, Problem, nearest, shown
from amur.iam.policy.statements import ALLOW, DENY, EVERYBODY, Kind, Policy, Statement, label
from amur.iam.policy.vocabulary import Action

__all__ = ["Kind", "Policy", "PolicyInvalid", "Problem", "Statement", "parse"]

VERSION = "2012-10-17"
SID_CHARS_MAX = 128  # and printable ASCII; Amazon's key policies take letters and digits only
POLICY_MEMBERS = ("Version", "Id", "Statement")
STATEMENT_MEMBERS = (
    "Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition",
)  # fmt: skip
CHARS_MAX = {
    Kind.IDENTITY: limits.POLICY_CHARS_MAX,
    Kind.BUCKET: limits.POLICY_BYTES_MAX,
    Kind.SESSION: limits.SESSION_POLICY_CHARS_MAX,
}


def parse(text: str | bytes, kind: Kind, *, bucket: str = "") -> Policy:
    """The policy of a document; of a bucket's, resources must lie in `bucket` if it is given.

    Raises PolicyInvalid with all problems (up to POLICY_PROBLEMS_MAX).
    """
    reader = _Reader(kind, bucket)
    try:
        policy = reader.document(text)
    except _Enough:
        policy = None
    if policy is None or reader.problems:
        raise PolicyInvalid(reader.problems)
    return policy


class _Enough(Exception):
    """As many problems as are told at once."""


class _Reader:
    """One reading of one document: what was found wrong, and where it is."""

    def __init__(self, kind: Kind, bucket: str) -> None:
        self.kind = kind
        self.bucket = bucket
        self.problems: list[Problem] = []
        self._where = ""
        self._floating = 0
        self._action_wildcards = 0
        self._sids: set[str] = set()

    def _add(self, member: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(self._where, member, message, remedy))
        if len(self.problems) >= limits.POLICY_PROBLEMS_MAX:
            raise _Enough

    # --- the document ---

    def document(self, text: str | bytes) -> Policy | None:
        try:
            found = load(text, CHARS_MAX[self.kind])
        except NotJson as error:
            self._add("", str(error), error.remedy)
            return None
        if not isinstance(found, Members):
            self._add("", "is no JSON object", 'write {"Version": ..., "Statement": [...]}')
            return None
        self._check_members(found, "", POLICY_MEMBERS)
        if type(found.get("Version")) is not str or found["Version"] != VERSION:
            self._add("Version", "is not the one that there is", f'write "Version": "{VERSION}"')
        policy_id = found.get("Id", "")
        if type(policy_id) is not str or len(policy_id) > SID_CHARS_MAX:
            self._add("Id", "is no short text", f"write up to {SID_CHARS_MAX} characters")
            policy_id = ""
        statements = found.get("Statement")
        if isinstance(statements, Members):
            statements = [statements]
        if not isinstance(statements, list) or not statements:
            self._add("Statement", "is no list of statements", "write one object or several")
            return None
        if len(statements) > limits.POLICY_STATEMENTS_MAX:
            most = limits.POLICY_STATEMENTS_MAX
            self._add("Statement", "has too many statements", f"the most are {most}")
            return None
        read = [self._statement(index, each) for index, each in enumerate(statements, 1)]
        return Policy(self.kind, tuple(each for each in read if each is not None), policy_id)

    def _check_members(self, found: Members, member: str, known: tuple[str, ...]) -> None:
        for name in found.repeated:
            self._add(_under(member, name), "is given twice", "keep one of them")
        for name in found:
            if name in known or name == "NotPrincipal":
                continue
            near = nearest(name, known)
            remedy = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            self._add(_under(member, name), "is not known", remedy)

    # --- a statement ---

    def _statement(self, index: int, found: Any) -> Statement | None:
        self._where = label(index, "")
        if not isinstance(found, Members):
            self._add("", "is no JSON object", 'write {"Effect": ..., "Action": ..., ...}')
            return None
        sid = self._sid(found)
        self._where = label(index, sid)
        self._check_members(found, "", STATEMENT_MEMBERS)
        effect = found.get("Effect")
        if type(effect) is not str or effect not in (ALLOW, DENY):
            self._add("Effect", "is neither Allow nor Deny", "write Allow or Deny")
            effect = DENY
        principals = self._principals(found)
        is_not_action, actions, meant = self._actions(found, effect)
        is_not_resource, resources = self._resources(found)
        conditions = self._conditions(found.get("Condition"), meant) if "Condition" in found else ()
        self._where = ""
        return Statement(
            index=index,
            sid=sid,
            effect=effect,
            actions=actions,
            resources=resources,
            conditions=conditions,
            principals=principals,
            is_not_action=is_not_action,
            is_not_resource=is_not_resource,
        )

    def _sid(self, found: Members) -> str:
        sid = found.get("Sid", "")
        if type(sid) is not str or len(sid) > SID_CHARS_MAX or not _is_plain(sid):
            most = f"write up to {SID_CHARS_MAX} printable ASCII characters"
            self._add("Sid", "is no plain name", most)
            return ""
        if sid and sid in self._sids:
            self._add("Sid", f"{shown(sid)} is another statement's, too", "give each its own")
        self._sids.add(sid)
        return sid

    def _one_of(self, found: Members, name: str) -> tuple[bool, str]:
        """Whether `NotName` is given, and the member's name; exactly one of the two must be."""
        opposite = f"Not{name}"
        if (name in found) == (opposite in found):
            what = "and both are given" if name in found else "and none is"
            self._add(name, f"or {opposite} must be given, {what}", "write one of them")
        return opposite in found, opposite if opposite in found else name

    def _texts(self, value: Any, member: str) -> tuple[str, ...]:
        """A text, or a list of some."""
        found = value if isinstance(value, list) else [value]
        if not found:
            self._add(member, "is empty", "name at least one")
        if len(found) > limits.POLICY_LIST_MAX:
            self._add(member, "has too many values", f"the most are {limits.POLICY_LIST_MAX}")
            return ()
        good = tuple(each for each in found if type(each) is str and each)
        if len(good) != len(found):
            self._add(member, "has a value that is no text, or empty", "write text in quotes")
        return good

    def _actions(
        self, found: Members, effect: str
    ) -> tuple[bool, tuple[str, ...], tuple[Action, ...]]:
        is_not, member = self._one_of(found, "Action")
        texts = self._texts(found[member], member) if member in found else ()
        names: list[str] = []
        meant: dict[str, Action] = {}
        for text in texts:
            if "*" in text or "?" in text:
                self._action_wildcards += 1
                if self._action_wildcards > limits.POLICY_ACTION_WILDCARDS_MAX:
                    most = limits.POLICY_ACTION_WILDCARDS_MAX
                    self._add(member, "has too many wildcards", f"a document may have {most}")
                    break
            actions = vocabulary.matching(text)
            asked = DENY if is_not and effect == ALLOW else effect
            trouble = elements.action(text, actions, effect=asked, kind=self.kind)
            if trouble is not None:
                self._add(member, *trouble)
            names.append(actions[0].name if len(actions) == 1 else text)
            meant.update((each.name, each) for each in actions)
        if is_not:
            meant = {each.name: each for each in vocabulary.ACTIONS if each.name not in meant}
        return is_not, tuple(names), tuple(meant.values())

    def _resources(self, found: Members) -> tuple[bool, tuple[str, ...]]:
        is_not, member = self._one_of(found, "Resource")
        texts = self._texts(found[member], member) if member in found else ()
        for text in texts:
            trouble = elements.resource(text, kind=self.kind, bucket=self.bucket)
            if trouble is not None:
                self._add(member, *trouble)
            else:
                self._check_pattern(text, member)
        return is_not, texts

    def _check_pattern(self, text: str, member: str, *, wild: bool = True) -> bool:
        found = elements.pattern(text, wild=wild)
        if isinstance(found, elements.Trouble):
            self._add(member, found.message, found.remedy)
            return False
        if is_floating(found):
            self._floating += 1
            most = 0 if self.kind is Kind.SESSION else limits.POLICY_FLOATING_MAX
            if self._floating > most:
                self._add(
                    member,
                    f"{shown(text)} is one pattern too many with ? between *",
                    f"such a document may have {most}",
                )
                return False
        return True

    def _principals(self, found: Members) -> tuple[str, ...]:
        if "NotPrincipal" in found:
            self._add(
                "NotPrincipal",
                "is not supported",
                "deny everybody with a Condition: ArnNotEquals of aws:PrincipalArn",
            )
        if self.kind is not Kind.BUCKET:
            if "Principal" in found:
                self._add("Principal", "is for buckets' policies", "leave it out")
            return ()
        if "Principal" not in found:
            if "NotPrincipal" not in found:
                self._add("Principal", "is missing", 'say for whom: "*", or {"AWS": "tid_..."}')
            return ()
        value = found["Principal"]
        if type(value) is str and value == EVERYBODY:
            return (EVERYBODY,)
        if not isinstance(value, Members) or list(value) != ["AWS"] or value.repeated:
            self._add("Principal", "is of no kind that there is", 'write "*" or {"AWS": [...]}')
            return ()
        texts = self._texts(value["AWS"], "Principal.AWS")
        for text in texts:
            trouble = elements.principal(text)
            if trouble is not None:
                self._add("Principal.AWS", *trouble)
        return texts

    # --- conditions ---

    def _conditions(self, found: Any, meant: tuple[Action, ...]) -> tuple[ConditionClause, ...]:
        if not isinstance(found, Members):
            self._add("Condition", "is no JSON object", 'write {"OPERATOR": {"KEY": ["VALUE"]}}')
            return ()
        clauses: list[ConditionClause] = []
        for name in found.repeated:
            self._add(_under("Condition", name), "is given twice", "put its keys together")
        for name, keys in found.items():
            member = _under("Condition", name)
            usage = elements.operator(name)
            if isinstance(usage, elements.Trouble):
                self._add(member, usage.message, usage.remedy)
                continue
            if not isinstance(keys, Members) or not keys:
                self._add(member, "has no keys", 'write {"KEY": ["VALUE"]}')
                continue
            for key in keys.repeated:
                self._add(_under(member, key), "is given twice", "put its values together")
            clauses.extend(self._clauses(member, usage, keys, meant))
        if len(clauses) > limits.POLICY_CLAUSES_MAX:
            most = limits.POLICY_CLAUSES_MAX
            self._add("Condition", "has too many keys", f"the most are {most}")
        return tuple(clauses)

    def _clauses(
        self, member: str, usage: operators.Usage, keys: Members, meant: tuple[Action, ...]
    ) -> list[ConditionClause]:
        clauses: list[ConditionClause] = []
        seen: set[str] = set()
        for name, value in keys.items():
            here = _under(member, name)
            key = elements.condition_key(name, usage, meant)
            if not isinstance(key, Key):
                self._add(here, key.message, key.remedy)
                continue
            spelled = canonical(name)
            if spelled in seen:
                self._add(here, "is given twice", "put its values together")
            seen.add(spelled)
            texts = self._values(value, here, usage.operator)
            if texts:
                clauses.append(ConditionClause(usage, spelled, texts))
        return clauses

    def _values(self, value: Any, member: str, op: operators.Operator) -> tuple[str, ...]:
        """Values of a clause: texts, numbers or booleans; an empty text is one."""
        found = value if isinstance(value, list) else [value]
        if not found or len(found) > limits.POLICY_LIST_MAX:
            self._add(member, "has no values, or too many", f"1 to {limits.POLICY_LIST_MAX}")
            return ()
        texts: list[str] = []
        for each in found:
            if isinstance(each, bool):
                texts.append("true" if each else "false")
            elif isinstance(each, Number | str):
                texts.append(str(each))
            else:
                self._add(member, "has a value that is no text", "write text in quotes")
                return ()
        for text in texts:
            trouble = operators.problem(op, text)
            if trouble is not None:
                self._add(member, f"{shown(text)} {trouble[0]}", trouble[1])
            elif op.family in ("String", "Arn"):
                self._check_pattern(text, member, wild=operators.is_wild(op))
        return tuple(texts)


def _under(member: str, name: str) -> str:
    """The path of a member; a name from the document is shown as it is when it is plain."""
    spelled = name if _is_plain(name) and len(name) <= SID_CHARS_MAX else shown(name)
    return f"{member}.{spelled}" if member else spelled


def _is_plain(text: str) -> bool:
    return text.isascii() and (text.isprintable() or not text)
