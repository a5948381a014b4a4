"""PutObject, GetObject and HeadObject over the whole gateway."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote

import pytest

from amur import limits

BODY = b"0123456789"
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'
LARGE = bytes(range(256)) * 12_000  # about 3 MiB: more than a pack takes
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.fixture
async def bucket(client: Any) -> str:
    assert (await client("PUT", "/bkt")).status == 200
    return "/bkt"


async def put(client: Any, target: str, body: bytes = BODY, **headers: str) -> Any:
    answer = await client(
        "PUT", target, body, {name.replace("_", "-"): v for name, v in headers.items()}
    )
    assert answer.status == 200, answer.body
    return answer


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 100_000, len(LARGE)])
async def test_what_is_put_is_got(client: Any, bucket: str, size: int) -> None:
    body = LARGE[:size]
    stored = await put(client, "/bkt/key", body)
    found = await client("GET", "/bkt/key")
    assert (found.status, found.body) == (200, body)
    head = await client("HEAD", "/bkt/key")
    assert (head.status, head.body) == (200, b"")
    for answer in (found, head):
        assert answer.headers["content-length"] == str(size)
        assert answer.headers["etag"] == stored.headers["etag"]
        assert answer.headers["content-type"] == "binary/octet-stream"
        assert "x-amz-version-id" not in answer.headers
        assert "x-amz-checksum-crc64nvme" not in answer.headers
    assert "x-amz-checksum-crc64nvme" in stored.headers


async def test_attributes_come_back(client: Any, bucket: str) -> None:
    await put(
        client, "/bkt/key", content_type="text/plain", cache_control="no-cache",
        content_disposition="attachment", content_language="fi", content_encoding="gzip",
        expires="Sun, 06 Nov 2044 08:49:37 GMT", x_amz_meta_a="1", X_Amz_Meta_B="two",
        x_amz_tagging="x=y&z=", x_amz_storage_class="GLACIER_IR", x_amz_acl="public-read",
    )  # fmt: skip
    for method in ("GET", "HEAD"):
        told = (await client(method, "/bkt/key")).headers
        assert told["content-type"] == "text/plain"
        assert told["cache-control"] == "no-cache"
        assert told["content-disposition"] == "attachment"
        assert told["content-language"] == "fi"
        assert told["content-encoding"] == "gzip"
        assert told["expires"] == "Sun, 06 Nov 2044 08:49:37 GMT"
        assert (told["x-amz-meta-a"], told["x-amz-meta-b"]) == ("1", "two")
        assert told["x-amz-tagging-count"] == "2"
        assert told["x-amz-storage-class"] == "GLACIER_IR"
        assert told["x-amz-acl"] == "public-read"


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=4-", 4, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-300", 0, 9),
        ("bytes=8-100", 8, 9),
        ("bytes=0-9", 0, 9),
    ],
)
async def test_ranges(client: Any, bucket: str, value: str, first: int, last: int) -> None:
    await put(client, "/bkt/key")
    for method in ("GET", "HEAD"):
        answer = await client(method, "/bkt/key", headers={"range": value})
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes {first}-{last}/10"
        assert answer.headers["content-length"] == str(last + 1 - first)
        assert answer.body == (BODY[first : last + 1] if method == "GET" else b"")


async def test_a_range_of_a_large_object(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key", LARGE)
    spans = [(0, 0), (1_048_575, 1_048_576), (5, 2_500_000), (len(LARGE) - 1, len(LARGE) - 1)]
    for first, last in spans:
        answer = await client("GET", "/bkt/key", headers={"range": f"bytes={first}-{last}"})
        assert (answer.status, answer.body) == (206, LARGE[first : last + 1])
    answer = await client("HEAD", "/bkt/key", headers={"range": "bytes=5-2500000"})
    assert (answer.status, answer.headers["content-length"]) == (206, "2499996")


async def test_ranges_that_are_none(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key")
    for value in ("bytes=5-4", "bytes=0-1,3-4", "lines=1-2"):
        answer = await client("GET", "/bkt/key", headers={"range": value})
        assert (answer.status, answer.body) == (200, BODY)
    for value in ("bytes=10-", "bytes=-0", "bytes=99-100"):
        answer = await client("GET", "/bkt/key", headers={"range": value})
        assert (answer.status, answer.code) == (416, "InvalidRange")
        assert answer.headers["content-range"] == "bytes */10"


async def test_part_number_of_a_plain_object(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key")
    answer = await client("GET", "/bkt/key?partNumber=1")
    assert (answer.status, answer.body) == (206, BODY)
    assert "x-amz-mp-parts-count" not in answer.headers
    assert (await client("GET", "/bkt/key?partNumber=2")).status == 416
    for target in ("?partNumber=0", "?partNumber=10001", "?partNumber=x", "?partNumber="):
        assert (await client("GET", "/bkt/key" + target)).code == "InvalidArgument"
    answer = await client("GET", "/bkt/key?partNumber=1", headers={"range": "bytes=0-1"})
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("headers", "get", "write"),
    [
        ({"if-match": ETAG}, 200, 200),
        ({"if-match": ETAG.strip('"')}, 200, 200),
        ({"if-match": "*"}, 200, 200),
        ({"if-match": '"other"'}, 412, 412),
        ({"if-none-match": ETAG}, 304, 412),
        ({"if-none-match": '"*"'}, 304, 412),
        ({"if-none-match": '"other"'}, 200, 200),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200, 200),
        ({"if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 UTC"}, 412, 412),
        ({"if-modified-since": "Sat, 06 Nov 2094 08:49:37 GMT"}, 304, 412),
        ({"if-modified-since": "whenever"}, 200, 200),
    ],
)
async def test_conditions(
    client: Any, bucket: str, headers: dict[str, str], get: int, write: int
) -> None:
    await put(client, "/bkt/key")
    for method in ("GET", "HEAD"):
        answer = await client(method, "/bkt/key", headers=headers)
        assert answer.status == get
        if get == 304:
            assert (answer.body, answer.headers["etag"]) == (b"", ETAG)
            assert "last-modified" in answer.headers
            assert "x-amz-version-id" not in answer.headers
    assert (await client("PUT", "/bkt/key", BODY, headers)).status == write


async def test_if_range(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key")
    modified = (await client("HEAD", "/bkt/key")).headers["last-modified"]
    holds = (ETAG, modified)
    fails = ('"other"', f"W/{ETAG}", '""', "Sun, 06 Nov 1994 08:49:37 GMT", "whenever")
    for validator in holds + fails:
        sent = {"range": "bytes=2-4", "if-range": validator}
        for method in ("GET", "HEAD"):
            found = await client(method, "/bkt/key", headers=sent)
            whole = validator in fails
            assert (found.status, found.headers["content-length"]) == (
                (200, "10") if whole else (206, "3")
            )
            assert ("content-range" in found.headers) is not whole
            if method == "GET":
                assert found.body == (BODY if whole else BODY[2:5])
    # a range that the new object does not have, of one that is gone
    beyond = {"range": "bytes=90-", "if-range": '"other"'}
    assert (await client("GET", "/bkt/key", headers=beyond)).body == BODY
    assert (await client("GET", "/bkt/key", headers=beyond | {"if-range": ETAG})).status == 416


async def test_an_etag_makes_the_date_moot(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key")
    modified = (await client("HEAD", "/bkt/key")).headers["last-modified"]
    replaced = {"if-none-match": '"older"', "if-modified-since": modified}
    assert (await client("GET", "/bkt/key", headers=replaced)).status == 200
    long_ago = "Sun, 06 Nov 1994 08:49:37 GMT"
    same = {"if-match": ETAG, "if-unmodified-since": long_ago}
    assert (await client("GET", "/bkt/key", headers=same)).status == 200
    known = {"if-none-match": ETAG, "if-modified-since": long_ago}
    assert (await client("GET", "/bkt/key", headers=known)).status == 304


async def test_create_if_absent(client: Any, bucket: str) -> None:
    first = await client("PUT", "/bkt/key", b"1", {"if-none-match": "*"})
    again = await client("PUT", "/bkt/key", b"2", {"if-none-match": "*"})
    legacy = await client("PUT", "/bkt/key", b"3", {"if-match": '""'})
    assert (first.status, again.status, legacy.status) == (200, 412, 412)
    assert again.code == "PreconditionFailed"
    assert (await client("GET", "/bkt/key")).body == b"1"
    assert (await client("PUT", "/bkt/new", b"3", {"if-match": '""'})).status == 200
    assert (await client("PUT", "/bkt/none", b"3", {"if-match": '"x"'})).status == 404


async def test_overrides(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key", x_amz_acl="public-read")
    target = "/bkt/key?response-content-type=text%2Fx&response-cache-control=no-store"
    for method in ("GET", "HEAD"):
        told = await client(method, target)
        assert told.headers["content-type"] == "text/x"
        assert told.headers["cache-control"] == "no-store"
    nobody = await client.as_("nobody")("GET", target)
    assert (nobody.status, nobody.code) == (400, "InvalidRequest")
    split = await client("GET", "/bkt/key?response-expires=a%0D%0Aset-cookie%3A%20b")
    assert (split.status, split.code) == (400, "InvalidArgument")
    assert not any("\r" in value or "\n" in value for _, value in split.pairs)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("content-md5", base64.b64encode(bytes(16)).decode(), "BadDigest"),
        ("content-md5", "short", "InvalidDigest"),
        ("content-md5", "", "InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32", "bad", "InvalidRequest"),
        ("x-amz-acl", "nobody", "InvalidArgument"),
        ("x-amz-storage-class", "SLOW", "InvalidStorageClass"),
        ("x-amz-meta-a", "x" * 2048, "MetadataTooLarge"),
        ("x-amz-tagging", "a=1&a=2", "InvalidArgument"),
        ("x-amz-server-side-encryption", "AES256", "NotImplemented"),
        ("x-amz-grant-read", "id=x", "NotImplemented"),
    ],
)
async def test_refused_puts_leave_nothing(
    client: Any, bucket: str, name: str, value: str, code: str
) -> None:
    answer = await client("PUT", "/bkt/key", BODY, {name: value})
    assert answer.code == code
    assert (await client("GET", "/bkt/key")).status == 404


async def test_checksums_are_kept(client: Any, bucket: str) -> None:
    sha = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    stored = await put(client, "/bkt/key", x_amz_checksum_sha256=sha)
    assert stored.headers["x-amz-checksum-sha256"] == sha
    assert stored.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    asked = {"x-amz-checksum-mode": "ENABLED"}
    assert (await client("GET", "/bkt/key", headers=asked)).headers["x-amz-checksum-sha256"] == sha
    assert (await client("HEAD", "/bkt/key", headers=asked)).headers["x-amz-checksum-sha256"] == sha
    part = await client("GET", "/bkt/key", headers={**asked, "range": "bytes=0-1"})
    assert "x-amz-checksum-sha256" not in part.headers


async def test_too_large_is_refused_unread(client: Any, bucket: str) -> None:
    pairs = [("host", "s3.test"), ("content-length", str(limits.PUT_BYTES_MAX + 1))]
    await client("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read-write"})
    answer = await client.as_("nobody")("PUT", "/bkt/key", b"", pairs=pairs)
    assert (answer.status, answer.code) == (400, "EntityTooLarge")


async def test_object_acls_where_they_are_disabled(client: Any) -> None:
    await client("PUT", "/off", headers={"x-tigris-enable-object-acl": "false"})
    await client("PUT", "/owned")
    rule = "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
    document = f"<OwnershipControls>{rule}</OwnershipControls>".encode()
    assert (await client("PUT", "/owned?ownershipControls", document)).status == 200
    assert (await client("PUT", "/owned/key", b"", {"x-amz-acl": "private"})).status == 200
    refused = await client("PUT", "/owned/key", b"", {"x-amz-acl": "public-read"})
    assert refused.code == "AccessControlListNotSupported"


async def test_versions(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key", b"null")
    assert (await client("PUT", "/bkt?versioning", VERSIONED)).status == 200
    assert (await client("GET", "/bkt/key")).headers["x-amz-version-id"] == "null"
    version = (await put(client, "/bkt/key", b"one")).headers["x-amz-version-id"]
    assert version.isdigit()
    gone = await client("DELETE", "/bkt/key")
    assert (gone.status, gone.headers["x-amz-delete-marker"]) == (204, "true")
    marker = gone.headers["x-amz-version-id"]
    missing = await client("GET", "/bkt/key")
    assert (missing.status, missing.code) == (404, "NoSuchKey")
    assert missing.headers["x-amz-delete-marker"] == "true"
    assert missing.headers["x-amz-version-id"] == marker
    for method in ("GET", "HEAD"):
        answer = await client(method, f"/bkt/key?versionId={marker}")
        assert (answer.status, answer.headers["allow"]) == (405, "DELETE")
    answer = await client("GET", f"/bkt/key?versionId={version}")
    assert (answer.body, answer.headers["x-amz-version-id"]) == (b"one", version)
    answer = await client("GET", "/bkt/key?versionId=null")
    assert (answer.body, answer.headers["x-amz-version-id"]) == (b"null", "null")
    back = await client("DELETE", f"/bkt/key?versionId={marker}")
    assert (back.status, back.headers["x-amz-delete-marker"]) == (204, "true")
    assert (await client("GET", "/bkt/key")).body == b"one"


NAMES = [
    "a b", "a+b", "a%20b", "a%2Fb", "//", "a//b", "../x", "a/../b", ".", "..", "./", "a\\b",
    "été", "日本", "a\tb", "a\nb", "a?b", "a#b", "a&b=c", "'\"<>", "x" * 1024, "é" * 512, " ",
    "trailing/", "~!*'();:@$,[]", "\U0001f600", "%", "%%", "a;b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_opaque(client: Any, bucket: str, name: str) -> None:
    target = "/bkt/" + quote(name, safe="/~") + ""
    await put(client, target, name.encode())
    assert (await client("GET", target)).body == name.encode()
    listed = await client("GET", "/bkt?list-type=2&encoding-type=url")
    assert len(listed.texts("Contents/Key")) == 1


async def test_missing(client: Any, bucket: str) -> None:
    assert (await client("GET", "/bkt/none")).code == "NoSuchKey"
    head = await client("HEAD", "/bkt/none")
    assert (head.status, head.body) == (404, b"")
    assert (await client("GET", "/none/key")).code == "NoSuchBucket"
    assert (await client("PUT", "/none/key", b"")).code == "NoSuchBucket"
    missing = await client("GET", f"/bkt/none?versionId={10**18}")
    assert missing.code in ("NoSuchVersion", "NoSuchKey")


async def test_a_suspended_write_has_no_version_but_its_reading_has(
    client: Any, bucket: str
) -> None:
    await client("PUT", "/bkt?versioning", VERSIONED.replace(b"Enabled", b"Suspended"))
    put_answer = await put(client, "/bkt/key")
    copied = await put(client, "/bkt/copy", b"", x_amz_copy_source="bkt/key")
    (upload,) = (await client("POST", "/bkt/parts?uploads")).texts("UploadId")
    part = await put(client, f"/bkt/parts?partNumber=1&uploadId={upload}")
    completion = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    completed = await client("POST", f"/bkt/parts?uploadId={upload}", completion.encode())
    assert completed.status == 200
    for answer in (put_answer, copied, completed):
        assert "x-amz-version-id" not in answer.headers
    for key in ("key", "copy", "parts"):
        for method in ("GET", "HEAD"):
            assert (await client(method, f"/bkt/{key}")).headers["x-amz-version-id"] == "null"


async def test_a_redirect_location_is_kept_but_not_copied(client: Any, bucket: str) -> None:
    await put(client, "/bkt/key", x_amz_website_redirect_location="/other")
    for method in ("GET", "HEAD"):
        found = await client(method, "/bkt/key")
        assert (found.status, found.headers["x-amz-website-redirect-location"]) == (200, "/other")
    await put(client, "/bkt/copy", b"", x_amz_copy_source="bkt/key")
    assert "x-amz-website-redirect-location" not in (await client("HEAD", "/bkt/copy")).headers
    itself = {"x-amz-copy-source": "bkt/key"}
    assert (await client("PUT", "/bkt/key", b"", itself)).code == "InvalidRequest"
    await put(client, "/bkt/key", b"", **itself, x_amz_website_redirect_location="/new")
    found = await client("GET", "/bkt/key")
    assert (found.body, found.headers["x-amz-website-redirect-location"]) == (BODY, "/new")
