"""A child is never above its parent (MinIO CVE-2022-24842, CVE-2025-62506; RustFS GHSA-5354, xgr5):
whatever a key has and whatever its session asks for, the session may nothing that the key may not.
"""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.iam.deciding import BucketFacts, verdict_elsewhere, verdict_on_bucket
from amur.iam.policy.vocabulary import BY_NAME
from amur.iam.service import Iam
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from tests.support.iam import iam_of
from tests.support.managed import made

ROOT = ("tid_root", "tsec_root_secret")
ACTIONS = sorted(name for name in BY_NAME if name.startswith("s3:"))
CHANGES = sorted(name for name, a in BY_NAME.items() if name.startswith("iam:") and a.changes)
NAMED = st.sampled_from(
    ["*", "s3:*", "s3:Get*", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]
)
PLACES = st.sampled_from(
    ["*", "arn:aws:s3:::data", "arn:aws:s3:::data/*", "arn:aws:s3:::data/in/*", "arn:aws:s3:::x/*"]
)
statements = st.builds(
    lambda effect, action, resource: {"Effect": effect, "Action": action, "Resource": resource},
    st.sampled_from(["Allow", "Allow", "Allow", "Deny"]),
    NAMED,
    PLACES,
).filter(lambda s: s["Action"] != "s3:ListBucket" or "/" not in s["Resource"])
roles = st.sampled_from(
    [(), (("data", "ReadOnly"),), (("data", "Editor"),), (("*", "ReadWrite"),),
     (("*", "NamespaceAdmin"),)]
)  # fmt: skip


class Nothing:
    def values(self, key: str) -> None:
        return None


def possible(statement: dict[str, str]) -> bool:
    """Whether the action and the resource go together at all; else it is refused as a mistake."""
    on_bucket = statement["Resource"] == "arn:aws:s3:::data"
    of_object = statement["Action"] in ("s3:PutObject", "s3:DeleteObject")
    return not (on_bucket and of_object)


@given(
    roles,
    st.lists(statements.filter(possible), max_size=3),
    st.lists(statements.filter(possible), max_size=3),
)
def test_a_session_is_never_above_its_parent(
    granted: tuple[tuple[str, str], ...],
    own: list[dict[str, str]],
    narrower: list[dict[str, str]],
) -> None:
    import asyncio

    asyncio.run(check(granted, own, narrower))


async def check(
    granted: tuple[tuple[str, str], ...],
    own: list[dict[str, str]],
    narrower: list[dict[str, str]],
) -> None:
    clock = FakeClock(1_790_000_000_000_000_000)
    store = Store(MemoryEngine(clock), MemoryDataStore(), clock)
    iam: Iam = iam_of(store, ROOT)
    key = await made(iam, *own, roles=granted)
    parent = await iam.find(key.id)
    assert parent is not None
    document = json.dumps({"Version": "2012-10-17", "Statement": narrower}) if narrower else ""
    session = iam.issue_session(parent, seconds=900, policy=document)
    child = await iam.find(session.access_key_id, session.token)
    assert child is not None
    assert not child.principal.may_administer
    for owner in ("acme", "eve"):
        facts = BucketFacts("data", owner)
        for action in ACTIONS:
            for name in ("", "/in/k", "/out/k"):
                resource = "arn:aws:s3:::data" + name
                if verdict_on_bucket(child, facts, action, resource, Nothing()).is_allowed:
                    assert verdict_on_bucket(
                        parent, facts, action, resource, Nothing()
                    ).is_allowed, (action, resource)
    for action in ("s3:CreateBucket", "s3:ListAllMyBuckets", *CHANGES):
        told = verdict_elsewhere(child, action, "arn:aws:s3:::data", Nothing())
        if told.is_allowed:
            assert verdict_elsewhere(parent, action, "arn:aws:s3:::data", Nothing()).is_allowed
            assert action not in CHANGES
