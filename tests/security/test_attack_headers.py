"""Attacks by headers that a handler passes over, and by questions asked before the body is read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.security.test_attack_conditions import (
    ACME,
    Key,
    Scene,
    allow,
    deny,
    document,
    form,
    scene,
    signed_form,
)

__all__ = ["scene"]

SECRET = {"StringEquals": {"s3:RequestObjectTag/class": "secret"}}
TAGGING = b"<Tagging><TagSet><Tag><Key>class</Key><Value>secret</Value></Tag></TagSet></Tagging>"
PUBLIC = (
    b"<AccessControlPolicy><Owner><ID>acme</ID></Owner><AccessControlList><Grant><Grantee "
    b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>'
    b"http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission>"
    b'</Grant><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    b'xsi:type="CanonicalUser"><ID>acme</ID></Grantee><Permission>FULL_CONTROL</Permission>'
    b"</Grant></AccessControlList></AccessControlPolicy>"
)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("who", ["nobody", "nothing", "own policy", "session"])
async def test_a_bucket_hardened_by_request_tags_has_its_own_tags_guarded(
    scene: Scene, method: str, who: str
) -> None:
    await scene.bucket("data")
    statement = deny("s3:*", ["arn:aws:s3:::data", "arn:aws:s3:::data/*"], **SECRET)
    policy = document(statement | {"Principal": "*"}).encode()
    assert (await scene.send(scene.admin, "PUT", "/data?policy", policy)).status == 204
    key: Key | None = None
    if who == "nothing":
        key = await scene.key()
    elif who == "own policy":
        key = await scene.key(statement)
    elif who == "session":
        access = await scene.iam.find((await scene.key(allow("s3:GetObject"))).id)
        assert access is not None
        needs = document(allow("s3:*", StringEquals={"s3:RequestObjectTag/class": "ok"}))
        made = scene.iam.issue_session(access, seconds=900, policy=needs)
        key = Key(made.access_key_id, made.secret, made.token)
    answer = await scene.send(key, method, "/data?tagging", TAGGING if method == "PUT" else b"")
    assert answer.status == 403
    assert not (await scene.store.bucket("data")).tags


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_request_tags_are_none_where_nothing_is_tagged(scene: Scene, method: str) -> None:
    await scene.bucket("data")
    await scene.put("data", "k", tags={"a": "b"})
    key = await scene.key(allow("s3:*"), deny("s3:*", **SECRET))
    answer = await scene.send(
        key, method, "/data/k?tagging", b"", {"x-amz-tagging": "class=secret"}
    )
    assert answer.status in (200, 204)
    key = await scene.key(allow("s3:*", StringEquals={"s3:RequestObjectTag/x": "y"}))
    tagged = {"x-amz-tagging": "x=y"}
    assert (await scene.send(key, method, "/data/k?tagging", b"", tagged)).status == 403
    assert (await scene.send(key, "PUT", "/more", b"", tagged)).status == 403


@pytest.mark.parametrize("extra", [{}, {"x-amz-copy-source": "/data/x"}], ids=["", "copy-source"])
async def test_tags_that_are_refused_are_refused_with_any_header(
    scene: Scene, extra: dict[str, str]
) -> None:
    await scene.bucket("data")
    await scene.put("data", "x")
    key = await scene.key(allow("s3:*"), deny(["s3:PutObject", "s3:PutObjectTagging"], **SECRET))
    assert (await scene.send(key, "PUT", "/data/x?tagging", TAGGING, extra)).status == 403
    assert (await scene.store.head("data", "x")).tags == {}
    tagged = {"x-amz-tagging": "class=secret"}
    assert (await scene.send(key, "POST", "/data/m?uploads", b"", tagged | extra)).status == 403
    assert (await scene.send(key, "PUT", "/data/x", b"y", tagged)).status == 403
    other = TAGGING.replace(b"secret", b"open")
    assert (await scene.send(key, "PUT", "/data/x?tagging", other, extra)).status == 200


@pytest.mark.parametrize("extra", [{}, {"x-amz-acl": ""}], ids=["", "empty header"])
async def test_an_acl_in_a_document_is_what_conditions_see(
    scene: Scene, extra: dict[str, str]
) -> None:
    await scene.bucket("data", object_acl=True)
    await scene.put("data", "x")
    public = deny(
        ["s3:PutObjectAcl", "s3:PutBucketAcl"], StringEquals={"s3:x-amz-acl": "public-read"}
    )
    key = await scene.key(allow("s3:*"), public)
    for target in ("/data/x?acl", "/data?acl"):
        assert (await scene.send(key, "PUT", target, PUBLIC, extra)).status == 403
    assert (await scene.send(None, "GET", "/data/x")).status == 403
    free = await scene.key(allow("s3:*"))
    assert (await scene.send(free, "PUT", "/data/x?acl", PUBLIC, extra)).status == 200
    assert (await scene.send(None, "GET", "/data/x")).status == 200


async def test_a_session_ends_with_the_overlap_of_its_secret(scene: Scene) -> None:
    await scene.bucket("data")
    key = await scene.key(allow("s3:*"))
    access = await scene.iam.find(key.id)
    assert access is not None
    made = scene.iam.issue_session(access, seconds=7 * 86_400)
    await scene.iam.directory.keys.rotate(ACME, key.id, overlap_s=3600)
    session = await scene.iam.find(made.access_key_id, made.token)
    parent = await scene.iam.find(key.id)
    assert session is not None
    assert parent is not None
    ends = {each.until_ns for each in parent.secrets if each.until_ns}
    assert {session.expires_ns} == ends  # and before its own
    newer = scene.iam.issue_session(parent._replace(secrets=parent.secrets[:1]), seconds=7 * 86_400)
    after = await scene.iam.find(newer.access_key_id, newer.token)
    assert after is not None
    assert after.expires_ns == newer.expires_ns


RENAME = {"x-amz-copy-source": "/data/in/x", "x-tigris-rename": "true"}


@pytest.mark.parametrize(
    ("statements", "headers"),
    [
        ([allow("s3:*"), deny("s3:PutObject", "arn:aws:s3:::data/out/*", **SECRET)], {}),
        ([allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])], {}),
        (
            [
                allow(["s3:GetObject", "s3:GetObjectTagging", "s3:DeleteObject"]),
                allow("s3:Put*", StringEquals={"s3:RequestObjectTag/class": "ok"}),
            ],
            {"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "class=ok"},
        ),
        (
            [
                allow(["s3:Get*", "s3:DeleteObject", "s3:PutObjectTagging"]),
                allow("s3:PutObject", StringEquals={"s3:x-amz-storage-class": "GLACIER"}),
            ],
            {"x-amz-storage-class": "GLACIER"},
        ),
    ],
    ids=["deny of tags", "no right to tags", "tags of the request", "storage class"],
)
async def test_a_rename_may_no_more_than_a_copy(
    scene: Scene, statements: list[Any], headers: dict[str, str]
) -> None:
    await scene.bucket("data")
    await scene.put("data", "in/x", tags={"class": "secret"})
    key = await scene.key(*statements)
    assert (await scene.send(key, "PUT", "/data/out/x", b"", RENAME | headers)).status == 403
    assert await scene.has("data", "in/x")
    free = await scene.key(allow("s3:*"))
    assert (await scene.send(free, "PUT", "/data/out/x", b"", RENAME)).status == 200
    assert (await scene.store.head("data", "out/x")).tags == {"class": "secret"}


@pytest.mark.parametrize("name", ["x-amz-copy-source", "x-amz-metadata-directive"])
async def test_what_is_no_copy_is_none_to_conditions(scene: Scene, name: str) -> None:
    await scene.bucket("data")
    await scene.put("data", "public/x")
    value = "data/public/x" if name == "x-amz-copy-source" else "COPY"
    key = await scene.key(
        allow(["s3:GetObject*", "s3:PutObjectTagging"]),
        allow("s3:PutObject", StringLike={f"s3:{name}": value}),
    )
    body, headers = form(signed_form(key, {"key": "own", name: value}))
    assert (await scene.send(None, "POST", "/data", body, headers)).status == 403
    copy = {"x-amz-copy-source": "data/public/x", "x-amz-metadata-directive": "COPY"}
    assert (await scene.send(key, "POST", "/data/own?uploads", b"", copy)).status == 403
    if name == "x-amz-metadata-directive":
        assert (await scene.send(key, "PUT", "/data/own", b"x", {name: value})).status == 403
    assert not await scene.has("data", "own")
    assert (await scene.send(key, "PUT", "/data/own", b"", copy)).status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_header_means_nothing_where_nothing_is_stored(scene: Scene, method: str) -> None:
    await scene.bucket("data")
    await scene.put("data", "x")
    key = await scene.key(allow("s3:*", StringEquals={"s3:x-amz-storage-class": "GLACIER"}))
    sent = {"x-amz-storage-class": "GLACIER"}
    assert (await scene.send(key, method, "/data/x", b"", sent)).status == 403
    assert (await scene.send(key, "PUT", "/data/y", b"", sent)).status == 200


async def test_the_parameter_of_a_listing_means_nothing_elsewhere(scene: Scene) -> None:
    await scene.bucket("data")
    key = await scene.key(allow("s3:ListBucket", StringEquals={"s3:prefix": "mine/"}))
    assert (await scene.send(key, "GET", "/data?prefix=mine/")).status == 200
    assert (await scene.send(key, "HEAD", "/data?prefix=mine/")).status == 403
