"""S12: a key is opaque bytes. 300 nasty names through every input that takes one."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from hashlib import md5
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

import pytest

from tests.support.names import KEYS

SECRET = b"nobody but bob may read this"
# what XML 1.0 can hold as it is, line ends being normalised
IN_XML = [
    key
    for key in KEYS
    if not any(c < " " and c != "\t" for c in key) and not {"\ufffe", "\uffff"} & set(key)
]
FORM = {"content-type": "multipart/form-data; boundary=b"}


def target(key: str, query: str = "") -> str:
    return f"/mine/{quote(key)}" + (f"?{query}" if query else "")


async def keys_of(client: Any, query: str = "") -> list[str]:
    """All keys that a listing gives, page by page."""
    found: list[str] = []
    token = ""
    while True:
        more = f"&continuation-token={quote(token)}" if token else ""
        page = await client("GET", f"/mine?list-type=2&encoding-type=url{query}{more}")
        assert page.status == 200
        found += [unquote(text) for text in page.texts("Contents/Key")]
        token = page.xml.findtext("NextContinuationToken") or ""
        if not token:
            return found


@pytest.fixture
async def alice(client: Any) -> Any:
    """With bucket `mine`; bob has `victim`, which nothing of this may touch."""
    mine, bob = client.as_("alice"), client.as_("bob")
    assert (await mine("PUT", "/mine")).status == 200
    assert (await bob("PUT", "/victim")).status == 200
    assert (await bob("PUT", "/victim/secret", SECRET)).status == 200
    yield mine
    listed = await bob("GET", "/victim")
    assert listed.texts("Contents/Key") == ["secret"]
    assert (await bob("GET", "/victim/secret")).body == SECRET
    assert (await bob("GET", "/")).texts("Buckets/Bucket/Name") == ["victim"]


async def test_in_the_path(alice: Any) -> None:
    for key in KEYS:
        body = key.encode()
        assert (await alice("PUT", target(key), body)).status == 200, key
        assert (await alice("GET", target(key))).body == body, key
    assert await keys_of(alice) == sorted(KEYS, key=str.encode)
    assert await keys_of(alice, "&max-keys=7") == sorted(KEYS, key=str.encode)
    for key in KEYS:
        assert (await alice("GET", target(key))).body == key.encode(), key
        assert (await alice("DELETE", target(key))).status == 204
        assert (await alice("HEAD", target(key))).status == 404
    assert await keys_of(alice) == []


async def test_on_the_buckets_own_host(alice: Any) -> None:
    for key in KEYS:
        path = "/" + quote(key)
        assert (await alice("PUT", path, b"x", host="mine.s3.test")).status == 200, key
        assert (await alice("HEAD", target(key))).status == 200, key
    assert await keys_of(alice) == sorted(KEYS, key=str.encode)


async def test_as_source_of_a_copy(alice: Any) -> None:
    for key in KEYS:
        await alice("PUT", target(key), key.encode())
        source = {"x-amz-copy-source": quote(f"mine/{key}", safe="")}
        assert (await alice("PUT", "/mine/copy", headers=source)).status == 200, key
        assert (await alice("GET", "/mine/copy")).body == key.encode(), key


@pytest.mark.parametrize("way", ["once", "twice", "raw", "leading slash"])
async def test_no_source_leaves_its_bucket(alice: Any, way: str) -> None:
    """SeaweedFS CVE-2026-55874, versitygw 67aaa80d: decoded once, authorised as it is read."""
    for key in KEYS:
        source = {
            "once": quote(f"mine/{key}"),
            "twice": quote(quote(f"mine/{key}", safe=""), safe=""),
            "raw": "".join(c for c in f"mine/{key}" if " " < c < "\x7f"),
            "leading slash": "/" + quote(f"mine/{key}"),
        }[way]
        headers = {"x-amz-copy-source": source}
        for path in ("/mine/copy", "/mine/copy?uploadId=" + "0" * 32 + "&partNumber=1"):
            answer = await alice("PUT", path, headers=headers)
            assert answer.status in (400, 403, 404), (key, answer.body)


async def test_in_documents(alice: Any) -> None:
    for key in IN_XML:
        assert (await alice("PUT", target(key), b"x")).status == 200
    for at in range(0, len(IN_XML), 1000):
        objects = "".join(
            f"<Object><Key>{escape(key)}</Key></Object>" for key in IN_XML[at : at + 1000]
        )
        body = f"<Delete>{objects}</Delete>".encode()
        digest = {"content-md5": b64encode(md5(body).digest()).decode()}
        answer = await alice("POST", "/mine?delete", body, digest)
        assert answer.texts("Error/Key") == []
        assert answer.texts("Deleted/Key") == IN_XML[at : at + 1000]
    assert await keys_of(alice) == []


async def test_in_forms(alice: Any, client: Any) -> None:
    acl = {"x-amz-acl": "public-read-write"}
    assert (await alice("PUT", "/mine?acl", headers=acl)).status == 200
    for key in KEYS:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n' + key.encode() + b"\r\n"
            b'--b\r\nContent-Disposition: form-data; name="bucket"\r\n\r\nvictim\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n'
            b"--b--\r\n"
        )
        answer = await client.as_("nobody")("POST", "/mine", body, FORM)
        assert answer.status == 204, (key, answer.body)
    expected = {key.replace("${filename}", "f") for key in KEYS}
    assert set(await keys_of(alice)) == expected


async def test_in_multipart_uploads(alice: Any) -> None:
    for key in KEYS:
        begun = await alice("POST", target(key, "uploads"))
        upload = begun.xml.findtext("UploadId") if key in IN_XML else None
        if upload is None:
            upload = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
        part = await alice("PUT", target(key, f"partNumber=1&uploadId={upload}"), key.encode())
        document = (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{escape(part.headers['etag'])}</ETag></Part></CompleteMultipartUpload>"
        ).encode()
        done = await alice("POST", target(key, f"uploadId={upload}"), document)
        assert done.status == 200, key
        assert (await alice("GET", target(key))).body == key.encode()
    assert await keys_of(alice) == sorted(KEYS, key=str.encode)


async def test_in_questions(alice: Any) -> None:
    """Prefixes, delimiters and markers find what they should, never another bucket's keys."""
    for key in KEYS:
        await alice("PUT", target(key), b"x")
    for key in (*KEYS[::4], "\0", "\0secret", "\U0010ffff" * 300, "victim"):
        said = quote(key, safe="")
        found = await keys_of(alice, f"&prefix={said}")
        assert found == sorted([k for k in KEYS if k.startswith(key)], key=str.encode)
        after = sorted([k for k in KEYS if k.encode() > key.encode()], key=str.encode)
        assert await keys_of(alice, f"&start-after={said}") == after
        token = quote(urlsafe_b64encode(key.encode()).decode())
        assert await keys_of(alice, f"&continuation-token={token}") == after
        for query in (f"marker={said}", f"delimiter={said}", f"versions&key-marker={said}",
                      f"uploads&key-marker={said}", f"uploads&prefix={said}"):  # fmt: skip
            answer = await alice("GET", f"/mine?encoding-type=url&{query}")
            assert answer.status == 200
            assert SECRET not in answer.body
            assert b"<Key>secret</Key>" not in answer.body


async def test_as_names_of_buckets_uploads_and_versions(alice: Any) -> None:
    """mini-s3 1.5.1: a traversal by uploadId. Ids are looked up, never joined to a path."""
    for key in KEYS:
        said = quote(key, safe="")
        for method, path in (
            ("GET", f"/mine/k?uploadId={said}"),
            ("PUT", f"/mine/k?uploadId={said}&partNumber=1"),
            ("DELETE", f"/mine/k?uploadId={said}"),
            ("GET", f"/mine/k?versionId={said}"),
            ("DELETE", f"/mine/k?versionId={said}"),
            ("GET", f"/mine?uploads&key-marker=a&upload-id-marker={said}"),
            ("GET", f"/mine?versions&key-marker=a&version-id-marker={said}"),
        ):
            answer = await alice(method, path)
            assert answer.status < 500
            assert SECRET not in answer.body
        if "/" not in key and key not in ("mine", "victim"):
            assert (await alice("PUT", f"/{said}")).status in (400, 404, 200), key
            if (await alice("HEAD", f"/{said}")).status == 200:
                assert (await alice("DELETE", f"/{said}")).status == 204
