"""The JSON schema: itself valid, and of one mind with `parse` where structure is all there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from amur.iam.policy.document import Kind, PolicyInvalid, parse
from amur.iam.policy.schema import DIALECT, schema
from amur.iam.policy.templates import TEMPLATES
from tests.iam.policy.support import document, statement
from tests.iam.policy.test_document import ONE
from tests.iam.policy.test_seed import SEED
from tests.iam.policy.test_templates import GIVEN

VALIDATORS = {kind: Draft202012Validator(schema(kind)) for kind in Kind}

MEANING = (
    "administering is for keys", "deny s3:PutObject", "has the unknown variable",
    "nothing closes", "too many wildcards", "too many ? between", "such a document may have",
    "none of the statement's actions has", "is given twice", "no action is named \"s3:Frob*\"",
    "is no time", "nor a CIDR block", "is no ARN of six parts", "is empty", "has no keys",
    "has the number", "is too long",
)  # fmt: skip
"""Refusals that are not about structure: the schema may let these pass."""


def parses(body: Any, kind: Kind) -> bool:
    try:
        parse(json.dumps(body), kind)
    except PolicyInvalid:
        return False
    return True


@pytest.mark.parametrize("kind", list(Kind))
def test_it_is_a_schema(kind: Kind) -> None:
    Draft202012Validator.check_schema(schema(kind))
    assert schema(kind)["$schema"] == DIALECT
    json.dumps(schema(kind))


@pytest.mark.parametrize(("members", "line"), ONE, ids=[str(number) for number in range(len(ONE))])
def test_refused_samples(members: dict[str, Any], line: str | None) -> None:
    body = document(statement(**members))
    is_valid = VALIDATORS[Kind.IDENTITY].is_valid(body)
    if line is None or any(text in line for text in MEANING):
        return
    assert not is_valid
    assert not parses(body, Kind.IDENTITY)


def test_most_refused_samples_are_about_structure() -> None:
    about = [line for _, line in ONE if line and not any(text in line for text in MEANING)]
    assert len(about) > len(ONE) / 2


GOOD: list[tuple[Kind, dict[str, Any]]] = [
    (Kind.IDENTITY, document(statement())),
    (Kind.IDENTITY, {"Version": "2012-10-17", "Id": "x", "Statement": statement(Sid="a b")}),
    (Kind.IDENTITY, document(statement(Action=["s3:Get*", "*", "iam:GetPolicy"]))),
    (Kind.IDENTITY, document(statement(Action=None, NotAction="s3:?etObject"))),
    (Kind.IDENTITY, document(statement(Resource=["arn:aws:s3:::b", "arn:aws:iam::o:policy/x"]))),
    (Kind.SESSION, document(statement(Resource=None, NotResource="arn:aws:s3:::b/${aws:userid}"))),
    (Kind.BUCKET, document(statement(Principal="*", Resource="arn:aws:s3:::b/*"))),
    (Kind.BUCKET, document(statement(Principal={"AWS": ["tid_a", "arn:aws:iam::o:root"]},
                                     Resource="arn:aws:s3:::b"))),
    *(
        (Kind.IDENTITY, document(statement(Action="s3:*", Condition=condition)))
        for condition in (
            {"StringLike": {"s3:prefix": ["a", 5, True]}},
            {"ForAnyValue:StringNotEqualsIgnoreCaseIfExists": {"s3:ExistingObjectTag/a b": "x"}},
            {"Null": {"aws:SourceIp": True, "s3:RequestObjectTag/x": "false"}},
            {"DateLessThan": {"aws:CurrentTime": "2025-07-01T00:00:00.5+02:00"}},
            {"DateLessThanIfExists": {"aws:EpochTime": [1, "2025-07-01", 1.5]}},
            {"NumericEquals": {"s3:max-keys": 5, "s3:TlsVersion": "1.2"}},
            {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}},
            {"Bool": {"aws:SecureTransport": "True"}, "StringEquals": {"s3:delimiter": ""}},
            {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::o:user/*"}},
        )
    ),
    (Kind.IDENTITY, json.loads(SEED)),
    *((Kind.IDENTITY, TEMPLATES[name].build(**given)) for name, given in GIVEN),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), GOOD, ids=range(len(GOOD)))
def test_taken_samples(kind: Kind, body: dict[str, Any]) -> None:
    assert parses(body, kind)
    assert list(VALIDATORS[kind].iter_errors(body)) == []


BAD: list[tuple[Kind, Any]] = [
    (Kind.IDENTITY, []),
    (Kind.IDENTITY, document()),
    (Kind.IDENTITY, document(statement(), Version="2008-10-17")),
    (Kind.IDENTITY, document(statement(), Frob=1)),
    (Kind.IDENTITY, {"Statement": [statement()]}),
    (Kind.IDENTITY, document(*[statement()] * 101)),
    (Kind.IDENTITY, document(statement(Principal="*"))),
    (Kind.IDENTITY, document(statement(Action=[]))),
    (Kind.IDENTITY, document(statement(Condition={"StringLike": {"s3:ExistingObjectTag/": "x"}}))),
    (Kind.BUCKET, document(statement(Resource="arn:aws:s3:::b"))),
    (Kind.BUCKET, document(statement(Principal="*"))),
    (Kind.BUCKET, document(statement(Principal={"AWS": "x"}, Resource="arn:aws:s3:::b"))),
    (Kind.BUCKET, document(statement(Principal={"AWS": "*", "X": "*"}, Resource="arn:aws:s3:::b"))),
    (Kind.BUCKET, document(statement(Principal="*", Action="s3:ListAllMyBuckets",
                                     Resource="arn:aws:s3:::b"))),
    (Kind.BUCKET, document(statement(Principal="*", Action="iam:GetPolicy",
                                     Resource="arn:aws:s3:::b"))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), BAD, ids=range(len(BAD)))
def test_samples_that_both_refuse(kind: Kind, body: Any) -> None:
    assert not parses(body, kind)
    assert not VALIDATORS[kind].is_valid(body)
