"""CopyObject and rename."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from amur.gateway.copysource import parse_copy_source
from amur.gateway.errors import S3Error

SOURCE = "x-amz-copy-source"
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.fixture
async def bucket(client: Any) -> str:
    assert (await client("PUT", "/bkt")).status == 200
    return "/bkt"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bkt/key", ("bkt", "key", "")),
        ("/bkt/key", ("bkt", "key", "")),
        ("bkt/a%20b+c", ("bkt", "a b+c", "")),
        ("bkt%2Fkey", ("bkt", "key", "")),
        ("bkt/a%2520b", ("bkt", "a%20b", "")),
        ("bkt/key?versionId=12", ("bkt", "key", "12")),
        ("bkt/key%3FversionId=12", ("bkt", "key?versionId=12", "")),
        ("bkt/../other/key", ("bkt", "../other/key", "")),
        ("bkt//key", ("bkt", "/key", "")),
        ("bkt/%C3%A9", ("bkt", "é", "")),
        ("bkt/a#b", ("bkt", "a#b", "")),
    ],
)
def test_a_source_is_decoded_once(value: str, expected: tuple[str, str, str]) -> None:
    assert parse_copy_source(value) == expected


@pytest.mark.parametrize(
    "value", ["", "/", "//", "bkt", "bkt/", "/bkt/", "bkt/%ff", "bkt/a%00", "bkt/key?versionId="]
)
def test_a_bad_source(value: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_copy_source(value)
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize("size", [0, 10, 100_000, 3_000_000])
async def test_copy(client: Any, bucket: str, size: int) -> None:
    await client("PUT", "/other")
    sent = {
        "content-type": "text/plain", "x-amz-meta-a": "1", "x-amz-tagging": "a=b",
        "cache-control": "no-cache", "x-amz-acl": "public-read",
    }  # fmt: skip
    stored = await client("PUT", "/bkt/key", b"x" * size, sent)
    answer = await client("PUT", "/other/copy", b"", {SOURCE: "bkt/key"})
    assert answer.status == 200
    assert answer.texts("ETag") == [stored.headers["etag"]]
    assert answer.texts("LastModified")[0].endswith("Z")
    assert answer.xml.tag == "CopyObjectResult"
    found = await client("GET", "/other/copy")
    assert found.body == b"x" * size
    assert found.headers["content-type"] == "text/plain"
    assert found.headers["cache-control"] == "no-cache"
    assert found.headers["x-amz-meta-a"] == "1"
    assert found.headers["x-amz-tagging-count"] == "1"
    assert "x-amz-acl" not in found.headers


async def test_replace(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/key", b"1", {"x-amz-meta-a": "1", "x-amz-tagging": "a=b"})
    answer = await client(
        "PUT", "/bkt/key", b"",
        {SOURCE: "bkt/key", "x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2",
         "x-amz-tagging": "ignored=yes", "content-type": "text/x"},
    )  # fmt: skip
    assert answer.status == 200
    told = (await client("HEAD", "/bkt/key")).headers
    assert told["x-amz-meta-b"] == "2"
    assert "x-amz-meta-a" not in told
    assert told["content-type"] == "text/x"
    assert (await client("GET", "/bkt/key?tagging")).texts("TagSet/Tag/Key") == ["a"]
    await client(
        "PUT", "/bkt/tagged", b"",
        {SOURCE: "bkt/key", "x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "c=d"},
    )  # fmt: skip
    assert (await client("GET", "/bkt/tagged?tagging")).texts("TagSet/Tag/Key") == ["c"]
    assert (await client("HEAD", "/bkt/tagged")).headers["x-amz-meta-b"] == "2"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({SOURCE: "bkt/key"}, "InvalidRequest"),
        ({SOURCE: ""}, "InvalidArgument"),
        ({SOURCE: "bkt/none"}, "NoSuchKey"),
        ({SOURCE: "none/key"}, "NoSuchBucket"),
        ({SOURCE: "bkt/key", "x-amz-metadata-directive": "MERGE"}, "InvalidArgument"),
        ({SOURCE: "bkt/key", "x-amz-tagging-directive": "x"}, "InvalidArgument"),
        ({SOURCE: "bkt/key", "x-tigris-rename": "perhaps"}, "InvalidArgument"),
        ({SOURCE: "bkt/key", "x-tigris-rename": "true"}, "KeyAlreadyExists"),
    ],
)
async def test_refused(client: Any, bucket: str, headers: dict[str, str], code: str) -> None:
    await client("PUT", "/bkt/key", b"1")
    assert (await client("PUT", "/bkt/key", b"", headers)).code == code
    assert (await client("GET", "/bkt/key")).body == b"1"


async def test_onto_itself_with_a_change(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/key", b"1")
    answer = await client(
        "PUT", "/bkt/key", b"", {SOURCE: "bkt/key", "x-amz-storage-class": "STANDARD_IA"}
    )
    assert answer.status == 200
    assert (await client("HEAD", "/bkt/key")).headers["x-amz-storage-class"] == "STANDARD_IA"


async def test_source_conditions(client: Any, bucket: str) -> None:
    etag = (await client("PUT", "/bkt/key", b"1")).headers["etag"]
    for name, value, status in (
        ("if-match", etag, 200),
        ("if-match", '"x"', 412),
        ("if-none-match", etag, 412),
        ("if-none-match", '"x"', 200),
        ("if-modified-since", "Sat, 06 Nov 2094 08:49:37 GMT", 412),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
    ):
        headers = {SOURCE: "bkt/key", f"{SOURCE}-{name}": value}
        assert (await client("PUT", "/bkt/copy", b"", headers)).status == status


async def test_a_version_as_source(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt?versioning", VERSIONED)
    old = (await client("PUT", "/bkt/key", b"old")).headers["x-amz-version-id"]
    await client("PUT", "/bkt/key", b"new")
    answer = await client("PUT", "/bkt/copy", b"", {SOURCE: f"bkt/key?versionId={old}"})
    assert answer.headers["x-amz-copy-source-version-id"] == old
    assert answer.headers["x-amz-version-id"] not in ("", old)
    assert (await client("GET", "/bkt/copy")).body == b"old"


async def test_a_checksum_is_computed(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/key", b"123456789")
    answer = await client(
        "PUT", "/bkt/copy", b"", {SOURCE: "bkt/key", "x-amz-checksum-algorithm": "CRC32"}
    )
    assert answer.texts("ChecksumCRC32") == ["y/Q5Jg=="]
    assert answer.texts("ChecksumType") == ["FULL_OBJECT"]


async def test_the_source_is_authorised(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/secret", b"1")
    alice = client.as_("alice")
    assert (await alice("PUT", "/hers")).status == 200
    answer = await alice("PUT", "/hers/copy", b"", {SOURCE: "bkt/secret"})
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (await alice("PUT", "/hers/copy", b"", {SOURCE: "hers/../bkt/secret"})).status == 404
    await client("PUT", "/bkt/secret?acl", headers={"x-amz-acl": "public-read"})
    assert (await alice("PUT", "/hers/copy", b"", {SOURCE: "bkt/secret"})).status == 200
    acl = await alice("GET", "/hers/copy?acl")
    assert acl.texts("Owner/ID") == ["alice"]


@pytest.mark.parametrize("name", ["dir/a b+c.txt", "new #1.txt", "a?b", "été", "a%20b", "//x"])
async def test_rename(client: Any, bucket: str, name: str) -> None:
    await client("PUT", "/bkt/" + quote(name), b"1", {"x-amz-meta-a": "1"})
    headers = {SOURCE: "bkt/" + quote(name), "x-tigris-rename": "true"}
    answer = await client("PUT", "/bkt/new?x-id=CopyObject", b"", headers)
    assert (answer.status, answer.xml.tag) == (200, "CopyObjectResult")
    assert (await client("HEAD", "/bkt/" + quote(name))).status == 404
    found = await client("GET", "/bkt/new")
    assert (found.body, found.headers["x-amz-meta-a"]) == (b"1", "1")


async def test_a_rename_never_overwrites(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/a", b"a")
    await client("PUT", "/bkt/b", b"b")
    rename = {SOURCE: "bkt/a", "x-tigris-rename": "true"}
    answer = await client("PUT", "/bkt/b", b"", rename)
    assert (answer.status, answer.code) == (409, "KeyAlreadyExists")
    assert (await client("GET", "/bkt/b")).body == b"b"
    await client("PUT", "/other")
    assert (await client("PUT", "/other/c", b"", rename)).code == "InvalidRequest"
    gone = {SOURCE: "bkt/none", "x-tigris-rename": "true"}
    assert (await client("PUT", "/bkt/c", b"", gone)).code == "NoSuchKey"
