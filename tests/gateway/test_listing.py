"""The three listings: elements, pages, names that bite."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest

Client = Any

NASTY = [
    "..", "../../etc/passwd", ".", "./a", "a//b", "//", "a\\b", "%2e%2e", "%2F", "%", "a b", "a+b",
    "a&b", "a<b>c", "]]>", "a\"b'c", "é", "中文", "\U0001f600", "a\tb", "a\nb", "a\rb",
    "\r\nSet-Cookie: x", "a;b", "a?b", "a#b", "a=b", "~", "-/health", "x" * 1024, "é" * 512,
    "CON", "a.", "a:b", "*", "null", "{}", "${x}", "\u202e", "\u00a0", "\x7f",
]  # fmt: skip
UNHOLDABLE = ["\x01", "a\x1fb", "\x0b", "\uffff", "\ufffe"]  # not characters of XML 1.0


async def filled(client: Client, keys: list[str]) -> None:
    await client("PUT", "/bkt")
    for key in keys:
        answer = await client("PUT", "/bkt/" + quote(key, safe="/~"), b"x")
        assert answer.status == 200, key


@pytest.mark.parametrize("target", ["/bkt?", "/bkt?list-type=2&"])
async def test_nasty_names_come_back(client: Client, target: str) -> None:
    await filled(client, NASTY)
    expected = sorted(NASTY, key=str.encode)
    plain = await client("GET", target)
    assert plain.texts("Contents/Key") == expected
    encoded = await client("GET", target + "encoding-type=url")
    assert [unquote(key) for key in encoded.texts("Contents/Key")] == expected
    assert encoded.texts("EncodingType") == ["url"]
    for key in NASTY:
        answer = await client("GET", target + "prefix=" + quote(key, safe=""))
        assert key in answer.texts("Contents/Key")
        assert answer.texts("Prefix") == [key]


async def test_names_that_xml_cannot_hold(client: Client) -> None:
    await filled(client, UNHOLDABLE)
    encoded = await client("GET", "/bkt?list-type=2&encoding-type=url")
    found = [unquote(key) for key in encoded.texts("Contents/Key")]
    assert found == sorted(UNHOLDABLE, key=str.encode)
    plain = await client("GET", "/bkt?list-type=2")
    assert b"<Key>&#x1;</Key>" in plain.body


async def test_elements_and_their_order(client: Client) -> None:
    await filled(client, ["a", "b/c"])
    answer = await client(
        "GET", "/bkt?list-type=2&delimiter=/&prefix=&fetch-owner=true&start-after=%20"
    )
    assert [node.tag for node in answer.xml] == [
        "Name", "Prefix", "StartAfter", "KeyCount", "MaxKeys", "Delimiter", "IsTruncated",
        "Contents", "CommonPrefixes",
    ]  # fmt: skip
    contents = answer.xml.find("Contents")
    assert [node.tag for node in contents] == [
        "Key", "LastModified", "ETag", "ChecksumAlgorithm", "ChecksumType", "Size", "Owner",
        "StorageClass",
    ]  # fmt: skip
    assert contents.findtext("ETag") == '"9dd4e461268c8034f5c8564e155c67a6"'
    assert contents.findtext("LastModified").endswith(".000Z")
    assert contents.findtext("Size") == "1"
    assert contents.findtext("StorageClass") == "STANDARD"
    assert contents.findtext("Owner/ID") == "root"
    assert answer.texts("CommonPrefixes/Prefix") == ["b/"]
    assert answer.texts("KeyCount") == ["2"]
    without = await client("GET", "/bkt?list-type=2")
    assert without.texts("Contents/Owner") == []
    first = await client("GET", "/bkt?delimiter=/")
    assert [node.tag for node in first.xml] == [
        "Name", "Prefix", "Marker", "MaxKeys", "Delimiter", "IsTruncated", "Contents",
        "CommonPrefixes",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_pages_by_token(client: Client, size: int) -> None:
    keys = ["a", "b/1", "b/2", "c é", "d+", "e/1"]
    await filled(client, keys)
    seen: list[str] = []
    token = ""
    for _ in range(20):
        query = f"/bkt?list-type=2&delimiter=/&max-keys={size}"
        if token:
            query += "&continuation-token=" + quote(token, safe="")
        answer = await client("GET", query)
        names = answer.texts("Contents/Key") + answer.texts("CommonPrefixes/Prefix")
        assert len(names) == int(answer.texts("KeyCount")[0]) <= size
        seen += names
        token = answer.xml.findtext("NextContinuationToken") or ""
        assert answer.texts("IsTruncated") == ["true" if token else "false"]
        if not token:
            break
    assert sorted(seen) == sorted(["a", "b/", "c é", "d+", "e/"])


async def test_pages_by_marker(client: Client) -> None:
    await filled(client, ["a", "b/1", "b/2", "c"])
    answer = await client("GET", "/bkt?max-keys=2")
    assert answer.texts("IsTruncated") == ["true"]
    assert answer.texts("NextMarker") == []  # only with a delimiter
    answer = await client("GET", "/bkt?max-keys=2&delimiter=/")
    assert answer.texts("NextMarker") == ["b/"]
    answer = await client("GET", "/bkt?max-keys=2&delimiter=/&marker=b/")
    assert answer.texts("Contents/Key") == ["c"]
    assert answer.texts("Marker") == ["b/"]


async def test_max_keys(client: Client) -> None:
    await filled(client, ["a", "b"])
    for query in ("max-keys=0", "list-type=2&max-keys=0", "versions&max-keys=0"):
        answer = await client("GET", f"/bkt?{query}")
        assert answer.texts("IsTruncated") == ["false"]
        assert answer.texts("Contents") + answer.texts("Version") == []
    assert (await client("GET", "/bkt?max-keys=5000")).texts("MaxKeys") == ["1000"]
    assert (await client("GET", "/none?max-keys=0")).code == "NoSuchBucket"
    for bad in ("-1", "x", "1.5", "9" * 40, "²"):
        answer = await client("GET", "/bkt?max-keys=" + quote(bad))
        assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    "query",
    ["encoding-type=base64", "list-type=3", "list-type=2&continuation-token=%21",
     "versions&version-id-marker=3"],
)  # fmt: skip
async def test_bad_questions(client: Client, query: str) -> None:
    await client("PUT", "/bkt")
    answer = await client("GET", f"/bkt?{query}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_empty_token_and_delimiter_are_none(client: Client) -> None:
    await filled(client, ["a", "b/c"])
    answer = await client("GET", "/bkt?list-type=2&continuation-token=&delimiter=")
    assert answer.texts("Contents/Key") == ["a", "b/c"]
    assert answer.texts("ContinuationToken") == [""]
    assert answer.texts("Delimiter") == []


async def test_versions(client: Client) -> None:
    await client("PUT", "/bkt")
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await client("PUT", "/bkt?versioning", body)
    for _ in range(2):
        await client("PUT", "/bkt/key", b"x")
    await client("DELETE", "/bkt/key")
    answer = await client("GET", "/bkt?versions")
    rows = [node for node in answer.xml if node.tag in ("Version", "DeleteMarker")]
    assert [node.tag for node in rows] == ["DeleteMarker", "Version", "Version"]
    assert [node.findtext("IsLatest") for node in rows] == ["true", "false", "false"]
    ids = [node.findtext("VersionId") for node in rows]
    assert ids == sorted(ids, reverse=True)
    assert all(len(text) == 19 for text in ids)
    seen, query = [], "/bkt?versions&max-keys=1"
    for _ in range(5):
        page = await client("GET", query)
        seen += page.texts("Version/VersionId") + page.texts("DeleteMarker/VersionId")
        if page.texts("IsTruncated") == ["false"]:
            break
        query = (
            f"/bkt?versions&max-keys=1&key-marker={page.texts('NextKeyMarker')[0]}"
            f"&version-id-marker={page.texts('NextVersionIdMarker')[0]}"
        )
    assert seen == ids


async def test_metadata_in_listings(client: Client) -> None:
    """Tigris' extension that its file system asks for."""
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/a", b"x", headers={"x-amz-meta-mode": "33188"})
    await client("PUT", "/bkt/b", b"x")
    headers = {"x-tigris-list-metadata": "true"}
    answer = await client("GET", "/bkt?list-type=2", headers=headers)
    assert answer.texts("Contents/Metadata/Name") == ["mode"]
    assert answer.texts("Contents/Metadata/Value") == ["33188"]
    assert (await client("GET", "/bkt?list-type=2")).texts("Contents/Metadata") == []
