"""PostObject: uploads by HTML forms over the whole gateway."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

KEY_ID, SECRET = "tid_root", "tsec_root_secret"
BOUNDARY = "----boundary"
FAR = "2099-12-30T12:00:00.000Z"
LARGE = bytes(range(256)) * 10_000  # 2.5 MiB


@pytest.fixture
async def bucket(client: Any) -> str:
    assert (await client("PUT", "/bkt")).status == 200
    return "/bkt"


def form(fields: dict[str, str], file: bytes = b"12345", filename: str = "cat.jpg") -> bytes:
    pieces = []
    for name, value in fields.items():
        pieces.append(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        )
    pieces.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return "".join(pieces).encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def signed(
    fields: dict[str, str], conditions: list[Any] | None = None, secret: str = SECRET
) -> dict[str, str]:
    """The fields with a policy that covers them, and its signature."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{now[:8]}/auto/s3/aws4_request"
    fields = fields | {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{KEY_ID}/{scope}",
        "x-amz-date": now,
    }
    listed = [["starts-with", "$" + name, ""] for name in fields] + [{"bucket": "bkt"}]
    policy = b64encode(
        json.dumps({"expiration": FAR, "conditions": listed + (conditions or [])}).encode()
    ).decode()
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    signature = hmac.new(key, policy.encode(), "sha256").hexdigest()
    return fields | {"policy": policy, "x-amz-signature": signature}


async def post(client: Any, body: bytes, **keywords: Any) -> Any:
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return await client.as_("nobody")("POST", "/bkt", body, headers, **keywords)


@pytest.mark.parametrize("file", [b"", b"12345", LARGE])
async def test_a_signed_form(client: Any, bucket: str, file: bytes) -> None:
    fields = signed(
        {
            "key": "up/${filename}", "Content-Type": "image/png", "x-amz-meta-a": "1",
            "Cache-Control": "no-cache", "acl": "public-read",
        }
    )  # fmt: skip
    answer = await post(client, form(fields, file))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["etag"] == f'"{hashlib.md5(file).hexdigest()}"'
    assert answer.headers["location"] == "http://s3.test/bkt/up/cat.jpg"
    found = await client.as_("nobody")("GET", "/bkt/up/cat.jpg")
    assert (found.status, found.body) == (200, file)
    assert found.headers["content-type"] == "image/png"
    assert found.headers["cache-control"] == "no-cache"
    assert found.headers["x-amz-meta-a"] == "1"
    acl = await client("GET", "/bkt/up/cat.jpg?acl")
    assert acl.texts("Owner/ID") == ["root"]


@pytest.mark.parametrize(("status", "expected"), [("200", 200), ("201", 201), ("404", 204)])
async def test_statuses(client: Any, bucket: str, status: str, expected: int) -> None:
    fields = signed({"key": "a b", "success_action_status": status})
    answer = await post(client, form(fields))
    assert answer.status == expected
    if status == "201":
        assert answer.xml.tag == "PostResponse"
        assert b"xmlns" not in answer.body  # the one document of Amazon's without a namespace
        assert answer.texts("Key") == ["a b"]
        assert answer.texts("Bucket") == ["bkt"]
        assert answer.texts("Location") == ["http://s3.test/bkt/a%20b"]
        assert answer.texts("ETag") == [answer.headers["etag"]]


async def test_redirect(client: Any, bucket: str) -> None:
    fields = signed({"key": "é", "success_action_redirect": "https://example.com/done?x=1#end"})
    answer = await post(client, form(fields))
    assert answer.status == 303
    where = urlsplit(answer.headers["location"])
    assert (where.netloc, where.path, where.fragment) == ("example.com", "/done", "end")
    assert parse_qs(where.query) == {
        "x": ["1"], "bucket": ["bkt"], "key": ["é"], "etag": [answer.headers["etag"]],
    }  # fmt: skip


async def test_the_redirect_as_amazon_writes_it(client: Any, bucket: str) -> None:
    fields = signed({"key": "k.txt", "success_action_redirect": "http://example.com"})
    answer = await post(client, form(fields))
    etag = answer.headers["etag"].strip('"')
    expected = f"http://example.com?bucket=bkt&key=k.txt&etag=%22{etag}%22"
    assert answer.headers["location"] == expected


async def test_on_the_buckets_own_host(client: Any, bucket: str) -> None:
    body = form(signed({"key": "key"}))
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await client.as_("nobody")("POST", "/", body, headers, host="bkt.s3.test")
    assert answer.status == 204
    assert answer.headers["location"] == "http://bkt.s3.test/key"
    assert (await client("GET", "/bkt/key")).body == b"12345"


async def test_anonymous(client: Any, bucket: str) -> None:
    assert (await post(client, form({"key": "key"}))).code == "AccessDenied"
    assert (await client("GET", "/bkt/key")).status == 404
    await client("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read-write"})
    assert (await post(client, form({"key": "key"}))).status == 204
    assert (await client("GET", "/bkt/key")).body == b"12345"


TAGGING = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


async def test_tags(client: Any, bucket: str) -> None:
    assert (await post(client, form(signed({"key": "key", "tagging": TAGGING})))).status == 204
    assert (await client("GET", "/bkt/key?tagging")).texts("TagSet/Tag/Key") == ["a"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"key": "key", "x-amz-meta-a": "x" * 2048}, "MetadataTooLarge"),
        ({"key": "key", "x-amz-meta-a": "a\r\nb"}, "InvalidArgument"),
        ({"key": "key", "x-amz-meta-a b": "a"}, "InvalidArgument"),
        ({"key": "key", "content-type": "a\r\nb"}, "InvalidArgument"),
        ({"key": "key", "acl": "nobody"}, "InvalidArgument"),
        ({"key": "key", "x-amz-storage-class": "x"}, "InvalidStorageClass"),
        ({"key": "key", "x-amz-server-side-encryption": "AES256"}, "NotImplemented"),
        ({"key": "key", "x-amz-grant-read": "id=x"}, "NotImplemented"),
        ({"key": "key", "x-tigris-regions": "fra"}, "NotImplemented"),
        ({"key": "key", "tagging": "<x/>"}, "MalformedXML"),
        ({"key": "key", "x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
        ({"key": "key", "content-md5": "short"}, "InvalidDigest"),
        ({"key": "a\0b"}, "InvalidArgument"),
        ({"key": "x" * 1025}, "KeyTooLongError"),
        ({"key": ""}, "UserKeyMustBeSpecified"),
    ],
)
async def test_refused(client: Any, bucket: str, fields: dict[str, str], code: str) -> None:
    answer = await post(client, form(signed(fields)))
    assert answer.code == code
    assert (await client("GET", "/bkt?list-type=2")).texts("KeyCount") == ["0"]


async def test_the_policy_is_enforced(client: Any, bucket: str) -> None:
    good = signed({"key": "key"}, [["content-length-range", 3, 6]])
    for file, code in ((b"12", "EntityTooSmall"), (b"1234567", "EntityTooLarge")):
        assert (await post(client, form(good, file))).code == code
    assert (await post(client, form(signed({"key": "key"}, secret="x")))).code == (
        "SignatureDoesNotMatch"
    )
    assert (await post(client, form(good | {"x-amz-meta-a": "1"}))).code == "AccessDenied"
    await client("PUT", "/other")
    body = form(good | {"bucket": "bkt"})
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await client.as_("nobody")("POST", "/other", body, headers)
    assert answer.code == "AccessDenied"
    for name in ("bkt", "other"):
        assert (await client("GET", f"/{name}?list-type=2")).texts("KeyCount") == ["0"]


async def test_a_cut_form_stores_nothing(client: Any, bucket: str) -> None:
    whole = form(signed({"key": "key"}))
    ends = len(f"\r\n--{BOUNDARY}--\r\n")
    for cut in (*range(1, len(whole) - ends, 97), len(whole) - ends, len(whole) - 5):
        answer = await post(client, whole[:cut])
        assert 400 <= answer.status < 500
    assert (await client("GET", "/bkt?list-type=2")).texts("KeyCount") == ["0"]


async def test_no_form(client: Any, bucket: str) -> None:
    answer = await client.as_("nobody")("POST", "/bkt", b"x", {"content-type": "text/plain"})
    assert 400 <= answer.status < 500
    assert (await client.as_("nobody")("POST", "/bkt")).status >= 400
