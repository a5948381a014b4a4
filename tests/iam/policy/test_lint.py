"""Findings: a table of what is found, and of what is not."""

from __future__ import annotations

from typing import Any

import pytest

from amur.iam.policy import conflicts, values
from amur.iam.policy.document import Kind
from amur.iam.policy.lint import CODES, FINDINGS_MAX, Finding, lint
from amur.iam.policy.patterns import Glob
from amur.iam.policy.work import WORK_MAX
from tests.iam.policy.support import BUCKET, read, statement

NOW_S = 1_751_328_000  # 2025-07-01T00:00:00Z
OBJECTS = f"{BUCKET}/*"


def found(*bodies: dict[str, Any], kind: Kind = Kind.IDENTITY, **more: Any) -> list[Finding]:
    findings = lint(read(*bodies, kind=kind), now_s=NOW_S, **more)
    for finding in findings:
        assert str(finding).isprintable()
        assert finding.code in CODES
    return findings


def one(**members: Any) -> dict[str, Any]:
    return statement(**{"Resource": OBJECTS, **members})


def when(**operators: Any) -> dict[str, Any]:
    return {name: {"aws:CurrentTime": value} for name, value in operators.items()}


CASES: list[tuple[dict[str, Any], list[str]]] = [
    (one(), []),
    (one(Action="*", Resource="*"), ["too-wide"]),
    (one(Action="s3:*", Resource="arn:aws:s3:::*"), ["too-wide"]),
    (one(Action="s3:Put*", Resource="*"), ["too-wide"]),
    (one(Action="s3:DeleteObject", Resource=[OBJECTS, "arn:aws:s3:::*/*"]), ["too-wide"]),
    (one(Action="s3:GetObject", Resource="*"), []),
    (one(Action="s3:*", Resource=[BUCKET, OBJECTS]), []),
    (one(Effect="Deny", Action="*", Resource="*"), []),
    (one(Action=None, NotAction="s3:Delete*"), ["too-wide"]),
    (one(Resource=None, NotResource=OBJECTS), ["too-wide"]),
    (one(Effect="Deny", Resource=None, NotResource=OBJECTS), []),
    # levels
    (one(Action="s3:ListBucket"), ["never-matches"]),
    (one(Action="s3:ListBucket", Resource=f"{BUCKET}*"), []),
    (one(Action="s3:ListBucket", Resource=[BUCKET, OBJECTS]), []),
    (one(Action=["s3:GetObject", "s3:ListBucket"]), ["never-matches"]),
    (one(Resource=BUCKET), ["never-matches"]),
    (one(Resource=f"{BUCKET}-${{aws:username}}"), []),
    (one(Action="s3:List*"), []),  # s3:ListMultipartUploadParts
    (one(Action="s3:*Bucket"), ["never-matches"]),
    (one(Action="s3:ListAllMyBuckets"), ["never-matches"]),
    (one(Action="s3:ListAllMyBuckets", Resource="*"), []),
    (one(Action="s3:ListAllMyBuckets", Resource="arn:aws:s3:::*"), []),
    (one(Action="iam:GetPolicy"), ["never-matches"]),
    (one(Action="iam:GetPolicy", Resource="arn:aws:iam::acme:policy/*"), []),
    (one(Resource="arn:aws:iam::acme:policy/*"), ["never-matches"]),
    (one(Resource="arn:aws:s3:::My_Bucket/*"), ["never-matches"]),
    (one(Resource="arn:aws:s3:::My*/x"), []),  # it says nothing of what a star may be
    (one(Effect="Deny", Action=None, NotAction="*"), ["never-matches"]),
    (one(Effect="Deny", Resource=None, NotResource=["*", OBJECTS]), ["never-matches"]),
    # conditions
    (one(Condition=when(DateGreaterThan="2025-08-01", DateLessThan="2025-07-15")),
     ["never-matches"]),
    (one(Condition=when(DateGreaterThan="2025-08-01", DateLessThan="2025-08-01")),
     ["never-matches"]),
    (one(Condition=when(DateGreaterThanEquals="2025-08-01", DateLessThanEquals="2025-08-01")), []),
    (one(Condition=when(DateGreaterThan=["2025-09-01", "2025-08-01"],
                        DateLessThan=["2025-08-02", "2025-07-02"])), []),
    (one(Condition=when(DateGreaterThan="2025-08-01", DateLessThanIfExists="2025-07-15")), []),
    (one(Condition=when(DateGreaterThanEquals="2025-08-01", DateLessThan="2025-08-01")),
     ["never-matches"]),
    (one(Condition=when(DateLessThan="2025-06-01", DateLessThanEquals="2025-08-01")), ["expired"]),
    (one(Condition=when(DateLessThan="2025-07-01")), ["expired"]),
    (one(Condition=when(DateLessThan="2025-07-01T00:00:01Z")), []),
    (one(Condition=when(DateLessThan=["2025-06-01", "2025-08-01"])), []),
    (one(Condition=when(DateEquals="2025-06-01")), ["expired"]),
    (one(Condition=when(DateNotEquals="2025-06-01")), []),
    (one(Effect="Deny", Condition=when(DateLessThan="2025-06-01")), ["expired"]),
    (one(Condition={"NumericLessThan": {"s3:signatureAge": 5},
                    "NumericGreaterThan": {"s3:signatureAge": 5}}), ["never-matches"]),
    (one(Condition={"DateGreaterThan": {"aws:EpochTime": "2025-08-01"},
                    "NumericLessThan": {"aws:EpochTime": 1_900_000_000}}), []),
    (one(Condition={"Null": {"aws:userid": "true"}, "StringLike": {"aws:userid": "a"}}),
     ["never-matches"]),
    (one(Condition={"Null": {"aws:userid": "true"}, "StringNotLike": {"aws:userid": "a"}}), []),
    (one(Condition={"Null": {"aws:userid": "false"}, "StringLike": {"aws:userid": "a"}}), []),
    (one(Condition={"Bool": {"aws:SecureTransport": "true"},
                    "ForAnyValue:Bool": {"aws:SecureTransport": "false"}}), ["never-matches"]),
    (one(Condition={"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}), []),
    (one(Condition={"IpAddress": {"aws:SourceIp": "203.0.113.9/24"}}), ["impossible-address"]),
    (one(Condition={"IpAddress": {"aws:SourceIp": ["0.0.0.0", "224.0.0.1", "10.0.0.1"]}}),
     ["impossible-address", "impossible-address"]),
    (one(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), ["impossible-address"]),
    (one(Condition={"IpAddress": {"aws:SourceIp": ["10.1.0.0/16", "10.2.0.1"]},
                    "NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), ["never-matches"]),
    (one(Condition={"IpAddress": {"aws:SourceIp": ["10.1.0.0/16", "11.2.0.1"]},
                    "NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), []),
    (one(Condition={"StringLike": {"aws:Referer": "https://example.com/*"}}), ["forgeable"]),
    (one(Effect="Deny", Condition={"StringLike": {"aws:UserAgent": "bad*"}}), []),
    (one(Resource=f"{BUCKET}/${{aws:UserAgent}}/*"), ["forgeable"]),
    (one(Resource=f"{BUCKET}/${{aws:username}}/*"), []),
    (one(Action="s3:PutObject",
         Condition={"ForAllValues:StringLike": {"s3:RequestObjectTagKeys": "a"}}),
     ["true-when-absent"]),
    (one(Action="s3:PutObject",
         Condition={"ForAllValues:StringLike": {"s3:RequestObjectTagKeys": "a"},
                    "Null": {"s3:RequestObjectTagKeys": "false"}}), []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "codes"), CASES, ids=[str(number) for number in range(len(CASES))]
)
def test_findings(body: dict[str, Any], codes: list[str]) -> None:
    assert [finding.code for finding in found(body)] == codes


def test_a_set_of_times_is_no_window() -> None:
    times = {"ForAllValues:DateLessThan": {"aws:CurrentTime": "2025-06-01"}}
    assert [each.code for each in found(one(Condition=times))] == ["true-when-absent"]


def test_a_finding_is_one_line_of_plain_text() -> None:
    (finding,) = found(one(Resource="arn:aws:s3:::B\n\x1b\u202e/*"))
    assert "arn:aws:s3:::B\\n\\x1b\\u202e/*" in str(finding)


def test_a_finding_says_where() -> None:
    (finding,) = found(one(Sid="Lister", Action="s3:ListBucket"))
    assert str(finding) == (
        "Statement[1] (Lister).Action: s3:ListBucket is asked of none of the statement's "
        "resources; add the bucket itself: arn:aws:s3:::BUCKET [never-matches]"
    )


def test_keys_that_still_hold_what_has_expired() -> None:
    body = one(Condition=when(DateLessThan="2025-06-01"))
    (finding,) = found(body, attached_to=("tid_a", "tid_b"))
    assert finding.message == (
        "allows nothing any more since 2025-06-01T00:00:00Z; it is still attached to tid_a, tid_b"
    )


DENY = {"Effect": "Deny"}
SHADOWS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    (one(), one(**DENY), True),
    (one(), one(**DENY, Action="s3:*"), True),
    (one(), one(**DENY, Action="s3:Get*", Resource="*"), True),
    (one(), one(**DENY, Action=None, NotAction="s3:Put*"), True),
    (one(Resource=f"{BUCKET}/a/*"), one(**DENY), True),
    (one(Resource=f"{BUCKET}/a?b"), one(**DENY), True),
    (one(Resource=[f"{BUCKET}/a/*", BUCKET]), one(**DENY), True),  # GetObject has no bucket
    (one(Action="s3:Get*"), one(**DENY), False),
    (one(Action=["s3:GetObject", "s3:PutObject"]), one(**DENY), True),  # of one of them
    (one(), one(**DENY, Action="s3:PutObject"), False),
    (one(), one(**DENY, Resource=f"{BUCKET}/a/*"), False),
    (one(Resource=f"{BUCKET}/a*"), one(**DENY, Resource=f"{BUCKET}/a?"), False),
    (one(Resource=[f"{BUCKET}/a/*", "arn:aws:s3:::x/*"]), one(**DENY), False),
    (one(), one(**DENY, Condition={"Bool": {"aws:SecureTransport": "false"}}), False),
    (one(Condition={"Bool": {"aws:SecureTransport": "false"}}),
     one(**DENY, Condition={"Bool": {"aws:SecureTransport": "false"}}), True),
    (one(Condition={"Bool": {"aws:SecureTransport": "false"}}), one(**DENY), True),
    (one(), one(**DENY, Resource=None, NotResource=f"{BUCKET}/x"), False),
    (one(), one(**DENY, Resource=None, NotResource=OBJECTS), False),
]  # fmt: skip


@pytest.mark.parametrize(("allow", "deny", "expected"), SHADOWS)
def test_what_a_deny_shadows(allow: dict[str, Any], deny: dict[str, Any], expected: bool) -> None:
    wanted = ["shadowed"] if expected else []
    assert [each.code for each in found(allow, deny) if each.code == "shadowed"] == wanted
    beside = [("other", read(deny))]
    assert [each.code for each in found(allow, beside=beside) if each.code == "shadowed"] == wanted


def test_duplicates() -> None:
    first = one(Sid="A", Action=["s3:GetObject", "s3:PutObject"])
    again = one(Sid="B", Action=["s3:PutObject", "s3:getobject", "s3:GetObject"])
    (finding,) = found(first, again)
    assert (finding.code, finding.statement) == ("duplicate", "Statement[2] (B)")
    assert "Statement[1] (A)" in finding.message
    assert found(first, one(Sid="B", Action="s3:PutObject")) == []


@pytest.mark.parametrize(
    ("principal", "condition", "expected"),
    [
        ("*", None, True),
        ({"AWS": ["tid_a", "*"]}, None, True),
        ({"AWS": "tid_a"}, None, False),
        ("*", {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
    ],
)
def test_public(principal: Any, condition: Any, expected: bool) -> None:
    body = one(Principal=principal, Condition=condition)
    assert [each.code for each in found(body, kind=Kind.BUCKET)] == ["public"] * expected
    assert found({**body, "Effect": "Deny"}, kind=Kind.BUCKET) == []


def test_a_deny_for_some_shadows_only_theirs() -> None:
    deny = one(**DENY, Principal={"AWS": ["tid_a", "tid_b"]})
    for principal, expected in (("tid_a", True), ("tid_c", False), ("*", False)):
        allow = one(Principal={"AWS": principal})
        codes = [each.code for each in found(allow, deny, kind=Kind.BUCKET)]
        assert ("shadowed" in codes) is expected


# --- how much it does ---


def resources(name: str, count: int) -> list[str]:
    return [f"{BUCKET}/{name}{number:x}*" for number in range(count)]


HOSTILE: list[list[dict[str, Any]]] = [
    # every resource against every other one: 150,000 pairs
    [one(Action=["s3:GetObject", "s3:PutObject"], Resource=resources("a", 370)),
     one(**DENY, Action="s3:Get*", Resource=[*resources("z", 399), OBJECTS])],
    [one(Action="s3:*", Resource=resources("a", 300)),
     *(one(**DENY, Action="s3:Get*", Resource=resources("z", 20)) for _ in range(8)),
     one(**DENY, Action="s3:*", Resource=f"{BUCKET}*")],
    # patterns that take long to compare
    [one(Action="s3:*", Resource=[f"{BUCKET}/{'a' * 100}{n}" for n in range(90)]),
     one(**DENY, Resource=[f"{BUCKET}/{'*a' * 12}*b{n}*" for n in range(120)]),
     one(**DENY, Action="s3:*", Resource=f"{BUCKET}*")],
    # addresses
    [one(Condition={"IpAddress": {"aws:SourceIp": [f"::{n:x}:{m:x}" for m in range(400)]}})
     for n in range(4)],
    [one(Condition={"IpAddress": {"aws:SourceIp": (own := [f"1.1.{n}.1" for n in range(250)])},
                    "NotIpAddress": {"aws:SourceIp": [*own, *(f"1.2.{n}.1" for n in range(150))]}})
     for _ in range(2)],
]  # fmt: skip


@pytest.mark.parametrize("bodies", HOSTILE, ids=range(len(HOSTILE)))
def test_work_is_bounded(bodies: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not looked at is said once, and at the end."""
    done = 0
    matches, network, interface = Glob.matches, values.network, conflicts.ip_interface

    def counted(real: Any) -> Any:
        def count(*args: Any) -> Any:
            nonlocal done
            done += 1
            return real(*args)

        return count

    policy = read(*(each | {"Principal": "*"} for each in bodies), kind=Kind.BUCKET)
    monkeypatch.setattr(Glob, "matches", counted(matches))
    monkeypatch.setattr(values, "network", counted(network))
    monkeypatch.setattr(conflicts, "ip_interface", counted(interface))
    codes = [each.code for each in lint(policy, now_s=NOW_S)]
    assert done <= WORK_MAX + 5_000  # and what each action and resource needs for itself
    assert codes.count("not-checked") == 1
    assert codes[-1] == "not-checked"


def test_what_is_short_enough_is_looked_at() -> None:
    allow = one(Action="s3:*", Resource=resources("a", 90))
    deny = one(**DENY, Action="s3:*", Resource=[*resources("z", 90), f"{BUCKET}*"])
    codes = [each.code for each in found(allow, deny)]
    assert codes == ["shadowed"]


def test_findings_are_told_up_to_a_number() -> None:
    addresses = [f"10.0.{number}.1/16" for number in range(FINDINGS_MAX + 50)]
    codes = [each.code for each in found(one(Condition={"IpAddress": {"aws:SourceIp": addresses}}))]
    assert codes == ["impossible-address"] * FINDINGS_MAX


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        (["10.1.0.0/16"], ["10.0.0.0/9", "10.128.0.0/9"], True),
        (["10.0.0.0/8"], ["10.0.0.0/9", "10.128.0.0/9"], True),  # the two together
        (["10.0.0.0/8"], ["10.0.0.0/9", "10.192.0.0/10"], False),
        (["10.1.2.3", "::1"], ["10.0.0.0/8", "::/64"], True),
        (["10.1.2.3", "::1"], ["10.0.0.0/8"], False),
        (["::a01:203"], ["10.1.2.3"], False),
        (["::ffff:10.1.2.3"], ["10.0.0.0/8"], True),
        (["255.255.255.254"], ["255.255.255.254/31"], True),
        (["1.1.1.1"], ["1.1.1.2", "1.1.1.0"], False),
        (["ffff::"], ["ffff::/16", "0.0.0.0/0"], True),
    ],
)
def test_addresses_that_are_excluded_again(
    inside: list[str], outside: list[str], expected: bool
) -> None:
    sources = {"IpAddress": {"aws:SourceIp": inside}, "NotIpAddress": {"aws:SourceIp": outside}}
    codes = [each.code for each in found(one(Condition=sources))]
    assert ("never-matches" in codes) is expected
