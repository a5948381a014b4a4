"""The parts of a statement, each checked by itself: actions, resources, principals, conditions.

Each function takes text of a document and gives (message, remedy) when it is wrong, else None
or what the text means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from amur import limits
from amur.iam.policy import contextkeys, operators, vocabulary
from amur.iam.policy.patterns import ANY, ONE, VARIABLE, PatternInvalid, Token, is_floating, tokens
from amur.iam.policy.problems import nearest, shown
from amur.iam.policy.statements import ALLOW, EVERYBODY, Kind
from amur.iam.policy.vocabulary import Action


class Trouble(NamedTuple):
    """What is wrong, and what to write."""

    message: str
    remedy: str


S3_ARN = "arn:aws:s3:::"
IAM_ARN = "arn:aws:iam::"
ACCOUNT_ROOT = "root"

_KEY_ID = re.compile(r"tid_[A-Za-z0-9_-]{1,124}")
_PRINCIPAL_ARN = re.compile(
    r"arn:aws:iam::([A-Za-z0-9_.=+@-]{1,128}):(root|user/[\x21-\x7e]{1,128})"
)


def action(text: str, actions: tuple[Action, ...], *, effect: str, kind: Kind) -> Trouble | None:
    """Of one entry of Action that means `actions`."""
    if not actions:
        return Trouble(f"no action is named {shown(text)}", vocabulary.remedy(text))
    if kind is Kind.BUCKET:
        if not any(each.name.startswith("s3:") for each in actions):
            return Trouble(
                f"{shown(text)} is nothing that a bucket's policy decides", "name s3: actions"
            )
        if all(each.level == vocabulary.SERVICE for each in actions):
            return Trouble(
                f"{shown(text)} is asked of no bucket", "put it into an access key's policy"
            )
    if effect == ALLOW:
        if all(each.name.startswith("iam:") and each.changes for each in actions):
            return Trouble(
                f"{shown(text)} can't be allowed by a policy",
                "administering is for keys with the role NamespaceAdmin",
            )
    elif len(actions) == 1 and actions[0].name in vocabulary.ALIASES:
        return Trouble(
            f"nothing asks for {actions[0].name}, so this would deny nothing",
            f"deny {vocabulary.ALIASES[actions[0].name]}",
        )
    return None


def pattern(text: str, *, wild: bool = True) -> tuple[Token, ...] | Trouble:
    """Text with wildcards and variables, within the limits: its tokens."""
    if len(text) > limits.POLICY_PATTERN_CHARS_MAX:
        return Trouble("is too long", f"the most are {limits.POLICY_PATTERN_CHARS_MAX} characters")
    try:
        parts = tokens(text, wild=wild)
    except PatternInvalid as error:
        return Trouble(f"{shown(text)} {error}", error.remedy)
    if sum(part.kind in (ANY, VARIABLE) for part in parts) > limits.POLICY_PATTERN_STARS_MAX:
        most = limits.POLICY_PATTERN_STARS_MAX
        return Trouble(f"{shown(text)} has too many wildcards", f"the most are {most}")
    if is_floating(parts):
        marks = sum(part.kind == ONE for part in parts)
        if marks > limits.POLICY_FLOATING_MARKS_MAX:
            most = limits.POLICY_FLOATING_MARKS_MAX
            return Trouble(f"{shown(text)} has too many ? between *", f"the most are {most}")
    return parts


def resource(text: str, *, kind: Kind, bucket: str) -> Trouble | None:
    """Of one entry of Resource, but for its pattern."""
    if kind is Kind.BUCKET:
        own = S3_ARN + bucket
        if not text.startswith(S3_ARN):
            return Trouble(f"{shown(text)} is no ARN of a bucket", f"write {own} or {own}/*")
        if bucket and text != own and not text.startswith(own + "/"):
            return Trouble(f"{shown(text)} is not in this bucket", f"write {own} or {own}/*")
    if text == "*":
        return None
    if not text.startswith((S3_ARN, IAM_ARN)):
        return Trouble(
            f"{shown(text)} is no resource",
            f"write {S3_ARN}BUCKET for a bucket, {S3_ARN}BUCKET/* for its objects, or *",
        )
    if text in (S3_ARN, IAM_ARN) or text.startswith(S3_ARN + "/"):
        return Trouble(f"{shown(text)} names no bucket", f"write {S3_ARN}BUCKET")
    return None


def principal(text: str) -> Trouble | None:
    """Of one principal of a bucket's policy."""
    if text == EVERYBODY or _KEY_ID.fullmatch(text) or _PRINCIPAL_ARN.fullmatch(text):
        return None
    return Trouble(
        f"{shown(text)} is no principal",
        'write "*", an access key id (tid_...), arn:aws:iam::ORG:user/tid_... for a key, or '
        "arn:aws:iam::ORG:root for every key of an organization",
    )


def operator(text: str) -> operators.Usage | Trouble:
    found = operators.usage(text)
    if found is not None:
        return found
    before, colon, name = text.rpartition(":")
    if name.removesuffix(operators.IF_EXISTS) == "Null":
        return Trouble(
            f"{shown(text)} is no operator", "Null stands alone, without prefix or suffix"
        )
    if colon and before not in (operators.FOR_ALL, operators.FOR_ANY):
        return Trouble(
            f"{shown(text)} has an unknown prefix", "use ForAllValues: or ForAnyValue:, or none"
        )
    near = nearest(name.removesuffix(operators.IF_EXISTS), operators.OPERATORS)
    remedy = f"did you mean {near}?" if near else f"use one of {', '.join(operators.OPERATORS)}"
    return Trouble(f"{shown(text)} is no operator", remedy.rstrip("?") if near is None else remedy)


def condition_key(
    text: str, usage: operators.Usage, actions: Iterable[Action]
) -> contextkeys.Key | Trouble:
    """The key, if it exists, fits its operator and is known of some of the `actions`."""
    key = contextkeys.find(text)
    if key is None:
        slashed = contextkeys.find(text.rstrip("/") + "/key")
        if slashed is not None:
            return Trouble(f"{shown(text)} lacks the tag's key", f"write {slashed.name}KEY")
        near = nearest(text.partition("/")[0], contextkeys.NAMES)
        known = ", ".join(contextkeys.NAMES)
        return Trouble(
            f"no condition key is named {shown(text)}",
            f"did you mean {near}?" if near else f"use one of {known}",
        )
    if usage.operator.family not in (*key.families, "Null"):
        names = [each.name for each in operators.OPERATORS.values() if each.family in key.families]
        return Trouble(f"{usage.name} does not fit {key.name}", f"use {names[0]} or its like")
    if not any(key.name in each.keys for each in actions):
        users = [each.name for each in vocabulary.ACTIONS if key.name in each.keys]
        return Trouble(
            f"none of the statement's actions has {key.name}",
            f"it is known of {', '.join(users[:6])}{' ...' if len(users) > 6 else ''}",
        )
    return key
