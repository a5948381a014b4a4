"""Conditions: the truth tables of operators, set operators, absent keys and the undecided."""

from __future__ import annotations

import pytest

from amur.iam.policy.compiling import Compiled
from amur.iam.policy.evaluate import decide
from tests.iam.policy.support import Request, effect, holds, read, statement

STATES: tuple[tuple[str, ...], ...] = ((), ("a",), ("x",), ("a", "b"), ("a", "x"), ("x", "y"))
"""Against the wanted values a and b: absent, fits, fits not, both fit, one fits, none fits."""

TABLE = {
    "StringEquals": "-T-TT-",
    "StringNotEquals": "T-T--T",
    "StringEqualsIfExists": "TT-TT-",
    "StringNotEqualsIfExists": "T-T--T",
    "ForAllValues:StringEquals": "TT-T--",
    "ForAllValues:StringNotEquals": "T-T--T",
    "ForAnyValue:StringEquals": "-T-TT-",
    "ForAnyValue:StringNotEquals": "--T-TT",
    "ForAllValues:StringEqualsIfExists": "TT-T--",
    "ForAllValues:StringNotEqualsIfExists": "T-T--T",
    "ForAnyValue:StringEqualsIfExists": "TT-TT-",
    "ForAnyValue:StringNotEqualsIfExists": "T-T-TT",
    "StringLike": "-T-TT-",
    "StringNotLike": "T-T--T",
    "ForAllValues:StringLike": "TT-T--",
    "ForAllValues:StringNotLike": "T-T--T",
    "ForAnyValue:StringLike": "-T-TT-",
    "ForAnyValue:StringNotLike": "--T-TT",
    "StringEqualsIgnoreCase": "-T-TT-",
    "StringNotEqualsIgnoreCase": "T-T--T",
}


@pytest.mark.parametrize("deny", [False, True])
@pytest.mark.parametrize("operator", TABLE)
def test_sets_of_values(operator: str, deny: bool) -> None:
    for state, expected in zip(STATES, TABLE[operator], strict=True):
        found = holds(
            operator,
            "s3:RequestObjectTagKeys",
            ["a", "b"],
            {"s3:requestobjecttagkeys": state},
            deny=deny,
        )
        assert found is (expected == "T"), state


@pytest.mark.parametrize(
    ("wanted", "absent", "present"),
    [("true", True, False), ("false", False, True), (True, True, False), (["true", "false"], 1, 1)],
)
def test_null(wanted: object, absent: bool, present: bool) -> None:
    assert holds("Null", "s3:prefix", wanted) is bool(absent)
    assert holds("Null", "s3:prefix", wanted, {"s3:prefix": ()}) is bool(absent)
    assert holds("Null", "s3:prefix", wanted, {"s3:prefix": ""}) is bool(present)


@pytest.mark.parametrize(
    ("operator", "wanted", "seen", "expected"),
    [
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a*", "a*", True),
        ("StringEquals", "A", "a", False),
        ("StringEquals", "", "", True),
        ("StringEqualsIgnoreCase", "STRASSE", "straße", True),
        ("StringNotEqualsIgnoreCase", "A", "a", False),
        ("StringLike", "home/*", "home/", True),
        ("StringLike", ["", "home/*"], "", True),
        ("StringLike", "home/?", "home/ab", False),
        ("StringNotLike", ["home/*", "tmp/*"], "home/x", False),
        ("StringNotLike", ["home/*", "tmp/*"], "var/x", True),
        ("StringLike", "${*}", "x", False),
        ("StringLike", "${*}", "*", True),
    ],
)
def test_strings(operator: str, wanted: object, seen: str, expected: bool) -> None:
    assert holds(operator, "s3:prefix", wanted, {"s3:prefix": seen}) is expected


@pytest.mark.parametrize(
    ("operator", "wanted", "seen", "expected"),
    [
        ("StringLike", "home/${aws:username}/*", "home/ann/x", True),
        ("StringLike", "home/${aws:username}/*", "home/bob/x", False),
        ("StringLike", ["x", "*${aws:username}"], "to ann", True),
        ("StringNotLike", "home/${aws:username}/*", "home/ann/x", False),
        ("StringLike", "${aws:PrincipalTag/Team}", "a*", True),
        ("StringLike", "${aws:PrincipalTag/Team}", "ab", False),
        ("StringLike", "${aws:userid, 'all'}?", "all/", True),
        ("StringEquals", "${aws:username}s", "anns", True),
        ("StringEquals", "${aws:username}", "Ann", False),
        ("StringEqualsIgnoreCase", "${aws:username}", "ANN", True),
        ("StringEquals", "${aws:userid, 'all'}", "all", True),
        ("StringNotEquals", "${aws:username}", "ann", False),
    ],
)
def test_variables_in_strings(operator: str, wanted: object, seen: str, expected: bool) -> None:
    keys = {"s3:prefix": seen, "aws:username": "ann", "aws:principaltag/Team": "a*"}
    for deny in (False, True):
        assert holds(operator, "s3:prefix", wanted, keys, deny=deny) is expected


@pytest.mark.parametrize(
    ("how", "results"),  # for 9, 10, 11 against 10
    [
        ("Equals", "-T-"),
        ("NotEquals", "T-T"),
        ("LessThan", "T--"),
        ("LessThanEquals", "TT-"),
        ("GreaterThan", "--T"),
        ("GreaterThanEquals", "-TT"),
    ],
)
def test_orders(how: str, results: str) -> None:
    for seen, expected in zip(("9", "10", "11"), results, strict=True):
        answer = expected == "T"
        assert holds(f"Numeric{how}", "s3:max-keys", 10, {"s3:max-keys": seen}) is answer
        assert holds(f"Numeric{how}", "s3:max-keys", "10.0", {"s3:max-keys": seen}) is answer
        at = f"2025-07-{seen.zfill(2)}T00:00:00Z"
        wanted = "2025-07-10T00:00:00Z"
        assert holds(f"Date{how}", "aws:CurrentTime", wanted, {"aws:currenttime": at}) is answer
        keys = {"aws:epochtime": seen}
        assert holds(f"Date{how}", "aws:EpochTime", 10, keys) is answer
        assert holds(f"Numeric{how}", "aws:EpochTime", 10, keys) is answer


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("NumericLessThan", True),  # of 20
        ("NumericGreaterThan", True),  # of 10
        ("NumericLessThanEquals", True),
        ("NumericGreaterThanEquals", True),
        ("NumericEquals", False),
        ("NumericNotEquals", True),
    ],
)
def test_several_limits_are_alternatives(operator: str, expected: bool) -> None:
    keys = {"s3:max-keys": "15"}
    assert holds(operator, "s3:max-keys", [10, 20], keys) is expected
    assert holds(operator, "s3:max-keys", [20, 10], keys) is expected


def test_numbers_are_exact() -> None:
    keys = {"s3:signatureage": "100000000000000001"}
    assert not holds("NumericEquals", "s3:signatureAge", "100000000000000000", keys)
    assert holds("NumericEquals", "s3:TlsVersion", "1.20", {"s3:tlsversion": "1.2"})


@pytest.mark.parametrize(
    ("operator", "wanted", "seen", "expected"),
    [
        ("IpAddress", ["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.9", True),
        ("IpAddress", ["10.0.0.0/8", "203.0.113.0/24"], "192.0.2.1", False),
        ("NotIpAddress", ["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.9", False),
        ("NotIpAddress", ["10.0.0.0/8", "203.0.113.0/24"], "192.0.2.1", True),
        ("IpAddress", "10.0.0.0/8", "::ffff:10.1.1.1", True),
    ],
)
def test_addresses(operator: str, wanted: object, seen: str, expected: bool) -> None:
    assert holds(operator, "aws:SourceIp", wanted, {"aws:sourceip": seen}) is expected


@pytest.mark.parametrize("operator", ["ArnEquals", "ArnLike"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("arn:aws:iam::acme:user/tid_a", True),
        ("arn:aws:iam::acme:user/*", True),
        ("arn:aws:iam::acme:*", True),
        ("arn:aws:iam::*:user/tid_?", True),
        ("arn:aws:*:*:acme:user/tid_a", True),
        ("arn:*:iam::acme:user/tid_b", False),
        ("arn:aws:iam:*:user/tid_a:x", False),  # a star does not reach over a colon
        ("arn:aws:iam::other:user/tid_a", False),
        ("arn:aws:iam::acme:user/${aws:username}", True),
        ("arn:aws:iam::${aws:username}:user/tid_a", False),
    ],
)
def test_arns(operator: str, wanted: str, expected: bool) -> None:
    keys = {"aws:principalarn": "arn:aws:iam::acme:user/tid_a", "aws:username": "tid_a"}
    assert holds(operator, "aws:PrincipalArn", wanted, keys) is expected
    negated = operator.replace("Arn", "ArnNot")
    assert holds(negated, "aws:PrincipalArn", wanted, keys) is not expected


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        ("true", "true", True),
        (True, "TRUE", True),
        ("false", "true", False),
        (False, "false", True),
    ],
)
def test_bool(wanted: object, seen: str, expected: bool) -> None:
    assert holds("Bool", "aws:SecureTransport", wanted, {"aws:securetransport": seen}) is expected


UNDECIDED = [
    ("NumericLessThan", "s3:max-keys", "10", {"s3:max-keys": "many"}),
    ("NumericEquals", "s3:max-keys", "10", {"s3:max-keys": ""}),
    ("NumericNotEquals", "s3:max-keys", "10", {"s3:max-keys": "many"}),
    ("DateLessThan", "aws:CurrentTime", "2025-07-01", {"aws:currenttime": "soon"}),
    ("DateNotEquals", "aws:CurrentTime", "2025-07-01", {"aws:currenttime": "soon"}),
    ("Bool", "aws:SecureTransport", "true", {"aws:securetransport": "yes"}),
    ("IpAddress", "aws:SourceIp", "10.0.0.0/8", {"aws:sourceip": "unix"}),
    ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", {"aws:sourceip": "unix"}),
    ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::a:*", {"aws:principalarn": "tid_a"}),
    ("ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::a:*", {"aws:principalarn": "tid_a"}),
    ("StringEquals", "s3:prefix", "${aws:username}", {"s3:prefix": "x"}),
    ("StringNotEquals", "s3:prefix", "${aws:username}", {"s3:prefix": "x"}),
    ("StringLike", "s3:prefix", "${aws:username}/*", {"s3:prefix": "x"}),
    ("StringNotLike", "s3:prefix", "${aws:username}/*", {"s3:prefix": "x"}),
    ("ForAllValues:StringNotLike", "s3:prefix", "${aws:username}/*", {"s3:prefix": "x"}),
    ("ForAnyValue:NumericLessThan", "s3:max-keys", "10", {"s3:max-keys": ("x", "20")}),
    ("ForAllValues:NumericLessThan", "s3:max-keys", "10", {"s3:max-keys": ("x", "5")}),
    ("StringLike", "aws:UserAgent", "*a?b*", {"aws:useragent": "x" * 2049}),
    ("StringLike", "aws:UserAgent", "*a?${aws:username}*",
     {"aws:useragent": "x" * 2049, "aws:username": "b"}),
    ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::a:user/${aws:username}",
     {"aws:principalarn": "arn:aws:iam::a:user/x"}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "key", "wanted", "keys"), UNDECIDED)
def test_what_cannot_be_decided_never_grants_and_always_refuses(
    operator: str, key: str, wanted: str, keys: dict[str, str]
) -> None:
    assert not holds(operator, key, wanted, keys)
    assert holds(operator, key, wanted, keys, deny=True)


@pytest.mark.parametrize("deny", [False, True])
def test_what_is_decided_in_spite_of_an_unknown_variable(deny: bool) -> None:
    wanted = ["${aws:username}", "x"]
    for keys, equals in (({"s3:prefix": "x"}, True),):
        assert holds("StringEquals", "s3:prefix", wanted, keys, deny=deny) is equals
        assert holds("StringNotEquals", "s3:prefix", wanted, keys, deny=deny) is not equals
    arn = "arn:aws:iam::acme:user/${aws:username}"
    other = {"aws:principalarn": "arn:aws:iam::other:user/x"}
    assert not holds("ArnLike", "aws:PrincipalArn", arn, other, deny=deny)
    tags = {"s3:max-keys": ("x", "5")}
    assert holds("ForAnyValue:NumericLessThan", "s3:max-keys", "10", tags, deny=deny)
    tags = {"s3:max-keys": ("x", "50")}
    assert not holds("ForAllValues:NumericLessThan", "s3:max-keys", "10", tags, deny=deny)


def test_text_too_long_for_a_floating_mark_is_compared_without_it() -> None:
    assert holds("StringLike", "aws:UserAgent", "*b*", {"aws:useragent": "x" * 9000 + "b"})
    assert holds("StringLike", "aws:UserAgent", "*a?b*", {"aws:useragent": "x" * 2045 + "axb"})


def test_names_of_keys_have_no_case_but_for_tags() -> None:
    assert holds("StringEquals", "S3:PREFIX", "a", {"s3:prefix": "a"})
    keys = {"s3:existingobjecttag/Team": "blue"}
    assert holds("StringEquals", "s3:existingOBJECTtag/Team", "blue", keys)
    assert not holds("StringEquals", "s3:ExistingObjectTag/team", "blue", keys)


def test_several_clauses_must_all_hold() -> None:
    policy = read(
        statement(
            Action="s3:ListBucket",
            Condition={
                "StringEquals": {"s3:prefix": "a", "s3:delimiter": "/"},
                "NumericLessThan": {"s3:max-keys": 10},
            },
        )
    )
    good = {"s3:prefix": "a", "s3:delimiter": "/", "s3:max-keys": "5"}
    assert effect(policy, "s3:ListBucket", keys=good) == "ALLOW"
    for name, value in (("s3:prefix", "b"), ("s3:delimiter", "-"), ("s3:max-keys", "10")):
        assert effect(policy, "s3:ListBucket", keys={**good, name: value}) == "NONE"
        missing = {key: each for key, each in good.items() if key != name}
        assert effect(policy, "s3:ListBucket", keys=missing) == "NONE"


def test_a_context_is_asked_only_for_what_is_needed() -> None:
    condition = {"StringEquals": {"aws:username": "a", "s3:ExistingObjectTag/Team": "b"}}
    compiled = Compiled([("p", read(statement(Condition=condition)))])
    request = Request({"aws:username": "x"})
    decide(compiled, "s3:GetObject", "arn:aws:s3:::b/k", request)
    assert request.asked == ["aws:username"]
    request = Request({"aws:username": "a"})
    decide(compiled, "s3:GetObject", "arn:aws:s3:::b/k", request)
    assert request.asked == ["aws:username", "s3:existingobjecttag/Team"]
    request = Request()
    decide(compiled, "s3:PutObject", "arn:aws:s3:::b/k", request)
    assert request.asked == []
