"""Which policies leave a bucket public, by Amazon's meaning of the word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur.iam.policy.document import Kind, parse
from amur.iam.policy.public import is_public


def public(
    conditions: dict[str, dict[str, Any]], *, effect: str = "Allow", principal: Any = "*"
) -> bool:
    statement = {
        "Effect": effect,
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bkt/*",
        "Condition": conditions,
    }
    if not conditions:
        del statement["Condition"]
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return is_public(parse(document, Kind.BUCKET, bucket="bkt"))


def test_without_conditions() -> None:
    assert public({})
    assert public({}, principal={"AWS": ["arn:aws:iam::eve:root", "*"]})
    assert not public({}, effect="Deny")
    assert not public({}, principal={"AWS": "arn:aws:iam::eve:root"})


@pytest.mark.parametrize(
    ("operator", "key", "values"),
    [
        ("IpAddress", "aws:SourceIp", ["192.0.2.7"]),
        ("IpAddress", "aws:SourceIp", ["10.0.0.0/8", "2001:db8::/32"]),
        ("StringEquals", "aws:userid", ["tid_a"]),
        ("StringEquals", "aws:username", ["tid_a", "tid_b"]),
        ("ArnEquals", "aws:PrincipalArn", ["arn:aws:iam::eve:user/tid_a"]),
        ("ForAnyValue:StringEquals", "aws:userid", ["tid_a"]),
    ],
)
def test_bound_to_fixed_values(operator: str, key: str, values: list[str]) -> None:
    assert not public({operator: {key: values}})
    wide = {"DateGreaterThan": {"aws:CurrentTime": "2000-01-01T00:00:00Z"}}
    assert not public({operator: {key: values}} | wide)  # one that binds is enough


@pytest.mark.parametrize(
    ("operator", "key", "values"),
    [
        ("IpAddress", "aws:SourceIp", ["0.0.0.0/0"]),
        ("IpAddress", "aws:SourceIp", ["192.0.2.7", "10.0.0.0/7"]),
        ("IpAddress", "aws:SourceIp", ["2000::/3"]),
        ("IpAddressIfExists", "aws:SourceIp", ["192.0.2.7"]),
        ("NotIpAddress", "aws:SourceIp", ["192.0.2.7"]),
        ("StringNotEquals", "aws:userid", ["tid_a"]),
        ("StringEqualsIfExists", "aws:userid", ["tid_a"]),
        ("ForAllValues:StringEquals", "aws:userid", ["tid_a"]),
        ("StringLike", "aws:userid", ["tid_*"]),
        ("StringLike", "aws:userid", ["tid_?"]),
        ("StringEquals", "aws:userid", ["${aws:userid}"]),
        ("ArnLike", "aws:PrincipalArn", ["arn:aws:iam::*:user/*"]),
        ("Null", "aws:PrincipalArn", ["false"]),
        ("Bool", "aws:SecureTransport", ["true"]),
        ("DateGreaterThan", "aws:CurrentTime", ["2000-01-01T00:00:00Z"]),
        ("StringEquals", "aws:RequestedRegion", ["local"]),
        ("StringLike", "aws:Referer", ["https://example.com/*"]),
        ("StringEquals", "s3:ExistingObjectTag/public", ["yes"]),
        ("StringEquals", "aws:UserAgent", ["mine"]),
    ],
)
def test_what_anybody_can_meet(operator: str, key: str, values: list[str]) -> None:
    assert public({operator: {key: values}})
