"""Explanations: every statement with its reasons, and what would be needed."""

from __future__ import annotations

from typing import Any

from amur.iam.policy.compiling import Compiled, principal_facts
from amur.iam.policy.document import Kind
from amur.iam.policy.explain import Explanation, explain
from tests.iam.policy.support import BUCKET, OBJECT, Request, read, statement

OFFICE = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}


def why(
    *bodies: dict[str, Any],
    action: str = "s3:GetObject",
    resource: str = OBJECT,
    keys: dict[str, str] | None = None,
) -> Explanation:
    return explain(Compiled([("job", read(*bodies))]), action, resource, Request(keys))


def test_an_allow() -> None:
    found = why(statement(Sid="All"), statement(Action="s3:PutObject"), statement(Resource=BUCKET))
    assert found.decision.effect == "ALLOW"
    assert str(found.decision.source) == "job Statement[1] (All)"
    assert [each.why for each in found.statements] == [
        "Allow applies",
        "does not name the action",
        "does not name the resource",
    ]
    assert found.needed == ()


def test_a_deny_says_what_must_not_apply() -> None:
    found = why(statement(), statement(Effect="Deny", Sid="No", Condition=OFFICE),
                keys={"aws:sourceip": "10.1.1.1"})  # fmt: skip
    assert found.decision.effect == "DENY"
    assert [each.why for each in found.statements] == ["Allow applies", "Deny applies"]
    assert found.needed == ("job Statement[2] (No) must not apply: a Deny is never outweighed",)


def test_a_condition_with_what_was_seen() -> None:
    found = why(statement(Sid="Office", Condition=OFFICE), keys={"aws:sourceip": "192.0.2.1"})
    line = "IpAddress aws:SourceIp: 10.0.0.0/8 does not hold (the request has 192.0.2.1)"
    assert found.decision.effect == "NONE"
    assert found.statements[0].why == line
    assert found.needed == (
        f"an Allow of s3:GetObject on {OBJECT}",
        f"job Statement[1] (Office) would allow it, but {line}",
    )
    absent = why(statement(Condition=OFFICE))
    assert absent.statements[0].why.endswith("does not hold (the request has nothing)")
    assert absent.statements[0].conditions[0].seen is None
    undecided = why(statement(Condition=OFFICE), keys={"aws:sourceip": "unix"})
    assert undecided.statements[0].why.endswith("can't be decided (the request has unix)")
    assert undecided.statements[0].conditions[0].holds is None


def test_all_that_fails_is_told() -> None:
    found = why(statement(Action="s3:PutObject", Resource=BUCKET, Condition=OFFICE))
    assert found.statements[0].why.startswith(
        "does not name the action; does not name the resource; IpAddress"
    )
    assert found.needed == (f"an Allow of s3:GetObject on {OBJECT}",)


def test_near_misses() -> None:
    found = why(
        statement(Resource=f"{BUCKET}/b/*"),
        statement(Action="s3:PutObject"),
        statement(Effect="Deny", Action="s3:PutObject"),
    )
    assert found.needed[1:] == (
        "job Statement[1] would allow it, but it does not name the resource",
        "job Statement[2] would allow it, but it does not name the action",
    )


def test_an_action_asked_of_the_wrong_level() -> None:
    found = why(statement(), action="s3:ListBucket", resource=OBJECT)
    assert f"s3:ListBucket is asked of the bucket: {BUCKET}" in found.needed
    found = why(statement(Action="s3:PutObject"), resource=BUCKET)
    assert f"s3:GetObject is asked of an object: {BUCKET}/KEY" in found.needed
    found = why(statement(), action="s3:GetObjct")
    assert "s3:GetObjct is no action: did you mean s3:GetObject?" in found.needed


def test_a_principal() -> None:
    policy = read(statement(Principal={"AWS": "tid_a"}, Resource=f"{BUCKET}/*"), kind=Kind.BUCKET)
    compiled = Compiled([("bucket policy", policy)])
    facts = principal_facts("acme", "tid_b")
    found = explain(compiled, "s3:GetObject", OBJECT, Request(), facts)
    assert found.statements[0].why == "is not for this principal"
    assert found.needed[1:] == (
        "bucket policy Statement[1] would allow it, but it is not for this principal",
    )
