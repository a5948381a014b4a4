"""The seven multipart operations over the whole gateway."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest

from amur import limits
from amur.gateway.errors import S3Error
from amur.gateway.handlers.multipart import parse_completion
from amur.objects.types import CompletedPart

SOURCE = "x-amz-copy-source"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PART_BYTES_MIN", 10)


@pytest.fixture
async def bucket(client: Any) -> str:
    assert (await client("PUT", "/bkt")).status == 200
    return "/bkt"


async def begin(client: Any, key: str = "key", **headers: str) -> str:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client("POST", f"/bkt/{key}?uploads", b"", sent)
    assert answer.status == 200, answer.body
    assert answer.texts("Key") == [key]
    return answer.texts("UploadId")[0]


async def put_part(client: Any, upload: str, number: int, body: bytes, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client("PUT", f"/bkt/key?partNumber={number}&uploadId={upload}", body, sent)


def document(*parts: tuple[int, str]) -> bytes:
    inner = "".join(
        f"<Part><ETag>{etag}</ETag><PartNumber>{number}</PartNumber></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


async def complete(
    client: Any, upload: str, *parts: tuple[int, str], headers: dict[str, str] | None = None
) -> Any:
    return await client("POST", f"/bkt/key?uploadId={upload}", document(*parts), headers)


async def upload_of(client: Any, *bodies: bytes, **headers: str) -> tuple[str, list[Any]]:
    upload = await begin(client, **headers)
    parts = []
    for number, body in enumerate(bodies, 1):
        answer = await put_part(client, upload, number, body)
        assert answer.status == 200, answer.body
        parts.append((number, answer.headers["etag"]))
    return upload, parts


async def test_a_whole_upload(client: Any, bucket: str) -> None:
    bodies = [b"a" * 20, b"b" * 30, b"c"]
    upload, parts = await upload_of(
        client, *bodies, content_type="text/x", x_amz_meta_a="1", x_amz_tagging="a=b"
    )
    assert (await client("HEAD", "/bkt/key")).status == 404
    answer = await complete(client, upload, *parts)
    assert (answer.status, answer.xml.tag) == (200, "CompleteMultipartUploadResult")
    md5s = b"".join(hashlib.md5(body).digest() for body in bodies)
    etag = f'"{hashlib.md5(md5s).hexdigest()}-3"'
    assert answer.texts("ETag") == [etag]
    assert (answer.texts("Bucket"), answer.texts("Key")) == (["bkt"], ["key"])
    assert answer.texts("Location") == ["http://s3.test/bkt/key"]
    found = await client("GET", "/bkt/key")
    assert (found.body, found.headers["etag"]) == (b"".join(bodies), etag)
    assert found.headers["content-type"] == "text/x"
    assert (found.headers["x-amz-meta-a"], found.headers["x-amz-tagging-count"]) == ("1", "1")
    assert (await client("GET", "/bkt?uploads")).texts("Upload") == []
    for number, body in enumerate(bodies, 1):
        part = await client("GET", f"/bkt/key?partNumber={number}")
        assert (part.status, part.body) == (206, body)
        assert part.headers["x-amz-mp-parts-count"] == "3"
    head = await client("HEAD", "/bkt/key?partNumber=2")
    assert (head.status, head.headers["content-length"]) == (206, "30")
    assert head.headers["content-range"] == "bytes 20-49/51"
    beyond = await client("GET", "/bkt/key?partNumber=4")
    assert (beyond.status, beyond.code) == (416, "InvalidPartNumber")
    assert (beyond.texts("PartNumberRequested"), beyond.texts("ActualPartCount")) == (["4"], ["3"])
    repeated = await complete(client, upload, *parts)
    assert (repeated.status, repeated.texts("ETag")) == (200, [etag])


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("", "FULL_OBJECT"), ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT")]
)
async def test_a_part_tells_its_own_checksum(
    client: Any, bucket: str, algorithm: str, kind: str
) -> None:
    asked = {"x_amz_checksum_algorithm": algorithm, "x_amz_checksum_type": kind}
    bodies = [b"a" * 20, b"b"]
    upload, parts = await upload_of(client, *bodies, **(asked if algorithm else {}))
    await complete(client, upload, *parts)
    mode = {"x-amz-checksum-mode": "ENABLED"}
    whole = await client("GET", "/bkt/key", headers=mode)
    assert whole.headers["x-amz-checksum-type"] == kind
    header = f"x-amz-checksum-{algorithm.lower() or 'crc64nvme'}"
    for number, body in enumerate(bodies, 1):
        alone = await client("PUT", "/bkt/alone", body, {"x-amz-sdk-checksum-algorithm": algorithm})
        for method in ("GET", "HEAD"):
            part = await client(method, f"/bkt/key?partNumber={number}", headers=mode)
            assert part.headers[header] == alone.headers[header] != whole.headers[header]
            assert part.headers["x-amz-checksum-type"] == kind
    ranged = await client("GET", "/bkt/key", headers=mode | {"range": "bytes=0-19"})
    assert header not in ranged.headers
    silent = await client("GET", "/bkt/key?partNumber=1")
    assert header not in silent.headers


async def test_parts_in_attributes(client: Any, bucket: str) -> None:
    upload, parts = await upload_of(client, b"a" * 20, b"b" * 30, b"c")
    await complete(client, upload, *parts)
    asked = {"x-amz-object-attributes": "ObjectParts", "x-amz-max-parts": "2"}
    page = await client("GET", "/bkt/key?attributes", headers=asked)
    assert page.texts("ObjectParts/PartsCount") == ["3"]
    assert page.texts("ObjectParts/Part/Size") == ["20", "30"]
    assert page.texts("ObjectParts/IsTruncated") == ["true"]
    (marker,) = page.texts("ObjectParts/NextPartNumberMarker")
    asked["x-amz-part-number-marker"] = marker
    page = await client("GET", "/bkt/key?attributes", headers=asked)
    assert page.texts("ObjectParts/Part/PartNumber") == ["3"]
    assert page.texts("ObjectParts/IsTruncated") == ["false"]


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
async def test_checksums(client: Any, bucket: str, kind: str) -> None:
    upload = await begin(client, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type=kind)
    bodies = [b"a" * 20, b"b" * 30]
    crcs = [base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode() for body in bodies]
    rows = ""
    for number, (body, crc) in enumerate(zip(bodies, crcs, strict=True), 1):
        answer = await put_part(client, upload, number, body, x_amz_checksum_crc32=crc)
        assert answer.headers["x-amz-checksum-crc32"] == crc
        rows += (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag>"
            f"<ChecksumCRC32>{crc}</ChecksumCRC32></Part>"
        )
    sha = await put_part(client, upload, 3, b"x", x_amz_checksum_sha1="x" * 27 + "=")
    assert (sha.status, sha.code) == (400, "InvalidRequest")
    whole = base64.b64encode(zlib.crc32(b"".join(bodies)).to_bytes(4, "big")).decode()
    if kind == "COMPOSITE":
        raw = b"".join(base64.b64decode(crc) for crc in crcs)
        whole = base64.b64encode(zlib.crc32(raw).to_bytes(4, "big")).decode() + "-2"
    target, body = f"/bkt/key?uploadId={upload}", f"<CompleteMultipartUpload>{rows}"
    body += "</CompleteMultipartUpload>"
    wrong = await client("POST", target, body.encode(), {"x-amz-checksum-crc32": "AAAAAA=="})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    done = await client(
        "POST", target, body.encode(),
        {"x-amz-checksum-crc32": whole, "x-amz-checksum-type": kind, "x-amz-mp-object-size": "50"},
    )  # fmt: skip
    assert done.texts("ChecksumCRC32") == [whole]
    assert done.texts("ChecksumType") == [kind]
    told = await client("HEAD", "/bkt/key", headers={"x-amz-checksum-mode": "ENABLED"})
    assert told.headers["x-amz-checksum-crc32"] == whole
    assert told.headers["x-amz-checksum-type"] == kind


async def test_a_part_is_replaced(client: Any, bucket: str) -> None:
    upload, parts = await upload_of(client, b"a" * 20)
    again = await put_part(client, upload, 1, b"b" * 10)
    assert (await complete(client, upload, *parts)).code == "InvalidPart"
    assert (await complete(client, upload, (1, again.headers["etag"]))).status == 200
    assert (await client("GET", "/bkt/key")).body == b"b" * 10


async def test_rules_of_completion(client: Any, bucket: str) -> None:
    upload, parts = await upload_of(client, b"a" * 9, b"b" * 20)
    assert (await complete(client, upload, *parts)).code == "EntityTooSmall"
    assert (await complete(client, upload, *reversed(parts))).code == "InvalidPartOrder"
    assert (await complete(client, upload, (7, parts[0][1]))).code == "InvalidPart"
    sized = {"x-amz-mp-object-size": "3"}
    assert (await complete(client, upload, parts[1], headers=sized)).code == "InvalidRequest"
    sized = {"x-amz-mp-object-size": "x"}
    assert (await complete(client, upload, parts[1], headers=sized)).code == "InvalidRequest"
    await client("PUT", "/bkt/key", b"old")
    absent = {"if-none-match": "*"}
    assert (await complete(client, upload, parts[1], headers=absent)).status == 412
    assert (await client("GET", "/bkt/key")).body == b"old"
    assert (await complete(client, upload, parts[1])).status == 200
    assert (await client("GET", "/bkt/key")).body == b"b" * 20


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedXML"),
        (b"<CompleteMultipartUpload/>", "MalformedXML"),
        (b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>", "MalformedXML"),
        (document((0, "x")), "InvalidArgument"),
        (document((10_001, "x")), "InvalidArgument"),
        (document((1, "")), "MalformedXML"),
        (document((1, "x")).replace(b"1", b"one"), "MalformedXML"),
        (document((1, "x")).replace(b"1", b"9" * 5000), "InvalidArgument"),
    ],
)
def test_bad_completions(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_completion(body)
    assert caught.value.code == code


def test_a_completion_as_read() -> None:
    body = document((1, "&quot;ab&quot;"), (2, "cd"))
    body = body.replace(b"<PartNumber>2", b"<ChecksumSHA1> v </ChecksumSHA1><PartNumber>2")
    assert parse_completion(body) == [
        CompletedPart(1, "ab", {}),
        CompletedPart(2, "cd", {"SHA1": "v"}),
    ]


async def test_abort(client: Any, bucket: str) -> None:
    upload, parts = await upload_of(client, b"a" * 20)
    assert (await client("DELETE", f"/bkt/key?uploadId={upload}")).status == 204
    for answer in (
        await put_part(client, upload, 1, b"x"),
        await complete(client, upload, *parts),
        await client("DELETE", f"/bkt/key?uploadId={upload}"),
        await client("GET", f"/bkt/key?uploadId={upload}"),
    ):
        assert (answer.status, answer.code) == (404, "NoSuchUpload")


@pytest.mark.parametrize("upload", ["", "x", "../../etc", "0" * 32, "f" * 31, "F" * 32])
async def test_foreign_upload_ids(client: Any, bucket: str, upload: str) -> None:
    for method, target in (
        ("PUT", f"/bkt/key?partNumber=1&uploadId={upload}"),
        ("GET", f"/bkt/key?uploadId={upload}"),
        ("DELETE", f"/bkt/key?uploadId={upload}"),
        ("POST", f"/bkt/key?uploadId={upload}"),
    ):
        body = document((1, "x")) if method == "POST" else b""
        answer = await client(method, target.replace("/../", "%2F..%2F"), body)
        assert (answer.status, answer.code) in (
            (404, "NoSuchUpload"),
            (403, "SignatureDoesNotMatch"),
        )


@pytest.mark.parametrize("number", ["0", "-1", "10001", "x", "", "1.5"])
async def test_part_numbers(client: Any, bucket: str, number: str) -> None:
    upload = await begin(client)
    answer = await client("PUT", f"/bkt/key?partNumber={number}&uploadId={upload}", b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_list_parts(client: Any, bucket: str) -> None:
    upload, parts = await upload_of(client, b"a" * 20, b"b", b"c", x_amz_storage_class="GLACIER")
    page = await client("GET", f"/bkt/key?uploadId={upload}&max-parts=2")
    assert page.texts("Part/PartNumber") == ["1", "2"]
    assert page.texts("Part/Size") == ["20", "1"]
    assert page.texts("Part/ETag") == [etag for _, etag in parts[:2]]
    assert page.texts("IsTruncated") == ["true"]
    assert page.texts("StorageClass") == ["GLACIER"]
    assert page.texts("Owner/ID") == page.texts("Initiator/ID") == ["root"]
    (marker,) = page.texts("NextPartNumberMarker")
    rest = await client("GET", f"/bkt/key?uploadId={upload}&part-number-marker={marker}")
    assert (rest.texts("Part/PartNumber"), rest.texts("IsTruncated")) == (["3"], ["false"])
    for query in ("max-parts=x", "max-parts=-1", "part-number-marker=x"):
        answer = await client("GET", f"/bkt/key?uploadId={upload}&{query}")
        assert answer.code == "InvalidArgument"


async def test_list_uploads(client: Any, bucket: str) -> None:
    for key in ("a/1", "a/2", "b", "c%20d"):
        await client("POST", f"/bkt/{key}?uploads")
    page = await client("GET", "/bkt?uploads&max-uploads=1")
    assert (page.texts("Upload/Key"), page.texts("IsTruncated")) == (["a/1"], ["true"])
    key, upload = page.texts("NextKeyMarker")[0], page.texts("NextUploadIdMarker")[0]
    rest = await client("GET", f"/bkt?uploads&key-marker=a%2F1&upload-id-marker={upload}")
    assert key == "a/1"
    assert rest.texts("Upload/Key") == ["a/2", "b", "c d"]
    cut = await client("GET", "/bkt?uploads&delimiter=%2F&encoding-type=url")
    assert cut.texts("CommonPrefixes/Prefix") == ["a/"]
    assert cut.texts("Upload/Key") == ["b", "c%20d"]
    assert cut.texts("EncodingType") == ["url"]
    assert (await client("GET", "/bkt?uploads&encoding-type=x")).code == "InvalidArgument"
    assert (await client("GET", "/bkt?uploads&prefix=b")).texts("Upload/Key") == ["b"]


async def test_copied_parts(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/source", bytes(range(100)))
    upload = await begin(client)
    target = f"/bkt/key?partNumber=1&uploadId={upload}"
    whole = await client("PUT", target, b"", {SOURCE: "bkt/source"})
    assert (whole.status, whole.xml.tag) == (200, "CopyPartResult")
    sent = {SOURCE: "bkt/source", SOURCE + "-range": "bytes=10-29"}
    some = await client("PUT", target.replace("partNumber=1", "partNumber=2"), b"", sent)
    parts = [(1, whole.texts("ETag")[0]), (2, some.texts("ETag")[0])]
    assert (await complete(client, upload, *parts)).status == 200
    assert (await client("GET", "/bkt/key")).body == bytes(range(100)) + bytes(range(10, 30))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({SOURCE + "-range": "bytes=0-"}, "InvalidArgument"),
        ({SOURCE + "-range": "0-5"}, "InvalidArgument"),
        ({SOURCE + "-range": ""}, "InvalidArgument"),
        ({SOURCE + "-range": "bytes=90-100"}, "InvalidRange"),
        ({SOURCE + "-if-match": '"x"'}, "PreconditionFailed"),
        ({SOURCE: "bkt/none"}, "NoSuchKey"),
        ({SOURCE: "none/none"}, "NoSuchBucket"),
    ],
)
async def test_copied_parts_refused(
    client: Any, bucket: str, headers: dict[str, str], code: str
) -> None:
    await client("PUT", "/bkt/source", bytes(100))
    target = f"/bkt/key?partNumber=1&uploadId={await begin(client)}"
    answer = await client("PUT", target, b"", {SOURCE: "bkt/source"} | headers)
    assert answer.code == code


async def test_the_source_of_a_part_is_authorised(client: Any, bucket: str) -> None:
    await client("PUT", "/bkt/secret", b"1")
    alice = client.as_("alice")
    await alice("PUT", "/hers")
    upload = (await alice("POST", "/hers/key?uploads")).texts("UploadId")[0]
    target = f"/hers/key?partNumber=1&uploadId={upload}"
    answer = await alice("PUT", target, b"", {SOURCE: "bkt/secret"})
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-algorithm": "MD5"},
        {"x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"},
    ],
)
async def test_checksum_kinds(client: Any, bucket: str, headers: dict[str, str]) -> None:
    answer = await client("POST", "/bkt/key?uploads", b"", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
