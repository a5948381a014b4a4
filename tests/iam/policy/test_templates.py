"""Templates: what each gives is a policy without findings that does its job and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amur.iam.policy.compiling import Compiled
from amur.iam.policy.document import Kind, parse
from amur.iam.policy.evaluate import decide
from amur.iam.policy.lint import lint
from amur.iam.policy.templates import TEMPLATES, ParameterInvalid
from amur.iam.policy.vocabulary import ACTIONS, BUCKET
from tests.iam.policy.support import Request

NOW_S = 1_751_328_000  # 2025-07-01T00:00:00Z
TIME = {"start": "2025-07-01T00:00:00Z", "end": "2025-07-02T00:00:00Z"}

GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("read-only", {"buckets": ["data", "more", "data"]}),
    ("read-only", {"buckets": "data", **TIME}),
    ("training-job", {"datasets": ["data"], "models": ["base"], "output": "tuned", **TIME}),
    ("training-job", {"datasets": "data", "output": "tuned", "models": None}),
    ("backup-writer", {"bucket": "vault"}),
    ("backup-writer", {"bucket": "vault", "prefix": "host-*/a"}),
    ("drop-box", {"bucket": "inbox", "end": TIME["end"]}),
    ("drop-box", {"bucket": "inbox", "prefix": "from/blue"}),
    ("ip-bound", {"addresses": ["203.0.113.0/24", "2001:db8::1"]}),
    ("ip-bound", {"addresses": "203.0.113.7", "buckets": ["data"]}),
    ("tenant", {"bucket": "shared", "prefix": "tenants/blue"}),
    ("tenant", {"bucket": "shared", "prefix": "t$?/"}),
]


def compiled(name: str, *beside: str, **given: Any) -> Compiled:
    texts = [json.dumps(TEMPLATES[name].build(**given)), *beside]
    return Compiled([(name, parse(text, Kind.IDENTITY)) for text in texts])


def allowed(policies: Compiled, resource: str, keys: dict[str, str] | None = None) -> set[str]:
    """The actions of the resource's level that are allowed on it."""
    level = "object" if "/" in resource else BUCKET
    return {
        action.name.removeprefix("s3:")
        for action in ACTIONS
        if action.level == level
        and decide(policies, action.name, f"arn:aws:s3:::{resource}", Request(keys)).effect
        == "ALLOW"
    }


@pytest.mark.parametrize(("name", "given"), GIVEN, ids=range(len(GIVEN)))
def test_what_is_made_is_a_policy_without_findings(name: str, given: dict[str, Any]) -> None:
    text = json.dumps(TEMPLATES[name].build(**given))
    policy = parse(text, Kind.IDENTITY)
    assert [str(finding) for finding in lint(policy, now_s=NOW_S)] == []
    parse(text, Kind.SESSION)


def test_every_template_is_tried() -> None:
    assert {name for name, _ in GIVEN} == set(TEMPLATES)
    for name, template in TEMPLATES.items():
        assert template.name == name
        assert template.description
        assert all(parameter.help for parameter in template.parameters)


WRITE = {"PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"}


def test_read_only() -> None:
    policies = compiled("read-only", buckets=["data"])
    assert allowed(policies, "data") == {"ListBucket"}
    assert allowed(policies, "data/x") == {"GetObject"}
    assert not allowed(policies, "data-other") | allowed(policies, "data-other/x")


def test_backup_writer() -> None:
    policies = compiled("backup-writer", bucket="vault")
    assert allowed(policies, "vault") == {"ListBucket", "GetBucketLocation"}
    assert allowed(policies, "vault/x") == WRITE
    everything = json.dumps(TEMPLATES["tenant"].build(bucket="vault", prefix="x"))
    widened = compiled("backup-writer", everything, bucket="vault")
    assert "DeleteObject" not in allowed(widened, "vault/x/y")
    assert "GetObject" in allowed(widened, "vault/x/y")
    narrow = compiled("backup-writer", bucket="vault", prefix="a")
    assert allowed(narrow, "vault/a/x") == WRITE
    assert not allowed(narrow, "vault/ab") | allowed(narrow, "vault/a")
    assert not allowed(narrow, "vault")
    assert allowed(narrow, "vault", {"s3:prefix": "a/b"}) == {"ListBucket"}


def test_drop_box() -> None:
    policies = compiled("drop-box", bucket="inbox", prefix="from/blue", **TIME)
    now = {"aws:currenttime": "2025-07-01T12:00:00Z"}
    assert allowed(policies, "inbox/from/blue/x", now) == {"PutObject"}
    assert not allowed(policies, "inbox/from/blue/x")
    assert not allowed(policies, "inbox/from/bluer/x", now)
    assert not allowed(policies, "inbox", now)


def test_ip_bound() -> None:
    reads = json.dumps(TEMPLATES["read-only"].build(buckets=["data", "more"]))
    policies = compiled("ip-bound", reads, addresses=["203.0.113.0/24"])
    inside, outside = {"aws:sourceip": "203.0.113.5"}, {"aws:sourceip": "192.0.2.1"}
    assert allowed(policies, "data/x", inside) == {"GetObject"}
    assert not allowed(policies, "data/x", outside)
    assert not allowed(policies, "data/x", {"aws:sourceip": "unix"})
    assert not allowed(policies, "data/x")
    some = compiled("ip-bound", reads, addresses=["203.0.113.0/24"], buckets=["data"])
    assert not allowed(some, "data/x", outside) | allowed(some, "data", outside)
    assert allowed(some, "more/x", outside) == {"GetObject"}


def test_tenant() -> None:
    policies = compiled("tenant", bucket="shared", prefix="tenants/b*")
    own = {"s3:prefix": "tenants/b*/a"}
    assert allowed(policies, "shared", own) == {"ListBucket", "ListBucketMultipartUploads"}
    for prefix in ("tenants/b*", "tenants/", "", "tenants/bb/"):
        assert not allowed(policies, "shared", {"s3:prefix": prefix})
    assert not allowed(policies, "shared")
    assert allowed(policies, "shared/tenants/b*/x") == WRITE | {"GetObject", "DeleteObject"}
    assert not allowed(policies, "shared/tenants/bb/x") | allowed(policies, "shared/tenants/b*")


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("read-only", {}, "read-only needs buckets: the datasets"),
        ("read-only", {"buckets": []}, "read-only needs buckets"),
        ("read-only", {"buckets": ["data"], "frob": "x"}, "has no parameter frob: buckets, start"),
        ("read-only", {"buckets": ["Data"]}, "'Data' is no name of a bucket"),
        ("read-only", {"buckets": ["data/*"]}, "is no name of a bucket"),
        ("read-only", {"buckets": ["*"]}, "is no name of a bucket"),
        ("read-only", {"buckets": "data", "end": "soon"}, "'soon' is no time"),
        ("read-only", {"buckets": "data", "start": TIME["end"], "end": TIME["start"]},
         "it must start before it ends"),
        ("drop-box", {"bucket": ["a", "b"]}, "bucket takes one value"),
        ("tenant", {"bucket": "shared", "prefix": "/"}, "a prefix is text such as"),
        ("tenant", {"bucket": "shared", "prefix": "/x"}, "a prefix is text such as"),
        ("ip-bound", {"addresses": "office"}, "is no address or CIDR block"),
        ("ip-bound", {"addresses": "203.0.113.9/24"}, "is no address or CIDR block"),
    ],
)  # fmt: skip
def test_wrong_parameters(name: str, given: dict[str, Any], line: str) -> None:
    with pytest.raises(ParameterInvalid) as caught:
        TEMPLATES[name].build(**given)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
