"""The decision: tables for each rule, and random policies against the naive evaluator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amur.iam.policy.compiling import Compiled, StatementName, principal_facts
from amur.iam.policy.document import Kind, parse
from amur.iam.policy.evaluate import ALLOW, DENY, NONE, Decision, decide
from amur.iam.policy.explain import explain
from tests.iam.policy import naive
from tests.iam.policy.support import BUCKET, OBJECT, Request, document, effect, read, statement


@pytest.mark.parametrize(
    ("actions", "action", "expected"),
    [
        ("s3:GetObject", "s3:GetObject", ALLOW),
        ("S3:getOBJECT", "s3:GetObject", ALLOW),
        ("s3:GetObject", "s3:GetObjectVersion", NONE),
        ("s3:GetObject", "s3:PutObject", NONE),
        ("s3:Get*", "s3:GetObjectVersion", ALLOW),
        ("s3:*Object", "s3:DeleteObject", ALLOW),
        ("s3:*Object", "s3:DeleteObjectVersion", NONE),
        ("s3:?etObject", "s3:GetObject", ALLOW),
        ("s3:*", "iam:GetPolicy", NONE),
        ("*", "iam:GetPolicy", ALLOW),
        ("*", "amur:Unheard", ALLOW),
        ("s3:*", "amur:Unheard", NONE),
        (["s3:PutObject", "s3:Get*"], "s3:GetObject", ALLOW),
    ],
)
def test_actions(actions: object, action: str, expected: str) -> None:
    assert effect(read(statement(Action=actions)), action) == expected


@pytest.mark.parametrize(
    ("resources", "resource", "expected"),
    [
        (BUCKET, BUCKET, ALLOW),
        (BUCKET, "arn:aws:s3:::data-other", NONE),
        (BUCKET, OBJECT, NONE),
        (f"{BUCKET}/*", BUCKET, NONE),
        (f"{BUCKET}/*", OBJECT, ALLOW),
        (f"{BUCKET}/*", "arn:aws:s3:::data-other/a", NONE),
        (f"{BUCKET}/a/*", OBJECT, ALLOW),
        (f"{BUCKET}/A/*", OBJECT, NONE),
        (f"{BUCKET}/*.txt", OBJECT, ALLOW),
        (f"{BUCKET}/?/b.txt", OBJECT, ALLOW),
        (f"{BUCKET}*", "arn:aws:s3:::data-other/a", ALLOW),
        ("arn:aws:s3:::*", OBJECT, ALLOW),
        ("arn:aws:s3:::*/a/*", OBJECT, ALLOW),
        ("*", "arn:aws:iam::acme:policy/x", ALLOW),
        ([f"{BUCKET}/x", OBJECT], OBJECT, ALLOW),
        (f"{BUCKET}/${{aws:username}}/*", OBJECT, NONE),
        (f"{BUCKET}/${{aws:username, 'a'}}/*", OBJECT, ALLOW),
        (f"{BUCKET}/${{*}}", f"{BUCKET}/*", ALLOW),
        (f"{BUCKET}/${{*}}", OBJECT, NONE),
    ],
)
def test_resources(resources: object, resource: str, expected: str) -> None:
    assert effect(read(statement(Resource=resources)), resource=resource) == expected


def test_nothing_is_allowed_without_a_statement_that_says_so() -> None:
    assert decide(Compiled([]), "s3:GetObject", OBJECT, Request()) == Decision(NONE, None)


@pytest.mark.parametrize("order", [1, -1])
def test_a_deny_wins_over_every_allow_in_any_order(order: int) -> None:
    allow, deny = statement(), statement(Effect="Deny", Resource=f"{BUCKET}/a/*")
    assert effect(read(*(allow, deny)[::order])) == DENY
    assert effect(read(*(allow, deny)[::order]), resource=f"{BUCKET}/b") == ALLOW
    policies = [("one", read(allow)), ("two", read(deny))][::order]
    found = decide(Compiled(policies), "s3:GetObject", OBJECT, Request())
    assert found == Decision(DENY, StatementName("two", 1, ""))


def test_the_source_is_the_first_that_says_it() -> None:
    policies = [
        ("one", read(statement(Action="s3:PutObject"), statement(Resource=f"{BUCKET}/x"))),
        (
            "two",
            read(statement(Resource="arn:aws:s3:::d*"), statement(Sid="Late", Resource=OBJECT)),
        ),
        ("three", read(statement())),
    ]
    found = decide(Compiled(policies), "s3:GetObject", OBJECT, Request())
    assert found.source == StatementName("two", 1, "")
    assert str(found.source) == "two Statement[1]"
    found = decide(Compiled(policies[1:][::-1]), "s3:GetObject", OBJECT, Request())
    assert str(found.source) == "three Statement[1]"
    late = Compiled([("p", read(statement(Resource=BUCKET), statement(Sid="Late")))])
    assert str(decide(late, "s3:GetObject", OBJECT, Request()).source) == "p Statement[2] (Late)"


@pytest.mark.parametrize(
    ("members", "action", "resource", "expected"),
    [
        ({"Action": None, "NotAction": "s3:Delete*"}, "s3:GetObject", OBJECT, ALLOW),
        ({"Action": None, "NotAction": "s3:Delete*"}, "s3:DeleteObject", OBJECT, NONE),
        ({"Action": None, "NotAction": "s3:*"}, "iam:GetPolicy", "*", ALLOW),
        ({"Resource": None, "NotResource": f"{BUCKET}/a/*"}, "s3:GetObject", OBJECT, NONE),
        ({"Resource": None, "NotResource": f"{BUCKET}/b/*"}, "s3:GetObject", OBJECT, ALLOW),
        ({"Effect": "Deny", "Resource": None, "NotResource": [f"{BUCKET}/x", OBJECT]},
         "s3:GetObject", OBJECT, NONE),
        ({"Effect": "Deny", "Resource": None, "NotResource": [f"{BUCKET}/x", OBJECT]},
         "s3:GetObject", f"{BUCKET}/y", DENY),
    ],
)  # fmt: skip
def test_not_action_and_not_resource(
    members: dict[str, Any], action: str, resource: str, expected: str
) -> None:
    assert effect(read(statement(**members)), action, resource) == expected


HOME = f"{BUCKET}/home/${{aws:username}}/*"


@pytest.mark.parametrize(
    ("members", "keys", "resource", "expected"),
    [
        ({"Resource": HOME}, {"aws:username": "ann"}, f"{BUCKET}/home/ann/x", ALLOW),
        ({"Resource": HOME}, {"aws:username": "ann"}, f"{BUCKET}/home/bob/x", NONE),
        ({"Resource": HOME}, {"aws:username": "*"}, f"{BUCKET}/home/bob/x", NONE),
        # without a name: nothing is granted, everything that could be meant is refused
        ({"Resource": HOME}, {}, f"{BUCKET}/home/ann/x", NONE),
        ({"Effect": "Deny", "Resource": HOME}, {}, f"{BUCKET}/home/ann/x", DENY),
        ({"Effect": "Deny", "Resource": HOME}, {}, f"{BUCKET}/other/ann/x", NONE),
        ({"Resource": None, "NotResource": HOME}, {}, f"{BUCKET}/home/ann/x", NONE),
        ({"Resource": None, "NotResource": HOME}, {}, f"{BUCKET}/other", ALLOW),
        ({"Effect": "Deny", "Resource": None, "NotResource": HOME}, {},
         f"{BUCKET}/home/ann/x", DENY),
        ({"Effect": "Deny", "Resource": None, "NotResource": HOME}, {"aws:username": "ann"},
         f"{BUCKET}/home/ann/x", NONE),
    ],
)  # fmt: skip
def test_variables_in_resources(
    members: dict[str, Any], keys: dict[str, str], resource: str, expected: str
) -> None:
    assert effect(read(statement(**members)), resource=resource, keys=keys) == expected


PRINCIPALS = [
    ("*", True, True, True),
    ({"AWS": "*"}, True, True, True),
    ({"AWS": "tid_a"}, True, False, False),
    ({"AWS": ["tid_x", "tid_a"]}, True, False, False),
    ({"AWS": "arn:aws:iam::acme:user/tid_a"}, True, False, False),
    ({"AWS": "arn:aws:iam::other:user/tid_a"}, False, False, False),
    ({"AWS": "arn:aws:iam::acme:root"}, True, True, False),
    ({"AWS": "arn:aws:iam::other:root"}, False, False, False),
    ({"AWS": "tid_"}, False, False, False),
]


@pytest.mark.parametrize(("principal", "tid_a", "tid_b", "nobody"), PRINCIPALS[:-1])
def test_principals(principal: object, tid_a: bool, tid_b: bool, nobody: bool) -> None:
    policy = read(
        statement(Principal=principal, Resource=f"{BUCKET}/*"), kind=Kind.BUCKET, bucket="data"
    )
    for who, expected in (("tid_a", tid_a), ("tid_b", tid_b)):
        facts = principal_facts("acme", who)
        assert effect(policy, principal=facts) == (ALLOW if expected else NONE)
    assert effect(policy, principal=None) == (ALLOW if nobody else NONE)


def test_plans_of_unknown_actions_are_not_kept() -> None:
    compiled = Compiled([("p", read(statement(Action="*")))])
    for number in range(10):
        assert decide(compiled, f"x:{number}", OBJECT, Request()).effect == ALLOW
    assert compiled.plans == {}
    decide(compiled, "s3:GetObject", OBJECT, Request())
    assert list(compiled.plans) == ["s3:GetObject"]


# --- random policies ---

ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject", "iam:GetPolicy"]
NAMED = [*ACTIONS, "s3:Get*", "s3:*Object", "s3:*", "*", "S3:PUTOBJECT", "s3:?etObject", "iam:G*"]
RESOURCES = [
    "*", "arn:aws:s3:::*", "arn:aws:s3:::a", "arn:aws:s3:::a/*", "arn:aws:s3:::a/x/*",
    "arn:aws:s3:::a*", "arn:aws:s3:::*/x/?", "arn:aws:s3:::?/x/*", "arn:aws:s3:::a/x/y",
    "arn:aws:s3:::a/${aws:username}/*", "arn:aws:s3:::${aws:username}", "arn:aws:s3:::a/*/y",
    "arn:aws:s3:::a/${aws:userid, 'x'}/y", "arn:aws:iam::acme:policy/*", "arn:aws:s3:::a/${*}/*",
]  # fmt: skip
ASKED = ["arn:aws:s3:::a", "arn:aws:s3:::ab", "arn:aws:s3:::b", "arn:aws:s3:::x", "*",
         "arn:aws:s3:::a/x/y", "arn:aws:s3:::a/x/", "arn:aws:s3:::a/y", "arn:aws:s3:::ab/x/y",
         "arn:aws:s3:::a/*/y", "arn:aws:s3:::b/x/y/z", "arn:aws:iam::acme:policy/p"]  # fmt: skip

TEXT_OPERATORS = [
    f"{before}{name}{after}"
    for before in ("", "ForAllValues:", "ForAnyValue:")
    for name in ("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringLike",
                 "StringNotEqualsIgnoreCase", "StringNotLike")
    for after in ("", "IfExists")
]  # fmt: skip
ORDERED = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3)


def clauses(operators: list[str], keys: list[str], values: list[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(
        st.sampled_from(operators),
        st.dictionaries(st.sampled_from(keys), some(values), min_size=1, max_size=2),
        max_size=2,
    )


def with_sets(names: list[str]) -> list[str]:
    return [
        f"{before}{name}{after}"
        for before in ("", "ForAllValues:", "ForAnyValue:")
        for name in names
        for after in ("", "IfExists")
    ]


CONDITIONS = st.one_of(
    st.just({}),
    clauses(
        TEXT_OPERATORS,
        ["aws:username", "aws:UserAgent", "aws:PrincipalTag/Team"],
        ["x", "X", "x*", "?", "", "${aws:userid}", "${aws:userid, 'y'}*", "${*}", "*y*"],
    ),
    clauses(
        with_sets([f"Date{how}" for how in ORDERED]),
        ["aws:CurrentTime", "aws:EpochTime"],
        ["2025-07-01T00:00:00Z", "2025-07-02", "1751328000", "1751328000.5"],
    ),
    clauses(with_sets([f"Numeric{how}" for how in ORDERED]), ["aws:EpochTime"], ["5", "1.5", "-2"]),
    clauses(
        with_sets(["IpAddress", "NotIpAddress"]),
        ["aws:SourceIp"],
        ["10.0.0.0/8", "10.1.0.0/16", "203.0.113.7", "2001:db8::/32"],
    ),
    clauses(with_sets(["Bool"]), ["aws:SecureTransport"], ["true", "false"]),
    clauses(
        with_sets(["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"]),
        ["aws:PrincipalArn"],
        ["arn:aws:iam::acme:user/x", "arn:aws:iam::*:user/*", "arn:aws:iam:*:acme:x",
         "arn:aws:iam::acme:user/${aws:username}", "arn:*:*:*:*:*"],
    ),
    clauses(["Null"], ["aws:username", "aws:PrincipalTag/Team"], ["true", "false"]),
)  # fmt: skip


@st.composite
def statements(draw: st.DrawFn, *, principals: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"]))}
    action = draw(st.sampled_from(["Action", "Action", "Action", "NotAction"]))
    resource = draw(st.sampled_from(["Resource", "Resource", "Resource", "NotResource"]))
    if principals:
        found["Principal"] = draw(st.sampled_from([each for each, *_ in PRINCIPALS[:-1]]))
        found[action] = draw(some([name for name in NAMED if name[:2] in ("s3", "S3")]))
        found[resource] = draw(some([each for each in RESOURCES if each.startswith("arn:aws:s3")]))
    else:
        # no action but all has no condition keys
        found[action] = draw(some([name for name in NAMED if name != "*" or action == "Action"]))
        found[resource] = draw(some(RESOURCES))
    condition = draw(CONDITIONS)
    if condition:
        found["Condition"] = condition
    return found


def key(*values: str) -> st.SearchStrategy[tuple[str, ...]]:
    one = st.sampled_from(values).map(lambda value: (value,))
    return one | st.just(()) | st.lists(st.sampled_from(values), max_size=3).map(tuple)


REQUEST_KEYS = st.fixed_dictionaries(
    {},
    optional={
        "aws:username": key("x", "X", "y", "*", ""),
        "aws:userid": key("x", "y", "x*"),
        "aws:useragent": key("x", "xy", ""),
        "aws:principaltag/Team": key("x", "y"),
        "aws:currenttime": key("2025-07-01T00:00:00Z", "2025-07-03T00:00:00+02:00", "soon"),
        "aws:epochtime": key("5", "1.5", "1751328000", "never"),
        "aws:sourceip": key("10.1.2.3", "10.2.2.2", "203.0.113.7", "2001:db8::1", "unix"),
        "aws:securetransport": key("true", "False", "yes"),
        "aws:principalarn": key("arn:aws:iam::acme:user/x", "arn:aws:iam::b:user/x:y", "x"),
    },
)
DOCUMENTS = st.lists(st.lists(statements(), min_size=1, max_size=3), min_size=1, max_size=3)


def agree(
    documents: list[dict[str, Any]],
    kind: Kind,
    asked: tuple[str, str],
    keys: dict[str, tuple[str, ...]],
    key_id: str | None = None,
) -> None:
    compiled = Compiled(
        [(str(number), parse(json.dumps(each), kind)) for number, each in enumerate(documents)]
    )
    facts = principal_facts("acme", key_id) if key_id else None
    names = {key_id, f"arn:aws:iam::acme:user/{key_id}", "arn:aws:iam::acme:root"} if key_id else {}
    expected, sources = naive.evaluate(
        documents, *asked, {name: list(each) for name, each in keys.items()}, set(names)
    )
    for _ in ("cold", "warm"):
        found = decide(compiled, *asked, Request(keys), facts)
        assert found.effect == expected
        if found.source is None:
            assert expected == NONE
        else:
            assert (int(found.source.policy), found.source.index) == min(sources)
    explained = explain(compiled, *asked, Request(keys), facts)
    assert explained.decision == found
    wanted = {"ALLOW": "Allow", "DENY": "Deny"}.get(expected)
    reported = [
        (int(each.name.policy), each.name.index)
        for each in explained.statements
        if each.applies and each.effect == wanted
    ]
    assert reported == sources
    assert bool(explained.needed) is (expected != ALLOW)


@settings(max_examples=600, deadline=None)
@given(DOCUMENTS, st.sampled_from(ACTIONS), st.sampled_from(ASKED), REQUEST_KEYS)
def test_decisions_are_what_the_naive_evaluator_says(
    bodies: list[list[dict[str, Any]]],
    action: str,
    resource: str,
    keys: dict[str, tuple[str, ...]],
) -> None:
    agree([document(*each) for each in bodies], Kind.IDENTITY, (action, resource), keys)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(statements(principals=True), min_size=1, max_size=3),
    st.sampled_from(ACTIONS),
    st.sampled_from(ASKED),
    REQUEST_KEYS,
    st.sampled_from(["tid_a", "tid_b", None]),
)
def test_decisions_of_buckets_policies(
    body: list[dict[str, Any]],
    action: str,
    resource: str,
    keys: dict[str, tuple[str, ...]],
    key_id: str | None,
) -> None:
    agree([document(*body)], Kind.BUCKET, (action, resource), keys, key_id)


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, statements(), st.sampled_from(ACTIONS), st.sampled_from(ASKED), REQUEST_KEYS)
def test_another_deny_never_gives_and_another_allow_never_takes(
    bodies: list[list[dict[str, Any]]],
    more: dict[str, Any],
    action: str,
    resource: str,
    keys: dict[str, tuple[str, ...]],
) -> None:
    before = [(str(number), read(*each)) for number, each in enumerate(bodies)]
    after = [*before, ("more", read(more))]
    one, two = (
        decide(Compiled(each), action, resource, Request(keys)).effect for each in (before, after)
    )
    rank = {DENY: 0, NONE: 1, ALLOW: 2}
    if more["Effect"] == "Deny":
        assert rank[two] <= rank[one]
    else:
        assert two == one or (one, two) == (NONE, ALLOW)
