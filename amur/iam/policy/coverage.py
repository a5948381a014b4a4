"""What a statement can reach, seen without a request: for lint.py.

Every answer errs to the safe side: what is reported as unreachable or covered is. Sets of actions
are numbers with a bit for each, and what is asked often is computed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from amur.iam.policy import vocabulary
from amur.iam.policy.patterns import ANY, ONE, TEXT, VARIABLE, Glob, Token, tokens
from amur.iam.policy.statements import EVERYBODY, Statement
from amur.iam.policy.vocabulary import Action
from amur.iam.policy.work import CHARS_PER_UNIT, Work

_S3 = "arn:aws:s3:::"
_IAM = "arn:aws:iam::"
_NAME = re.compile(r"[a-z0-9.-]{1,63}")


def _set_of(found: Iterable[Action]) -> int:
    return sum(1 << _NUMBERS[each.name] for each in found)


def _those(test: Callable[[Action], bool]) -> int:
    return _set_of(each for each in vocabulary.ACTIONS if test(each))


_NUMBERS = {each.name: number for number, each in enumerate(vocabulary.ACTIONS)}
EVERY = _those(lambda _: True)
EVERY_S3 = _those(lambda each: each.name.startswith("s3:"))
CHANGES = _those(lambda each: each.changes and each.level != vocabulary.SERVICE)

_ALIKE: list[tuple[Action, int]] = []
"""Of each service and level: an action, and all that are asked of the same resources."""
for _level in (vocabulary.SERVICE, vocabulary.BUCKET, vocabulary.OBJECT):
    for _is_s3 in (True, False):
        _own = [
            each
            for each in vocabulary.ACTIONS
            if each.level == _level and each.name.startswith("s3:") == _is_s3
        ]
        if _own:
            _ALIKE.append((_own[0], _set_of(_own)))


def first(found: int) -> Action:
    """Of a set of actions that is not empty."""
    return vocabulary.ACTIONS[(found & -found).bit_length() - 1]


class Resource:
    """`asked` are the actions whose resource it can be."""

    __slots__ = ("_glob", "_is_sure", "_marked", "asked", "parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = parts = tokens(text)
        self.asked = sum(alike for action, alike in _ALIKE if _can_be(action, text, parts))
        self._is_sure = not any(part.kind in (ONE, VARIABLE) for part in parts)
        self._glob: Glob | None = None
        # a wildcard of what lies within is a character that only a star of the other can match
        self._marked = "".join(part.text if part.kind == TEXT else "\0" for part in parts)

    def is_within(self, outer: Resource) -> bool:
        """Whether all that it matches is matched by `outer`: sure if True."""
        if self.text == outer.text:
            return True
        if not outer._is_sure:
            return False
        if outer._glob is None:
            outer._glob = Glob(outer.parts)
        return outer._glob.matches(self._marked)


class Reach:
    """What one statement is about. `meant` are the actions of each text of its Action."""

    __slots__ = ("_clauses", "_principals", "actions", "asked", "meant", "resources", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.meant = [_set_of(vocabulary.matching(text)) for text in statement.actions]
        named = 0
        for each in self.meant:
            named |= each
        self.actions = EVERY & ~named if statement.is_not_action else named
        self.resources = [Resource(text) for text in dict.fromkeys(statement.resources)]
        self.asked = 0
        for resource in self.resources:
            self.asked |= resource.asked
        self._clauses = frozenset(statement.conditions)
        self._principals = frozenset(statement.principals)

    def denies_whenever(self, allowed: Reach) -> bool:
        """Whether this Deny holds for every request that the other statement allows, as far as
        conditions and principals go."""
        if self.statement.is_not_resource or not self._clauses <= allowed._clauses:
            return False
        is_for_all = not self._principals or EVERYBODY in self._principals
        return is_for_all or allowed._principals <= self._principals


class Shadows:
    """Denials, and what of other statements they refuse."""

    def __init__(self, denials: Sequence[Reach], work: Work) -> None:
        self._denials = denials
        self._work = work

    def hidden(self, allowed: Reach) -> list[str]:
        """Those of its Action that are denied on all of its resources. Raises TooMuch."""
        denials = [
            each
            for each in self._denials
            if each.actions & allowed.actions and each.denies_whenever(allowed)
        ]
        if not denials:
            return []
        allows = 0  # what is allowed of some resource all the same
        for resource in allowed.resources:
            wanted = resource.asked & allowed.actions & ~allows
            allows |= wanted & ~self._refused(resource, wanted, denials)
        return [
            text
            for text, meant in zip(allowed.statement.actions, allowed.meant, strict=True)
            if meant & allowed.asked and not meant & allows
        ]

    def _refused(self, resource: Resource, wanted: int, denials: Sequence[Reach]) -> int:
        """The wanted actions that are denied on the whole resource, at least."""
        refused = 0
        for denial in denials:
            if not denial.actions & wanted & ~refused:
                continue
            for outer in denial.resources:
                self._work.spend(1 + (len(resource.text) + len(outer.text)) // CHARS_PER_UNIT)
                if resource.is_within(outer):
                    refused |= denial.actions
                    break
        return refused


def is_everything(text: str) -> bool:
    return text in ("*", f"{_S3}*", f"{_S3}**", f"{_S3}*/*")


def _can_be(action: Action, text: str, parts: Sequence[Token]) -> bool:
    """Whether what the action is asked of can be this resource: the same for all of a service and
    level."""
    if parts[0].kind != TEXT:
        return True
    if not action.name.startswith("s3:"):
        return not text.startswith(_S3)
    if text.startswith(_IAM):
        return False
    if action.level == vocabulary.SERVICE:
        if not vocabulary.SERVICE_RESOURCE.startswith(parts[0].text):
            return False
        wide = [Token(ANY) if part.kind == VARIABLE else part for part in parts]
        return Glob(wide).matches(vocabulary.SERVICE_RESOURCE)
    has_slash = any(part.kind == TEXT and "/" in part.text for part in parts)
    if action.level == vocabulary.BUCKET:
        return not has_slash
    return has_slash or any(part.kind != TEXT for part in parts)


def has_impossible_bucket(text: str) -> bool:
    """Of an S3 ARN whose bucket is spelled out."""
    if not text.startswith(_S3):
        return False
    first = tokens(text)[0]
    name, slash, _ = first.text[len(_S3) :].partition("/")
    is_whole = bool(slash) or first.text == text
    return is_whole and _NAME.fullmatch(name) is None
