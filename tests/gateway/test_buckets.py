"""Buckets and their settings, over the app."""

from __future__ import annotations

from typing import Any

import pytest

Client = Any


async def test_create_head_list_delete(client: Client) -> None:
    answer = await client("PUT", "/bkt")
    assert (answer.status, answer.headers["location"]) == (200, "/bkt")
    answer = await client("HEAD", "/bkt")
    assert answer.headers["x-tigris-enable-snapshot"] == "false"
    assert answer.headers["x-amz-bucket-region"] == "us-east-1"
    assert (await client("GET", "/")).texts("Buckets/Bucket/Name") == ["bkt"]
    assert (await client("DELETE", "/bkt")).status == 204
    assert (await client("HEAD", "/bkt")).status == 404


async def test_create_twice(client: Client) -> None:
    alice, bob = client.as_("alice"), client.as_("bob")
    await alice("PUT", "/bkt")
    again = await alice("PUT", "/bkt")
    assert (again.status, again.code) == (409, "BucketAlreadyOwnedByYou")
    other = await bob("PUT", "/bkt")
    assert (other.status, other.code) == (409, "BucketAlreadyExists")


@pytest.mark.parametrize("constraint", ["auto", "eu-central-1", ""])
async def test_location(client: Client, constraint: str) -> None:
    body = f"<CreateBucketConfiguration><LocationConstraint>{constraint}</LocationConstraint>"
    assert (
        await client("PUT", "/bkt", body.encode() + b"</CreateBucketConfiguration>")
    ).status == 200
    assert ((await client("GET", "/bkt?location")).xml.text or "") == constraint


@pytest.mark.parametrize("name", ["ab", "Upper", "a..b", "192.168.1.1", "x" * 64, "xn--a", "a_b"])
async def test_names(client: Client, name: str) -> None:
    answer = await client("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


@pytest.mark.parametrize("header", ["tigris-force-delete", "x-tigris-force-delete"])
async def test_forced_deletion_in_both_spellings(client: Client, header: str) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"data")
    answer = await client("DELETE", "/bkt")
    assert (answer.status, answer.code) == (409, "BucketNotEmpty")
    assert (await client("DELETE", "/bkt", headers={header: "false"})).status == 409
    assert (await client("DELETE", "/bkt", headers={header: "true"})).status == 204


async def test_a_snapshot_header_never_deletes_the_bucket(client: Client) -> None:
    await client("PUT", "/bkt")
    headers = {"x-tigris-snapshot-version": "1751631910140685342"}
    assert (await client("DELETE", "/bkt", headers=headers)).status == 501
    assert (await client("HEAD", "/bkt")).status == 200


async def test_pages_of_buckets(client: Client) -> None:
    names = [f"bucket-{n:02d}" for n in range(7)]
    for name in names:
        await client("PUT", f"/{name}")
    await client("PUT", "/other")
    seen, token = [], ""
    while True:
        query = "/?max-buckets=3&prefix=bucket-" + (f"&continuation-token={token}" if token else "")
        answer = await client("GET", query)
        seen += answer.texts("Buckets/Bucket/Name")
        token = answer.xml.findtext("ContinuationToken") or ""
        if not token:
            break
    assert seen == names
    # the region is told to those who ask for pages, as by Amazon
    assert answer.texts("Buckets/Bucket/BucketRegion") == ["us-east-1"]
    assert (await client("GET", "/")).texts("Buckets/Bucket/BucketRegion") == []
    assert (await client("GET", "/?continuation-token=!")).code == "InvalidArgument"
    assert (await client("GET", "/?max-buckets=x")).code == "InvalidArgument"
    assert (await client("GET", "/?max-buckets=0")).code == "InvalidArgument"


async def test_everybody_sees_their_own_buckets(client: Client) -> None:
    await client.as_("alice")("PUT", "/of-alice")
    await client.as_("bob")("PUT", "/of-bob")
    assert (await client.as_("alice")("GET", "/")).texts("Buckets/Bucket/Name") == ["of-alice"]
    assert (await client("GET", "/")).texts("Buckets/Bucket/Name") == ["of-alice", "of-bob"]
    assert (await client.as_("nobody")("GET", "/")).status == 403


@pytest.mark.parametrize(
    "acl", ["private", "public-read", "public-read-write", "authenticated-read"]
)
async def test_canned_acls_go_in_and_out(client: Client, acl: str) -> None:
    await client("PUT", "/bkt", headers={"x-amz-acl": acl})
    written = await client("GET", "/bkt?acl")
    grants = len(written.xml.findall("AccessControlList/Grant"))
    assert grants == {"private": 1, "public-read-write": 3}.get(acl, 2)
    if acl.startswith("public"):
        assert "http://acs.amazonaws.com/groups/global/AllUsers" in written.texts(
            "AccessControlList/Grant/Grantee/URI"
        )
    # the document that it answers is one that it takes
    await client("PUT", "/bkt?acl", headers={"x-amz-acl": "private"})
    assert (await client("PUT", "/bkt?acl", written.body)).status == 200
    assert (await client("GET", "/bkt?acl")).body == written.body


async def test_acls_that_are_refused(client: Client) -> None:
    await client("PUT", "/bkt")
    assert (await client("PUT", "/b2k", headers={"x-amz-acl": "open"})).code == "InvalidArgument"
    assert (await client("PUT", "/bkt?acl")).code == "MissingSecurityHeader"
    assert (await client("PUT", "/bkt?acl", b"<x/>")).code == "MalformedXML"
    body = (
        b"<AccessControlPolicy><Owner><ID>root</ID></Owner><AccessControlList><Grant><Grantee>"
        b"<ID>alice</ID></Grantee><Permission>READ</Permission></Grant></AccessControlList>"
        b"</AccessControlPolicy>"
    )
    assert (await client("PUT", "/bkt?acl", body)).code == "NotImplemented"
    foreign = body.replace(b"root", b"alice")
    assert (await client("PUT", "/bkt?acl", foreign)).code == "AccessDenied"


async def test_tagging(client: Client) -> None:
    await client("PUT", "/bkt")
    assert (await client("GET", "/bkt?tagging")).code == "NoSuchTagSet"
    tags = [("a", "1"), ("<&>", "\"'é"), ("empty", "")]
    body = "".join(
        f"<Tag><Key>{k.replace('&', '&amp;').replace('<', '&lt;')}</Key><Value>{v}</Value></Tag>"
        for k, v in tags
    )
    document = f"<Tagging><TagSet>{body}</TagSet></Tagging>".encode()
    assert (await client("PUT", "/bkt?tagging", document)).status == 204
    answer = await client("GET", "/bkt?tagging")
    found = list(zip(answer.texts("TagSet/Tag/Key"), answer.texts("TagSet/Tag/Value"), strict=True))
    assert sorted(found) == sorted(tags)
    assert (await client("DELETE", "/bkt?tagging")).status == 204
    assert (await client("GET", "/bkt?tagging")).status == 404


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ("<Tag><Key>a</Key></Tag>", "MalformedXML"),
        ("<Tag><Key></Key><Value/></Tag>", "InvalidTag"),
        (f"<Tag><Key>{'k' * 129}</Key><Value/></Tag>", "InvalidTag"),
        (f"<Tag><Key>a</Key><Value>{'v' * 257}</Value></Tag>", "InvalidTag"),
        ("<Tag><Key>aws:x</Key><Value/></Tag>", "InvalidTag"),
        ("<Tag><Key>a</Key><Value/></Tag>" * 2, "InvalidTag"),
        ("".join(f"<Tag><Key>{n}</Key><Value/></Tag>" for n in range(51)), "BadRequest"),
    ],
)
async def test_tags_that_are_refused(client: Client, tags: str, code: str) -> None:
    await client("PUT", "/bkt")
    body = f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()
    assert (await client("PUT", "/bkt?tagging", body)).code == code
    assert (await client("GET", "/bkt?tagging")).code == "NoSuchTagSet"


async def test_ownership_controls(client: Client) -> None:
    await client("PUT", "/bkt", headers={"x-amz-object-ownership": "ObjectWriter"})
    path = "Rule/ObjectOwnership"
    assert (await client("GET", "/bkt?ownershipControls")).texts(path) == ["ObjectWriter"]
    body = (
        b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
        b"</OwnershipControls>"
    )
    assert (await client("PUT", "/bkt?ownershipControls", body)).status == 200
    refused = await client("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read"})
    assert refused.code == "AccessControlListNotSupported"
    assert (await client("DELETE", "/bkt?ownershipControls")).status == 204
    answer = await client("GET", "/bkt?ownershipControls")
    assert answer.code == "OwnershipControlsNotFoundError"
    bad = await client("PUT", "/bkt?ownershipControls", body.replace(b"Enforced", b"x"))
    assert bad.code == "MalformedXML"
    headers = {"x-amz-object-ownership": "BucketOwnerEnforced", "x-amz-acl": "public-read"}
    refused = await client("PUT", "/b2k", headers=headers)
    assert refused.code == "InvalidBucketAclWithObjectOwnership"


async def test_versioning(client: Client) -> None:
    await client("PUT", "/bkt")
    assert (await client("GET", "/bkt?versioning")).texts("Status") == []
    for status in ("Enabled", "Suspended"):
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
        assert (await client("PUT", "/bkt?versioning", body.encode())).status == 200
        assert (await client("GET", "/bkt?versioning")).texts("Status") == [status]
    for bad in ("<Status>On</Status>", ""):
        body = f"<VersioningConfiguration>{bad}</VersioningConfiguration>"
        answer = await client("PUT", "/bkt?versioning", body.encode())
        assert answer.code == "IllegalVersioningConfigurationException"


@pytest.mark.parametrize(
    ("sub", "code"),
    [
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("website", "NoSuchWebsiteConfiguration"),
    ],
)
async def test_what_nobody_configured(client: Client, sub: str, code: str) -> None:
    assert (await client("GET", f"/bkt?{sub}")).code == "NoSuchBucket"
    await client("PUT", "/bkt")
    answer = await client("GET", f"/bkt?{sub}")
    assert (answer.status, answer.code) == (404, code)
    assert (await client("PUT", f"/bkt?{sub}", b"<x/>")).status == 501
    assert (await client("DELETE", f"/bkt?{sub}")).status == 204


@pytest.mark.parametrize("sub", ["logging", "notification", "requestPayment"])
async def test_settings_that_are_empty(client: Client, sub: str) -> None:
    await client("PUT", "/bkt")
    answer = await client("GET", f"/bkt?{sub}")
    assert answer.status == 200
    assert answer.xml.findtext("Payer") == ("BucketOwner" if sub == "requestPayment" else None)


async def test_the_expected_owner(client: Client) -> None:
    await client.as_("alice")("PUT", "/bkt")
    for who in ("root", "alice"):
        good = await client.as_(who)(
            "GET", "/bkt", headers={"x-amz-expected-bucket-owner": "alice"}
        )
        assert good.status == 200
        bad = await client.as_(who)("GET", "/bkt", headers={"x-amz-expected-bucket-owner": "bob"})
        assert (bad.status, bad.code) == (403, "AccessDenied")
