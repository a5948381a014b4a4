"""Regressions of other stores' holes, where no other test of ours stands in their way.

Which row of the list is covered where: ledger.toml.
"""

from __future__ import annotations

import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from amur.gateway.app import App
from amur.gateway.context import Response
from amur.gateway.endpoints import ALL, Endpoint
from amur.gateway.presign import presign_url, sign_request
from amur.gateway.sigv4 import UNSIGNED_PAYLOAD
from amur.iam.keys import StaticKey, static_keys
from tests.support.request_fuzz import Sent

HOST = "s3.test"
WRONG = "not-the-secret-of-anybody"


def bare(endpoint: Endpoint) -> tuple[str, str]:
    """Path and query of a request that would be good if it were signed."""
    path = {"service": "/", "bucket": "/bkt", "object": "/bkt/key"}[endpoint.level]
    query = endpoint.sub
    if endpoint.sub == "uploadId":
        query += "=" + "0" * 32 + "&partNumber=1"
    elif endpoint.sub in ("list-type", "versionId"):
        query += "=2"
    return path, query


def header_signed(
    endpoint: Endpoint, key: tuple[str, str], payload: str = UNSIGNED_PAYLOAD, skew_s: int = 0
) -> Sent:
    path, query = bare(endpoint)
    headers = {"host": HOST, "content-length": "0"}
    if "Copy" in endpoint.name:
        headers["x-amz-copy-source"] = "bkt/key"
    if endpoint.is_iam and payload == UNSIGNED_PAYLOAD:
        payload = sha256(b"").hexdigest()  # others are refused there
    sent = sign_request(
        endpoint.method, path, query, headers, key_id=key[0], secret=key[1], payload=payload,
        now_s=int(time.time()) + skew_s,
    )  # fmt: skip
    return Sent(endpoint.name, endpoint.method, path, query, list(sent.items()), b"")


def presigned(endpoint: Endpoint, key: tuple[str, str], skew_s: int = 0) -> Sent:
    path, query = bare(endpoint)
    headers = {"x-amz-copy-source": "bkt/key"} if "Copy" in endpoint.name else {}
    pairs = [(name, value) for name, _, value in (each.partition("=") for each in query.split("&"))]
    url = presign_url(
        endpoint.method, f"http://{HOST}", path, [pair for pair in pairs if pair[0]], key_id=key[0],
        secret=key[1], now_s=int(time.time()) + skew_s, expires_s=60, signed_headers=headers,
    )  # fmt: skip
    pairs = [("host", HOST), ("content-length", "0"), *headers.items()]
    return Sent(endpoint.name, endpoint.method, path, url.partition("?")[2], pairs, b"")


def with_header(sent: Sent, name: str, value: str) -> Sent:
    kept = [pair for pair in sent.headers if pair[0] != name]
    return sent._replace(headers=[*kept, (name, value)])


Forge = Callable[[Endpoint, tuple[str, str]], Sent]
FORGERIES: dict[str, Forge] = {
    "wrong secret": lambda e, k: header_signed(e, (k[0], WRONG)),
    "unknown key": lambda e, k: header_signed(e, ("tid_nobody", k[1])),
    "empty key": lambda e, k: header_signed(e, ("", k[1])),
    "old": lambda e, k: header_signed(e, k, skew_s=-901),
    "unsigned trailer": lambda e, k: header_signed(
        e, (k[0], WRONG), "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    ),
    "signed chunks": lambda e, k: header_signed(
        e, (k[0], WRONG), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    ),
    "key alone": lambda e, k: with_header(
        header_signed(e, k), "authorization", f"AWS4-HMAC-SHA256 Credential={k[0]}"
    ),
    "sigv2": lambda e, k: with_header(header_signed(e, k), "authorization", f"AWS {k[0]}:c2ln"),
    "basic": lambda e, k: with_header(
        header_signed(e, k), "authorization", "Basic " + b64encode(":".join(k).encode()).decode()
    ),
    "bearer": lambda e, k: with_header(
        header_signed(e, k), "authorization", "Bearer eyJhbGciOiJub25lIn0.e30."
    ),
    "token": lambda e, k: with_header(header_signed(e, k), "x-amz-security-token", "x"),
    "link, wrong secret": lambda e, k: presigned(e, (k[0], WRONG)),
    "link, unknown key": lambda e, k: presigned(e, ("tid_nobody", k[1])),
    "link, expired": lambda e, k: presigned(e, k, skew_s=-100),
    "link and header": lambda e, k: presigned(e, k)._replace(
        headers=header_signed(e, (k[0], WRONG)).headers
    ),
    "link, another method": lambda e, k: presigned(e, k)._replace(
        query=presigned(ALL[0], k).query
        if e.method != "GET"
        else presigned(ALL[2], (k[0], "")).query
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_every_endpoint_refuses_every_forgery(
    app: App, deliver: Any, key_pairs: Any, forgery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MinIO CVE-2026-40344: one handler forgot one way to authenticate. Nothing is asked of the
    store before the signature holds."""

    class Untouched:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"store.{name}")

    monkeypatch.setattr(app, "_store", Untouched())
    for endpoint in ALL:
        sent = FORGERIES[forgery](endpoint, key_pairs["root"])
        answer = await deliver(sent)
        assert 400 <= answer.status < 500, (endpoint, answer.body)


async def test_good_requests_of_every_endpoint_do_reach_it(
    app: App, deliver: Any, key_pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... so that what the test above refuses is the forgery."""
    reached = set()
    for endpoint in ALL:
        if "header" not in endpoint.modes:
            continue

        async def handler(_: Any, name: str = endpoint.name) -> Response:
            reached.add(name)
            return Response(204)

        monkeypatch.setattr(endpoint, "handler", handler)
        ways = {"header": header_signed, "presigned": presigned}
        for sent in [ways[mode] for mode in sorted(endpoint.modes & ways.keys())]:
            reached.discard(endpoint.name)
            await deliver(sent(endpoint, key_pairs["root"]))
            assert endpoint.name in reached


@pytest.mark.parametrize("header", ["tigris-force-delete", "x-tigris-force-delete", "x-amz-acl"])
async def test_a_link_does_no_more_than_was_signed(
    client: Any, deliver: Any, key_pairs: Any, header: str
) -> None:
    """Swift CVE-2026-71191: a header that was not signed changed what a link does."""
    await client("PUT", "/bkt")
    await client("PUT", "/bkt/key", b"x")
    (delete,) = (each for each in ALL if each.name == "DeleteBucket")
    for sent in (presigned(delete, key_pairs["root"]), header_signed(delete, key_pairs["root"])):
        answer = await deliver(sent._replace(headers=[*sent.headers, (header, "true")]))
        assert answer.status == 403
        assert (await client("GET", "/bkt/key")).status == 200


async def test_a_namesake_of_root_is_not_root() -> None:
    """MinIO CVE-2023-27589, SeaweedFS CVE-2026-55873: names are reserved, nobody is nameless."""
    for key_id, owner in (("root", "root"), ("tid", "root"), ("tid", "")):
        with pytest.raises(ValueError, match=r"root|owner"):
            static_keys(("tid_root", "secret"), [StaticKey(key_id, "secret", owner)])
    for extra in (("tid_root", "other", "eve"), ("", "secret", "eve"), ("tid", "", "eve")):
        with pytest.raises(ValueError, match=r"key"):
            static_keys(("tid_root", "secret"), [StaticKey(*extra)])


async def test_a_forwarded_address_is_not_believed(client: Any, app: App) -> None:
    """RustFS CVE-2026-21862: no proxy is configured, so nobody's word is taken."""
    seen: list[str] = []
    app._observer.done = lambda _, address, *rest: seen.append(address)  # type: ignore[method-assign]
    headers = {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=::1"}
    await client.as_("nobody")("GET", "/bkt", headers=headers)
    assert seen == ["192.0.2.7:4711"]


async def test_a_client_sets_no_internal_metadata(client: Any) -> None:
    """MinIO CVE-2026-34204, Swift CVE-2026-71192: what is not ours to take is not taken."""
    await client("PUT", "/bkt")
    sent = {
        "x-amz-meta-x-amz-version-id": "7",
        "x-minio-internal-replication": "x",
        "x-amz-version-id": "7",
        "x-amz-delete-marker": "true",
        "x-amz-replication-status": "REPLICA",
        "x-amz-expiration": "never",
        "etag": '"forged"',
        "last-modified": "Thu, 01 Jan 1970 00:00:00 GMT",
    }
    await client("PUT", "/bkt/key", b"x", sent)
    told = (await client("GET", "/bkt/key")).headers
    assert told["x-amz-meta-x-amz-version-id"] == "7"
    assert told["etag"] == f'"{md5(b"x").hexdigest()}"'
    assert "1970" not in told["last-modified"]
    for name in ("x-amz-version-id", "x-amz-delete-marker", "x-amz-replication-status"):
        assert name not in told


EMPTY = ["x-amz-copy-source", "x-amz-tagging", "x-amz-acl", "x-amz-storage-class", "range",
         "if-match", "if-none-match", "if-modified-since", "content-type", "content-md5", "origin",
         "content-encoding", "x-amz-checksum-crc32", "x-amz-content-sha256", "x-amz-date",
         "authorization", "x-amz-meta-", "x-amz-metadata-directive", "x-amz-expected-bucket-owner",
         "x-amz-object-attributes", "x-amz-copy-source-range", "x-amz-trailer", "content-length",
         "x-amz-decoded-content-length", "x-amz-mp-object-size", "host", "accept"]  # fmt: skip


@pytest.mark.parametrize("header", EMPTY)
async def test_an_empty_header_crashes_nothing(client: Any, deliver: Any, header: str) -> None:
    """Ceph CVE-2024-47866: an empty x-amz-copy-source ended the gateway."""
    for endpoint in ALL:
        path, query = bare(endpoint)
        pairs = [("host", HOST), ("content-length", "0")]
        pairs = [pair for pair in pairs if pair[0] != header] + [(header, "")]
        await deliver(Sent(endpoint.name, endpoint.method, path, query, pairs, b""))
        root = client._headers(endpoint.method, f"{path}?{query}", b"", {header: ""}, HOST)
        pairs = [(name.lower(), value) for name, value in root]
        await deliver(Sent(endpoint.name, endpoint.method, path, query, pairs, b""))


async def test_an_empty_parameter_crashes_nothing(client: Any) -> None:
    await client("PUT", "/bkt")
    names = ["uploadId", "partNumber", "versionId", "max-keys", "max-uploads", "max-parts",
             "marker", "continuation-token", "key-marker", "version-id-marker",
             "upload-id-marker", "prefix",
             "delimiter", "encoding-type", "list-type", "start-after", "response-expires",
             "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Expires", "X-Amz-Date"]  # fmt: skip
    for name in names:
        for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
            for path in ("/", "/bkt", "/bkt/key"):
                answer = await client.as_("nobody")(method, f"{path}?{name}=")
                assert answer.status < 500
                assert (await client(method, f"{path}?{name}=&acl")).status < 500


SPLITTERS = ("a\r\nx-evil: 1", "a\rx-evil: 1", "a\nx-evil: 1", "a\u2028b", "a\x00b", "\x85", "<x>")


@pytest.mark.parametrize("value", SPLITTERS)
async def test_no_value_splits_an_answer(client: Any, deliver: Any, value: str) -> None:
    """Swift CVE-2014-3497, Ceph CVE-2015-5245, CVE-2020-10753, CVE-2021-3524 (`deliver` judges
    every header): all that is stored or repeated and comes back."""
    said, inner = quote(value, safe=""), escape(value).replace("\r", "&#13;")
    location = f"<CreateBucketConfiguration><LocationConstraint>{inner}</LocationConstraint>"
    body = (location + "</CreateBucketConfiguration>").encode()
    await client("PUT", "/bkt")
    await client("PUT", "/other", body)
    rule = (
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET"
        f"</AllowedMethod><ExposeHeader>{inner}</ExposeHeader></CORSRule></CORSConfiguration>"
    ).encode()
    await client("PUT", "/bkt?cors", rule)
    await client("PUT", f"/bkt/{said}", b"x")
    targets = [
        ("HEAD", "/other"), ("GET", "/bkt"), ("GET", f"/bkt/{said}"),
        ("GET", f"/bkt?prefix={said}"),
        ("GET", f"/{said}"), ("GET", f"/bkt/{said}?response-content-type={said}"),
        ("GET", f"/bkt/{said}?response-content-disposition={said}"),
        ("PUT", f"/bkt/key?x-amz-meta-a={said}"), ("GET", f"/bkt?encoding-type={said}"),
        ("GET", f"/bkt/{said}?versionId={said}"), ("GET", f"/bkt/k?uploadId={said}"),
    ]  # fmt: skip
    for method, target in targets:
        pairs = client._headers(method, target, b"", {"origin": "http://x"}, HOST)
        path, _, query = target.partition("?")
        sent = [(name.lower(), text) for name, text in pairs]
        decoded = path.replace(said, value)
        await deliver(Sent("", method, decoded, query, sent, b""))


async def test_merged_limits_hold(client: Any) -> None:
    """Swift CVE-2014-7960: limits hold for what is stored in the end, not for one request."""
    await client("PUT", "/bkt")
    halves = {f"x-amz-meta-{letter}": "v" * 1100 for letter in "ab"}
    answer = await client("PUT", "/bkt/key", b"x", halves)
    assert answer.code == "MetadataTooLarge"
    assert (await client("HEAD", "/bkt/key")).status == 404


async def test_no_page_tells_of_the_process(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MinIO CVE-2023-28432: a page for debugging gave away the environment."""
    monkeypatch.setenv("AMUR_ROOT_SECRET_ACCESS_KEY", "canary-of-the-environment")
    paths = (
        "/-/", "/-/debug", "/-/env", "/-/health", "/-/config", "/-/../-/health", "/-/pprof",
        "/minio/bootstrap/v1/verify", "/debug/pprof", "/-/metrics/", "/server-status",
    )  # fmt: skip
    for path in paths:
        for method in ("GET", "POST", "PUT"):
            answer = await client.as_("nobody")(method, path)
            assert answer.status in (400, 403, 404, 405, 412)
            assert b"canary" not in answer.body
            assert b"/home" not in answer.body


def test_lmdb_is_the_wheel_that_carries_its_patches() -> None:
    """py-lmdb CVE-2019-16224 to 16228: a crafted file must not be the end of the process that
    happens to be linked against an unpatched library."""
    import lmdb

    folder = Path(lmdb.__file__).parent
    assert lmdb.__version__.startswith("3.")
    bundled = list(folder.glob("cpython*.so")) + list(folder.glob("_lmdb*.so"))
    assert bundled
    assert b"liblmdb.so" not in b"".join(path.read_bytes() for path in bundled)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_metadata_file_is_an_error(tmp_path: Path, seed: int) -> None:
    """In a process of its own, that must neither crash nor answer as if nothing were wrong."""
    program = """
import asyncio, random, sys
from pathlib import Path
from amur.clock import SystemClock
from amur.meta.engine import Commit, Put
from amur.meta.lmdb_engine import LmdbEngine
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
async def main():
    engine = LmdbEngine(folder, SystemClock())
    for number in range(200):
        await engine.commit(Commit(put=[Put(b"O%03d" % number, b"value" * 50)]))
    await engine.close()
    for path in folder.rglob("*.mdb"):
        if "lock" in path.name: continue
        data = bytearray(path.read_bytes())
        dice = random.Random(seed)
        for _ in range(40):
            at = dice.randrange(min(len(data), 200_000))
            data[at : at + 8] = dice.randbytes(8)
        path.write_bytes(data)
    engine = LmdbEngine(folder, SystemClock())
    for number in range(200):
        entry = await engine.get(b"O%03d" % number)
        assert entry is None or entry.value == b"value" * 50
    await engine.close()
try:
    asyncio.run(main())
except AssertionError:
    sys.exit(3)
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(seed)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 3, "a wrong answer"
    assert done.returncode == 0, done.stderr
