"""Whatever is sent, `parse` gives a policy or PolicyInvalid, after a bounded amount of work."""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amur.iam.policy.compiling import Compiled
from amur.iam.policy.document import Kind, PolicyInvalid, parse
from amur.iam.policy.evaluate import decide
from amur.iam.policy.explain import explain
from amur.iam.policy.lint import lint
from tests.iam.policy.support import OBJECT, Request, document, statement

WORDS = st.sampled_from(
    ["Version", "2012-10-17", "Statement", "Sid", "Effect", "Allow", "Deny", "Action", "NotAction",
     "Resource", "NotResource", "Principal", "NotPrincipal", "AWS", "Condition", "StringLike",
     "ForAnyValue:StringLike", "Null", "IpAddress", "DateLessThan", "NumericEquals", "ArnLike",
     "Bool", "aws:userid", "aws:SourceIp", "aws:CurrentTime", "aws:PrincipalArn", "s3:max-keys",
     "s3:ExistingObjectTag/a", "s3:GetObject", "s3:*", "*", "arn:aws:s3:::b/*", "true", "10.0.0.1",
     "${aws:username}", "${", "}", "${*}", "?", "arn:aws:iam::a:user/*", "2025-07-01T00:00:00Z"]
)  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner),
    max_leaves=25,
)
KINDS = st.sampled_from(list(Kind))


def survives(text: str | bytes, kind: Kind) -> None:
    try:
        policy = parse(text, kind, bucket="b" if kind is Kind.BUCKET else "")
    except PolicyInvalid as error:
        for problem in error.problems:
            assert str(problem).isprintable()
        return
    compiled = Compiled([("p", policy)])
    decide(compiled, "s3:GetObject", OBJECT, Request({"aws:userid": "x"}))
    for finding in lint(policy, now_s=1_750_000_000):
        assert str(finding).isprintable()
    explained = explain(compiled, "s3:GetObject", OBJECT + "\n", Request({"aws:userid": "\n"}))
    for line in (*explained.needed, *(each.why for each in explained.statements)):
        assert line.isprintable()


@given(st.text() | st.binary(), KINDS)
def test_any_text(text: str | bytes, kind: Kind) -> None:
    survives(text, kind)


@settings(max_examples=300)
@given(ANY, KINDS)
def test_any_json(value: Any, kind: Kind) -> None:
    survives(json.dumps(value), kind)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(
            ["Sid", "Effect", "Principal", "Action", "Resource", "Condition", "NotAction"]
        ),
        ANY,
    ),
    KINDS,
)
def test_statements_with_any_members(members: dict[str, Any], kind: Kind) -> None:
    survives(json.dumps(document(statement(**members))), kind)


@settings(max_examples=300)
@given(st.data(), KINDS)
def test_documents_with_a_piece_cut_out_or_put_in(data: st.DataObject, kind: Kind) -> None:
    condition = {"StringLike": {"aws:userid": ["${aws:username, 'x'}*"]}}
    whole = json.dumps(document(statement(Sid="S", Principal={"AWS": "*"}, Condition=condition)))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(start + 9, len(whole))))
    piece = data.draw(st.text('{}[]":,*?$\\ \n' + "ae1", max_size=5))
    survives(whole[:start] + piece + whole[end:], kind)


# --- work, counted in calls of Python functions ---


def calls(text: str, kind: Kind) -> int:
    """How many function calls a document costs: C functions count, too."""
    count = 0

    def counted(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        parse(text, kind)
    except PolicyInvalid:
        pass
    finally:
        sys.setprofile(before)
    return count


MOST = 100_000
"""Less than 10 ms. Without the limits, some of these would cost a hundred times as much."""


@pytest.mark.parametrize(
    "members",
    [
        {"Action": [f"s3:*{chr(97 + n % 26)}*{n}" for n in range(400)]},
        {"Action": [f"*{chr(97 + n % 26)}" for n in range(400)]},
        {"Action": [f"s3:GetObjec{n}" for n in range(300)]},
        {"Action": "s3:" + "GetObject" * 600},
        {"Action": "*" * 6000},
        {"Action": "?*" * 3000},
        {"Resource": [f"arn:aws:s3:::{n}*?*" for n in range(250)]},
        {"Resource": "arn:aws:s3:::" + "${aws:username}" * 400},
        {"Resource": "arn:aws:s3:::" + "${" * 2900},
        {"Resource": ["arn:aws:s3:::" + "*" * 1900] * 3},
        {"Condition": {"IpAddress": {"aws:SourceIp": [f"10.0.{n}.0/24" for n in range(250)]}}},
        {"Condition": {"StringLike": {f"aws:PrincipalTag/{n}": "*" for n in range(200)}}},
        {"Condition": {f"StringLik{n}": {"aws:userid": "x"} for n in range(150)}},
        {"Condition": {"StringLike": {f"aws:usernam{n}": "x" for n in range(200)}}},
        {"Frob" * 1400: 1},
        {f"Actio{n}": 1 for n in range(400)},
        {"Condition": {"NumericEquals": {"s3:max-keys": "1" * 5000}}},
    ],
)
def test_work_is_bounded(members: dict[str, Any]) -> None:
    text = json.dumps(document(statement(**members)))
    assert calls(text, Kind.IDENTITY) < MOST


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a":' * 4000, "9" * 20_000, '"' * 20_000])
def test_work_of_other_json_is_bounded(text: str) -> None:
    assert calls(text, Kind.BUCKET) < MOST
