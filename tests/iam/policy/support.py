"""What the tests of policies share: documents, contexts, and decisions in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from amur.iam.policy.compiling import Compiled, PrincipalFacts
from amur.iam.policy.document import Kind, Policy, PolicyInvalid, parse
from amur.iam.policy.evaluate import decide

BUCKET = "arn:aws:s3:::data"
OBJECT = "arn:aws:s3:::data/a/b.txt"


class Request:
    """A context of given keys, that keeps what it was asked for."""

    def __init__(self, keys: Mapping[str, str | tuple[str, ...]] | None = None) -> None:
        self._keys = {
            name: (value,) if isinstance(value, str) else value
            for name, value in (keys or {}).items()
        }
        self.asked: list[str] = []

    def values(self, key: str) -> tuple[str, ...] | None:
        self.asked.append(key)
        return self._keys.get(key)


def statement(**members: Any) -> dict[str, Any]:
    """An Allow of s3:GetObject on everything, but for what is given; None leaves a member out."""
    whole = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **members}
    return {name: value for name, value in whole.items() if value is not None}


def document(*statements: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements), **members}


def read(*statements: dict[str, Any], kind: Kind = Kind.IDENTITY, bucket: str = "") -> Policy:
    return parse(json.dumps(document(*statements)), kind, bucket=bucket)


def refused(text: Any, kind: Kind = Kind.IDENTITY, *, bucket: str = "") -> list[str]:
    """The problems of a document (a dict, or text), each as its line."""
    if not isinstance(text, str | bytes):
        text = json.dumps(text)
    with pytest.raises(PolicyInvalid) as caught:
        parse(text, kind, bucket=bucket)
    return [str(problem) for problem in caught.value.problems]


def effect(
    policy: Policy,
    action: str = "s3:GetObject",
    resource: str = OBJECT,
    keys: Mapping[str, str | tuple[str, ...]] | None = None,
    principal: PrincipalFacts | None = None,
) -> str:
    return decide(Compiled([("p", policy)]), action, resource, Request(keys), principal).effect


def holds(
    operator: str,
    key: str,
    wanted: Any,
    keys: Mapping[str, str | tuple[str, ...]] | None = None,
    *,
    deny: bool = False,
) -> bool:
    """Whether a condition is fulfilled, in an Allow or in a Deny of every action."""
    condition = {operator: {key: wanted}}
    how = "Deny" if deny else "Allow"
    policy = read(statement(Effect=how, Action="s3:*", Condition=condition))
    return effect(policy, keys=keys) == how.upper()
