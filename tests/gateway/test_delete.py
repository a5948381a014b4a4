"""DeleteObject and DeleteObjects."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.fixture
async def bucket(client: Any) -> str:
    assert (await client("PUT", "/bkt")).status == 200
    return "/bkt"


async def delete(client: Any, document: str, **headers: str) -> Any:
    body = document.encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return await client("POST", "/bkt?delete", body, {"content-md5": md5, **headers})


def entries(*keys: str, quiet: bool = False) -> str:
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{objects}</Delete>"


async def test_deleting_what_is_not_there_succeeds(client: Any, bucket: str) -> None:
    answer = await client("DELETE", "/bkt/key")
    assert (answer.status, answer.body) == (204, b"")
    assert "x-amz-version-id" not in answer.headers


async def test_conditional_delete(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/key", b"12345")
    for headers in (
        {"if-match": '"other"'},
        {"x-amz-if-match-size": "4"},
        {"x-amz-if-match-last-modified-time": "Sun, 06 Nov 1994 08:49:37 GMT"},
    ):
        assert (await client("DELETE", "/bkt/key", headers=headers)).status == 412
    told = (await client("HEAD", "/bkt/key")).headers
    headers = {
        "if-match": told["etag"],
        "x-amz-if-match-size": "5",
        "x-amz-if-match-last-modified-time": told["last-modified"],
    }
    assert (await client("DELETE", "/bkt/key", headers=headers)).status == 204
    assert (await client("HEAD", "/bkt/key")).status == 404


async def test_a_thousand_at_once(client: Any, bucket: str) -> None:
    for n in range(5):
        await client("PUT", f"/bkt/{n}", b"")
    answer = await delete(client, entries(*(str(n) for n in range(1000))))
    assert answer.status == 200
    assert answer.texts("Deleted/Key") == [str(n) for n in range(1000)]
    assert (await client("GET", "/bkt?list-type=2")).texts("KeyCount") == ["0"]


async def test_quiet(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/key", b"")
    answer = await delete(client, entries("key", "none", quiet=True))
    assert (answer.status, list(answer.xml)) == (200, [])
    assert (await client("HEAD", "/bkt/key")).status == 404


@pytest.mark.parametrize(
    "document",
    [
        "<Delete></Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key></Key></Object></Delete>",
        "<Other/>",
        "<Delete>",
        entries(*(str(n) for n in range(1001))),
        "<Delete><Object><Key>a</Key><Size>x</Size></Object></Delete>",
        "<Delete><Object><Key>a</Key><LastModifiedTime>x</LastModifiedTime></Object></Delete>",
        '<!DOCTYPE a [<!ENTITY b "c">]><Delete><Object><Key>&b;</Key></Object></Delete>',
    ],
)
async def test_malformed(client: Any, bucket: str, document: str) -> None:
    answer = await delete(client, document)
    assert (answer.status, answer.code) == (400, "MalformedXML")


async def test_a_digest_is_needed_and_verified(client: Any, bucket: str) -> None:
    body = entries("key").encode()
    assert (await client("POST", "/bkt?delete", body)).code == "InvalidRequest"
    wrong = {"content-md5": base64.b64encode(bytes(16)).decode()}
    assert (await client("POST", "/bkt?delete", body, wrong)).code == "BadDigest"
    sha = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
    assert (await client("POST", "/bkt?delete", body, sha)).status == 200


async def test_conditions_for_each_key(client: Any, bucket: str) -> None:
    for name in ("a", "b", "c"):
        await client("PUT", f"/bkt/{name}", name.encode())
    etag = (await client("HEAD", "/bkt/a")).headers["etag"]
    answer = await delete(
        client,
        f"<Delete><Object><Key>a</Key><ETag>{etag}</ETag></Object>"
        f"<Object><Key>b</Key><ETag>{etag}</ETag></Object>"
        "<Object><Key>c</Key><Size>7</Size></Object></Delete>",
    )
    assert answer.texts("Deleted/Key") == ["a"]
    assert answer.texts("Error/Key") == ["b", "c"]
    assert answer.texts("Error/Code") == ["PreconditionFailed"] * 2


async def test_keys_are_not_trimmed(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/%20a%20", b"")
    answer = await delete(client, entries(" a "))
    assert answer.texts("Deleted/Key") == [" a "]
    assert (await client("HEAD", "/bkt/%20a%20")).status == 404


async def test_one_bad_key_does_not_spoil_the_rest(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/a", b"")
    answer = await delete(client, entries("x" * 1025, "a"))
    assert answer.texts("Error/Code") == ["KeyTooLongError"]
    assert answer.texts("Deleted/Key") == ["a"]


async def test_versions(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt?versioning", VERSIONED)
    version = (await client("PUT", "/bkt/key", b"1")).headers["x-amz-version-id"]
    answer = await delete(client, entries("key"))
    assert answer.texts("Deleted/DeleteMarker") == ["true"]
    (marker,) = answer.texts("Deleted/DeleteMarkerVersionId")
    assert answer.texts("Deleted/VersionId") == []
    both = "".join(
        f"<Object><Key>key</Key><VersionId>{each}</VersionId></Object>"
        for each in (version, marker)
    )
    answer = await delete(client, f"<Delete>{both}</Delete>")
    assert answer.texts("Deleted/VersionId") == [version, marker]
    assert answer.texts("Deleted/DeleteMarkerVersionId") == [marker]
    assert (await client("GET", "/bkt?versions")).texts("Version") == []


async def test_a_version_goes_by_its_owner_only(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt?versioning", VERSIONED)
    await client("PUT", "/bkt?acl", headers={"x-amz-acl": "public-read-write"})
    version = (await client("PUT", "/bkt/key", b"1")).headers["x-amz-version-id"]
    one = f"<Object><Key>key</Key><VersionId>{version}</VersionId></Object>"
    answer = await delete(client.as_("bob"), f"<Delete>{one}</Delete>")
    assert answer.texts("Error/Code") == ["AccessDenied"]
    assert (await client("GET", "/bkt/key")).body == b"1"


async def test_no_bucket(client: Any) -> None:
    assert (await delete(client, entries("a"))).code == "NoSuchBucket"
