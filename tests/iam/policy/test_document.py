"""Reading documents: what is taken, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur import limits
from amur.iam.policy.document import Kind, PolicyInvalid, parse
from tests.iam.policy.support import document, read, refused, statement

BUCKET_KIND = Kind.BUCKET


def test_a_whole_document() -> None:
    policy = read(
        {
            "Sid": "One",
            "Effect": "Allow",
            "Action": ["S3:getobject", "s3:List*"],
            "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
            "Condition": {
                "IpAddress": {"aws:sourceIP": "10.0.0.0/8"},
                "ForAnyValue:StringLikeIfExists": {"s3:PREFIX": ["a", "b*"]},
            },
        },
        {"Effect": "Deny", "NotAction": "*Object", "NotResource": "*"},
    )
    one, two = policy.statements
    assert (one.index, one.sid, one.label) == (1, "One", "Statement[1] (One)")
    assert one.actions == ("s3:GetObject", "s3:List*")
    assert one.resources == ("arn:aws:s3:::b", "arn:aws:s3:::b/*")
    assert [str(each) for each in one.conditions] == [
        "IpAddress aws:SourceIp: 10.0.0.0/8",
        "ForAnyValue:StringLikeIfExists s3:prefix: a, b*",
    ]
    assert (two.label, two.is_deny, two.is_not_action, two.is_not_resource) == (
        "Statement[2]", True, True, True,
    )  # fmt: skip
    assert policy == read(
        {
            "Sid": "One",
            "Effect": "Allow",
            "Action": ["S3:getobject", "s3:List*"],
            "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
            "Condition": {
                "IpAddress": {"aws:sourceIP": "10.0.0.0/8"},
                "ForAnyValue:StringLikeIfExists": {"s3:PREFIX": ["a", "b*"]},
            },
        },
        {"Effect": "Deny", "NotAction": "*Object", "NotResource": "*"},
    )


def test_one_statement_needs_no_list_and_values_need_no_quotes() -> None:
    body = statement(
        Action="s3:ListBucket",
        Condition={
            "NumericLessThan": {"s3:max-keys": 10},
            "Bool": {"aws:SecureTransport": True},
            "DateLessThan": {"aws:CurrentTime": 1.5},
            "StringEquals": {"s3:prefix": ""},
        },
    )
    text = json.dumps({"Version": "2012-10-17", "Id": "x", "Statement": body})
    policy = parse(text.encode(), Kind.SESSION)
    assert policy.id == "x"
    assert [each.values for each in policy.statements[0].conditions] == [
        ("10",), ("true",), ("1.5",), ("",),
    ]  # fmt: skip


S3 = "arn:aws:s3:::"
ONE = [
    ({"Effect": "allow"}, 'Statement[1].Effect: is neither Allow nor Deny; write Allow or Deny.'),
    ({"Effect": None}, "Statement[1].Effect: is neither Allow nor Deny"),
    ({"Effect": ["Allow"]}, "Statement[1].Effect: is neither Allow nor Deny"),
    ({"Sid": "S", "Action": "s3:GetObjct"},
     'Statement[1] (S).Action: no action is named "s3:GetObjct"; did you mean s3:GetObject?'),
    ({"Action": "s3:HeadObject"}, "use s3:GetObject."),
    ({"Action": "s3:ListObjectsV2"}, "use s3:ListBucket."),
    ({"Action": "s3:DeleteBucketTagging"}, "use s3:PutBucketTagging."),
    ({"Action": "GetObject"}, "write the service before it: s3:GetObject."),
    ({"Action": "ec2:RunInstances"}, "use an action of s3:, iam: or sts:"),
    ({"Action": "s3:Frob*"}, 'no action is named "s3:Frob*"'),
    ({"Action": []}, "Statement[1].Action: is empty"),
    ({"Action": ["s3:GetObject", 1]}, "Statement[1].Action: has a value that is no text"),
    ({"Action": ["s3:GetObject", ""]}, "Statement[1].Action: has a value that is no text"),
    ({"Action": {"a": 1}}, "Statement[1].Action: has a value that is no text"),
    ({"Action": None}, "Statement[1].Action: or NotAction must be given, and none is"),
    ({"NotAction": "s3:*"}, "Statement[1].Action: or NotAction must be given, and both are"),
    ({"Resource": None}, "Statement[1].Resource: or NotResource must be given, and none is"),
    ({"NotResource": "*"}, "Statement[1].Resource: or NotResource must be given, and both are"),
    ({"Action": "iam:CreatePolicy"}, "administering is for keys with the role NamespaceAdmin."),
    ({"Action": "iam:Attach*"}, "administering is for keys with the role NamespaceAdmin."),
    ({"Effect": "Deny", "Action": "s3:CompleteMultipartUpload"}, "deny s3:PutObject."),
    ({"Resource": "arn:aws:s3::b/*"}, "Statement[1].Resource: \"arn:aws:s3::b/*\" is no resource"),
    ({"Resource": "b/*"}, "is no resource"),
    ({"Resource": "arn:aws:s3*"}, "is no resource"),
    ({"Resource": "arn:aws:s3:::"}, "names no bucket"),
    ({"Resource": "arn:aws:s3:::/x"}, "names no bucket"),
    ({"Resource": f"{S3}b/${{aws:usernam}}"}, "has the unknown variable ${aws:usernam}"),
    ({"Resource": f"{S3}b/${{aws:username"}, "has a ${ that nothing closes"),
    ({"Resource": f"{S3}{'*a' * 17}"}, "has too many wildcards; the most are 16."),
    ({"Resource": f"{S3}*{'a?' * 17}*"}, "has too many ? between *; the most are 16."),
    ({"Resource": f"{S3}{'a' * 2048}"}, "is too long; the most are 2048 characters."),
    ({"Resource": [f"{S3}*a?{n}*" for n in range(5)]}, "such a document may have 4."),
    ({"Principal": "*"}, "Statement[1].Principal: is for buckets' policies; leave it out."),
    ({"NotPrincipal": "*"}, "Statement[1].NotPrincipal: is not supported"),
    ({"Actions": "*"}, "Statement[1].Actions: is not known; did you mean Action?"),
    ({"frob": "*"}, "Statement[1].frob: is not known; there are Sid, Effect,"),
    ({"Sid": 5}, "Statement[1].Sid: is no plain name"),
    ({"Sid": "a\nb"}, "Statement[1].Sid: is no plain name"),
    ({"Sid": "x" * 129}, "Statement[1].Sid: is no plain name"),
    ({"Condition": []}, "Statement[1].Condition: is no JSON object"),
    ({"Condition": None}, None),
    ({"Condition": {"StringEqual": {"aws:userid": "a"}}},
     '[1].Condition.StringEqual: "StringEqual" is no operator; did you mean StringEq'),
    ({"Condition": {"Frob": {"aws:userid": "a"}}}, '"Frob" is no operator; use one of String'),
    ({"Condition": {"BinaryEquals": {"aws:userid": "YQ=="}}}, "is no operator"),
    ({"Condition": {"ForSome:StringLike": {"aws:userid": "a"}}}, "use ForAllValues: or"),
    ({"Condition": {"NullIfExists": {"aws:userid": "true"}}}, "Null stands alone"),
    ({"Condition": {"ForAnyValue:Null": {"aws:userid": "true"}}}, "Null stands alone"),
    ({"Condition": {"StringLike": {}}}, "Statement[1].Condition.StringLike: has no keys"),
    ({"Condition": {"StringLike": "x"}}, "Statement[1].Condition.StringLike: has no keys"),
    ({"Condition": {"StringLike": {"aws:usernam": "a"}}},
     'Condition.StringLike.aws:usernam: no condition key is named "aws:usernam"; '
     "did you mean aws:username?"),
    ({"Condition": {"StringLike": {"zzzzzz": "a"}}}, "use one of aws:CurrentTime"),
    ({"Condition": {"StringLike": {"s3:ExistingObjectTag": "a"}}}, "s3:ExistingObjectTag/KEY"),
    ({"Condition": {"StringLike": {"s3:ExistingObjectTag/": "a"}}}, "s3:ExistingObjectTag/KEY"),
    ({"Condition": {"StringLike": {"aws:username/x": "a"}}}, "no condition key is named"),
    ({"Condition": {"StringLike": {"aws:SourceIp": "10.*"}}}, "use IpAddress or its like."),
    ({"Condition": {"NumericEquals": {"aws:CurrentTime": "1"}}}, "use DateEquals or its like."),
    ({"Condition": {"StringEquals": {"s3:prefix": "a"}}},
     "none of the statement's actions has s3:prefix; it is known of s3:ListBucket"),
    ({"Condition": {"StringEquals": {"aws:userid": "a", "AWS:UserId": "b"}}},
     "AWS:UserId: is given twice"),
    ({"Condition": {"StringEquals": {"aws:userid": []}}}, "has no values, or too many"),
    ({"Condition": {"StringEquals": {"aws:userid": [None]}}}, "has a value that is no text"),
    ({"Condition": {"StringEquals": {"aws:userid": {"a": "b"}}}}, "has a value that is no text"),
    ({"Condition": {"StringEquals": {"aws:userid": "${x}"}}}, "has the unknown variable ${x}"),
    ({"Condition": {"DateLessThan": {"aws:CurrentTime": "soon"}}},
     'DateLessThan.aws:CurrentTime: "soon" is no time; write it as 2025-07-01T00:00:00Z'),
    ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2025-02-30"}}}, "is no time"),
    ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}, "nor a CIDR block"),
    ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, "is neither true nor false"),
    ({"Condition": {"Null": {"aws:userid": "maybe"}}}, "true: the key is absent"),
    ({"Condition": {"NumericLessThan": {"s3:signatureAge": "old"}}}, "is no number"),
    ({"Condition": {"NumericLessThan": {"s3:signatureAge": 1e400}}}, None),
    ({"Condition": {"ArnLike": {"aws:PrincipalArn": "tid_a"}}}, "is no ARN of six parts"),
    ({"Condition": {"ArnLike": {"aws:PrincipalArn": "*"}}}, "is no ARN of six parts"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "line"), ONE, ids=[str(number) for number in range(len(ONE))])
def test_one_problem_is_one_line(members: dict[str, Any], line: str | None) -> None:
    body = document(statement(**members))
    if line is None:
        if members.get("Condition"):
            assert "has the number" in refused(body)[0]
        else:
            parse(json.dumps(body), Kind.IDENTITY)
        return
    found = refused(body)
    assert len(found) == 1
    assert line in found[0]
    assert "\n" not in found[0]
    assert found[0].isprintable()


DOCUMENTS = [
    ("", "The document: is no JSON"),
    ("{", "The document: is no JSON: Expecting property name"),
    ("[]", "The document: is no JSON object"),
    ("null", "The document: is no JSON object"),
    (b"\xff", "The document: is not UTF-8; encode it as UTF-8."),
    ("\ud800", "The document: is not UTF-8"),
    ('{"Id": "\\ud800"}', "The document: has half a surrogate pair"),
    ('{"Id": NaN}', "The document: has the number NaN"),
    ("[" * 6_000, "The document: is nested too deep"),
    ("1" * 6_000, "The document: is no JSON object"),
    ('{"Version": "2012-10-17"}', "Statement: is no list of statements"),
    ('{"Version": "2012-10-17", "Statement": []}', "Statement: is no list of statements"),
    ('{"Version": "2012-10-17", "Statement": [5]}', "Statement[1]: is no JSON object"),
    (document(statement(), Version="2008-10-17"), 'write "Version": "2012-10-17".'),
    (document(statement(), Version=2012), 'write "Version": "2012-10-17".'),
    (document(statement(), Id=5), "Id: is no short text"),
    (document(statement(), Frob=1), "Frob: is not known; there are Version, Id, Statement."),
    (document(statement(Sid="A"), statement(Sid="A")),
     'Statement[2].Sid: "A" is another statement\'s, too'),
    ('{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": {"Effect": "Deny",'
     '"Action": "*", "Resource": "*"}}', "Version: is given twice; keep one of them."),
    ('{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Effect": "Allow",'
     '"Action": "*", "Resource": "*"}}', "Statement[1].Effect: is given twice"),
    ('{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*",'
     '"Condition": {"Bool": {"aws:SecureTransport": 1}, "Bool": {"aws:SecureTransport": true}}}}',
     "Statement[1].Condition.Bool: is given twice"),
    ('{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*",'
     '"Condition": {"Bool": {"aws:SecureTransport": true, "aws:SecureTransport": true}}}}',
     "Statement[1].Condition.Bool.aws:SecureTransport: is given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_documents_that_are_none(text: Any, line: str) -> None:
    found = refused(text)
    assert line in found[-1]
    assert len(found) <= 2


def test_all_problems_are_told_at_once() -> None:
    found = refused(
        {
            "Statment": [],
            "Statement": [
                {"Sid": "A", "Effect": "Allow", "Action": "s3:X", "Resource": "x"},
                {"Sid": "B", "Effect": "Deny", "Action": "s3:*", "Resource": "y"},
            ],
        }
    )
    assert [line.split(": ")[0] for line in found] == [
        "Statment", "Version", "Statement[1] (A).Action", "Statement[1] (A).Resource",
        "Statement[2] (B).Resource",
    ]  # fmt: skip


def test_problems_end() -> None:
    found = refused(document(statement(Action=[f"s3:{n}" for n in range(100)])))
    assert len(found) == limits.POLICY_PROBLEMS_MAX


def test_what_is_shown_of_a_document_is_short_and_plain() -> None:
    (line,) = refused(document(statement(Action="s3:\n\x1b[31m\u202e" + "x" * 1000)))
    assert line.isprintable()
    assert line.isascii()
    assert len(line) < 300
    (line,) = refused(document(statement(**{"\n\x1b" + "x" * 1000: 1})))
    assert line.isprintable()
    assert len(line) < 400


def test_the_size_is_counted_without_blanks() -> None:
    pieces = [f"arn:aws:s3:::{'b' * 1000}"] * 5
    text = json.dumps(document(statement(Sid="x", Resource=pieces)))
    room = limits.POLICY_CHARS_MAX - len("".join(text.split()))
    pieces.append("arn:aws:s3:::" + "b" * (room - len('"arn:aws:s3:::",')))
    text = json.dumps(document(statement(Sid="x", Resource=pieces)))
    assert len("".join(text.split())) == limits.POLICY_CHARS_MAX
    parse(text + " " * 5000, Kind.IDENTITY)
    assert "is too long" in refused(text + " " * limits.POLICY_BYTES_MAX)[0]
    assert "is too long (6145 characters" in refused(text[:-1] + "1}")[0]
    assert "is too long" in refused(text, Kind.SESSION)[0]


def test_counts_are_bounded() -> None:
    tiny = statement(Action="*")
    most = limits.POLICY_STATEMENTS_MAX
    assert f"the most are {most}" in refused(document(*[tiny] * (most + 1)), BUCKET_KIND)[-1]
    many = ["*"] * (limits.POLICY_LIST_MAX + 1)
    assert "has too many values" in refused(document(statement(Resource=many)))[0]
    read(statement(Resource=many[1:]))
    values = {"StringEquals": {"aws:userid": many}}
    assert "has no values, or too many" in refused(document(statement(Condition=values)))[0]
    tags = {f"aws:PrincipalTag/{n}": "a" for n in range(limits.POLICY_CLAUSES_MAX + 1)}
    found = refused(document(statement(Condition={"StringEquals": tags})))
    assert "Condition: has too many keys" in found[0]
    wild = [f"s3:*{'*' * n}" for n in range(limits.POLICY_ACTION_WILDCARDS_MAX)]
    read(statement(Action=wild))
    halves = [statement(Action=wild), statement(Action="s3:?etObject")]
    assert "has too many wildcards" in refused(document(*halves))[0]


def test_a_session_has_no_floating_marks() -> None:
    body = document(statement(Resource="arn:aws:s3:::*a?b*"))
    parse(json.dumps(body), Kind.IDENTITY)
    assert "such a document may have 0" in refused(body, Kind.SESSION)[0]
    text = {"StringEquals": {"aws:userid": "*a?b*"}}  # no pattern here
    parse(json.dumps(document(statement(Condition=text))), Kind.SESSION)


@pytest.mark.parametrize("kind", [Kind.IDENTITY, Kind.SESSION])
@pytest.mark.parametrize(
    "members",
    [
        {"Action": "*"},
        {"Action": "iam:*"},
        {"Action": ["iam:Get*", "iam:ListPolicies", "sts:GetCallerIdentity"]},
        {"Action": "s3:CompleteMultipartUpload"},
        {"Effect": "Deny", "Action": "iam:CreatePolicy"},
        {"Action": None, "NotAction": "iam:CreatePolicy"},
        {"Resource": "arn:aws:iam::acme:policy/*"},
        {"Resource": "arn:aws:s3:::${aws:username}/*"},
    ],
)
def test_what_policies_of_keys_may_say(kind: Kind, members: dict[str, Any]) -> None:
    policy = parse(json.dumps(document(statement(**members))), kind)
    assert (policy.kind, len(policy.statements)) == (kind, 1)


# --- buckets' policies ---

OWN = {"Principal": "*", "Resource": "arn:aws:s3:::data/*"}


@pytest.mark.parametrize(
    "principal",
    ["*", {"AWS": "*"}, {"AWS": "tid_abc"}, {"AWS": ["arn:aws:iam::acme:user/tid_abc", "tid_x"]},
     {"AWS": "arn:aws:iam::acme:root"}],
)  # fmt: skip
def test_principals(principal: Any) -> None:
    policy = read(statement(**{**OWN, "Principal": principal}), kind=BUCKET_KIND, bucket="data")
    assert policy.statements[0].principals


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"Principal": None}, "Statement[1].Principal: is missing"),
        ({"Principal": "tid_abc"}, "Statement[1].Principal: is of no kind that there is"),
        ({"Principal": {"Service": "x"}}, "Statement[1].Principal: is of no kind that there is"),
        ({"Principal": {"AWS": "*", "CanonicalUser": "x"}}, "is of no kind that there is"),
        ({"Principal": {"AWS": []}}, "Statement[1].Principal.AWS: is empty"),
        ({"Principal": {"AWS": "123456789012"}}, '"123456789012" is no principal'),
        ({"Principal": {"AWS": "arn:aws:iam::acme:user/*x y"}}, "is no principal"),
        ({"Principal": {"AWS": "arn:aws:iam::acme:role/x"}}, "is no principal"),
        ({"Principal": None, "NotPrincipal": "*"}, "NotPrincipal: is not supported"),
        ({"Resource": "*"}, "write arn:aws:s3:::data or arn:aws:s3:::data/*"),
        ({"Resource": "arn:aws:s3:::other/*"}, '"arn:aws:s3:::other/*" is not in this bucket'),
        ({"Resource": "arn:aws:s3:::data-other/*"}, "is not in this bucket"),
        ({"Resource": "arn:aws:s3:::data*"}, "is not in this bucket"),
        ({"Resource": "arn:aws:s3:::*"}, "is not in this bucket"),
        ({"Resource": "arn:aws:s3:::${aws:username}/*"}, "is not in this bucket"),
        ({"Resource": None, "NotResource": "arn:aws:s3:::x/*"}, "is not in this bucket"),
        ({"Action": "iam:GetPolicy"}, "is nothing that a bucket's policy decides"),
        ({"Action": "s3:ListAllMyBuckets"}, "is asked of no bucket"),
    ],
)
def test_what_a_buckets_policy_may_not_say(members: dict[str, Any], line: str) -> None:
    body = document(statement(**{**OWN, **members}))
    found = refused(body, BUCKET_KIND, bucket="data")
    assert len(found) == 1
    assert line in found[0]


def test_without_a_bucket_only_the_form_of_resources_is_checked() -> None:
    read(statement(**{**OWN, "Resource": "arn:aws:s3:::x*"}), kind=BUCKET_KIND)
    assert (
        "is no ARN of a bucket"
        in refused(document(statement(**{**OWN, "Resource": "*"})), BUCKET_KIND)[0]
    )


def test_the_error_lists_its_problems() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        parse("{}", Kind.IDENTITY)
    assert str(caught.value).count("\n") + 1 == len(caught.value.problems) == 2
    assert caught.value.problems[0].member == "Version"
