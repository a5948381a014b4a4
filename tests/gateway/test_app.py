"""A request's life: ids, errors, guards, CORS, HEAD, streams that break."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amur import limits
from amur.gateway.app import App
from amur.gateway.context import Response
from amur.gateway.observe import Observer
from amur.objects.errors import Overloaded, StorageDamaged, StorageFull
from amur.objects.types import Reading
from tests.gateway.conftest import HOST, KEYS

if TYPE_CHECKING:
    Client = Any


async def test_every_answer_has_an_id(client: Client) -> None:
    seen = set()
    for method, target in (("GET", "/"), ("PUT", "/bkt"), ("GET", "/none"), ("BREW", "/x")):
        answer = await client(method, target)
        assert answer.headers["server"] == "Amur"
        assert answer.headers["x-amz-id-2"]
        request_id = answer.headers["x-amz-request-id"]
        assert len(request_id) == 19
        assert request_id.isdigit()
        if answer.status >= 400:
            assert answer.xml.findtext("RequestId") == request_id
        seen.add(request_id)
    assert len(seen) == 4


async def test_head_has_no_body(client: Client) -> None:
    answer = await client("HEAD", "/none")
    assert (answer.status, answer.body) == (404, b"")
    answer = await client("HEAD", "/none/key")
    assert (answer.status, answer.body) == (404, b"")


async def test_errors_in_json_where_xml_is_not_read(client: Client) -> None:
    answer = await client("GET", "/none", headers={"accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    told = json.loads(answer.body)
    assert told["Code"] == "NoSuchBucket"
    assert told["RequestId"] == answer.headers["x-amz-request-id"]


async def test_wrong_secret_and_unknown_key(client: Client, app: App) -> None:
    good = await client("PUT", "/bkt")
    assert good.status == 200
    pairs = client._headers("GET", "/bkt", b"", None, "s3.test")
    forged = [(name, v[:-1] + ("0" if v[-1] != "0" else "1") if name == "Authorization" else v)
              for name, v in pairs]  # fmt: skip
    answer = await client("GET", "/bkt", pairs=forged)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    foreign = [(n, v.replace("tid_root", "tid_nobody")) for n, v in pairs]
    answer = await client("GET", "/bkt", pairs=foreign)
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")
    assert b"tsec_" not in answer.body


@pytest.mark.parametrize("path", ["/bkt/%FF", "/bkt/%C0%AF", "/bkt/%ED%A0%80"])
async def test_path_that_is_not_utf8(client: Client, path: str) -> None:
    answer = await client.as_("nobody")("GET", path)
    assert (answer.status, answer.code) == (400, "InvalidURI")


async def test_a_header_that_the_server_cannot_read_is_not_lost(client: Client) -> None:
    await client("PUT", "/bkt", headers={"x-amz-acl": "public-read-write"})
    pairs = [("host", "s3.test"), ("content-length", "1"), ("x-amz-meta-name", "é")]
    answer = await client.as_("nobody")("PUT", "/bkt/key", b"x", pairs=pairs)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert "x-amz-meta-name" in answer.xml.findtext("Message")
    assert (await client("GET", "/bkt/key")).status == 404


async def test_no_value_crashes_a_header(client: Client) -> None:
    """Empty and absurd values of every header that anything looks at: never a 500."""
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"data")
    names = [
        "accept",
        "authorization",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-type",
        "expect",
        "expires",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "origin",
        "range",
        "transfer-encoding",
        "user-agent",
        "x-amz-acl",
        "x-amz-bucket-object-lock-enabled",
        "x-amz-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-mode",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-checksum-type",
        "x-amz-content-sha256",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-range",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-expected-bucket-owner",
        "x-amz-meta-x",
        "x-amz-metadata-directive",
        "x-amz-mp-object-size",
        "x-amz-object-attributes",
        "x-amz-object-ownership",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-storage-class",
        "x-amz-tagging",
        "x-amz-tagging-directive",
        "x-amz-trailer",
        "x-tigris-rename",
        "x-tigris-prefetch",
        "access-control-request-method",
    ]
    targets = [
        ("GET", "/"), ("PUT", "/bkt2"), ("GET", "/bkt"), ("GET", "/bkt?list-type=2"),
        ("PUT", "/bkt/key"), ("GET", "/bkt/key"), ("HEAD", "/bkt/key"), ("POST", "/bkt?delete"),
        ("POST", "/bkt"), ("PUT", "/bkt?acl"), ("PUT", "/bkt/key?acl"), ("POST", "/bkt/m?uploads"),
        ("PUT", "/bkt/key?uploadId=x&partNumber=1"), ("GET", "/bkt/key?attributes"),
        ("OPTIONS", "/bkt/key"), ("DELETE", "/bkt/gone"), ("PUT", "/bkt/key?tagging"),
    ]  # fmt: skip
    for name in names:
        for value in ("", ",", "\x7f", '"', "-1", "9" * 40):
            for method, target in targets:
                pairs = [("host", "s3.test"), ("content-length", "0")]
                pairs = [pair for pair in pairs if pair[0] != name] + [(name, value)]
                for who in ("nobody", "root"):
                    answer = await _signed_or_not(client, who, method, target, name, value, pairs)
                    assert 200 <= answer.status < 500 or answer.status == 501, (
                        method, target, name, value, who, answer.body,
                    )  # fmt: skip
                    assert answer.headers["x-amz-request-id"]


async def _signed_or_not(
    client: Client,
    who: str,
    method: str,
    target: str,
    name: str,
    value: str,
    pairs: list[tuple[str, str]],
) -> Any:
    if who == "nobody" or name in ("host", "authorization", "x-amz-date", "x-amz-content-sha256"):
        return await client.as_("nobody")(method, target, pairs=pairs)
    return await client(method, target, headers={name: value})


class Breaking:
    """Stands in for the store where one method fails."""

    def __init__(self, store: Any, **methods: Any) -> None:
        self._store = store
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._store, name)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("the secret is tsec_x"), 500, "InternalError"),
        (StorageDamaged("/disk/path is rotten"), 500, "InternalError"),
        (StorageFull(), 507, "StorageFull"),
        (Overloaded(), 503, "SlowDown"),
    ],
)
async def test_failures_of_the_store(
    app: App, client: Client, store: Any, error: Exception, status: int, code: str, caplog: Any
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    app._store = Breaking(store, list_buckets=fail)  # type: ignore[assignment]
    answer = await client("GET", "/")
    assert (answer.status, answer.code) == (status, code)
    assert b"tsec" not in answer.body
    assert b"/disk" not in answer.body
    logged = [record for record in caplog.records if answer.headers["x-amz-request-id"] in
              record.getMessage()]  # fmt: skip
    assert bool(logged) == (status == 500)


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_stream_that_fails_ends_short(
    app: App, client: Client, store: Any, pieces: int, caplog: Any
) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"x" * 4096)
    record = await store.head("bkt", "key")
    closed = []

    async def stream() -> AsyncIterator[bytes]:
        try:
            for _ in range(pieces):
                yield b"x" * 1024
            raise StorageDamaged("flipped bit")
        finally:
            closed.append(True)

    async def get(*_: object, **__: object) -> Reading:
        return Reading(record, 0, 4096, None, stream())

    app._store = Breaking(store, get=get)  # type: ignore[assignment]
    answer = await client("GET", "/bkt/key")
    assert answer.headers["content-length"] == "4096"
    assert len(answer.body) == pieces * 1024
    assert closed == [True]
    assert "broke off" in caplog.text


async def test_a_stream_that_fails_at_once_is_an_error(
    app: App, client: Client, store: Any
) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"x" * 4096)
    record = await store.head("bkt", "key")

    async def stream() -> AsyncIterator[bytes]:
        raise StorageDamaged("flipped bit")
        yield b""

    async def get(*_: object, **__: object) -> Reading:
        return Reading(record, 0, 4096, None, stream())

    app._store = Breaking(store, get=get)  # type: ignore[assignment]
    answer = await client("GET", "/bkt/key")
    assert (answer.status, answer.code) == (500, "InternalError")


async def test_pages_need_no_credentials(client: Client, app: App) -> None:
    async def health() -> Response:
        return Response(200, [], b"fine")

    app._pages["/-/health"] = health
    answer = await client.as_("nobody")("GET", "/-/health")
    assert (answer.status, answer.body) == (200, b"fine")
    # probes of load balancers speak HTTP/1.0 without a Host
    assert (await client("GET", "/-/health", pairs=[])).body == b"fine"
    assert (await client("PUT", "/-/health")).status == 405
    assert (await client("GET", "/-/other")).status == 404
    # on a bucket's own host it is a key like any other
    answer = await client("GET", "/-/health", host="bkt.s3.test")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


async def test_virtual_host_and_path_style_meet(client: Client) -> None:
    await client("PUT", "/", host="bkt.s3.test")
    await client("PUT", "/a//b/../c", b"data", host="bkt.s3.test")
    assert (await client("GET", "/bkt/a//b/../c")).body == b"data"
    answer = await client("GET", "/?list-type=2", host="bkt.s3.test")
    assert answer.texts("Contents/Key") == ["a//b/../c"]


async def test_the_observer_sees_what_happened(store: Any, iam: Any, client: Client) -> None:
    seen: list[tuple[Any, ...]] = []

    class Watching(Observer):
        def done(self, *facts: Any) -> None:
            seen.append(facts)

    client.app = App(store, iam, observer=Watching())
    await client("PUT", "/bkt", headers={"user-agent": "test"})
    await client("PUT", "/bkt/key", b"12345")
    await client("GET", "/bkt/key")
    await client("GET", "/bkt/none")
    await client.as_("nobody")("GET", "/bkt/key")
    facts = [(f[2], f[3], f[4], f[5], f[6], f[7], f[9], f[10]) for f in seen]
    assert facts[0] == ("tid_root", "PUT", "/bkt", "CreateBucket", 200, "", 0, 0)
    assert facts[1] == ("tid_root", "PUT", "/bkt/key", "PutObject", 200, "", 5, 0)
    assert facts[2] == ("tid_root", "GET", "/bkt/key", "GetObject", 200, "", 0, 5)
    assert facts[3][5] == "NoSuchKey"
    assert facts[4][:6] == ("", "GET", "/bkt/key", "GetObject", 403, "AccessDenied")
    assert seen[0][11] == "test"
    assert seen[0][1] == "192.0.2.7:4711"


# --- clients that don't tell the SHA-256 of their body, and sign the query as it stands ---


class OldCurl(SigV4Auth):  # type: ignore[misc]
    def canonical_query_string(self, request: AWSRequest) -> str:
        return str(request.url).partition("?")[2]


def by_old_curl(method: str, target: str, body: bytes = b"") -> list[tuple[str, str]]:
    request = AWSRequest(method, f"http://{HOST}{target}", data=body, headers={"host": HOST})
    request.headers["content-length"] = str(len(body))
    OldCurl(Credentials(*KEYS["root"]), "s3", "auto").add_auth(request)
    assert "x-amz-content-sha256" not in request.headers
    return [(name.lower(), str(value)) for name, value in request.headers.items()]


async def test_requests_of_old_curl(client: Client) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"body")
    assert (await client("GET", "/bkt/key", pairs=by_old_curl("GET", "/bkt/key"))).body == b"body"
    document = b'{"keys":["key"]}'
    pairs = by_old_curl("POST", "/bkt?bundle", document)
    answer = await client("POST", "/bkt?bundle", document, pairs=pairs)
    assert (answer.status, answer.headers["x-tigris-bundle-count"]) == (200, "1")
    other = await client("POST", "/bkt?bundle", b'{"keys":["kex"]}', pairs=pairs)
    assert (other.status, other.code) == (403, "SignatureDoesNotMatch")
    other = await client("POST", "/bkt?bundle&x", document, pairs=pairs)
    assert (other.status, other.code) == (403, "SignatureDoesNotMatch")


async def test_an_upload_must_tell_its_sha256(client: Client) -> None:
    await client("PUT", "/bkt")
    pairs = by_old_curl("PUT", "/bkt/key", b"body")
    answer = await client("PUT", "/bkt/key", b"body", pairs=pairs)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_few_documents_are_read_before_their_signature(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client("PUT", "/bkt")
    monkeypatch.setattr(limits, "UNVERIFIED_DOCUMENTS_MAX", 0)
    document = b'{"keys":["key"]}'
    pairs = by_old_curl("POST", "/bkt?bundle", document)
    answer = await client("POST", "/bkt?bundle", document, pairs=pairs)
    assert (answer.status, answer.code) == (503, "SlowDown")
    length = str(limits.BUNDLE_REQUEST_BYTES_MAX + 1)
    monkeypatch.setattr(limits, "UNVERIFIED_DOCUMENTS_MAX", 1)
    pairs = [pair for pair in pairs if pair[0] != "content-length"] + [("content-length", length)]
    answer = await client("POST", "/bkt?bundle", document, pairs=pairs)
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
