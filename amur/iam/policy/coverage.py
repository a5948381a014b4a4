"""What a statement can reach, seen without a request: for lint.py.

Every answer errs to the safe side: what is reported as unreachable or covered is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from amur.iam.policy import vocabulary
from amur.iam.policy.patterns import ANY, ONE, TEXT, VARIABLE, Glob, Token, tokens
from amur.iam.policy.statements import EVERYBODY, Statement
from amur.iam.policy.vocabulary import Action

_S3 = "arn:aws:s3:::"
_IAM = "arn:aws:iam::"
_NAME = re.compile(r"[a-z0-9.-]{1,63}")


def actions(statement: Statement) -> frozenset[Action]:
    """The actions that a statement is about."""
    named = frozenset(each for text in statement.actions for each in vocabulary.matching(text))
    return frozenset(vocabulary.ACTIONS) - named if statement.is_not_action else named


def is_everything(text: str) -> bool:
    return text in ("*", f"{_S3}*", f"{_S3}**", f"{_S3}*/*")


def can_match(action: Action, resources: Sequence[str]) -> bool:
    """Whether what the action is asked of can be one of the resources."""
    return any(_can_be(action, text) for text in resources)


def _can_be(action: Action, text: str) -> bool:
    parts = tokens(text)
    if parts[0].kind != TEXT:
        return True
    if not action.name.startswith("s3:"):
        return not text.startswith(_S3)
    if text.startswith(_IAM):
        return False
    if action.level == vocabulary.SERVICE:
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


def is_denied(meant: Iterable[Action], statement: Statement, denials: Sequence[Statement]) -> bool:
    """Whether denials without conditions of their own refuse the actions on all resources."""
    pairs = [(each, text) for each in meant for text in statement.resources if _can_be(each, text)]
    return bool(pairs) and all(
        any(_covers(denial, action, statement, text) for denial in denials)
        for action, text in pairs
    )


def _covers(denial: Statement, action: Action, allowed: Statement, resource: str) -> bool:
    if any(clause not in allowed.conditions for clause in denial.conditions):
        return False
    is_for_some = denial.principals and EVERYBODY not in denial.principals
    if is_for_some and not set(allowed.principals) <= set(denial.principals):
        return False
    if denial.is_not_resource or action not in actions(denial):
        return False
    return any(_is_within(resource, text) for text in denial.resources)


def _is_within(inner: str, outer: str) -> bool:
    """Whether all that `inner` matches is matched by `outer`: sure if True."""
    if inner == outer:
        return True
    parts = tokens(outer)
    if any(part.kind in (ONE, VARIABLE) for part in parts):
        return False
    # a wildcard of `inner` is a character that only a star of `outer` can match
    marked = "".join(part.text if part.kind == TEXT else "\0" for part in tokens(inner))
    return Glob(parts).matches(marked)
