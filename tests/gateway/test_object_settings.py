"""Tags, ACLs and attributes of objects."""

from __future__ import annotations

from typing import Any

import pytest

VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
GROUPS = "http://acs.amazonaws.com/groups/global/"


@pytest.fixture
async def bucket(client: Any) -> str:
    assert (await client("PUT", "/bkt")).status == 200
    assert (await client("PUT", "/bkt/key", b"12345")).status == 200
    return "/bkt"


def tagging(*tags: tuple[str, str]) -> bytes:
    inner = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{inner}</TagSet></Tagging>".encode()


async def test_tags(client: Any, bucket: str) -> None:
    assert (await client("GET", "/bkt/key?tagging")).texts("TagSet/Tag") == []
    before = (await client("HEAD", "/bkt/key")).headers
    assert (await client("PUT", "/bkt/key?tagging", tagging(("a", "b"), ("c", "")))).status == 200
    found = await client("GET", "/bkt/key?tagging")
    assert found.texts("TagSet/Tag/Key") == ["a", "c"]
    assert found.texts("TagSet/Tag/Value") == ["b", ""]
    after = (await client("HEAD", "/bkt/key")).headers
    assert after["x-amz-tagging-count"] == "2"
    assert (after["etag"], after["last-modified"]) == (before["etag"], before["last-modified"])
    assert (await client("DELETE", "/bkt/key?tagging")).status == 204
    assert (await client("GET", "/bkt/key?tagging")).texts("TagSet/Tag") == []
    assert (await client("PUT", "/bkt/none?tagging", tagging(("a", "b")))).code == "NoSuchKey"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Tagging/>", "MalformedXML"),
        (b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        (b"<Tagging><TagSet><X/></TagSet></Tagging>", "MalformedXML"),
        (tagging(("a", "b"), ("a", "c")), "InvalidTag"),
        (tagging(("", "b")), "InvalidTag"),
        (tagging(("aws:a", "b")), "InvalidTag"),
        (tagging(("k" * 129, "b")), "InvalidTag"),
        (tagging(("k", "v" * 257)), "InvalidTag"),
        (tagging(("k{", "v")), "InvalidTag"),
    ],
)
async def test_bad_tags(client: Any, bucket: str, document: bytes, code: str) -> None:
    answer = await client("PUT", "/bkt/key?tagging", document)
    assert (answer.status, answer.code) == (400, code)


async def test_tags_are_told_in_order(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/key", b"1", {"x-amz-tagging": "foo=bar&bar"})
    found = await client("GET", "/bkt/key?tagging")
    assert found.texts("TagSet/Tag/Key") == ["bar", "foo"]
    assert found.texts("TagSet/Tag/Value") == ["", "bar"]


async def test_too_many_tags(client: Any, bucket: str) -> None:
    eleven = tagging(*((f"k{n}", "v") for n in range(11)))
    answer = await client("PUT", "/bkt/key?tagging", eleven)
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert answer.texts("Message") == ["Object tags cannot be greater than 10"]
    header = {"x-amz-tagging": "&".join(f"k{n}=v" for n in range(11))}
    assert (await client("PUT", "/bkt/key", b"1", header)).code == "BadRequest"
    many = tagging(*((f"k{n}", "v") for n in range(51)))
    answer = await client("PUT", "/bkt?tagging", many)
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert answer.texts("Message") == ["Bucket tag count cannot be greater than 50"]


async def test_tags_of_a_version(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt?versioning", VERSIONED)
    old = (await client("PUT", "/bkt/key", b"1")).headers["x-amz-version-id"]
    await client("PUT", "/bkt/key", b"2")
    answer = await client("PUT", f"/bkt/key?tagging&versionId={old}", tagging(("a", "b")))
    assert answer.headers["x-amz-version-id"] == old
    found = await client("GET", f"/bkt/key?tagging&versionId={old}")
    assert (found.texts("TagSet/Tag/Key"), found.headers["x-amz-version-id"]) == (["a"], old)
    assert (await client("GET", "/bkt/key?tagging")).texts("TagSet/Tag/Key") == []


async def test_others_touch_neither_tags_nor_acl(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read-write"})
    for who in ("bob", "nobody"):
        other = client.as_(who)
        for sub in ("tagging", "acl"):
            target = f"/bkt/key?{sub}"
            assert (await other("GET", target)).code == "AccessDenied"
            assert (await other("PUT", target, tagging(("a", "b")))).code == "AccessDenied"
    assert (await client("GET", "/bkt/key?tagging")).texts("TagSet/Tag") == []
    bob = client.as_("bob")
    assert (await bob("PUT", "/bkt/his", b"1")).status == 200
    assert (await bob("PUT", "/bkt/his?tagging", tagging(("a", "b")))).status == 200
    assert (await bob("GET", "/bkt/his?acl")).texts("Owner/ID") == ["bob"]


@pytest.mark.parametrize(
    ("acl", "grants"),
    [
        ("private", []),
        ("public-read", [("AllUsers", "READ")]),
        ("public-read-write", [("AllUsers", "READ"), ("AllUsers", "WRITE")]),
        ("authenticated-read", [("AuthenticatedUsers", "READ")]),
    ],
)
async def test_canned_acls_both_ways(
    client: Any, bucket: str, acl: str, grants: list[tuple[str, str]]
) -> None:
    assert (await client("PUT", "/bkt/key?acl", headers={"x-amz-acl": acl})).status == 200
    found = await client("GET", "/bkt/key?acl")
    rows = found.xml.findall("AccessControlList/Grant")
    # the owner comes last, as from Amazon: there are clients that count on it
    assert (rows[-1].findtext("Grantee/ID"), rows[-1].findtext("Permission")) == (
        "root",
        "FULL_CONTROL",
    )
    assert [
        ((row.findtext("Grantee/URI") or "").removeprefix(GROUPS), row.findtext("Permission"))
        for row in rows[:-1]
    ] == grants
    await client("PUT", "/bkt/key?acl", headers={"x-amz-acl": "private"})
    assert (await client("PUT", "/bkt/key?acl", found.body)).status == 200
    assert (await client("HEAD", "/bkt/key")).headers["x-amz-acl"] == acl


async def test_an_object_inherits_the_buckets_acl(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read"})
    assert (await client("GET", "/bkt/key?acl")).texts("AccessControlList/Grant/Grantee/URI") == [
        GROUPS + "AllUsers"
    ]
    assert "x-amz-acl" not in (await client("HEAD", "/bkt/key")).headers
    assert (await client.as_("nobody")("GET", "/bkt/key")).status == 200
    await client("PUT", "/bkt/key?acl", headers={"x-amz-acl": "private"})
    assert (await client.as_("nobody")("GET", "/bkt/key")).status == 403


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"", {}, "MissingSecurityHeader"),
        (b"", {"x-amz-acl": "x"}, "InvalidArgument"),
        (b"<a/>", {"x-amz-acl": "private"}, "UnexpectedContent"),
        (b"<a/>", {}, "MalformedXML"),
        (b"<AccessControlPolicy/>", {}, "MalformedACLError"),
        (
            b"<AccessControlPolicy><Owner><ID>root</ID></Owner><AccessControlList><Grant>"
            b"<Grantee><ID>bob</ID></Grantee><Permission>READ</Permission></Grant>"
            b"</AccessControlList></AccessControlPolicy>",
            {},
            "NotImplemented",
        ),
        (
            b"<AccessControlPolicy><Owner><ID>root</ID></Owner><AccessControlList><Grant>"
            b"<Grantee><ID>nobody we know</ID></Grantee><Permission>READ</Permission></Grant>"
            b"</AccessControlList></AccessControlPolicy>",
            {},
            "InvalidArgument",
        ),
    ],
)
async def test_bad_acls(
    client: Any, bucket: str, body: bytes, headers: dict[str, str], code: str
) -> None:
    assert (await client("PUT", "/bkt/key?acl", body, headers)).code == code


async def test_attributes(client: Any, bucket: str) -> None:
    asked = {"x-amz-object-attributes": "ETag,Checksum,ObjectParts, StorageClass,ObjectSize"}
    answer = await client("GET", "/bkt/key?attributes", headers=asked)
    assert answer.status == 200
    assert answer.texts("ETag") == ["827ccb0eea8a706c4c34a16891f84e7b"]
    assert answer.texts("ObjectSize") == ["5"]
    assert answer.texts("StorageClass") == ["STANDARD"]
    assert len(answer.texts("Checksum/ChecksumCRC64NVME")) == 1
    assert answer.texts("Checksum/ChecksumType") == ["FULL_OBJECT"]
    assert answer.texts("ObjectParts") == []
    assert "last-modified" in answer.headers
    some = {"x-amz-object-attributes": "ObjectSize"}
    answer = await client("GET", "/bkt/key?attributes", headers=some)
    assert [node.tag for node in answer.xml] == ["ObjectSize"]


@pytest.mark.parametrize("value", ["", ",", "Size", "ETag,Owner", "etag"])
async def test_bad_attributes(client: Any, bucket: str, value: str) -> None:
    headers = {"x-amz-object-attributes": value}
    answer = await client("GET", "/bkt/key?attributes", headers=headers)
    assert answer.code == "InvalidArgument"
