"""Attacks on the directory and its APIs: names, races, regions, what simulations tell, floods."""

from __future__ import annotations

import asyncio
from random import Random
from urllib.parse import urlencode

import pytest

from amur.gateway.app import App
from amur.gateway.presign import sign_request
from amur.iam import paths
from amur.iam.directory import Directory
from amur.iam.model import RoleGrant, Status
from amur.meta import keys as meta_keys
from amur.meta.log import Changed
from amur.objects.replication.entries import entry_items, merge_entries
from amur.objects.store import Store
from tests.gateway.conftest import Answer, FakeExchange
from tests.security.test_attack_conditions import (
    ACME,
    HOST,
    Key,
    Scene,
    allow,
    deny,
    document,
    scene,
)
from tests.support.iam import MASTER
from tests.support.iam_talk import Api, ApiError

__all__ = ["scene"]

FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


async def ask(scene: Scene, key: Key, action: str, **params: str) -> Answer:
    return await scene.send(key, "POST", f"/?Action={action}", urlencode(params).encode(), FORM)


@pytest.mark.parametrize("arn", ["policy/SECRET", "policy/open/secret"])
async def test_one_policy_has_one_arn(scene: Scene, arn: str) -> None:
    """What is authorised is the ARN as it came: another spelling must not lead to the policy."""
    await scene.iam.directory.policies.create(
        ACME, "secret", document(allow("s3:*", "arn:aws:s3:::hidden/*"))
    )
    key = await scene.key(
        allow("iam:GetPolicy*", "arn:aws:iam::acme:policy/*"),
        deny("iam:GetPolicy*", "arn:aws:iam::acme:policy/secret"),
    )
    plain = await ask(scene, key, "GetPolicyDetailed", PolicyArn="arn:aws:iam::acme:policy/secret")
    assert plain.status == 403
    answer = await ask(scene, key, "GetPolicyDetailed", PolicyArn=f"arn:aws:iam::acme:{arn}")
    assert answer.status in (403, 404)
    assert b"hidden" not in answer.body


async def test_an_allowed_prefix_of_policies_is_not_left_by_a_path(scene: Scene) -> None:
    await scene.iam.directory.policies.create(
        ACME, "secret", document(allow("s3:*", "arn:aws:s3:::hidden/*"))
    )
    key = await scene.key(allow("iam:GetPolicy*", "arn:aws:iam::acme:policy/dev-*"))
    answer = await ask(
        scene, key, "GetPolicyDetailed", PolicyArn="arn:aws:iam::acme:policy/dev-x/secret"
    )
    assert answer.status in (400, 403, 404)
    assert b"hidden" not in answer.body


async def test_a_lost_policy_can_be_detached(scene: Scene) -> None:
    """Attaching in one region while another deletes the policy leaves a key that may nothing;
    nobody but who deletes the key can help it."""
    directory = scene.iam.directory
    key = await scene.key(allow("s3:*"))
    policy = (await directory.keys.policies_of("acme", key.id))[0]

    async def lose(transaction: object) -> None:
        assert await transaction.get(paths.policy(policy.id)) is not None  # type: ignore[attr-defined]
        transaction.remove(paths.policy(policy.id))  # type: ignore[attr-defined]

    await directory.registry.transact(lose)
    assert (await scene.iam.find(key.id)).has_lost_policy  # type: ignore[union-attr]
    await directory.keys.detach(ACME, key.id, policy.arn)
    assert not (await scene.iam.find(key.id)).has_lost_policy  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(30))
async def test_attaching_beside_the_deletion_of_a_policy(seed: int) -> None:
    """In one region: either the attachment is there and the policy, or neither."""
    api = Api(Random(seed))
    key = await api.key()
    arn = await api.policy()

    async def attach() -> None:
        try:
            await api.ask(api.acme, "AttachUserPolicy", UserName=key.key_id, PolicyArn=arn)
        except ApiError as error:
            if error.code != "NoSuchEntity":
                raise

    async def delete() -> None:
        try:
            await api.ask(api.acme, "DeletePolicy", PolicyArn=arn)
        except ApiError as error:
            if error.code != "DeleteConflict":
                raise

    await asyncio.gather(attach(), delete())
    access = await api.iam.find(key.key_id)
    assert access is not None
    assert not access.has_lost_policy


@pytest.mark.parametrize("seed", range(3))
async def test_the_number_of_attached_policies_holds_for_attaching_at_once(seed: int) -> None:
    from amur.iam.directory_keys import POLICIES_PER_KEY_MAX

    api = Api(Random(seed))
    key = await api.key()
    arns = [await api.policy(f"p{number}") for number in range(POLICIES_PER_KEY_MAX + 4)]
    for arn in arns[: POLICIES_PER_KEY_MAX - 1]:
        await api.ask(api.acme, "AttachUserPolicy", UserName=key.key_id, PolicyArn=arn)

    async def attach(arn: str) -> None:
        try:
            await api.ask(api.acme, "AttachUserPolicy", UserName=key.key_id, PolicyArn=arn)
        except ApiError as error:
            if error.code != "LimitExceeded":
                raise

    await asyncio.gather(*map(attach, arns[POLICIES_PER_KEY_MAX - 1 :]))
    found = await api.iam.directory.keys.policies_of("acme", key.key_id)
    assert len(found) <= POLICIES_PER_KEY_MAX


@pytest.mark.parametrize("seed", range(3))
async def test_a_policys_versions_hold_for_creating_at_once(seed: int) -> None:
    api = Api(Random(seed))
    arn = await api.policy()
    text = document(allow("s3:GetObject"))

    async def create() -> None:
        try:
            await api.ask(api.acme, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=text)
        except ApiError as error:
            if error.code != "LimitExceeded":
                raise

    await asyncio.gather(*(create() for _ in range(8)))
    policy = await api.iam.directory.policies.get("acme", arn)
    assert len({each.id for each in policy.versions}) == len(policy.versions) == 5


async def test_setting_what_is_set_counts_as_the_later_change(scene: Scene) -> None:
    """A region that knows of no change yet disables a disabled key: that was said later than the
    other region's enabling, and must win."""
    here, there = scene.store, Scene().store
    one, two = Directory(here.core, MASTER), Directory(there.core, MASTER)
    key, _ = await one.keys.create(ACME, "key", status=Status.INACTIVE)
    path = paths.key(key.id)

    async def tell(source: Store, target: Store) -> None:
        changed = [Changed(meta_keys.ENTRIES_ID, path, None)]
        await merge_entries(target.core, await entry_items(source.core, changed))

    await tell(here, there)
    await one.keys.update(ACME, key.id, status=Status.ACTIVE)
    await two.keys.update(ACME, key.id, status=Status.INACTIVE)  # last: the emergency
    await tell(here, there)
    await tell(there, here)
    for directory in (one, two):
        assert (await directory.keys.get("acme", key.id)).status is Status.INACTIVE


async def test_a_simulation_of_documents_tells_nothing_of_a_buckets_policy(scene: Scene) -> None:
    """Any key may simulate its own documents; a bucket's policy is for who may get it."""
    await scene.bucket("data")
    secret = deny(
        "s3:GetObject", "arn:aws:s3:::data/*", NotIpAddress={"aws:SourceIp": "198.51.100.77/32"}
    ) | {"Principal": "*", "Sid": "OnlyFromTheVault"}
    put = await scene.send(scene.admin, "PUT", "/data?policy=", document(secret).encode())
    assert put.status == 204
    leaked = await scene.key(allow("s3:GetObject", "arn:aws:s3:::elsewhere/*"))
    assert (await scene.send(leaked, "GET", "/data?policy=")).status == 403
    answer = await ask(
        scene, leaked, "SimulateCustomPolicy",
        **{
            "PolicyInputList.member.1": document(allow("s3:*")),
            "ActionNames.member.1": "s3:GetObject",
            "ResourceArns.member.1": "arn:aws:s3:::data/x",
        },
    )  # fmt: skip
    assert b"OnlyFromTheVault" not in answer.body
    assert b"198.51.100.77" not in answer.body


async def test_a_rotation_without_overlap_ends_the_sessions_of_the_old_secret(
    scene: Scene,
) -> None:
    """Whoever has stolen a secret may have made a session of seven days: rotating is what people
    do against a leak."""
    await scene.bucket("data")
    key = await scene.key(allow("s3:*"))
    access = await scene.iam.find(key.id)
    assert access is not None
    stolen = scene.iam.issue_session(access, seconds=7 * 86_400)
    session = Key(stolen.access_key_id, stolen.secret, stolen.token)
    assert (await scene.send(session, "GET", "/data")).status == 200
    await scene.iam.directory.keys.rotate(ACME, key.id)
    assert (await scene.send(key, "GET", "/data")).status == 403
    assert (await scene.send(session, "GET", "/data")).code == "InvalidToken"


async def test_the_body_of_an_iam_call_is_signed(scene: Scene) -> None:
    """UNSIGNED-PAYLOAD over a plain connection lets anybody on the way change what is asked."""
    body = b"Action=DeleteAccessKey&AccessKeyId=" + (await scene.key(allow("s3:*"))).id.encode()
    import time

    headers = sign_request(
        "POST", "/", "", {"host": HOST, "content-length": str(len(body))} | FORM,
        key_id=scene.admin.id, secret=scene.admin.secret, now_s=int(time.time()), service="iam",
    )  # fmt: skip
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    exchange = FakeExchange("POST", "/", list(headers.items()), body)
    await scene.app(exchange)  # type: ignore[arg-type]
    assert exchange.status in (400, 403)


async def test_a_share_does_not_outlive_its_bucket(scene: Scene) -> None:
    """A bucket that is deleted and made again is another one: nobody shared it."""
    await scene.bucket("data")
    stranger, secret = await scene.iam.directory.keys.create(
        ACME._replace(organization="eve", key_id="AKIAEVE"), "stranger"
    )
    await scene.iam.directory.keys.share(ACME, "data", stranger.id, "Editor")
    other = Key(stranger.id, secret)
    assert (await scene.send(other, "GET", "/data")).status == 200
    assert (await scene.send(scene.admin, "DELETE", "/data")).status == 204
    assert (await scene.send(scene.admin, "PUT", "/data")).status == 200
    assert (await scene.send(other, "GET", "/data")).status == 403


async def test_guessing_from_the_same_address_does_not_lock_the_owner_out(scene: Scene) -> None:
    """Behind one gateway (or without trusted_proxies) all have one address: whoever knows an id
    could keep its owner out for ever."""
    app = App(scene.store, scene.iam, domains=("s3.test",))
    await scene.bucket("data")
    key = await scene.key(allow("s3:*"))
    assert (await scene.send(key, "GET", "/data", app=app)).status == 200
    wrong = Key(key.id, "guessed")
    for _ in range(2000):
        await scene.send(wrong, "GET", "/data", app=app)
    assert (await scene.send(key, "GET", "/data", app=app)).status == 200


async def test_a_lone_surrogate_in_a_document_fails_nothing(scene: Scene) -> None:
    text = '{"Version":"2012-10-17","Statement":[{"Sid":"\\ud800","Effect":"x"}]}'
    answer = await ask(scene, scene.admin, "LintPolicy", PolicyDocument=text)
    assert answer.status == 200


async def test_an_admin_who_is_no_owner_does_not_disarm_an_owner(scene: Scene) -> None:
    """`An administrator who is none neither becomes one nor takes one away`: attaching a Deny to
    the owner's key, or deleting it, takes the owner away."""
    from amur.iam.model import MemberRole

    directory = scene.iam.directory
    owner = await directory.members.add(ACME, "owner@acme.test", MemberRole.OWNER)
    admin = await directory.members.add(ACME, "admin@acme.test", MemberRole.ADMIN)
    owners, _ = await directory.keys.create(ACME, "owner's", member=owner.id)
    admins, secret = await directory.keys.create(ACME, "admin's", member=admin.id)
    made = await directory.policies.create(ACME, "nothing", document(deny("*")))
    key = Key(admins.id, secret)
    answer = await ask(scene, key, "AttachUserPolicy", UserName=owners.id, PolicyArn=made.arn)
    assert answer.status == 403
    for action in ("UpdateAccessKey", "DeleteAccessKey"):
        answer = await ask(scene, key, action, AccessKeyId=owners.id, Status="Inactive")
        assert answer.status == 403


async def test_secrets_are_in_no_repr(scene: Scene) -> None:
    key = await scene.key(allow("s3:*"), roles=[RoleGrant("data", "ReadOnly")])
    access = await scene.iam.find(key.id)
    assert access is not None
    issued = scene.iam.issue_session(access, seconds=900)
    session = await scene.iam.find(issued.access_key_id, issued.token)
    assert key.secret not in repr(access)
    assert issued.secret not in repr(issued)
    assert issued.secret not in repr(session)


async def test_a_policy_that_two_regions_made_is_one_to_people(scene: Scene) -> None:
    """Both make `access` before they hear of each other. What is shown under the name must be all
    that a key has by it, and detaching the name must take all of it away."""
    here, there = scene.store, Scene().store
    one, two = Directory(here.core, MASTER), Directory(there.core, MASTER)

    async def tell(source: Store, target: Store, *entries: bytes) -> None:
        changed = [Changed(meta_keys.ENTRIES_ID, path, None) for path in entries]
        await merge_entries(target.core, await entry_items(source.core, changed))

    key, _ = await one.keys.create(ACME, "key")
    await tell(here, there, paths.key(key.id))
    narrow = await one.policies.create(ACME, "access", document(allow("s3:ListBucket")))
    wide = await two.policies.create(ACME, "access", document(allow("s3:*")))
    await one.keys.attach(ACME, key.id, narrow.arn)
    await two.keys.attach(ACME, key.id, wide.arn)
    for source, target in ((there, here), (here, there)):
        for made in (narrow, wide):
            await tell(source, target, paths.policy(made.id), paths.attachment(key.id, made.id))
    await one.keys.detach(ACME, key.id, narrow.arn)
    access = await scene.iam.find(key.id)
    assert access is not None
    assert access.policies is None
