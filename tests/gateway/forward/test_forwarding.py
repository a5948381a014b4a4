"""Three gateways on real sockets: what arrives where, and what comes back."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import md5

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amur.gateway import elsewhere
from tests.support.gateways import ROOT, Cluster, calling, cluster, head_of

KEYS = [
    "plain", "a%2Fb", "a//b", "/", "%2F%2F", "a+b", "a%2Bb", "a%20b", "%C3%BC%E2%82%AC", "..%2F..",
    "a/./b/../c", "%25", "%25%32%46", "a%3Fb%23c", "~a!$&'()*,;=:@", "%7Ea%21", "a%0Ab",
]  # fmt: skip


@pytest.fixture
async def three() -> AsyncIterator[Cluster]:
    async with cluster() as found:
        yield found


async def created(three: Cluster, name: str, regions: str, *, at: str = "sjc") -> None:
    async with calling(three[at]) as call:
        answer = await call("PUT", f"/{name}", headers={"x-tigris-regions": regions})
        assert answer.status == 200, answer
    await three.settled()


@pytest.mark.parametrize("key", KEYS)
async def test_paths_arrive_as_they_were_sent(three: Cluster, key: str) -> None:
    await created(three, "bkt", "fra")
    async with calling(three["sjc"]) as call:
        target = f"/bkt/{key}?x-id=PutObject&b=%2F&a=%20"
        answer = await call("PUT", target, b"body")
        assert answer.status == 200, answer.body
        assert three["fra"].targets[-1] == target.encode()
        read = await call("GET", f"/bkt/{key}")
        assert (read.status, read.body) == (200, b"body")
    entries = (await three["fra"].store.list_objects("bkt")).entries
    assert len(entries) == 1


async def test_headers_arrive_and_come_back(three: Cluster) -> None:
    await created(three, "bkt", "fra")
    async with calling(three["sjc"]) as call:
        sent = {"x-amz-meta-Name": "=?UTF-8?B?w7w=?=", "content-type": "text/x", "expires": "soon"}
        put = await call("PUT", "/bkt/key", b"x" * 10, sent)
        assert put.status == 200
        pairs = three["fra"].pairs[-1]
        assert ("host", "s3.test") in pairs
        assert [name for name, _ in pairs].count("x-amur-forwarded") == 1
        read = await call("GET", "/bkt/key", headers={"range": "bytes=2-4"})
        assert (read.status, read.body) == (206, b"xxx")
        assert read.headers["content-range"] == "bytes 2-4/10"
        assert read.headers["x-amz-meta-name"] == "=?UTF-8?B?w7w=?="
        assert read.headers["x-tigris-regions"] == "fra"
        head = await call("HEAD", "/bkt/key")
        assert (head.status, head.headers["content-length"]) == (200, "10")
        same = await call("GET", "/bkt/key", headers={"if-none-match": head.headers["etag"]})
        assert same.status == 304
        gone = await call("DELETE", "/bkt/key")
        assert gone.status == 204
        missing = await call("GET", "/bkt/key")
        assert missing.status == 404
        assert b"<Code>NoSuchKey</Code>" in missing.body
    assert not (await three["fra"].store.list_objects("bkt")).entries


async def test_one_id_and_the_clients_address_in_both_logs(three: Cluster) -> None:
    await created(three, "bkt", "fra")
    async with calling(three["sjc"]) as call:
        address = call.writer.get_extra_info("sockname")
        answer = await call("PUT", "/bkt/key", b"x")
    here, there = three["sjc"].log.lines[-1], three["fra"].log.lines[-1]
    assert here == there
    assert here.client == f"{address[0]}:{address[1]}"
    assert answer.headers["x-amz-request-id"] == here.request_id


async def test_virtual_hosts(three: Cluster) -> None:
    await created(three, "bkt", "fra")
    async with calling(three["ord"]) as call:
        put = await call("PUT", "/a/key", b"x", host="bkt.s3.test")
        assert put.status == 200
    assert (await three["fra"].store.head("bkt", "a/key")).size == 1


async def test_a_bucket_is_known_where_it_was_asked_for(three: Cluster) -> None:
    async with calling(three["sjc"]) as call:
        made = await call("PUT", "/bkt", headers={"x-tigris-regions": "FRA"})
        assert made.status == 200
        assert (await three["sjc"].store.bucket("bkt")).regions == "fra"
        put = await call("PUT", "/bkt/key", b"x")
        assert put.status == 200
        told = await call("HEAD", "/bkt")
        assert told.headers["x-tigris-regions"] == "fra"
    assert (await three["fra"].store.head("bkt", "key")).region == "fra"


@pytest.mark.parametrize("code", ["zzz", "fra,zzz", "eur,xx"])
async def test_unknown_regions(three: Cluster, code: str) -> None:
    await created(three, "bkt", "")
    async with calling(three["sjc"]) as call:
        for method, target in (("PUT", "/other"), ("PUT", "/bkt/key"), ("GET", "/bkt/key"),
                               ("POST", "/bkt/key?uploads")):  # fmt: skip
            answer = await call(method, target, headers={"x-tigris-regions": code})
            assert answer.status == 400, (method, target)
            assert b"<Code>InvalidArgument</Code>" in answer.body
            assert b"Unknown region: " in answer.body
        head = await call("HEAD", "/bkt/key", headers={"x-tigris-regions": code})
        assert head.status == 400


async def test_an_objects_regions_lie_within_its_buckets(three: Cluster) -> None:
    await created(three, "dual", "sjc,ord")
    await created(three, "multi", "usa")
    async with calling(three["sjc"]) as call:
        wrong = await call("PUT", "/dual/key", b"x", {"x-tigris-regions": "fra"})
        assert (wrong.status, b"restricted to sjc,ord" in wrong.body) == (400, True)
        without_leader = await call("PUT", "/multi/key", b"x", {"x-tigris-regions": "ord"})
        assert (without_leader.status, b"sjc must be among" in without_leader.body) == (400, True)
        right = await call("PUT", "/dual/key", b"x", {"x-tigris-regions": "ord"})
        assert right.status == 200
    record = await three["ord"].store.head("dual", "key")
    assert (record.regions, record.region) == ("ord", "ord")


async def test_a_read_is_pinned(three: Cluster) -> None:
    await created(three, "bkt", "")
    async with calling(three["sjc"]) as call:
        await call("PUT", "/bkt/key", b"x")
        await three.settled()
        await call("GET", "/bkt/key", headers={"x-tigris-regions": "ord"})
        assert three["ord"].targets[-1] == b"/bkt/key"
        count = len(three["sjc"].targets)
        await call("GET", "/bkt/key", headers={"x-tigris-regions": "fra,sjc"})
        assert len(three["sjc"].targets) == count + 1
        assert not three["fra"].targets


async def test_strong_requests_meet_at_the_home(three: Cluster) -> None:
    await created(three, "bkt", "")
    strong = {"x-tigris-consistent": "true"}
    once = strong | {"if-none-match": "*"}
    async with calling(three["fra"]) as one, calling(three["ord"]) as other:
        answers = await asyncio.gather(
            one("PUT", "/bkt/new", b"one", once), other("PUT", "/bkt/new", b"other", once)
        )
        assert sorted(answer.status for answer in answers) == [200, 412]
        await one("PUT", "/bkt/old", b"one")
        await three.settled()
        await one("PUT", "/bkt/old", b"two")
        read = await other("GET", "/bkt/old", headers={"x-tigris-cas": "true"})
        assert read.body == b"two"


async def test_an_upload_stays_where_it_began(three: Cluster) -> None:
    await created(three, "bkt", "")
    async with calling(three["fra"]) as there, calling(three["sjc"]) as here:
        begun = await there("POST", "/bkt/key?uploads")
        upload_id = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
        part = await here("PUT", f"/bkt/key?partNumber=1&uploadId={upload_id}", b"x" * 100)
        assert part.status == 200
        document = (
            f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
        )
        done = await here("POST", f"/bkt/key?uploadId={upload_id}", document.encode())
        assert done.status == 200, done.body
    assert (await three["fra"].store.head("bkt", "key")).region == "fra"


async def test_a_copy_is_made_where_its_source_may_lie(three: Cluster) -> None:
    await created(three, "bkt", "")
    await created(three, "only", "fra")
    async with calling(three["sjc"]) as call:
        assert (await call("PUT", "/only/key", b"x" * 9000)).status == 200
        source = {"x-amz-copy-source": "/only/key"}
        assert (await call("PUT", "/bkt/copy", headers=source)).status == 200
        assert (await call("HEAD", "/bkt/copy")).headers["content-length"] == "9000"
        wrong = await call("PUT", "/bkt/copy", headers={"x-amz-copy-source": "/only"})
        assert wrong.status == 400
    assert (await three["sjc"].store.head("bkt", "copy")).region == "fra"


async def test_a_bundle_keeps_its_trailers(three: Cluster) -> None:
    await created(three, "bkt", "fra")
    async with calling(three["sjc"]) as call:
        for number in range(30):
            await call("PUT", f"/bkt/{number}", b"%d" % number * 10_000)
        asked = b'{"keys": [%s]}' % b",".join(b'"%d"' % number for number in range(30))
        answer = await call("POST", "/bkt?bundle", asked, {"content-type": "application/json"})
        assert answer.status == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.trailers["x-tigris-bundle-count"] == "30"
        assert len(answer.body) > 30 * 10_000


async def test_a_browsers_form(three: Cluster) -> None:
    await created(three, "bkt", "fra")
    await three["fra"].store.update_bucket("bkt", lambda each: setattr(each, "acl", "private"))

    def form(**fields: str) -> bytes:
        lines = [
            f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        lines.append(
            '--edge\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
            + "x" * 300_000 + "\r\n--edge--\r\n"
        )  # fmt: skip
        return "".join(lines).encode()

    kind = {"content-type": "multipart/form-data; boundary=edge"}
    async with calling(three["sjc"]) as call:
        seen = len(three["fra"].targets)
        refused = await call("POST", "/bkt", form(key="k"), kind, key=None)
        assert refused.status == 403
        assert len(three["fra"].targets) == seen, "nobody carries a stranger's bytes"
    await three["fra"].store.update_bucket(
        "bkt", lambda each: setattr(each, "acl", "public-read-write")
    )
    await three.settled()
    async with calling(three["sjc"]) as call:
        taken = await call("POST", "/bkt", form(key="k"), kind, key=None)
        assert taken.status == 204, taken.body
    assert (await three["fra"].store.head("bkt", "k")).size == 300_000


async def test_cors_headers_come_once(three: Cluster) -> None:
    await created(three, "bkt", "fra")
    rules = (
        b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET"
        b"</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    async with calling(three["sjc"]) as call:
        assert (await call("PUT", "/bkt?cors", rules)).status == 200
        await three.settled()
        answer = await call("GET", "/bkt/none", headers={"origin": "https://a.example"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (404, "*")


async def test_who_writes_elsewhere_reads_it_here(three: Cluster) -> None:
    """Outside a dual bucket's regions, by an object's regions, at a home, in an upload."""
    await created(three, "dual", "sjc,ord")
    await created(three, "free", "")
    await three["ord"].store.put("free", "home", b"x")
    await three.settled()
    async with calling(three["fra"]) as call:
        for number in range(20):
            key = f"/dual/{number}"
            put = await call("PUT", key, b"x" * number)
            assert (put.status, put.headers.get("x-amur-logged")) == (200, None)
            assert (await call("HEAD", key)).headers["content-length"] == str(number)
            assert (await call("DELETE", key)).status == 204
            assert (await call("HEAD", key)).status == 404
            for target, header in (
                ("/free/key", {"x-tigris-regions": "sjc"}),
                ("/free/home", {"x-tigris-consistent": "true"}),
            ):
                await call("PUT", target, b"y" * number, header)
                assert (await call("HEAD", target)).headers["content-length"] == str(number)
    assert not [name for pairs in three["sjc"].pairs for name, _ in pairs if "logged" in name]


async def test_a_region_that_does_not_hear_does_not_wait_for_ever(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "SEEN_SECONDS", 0.05)
    await created(three, "dual", "sjc,ord")
    for name in ("sjc", "ord"):
        three[name].link("fra").core = None
    async with calling(three["fra"]) as call:
        assert (await call("PUT", "/dual/key", b"x")).status == 200
        assert (await call("HEAD", "/dual/key")).status == 404


async def test_a_document_whose_digest_is_not_said(three: Cluster) -> None:
    """Of curl before 8: it is read here, to verify its signature, and passed on all the same."""
    await created(three, "bkt", "fra")
    await three["fra"].store.put("bkt", "key", b"x")
    body = b"<Delete><Object><Key>key</Key></Object></Delete>"
    headers = {"host": "s3.test", "content-length": str(len(body)), "content-md5": md5_of(body)}
    request = AWSRequest("POST", "http://s3.test/bkt?delete=", headers=headers, data=body)
    SigV4Auth(Credentials(*ROOT), "s3", "auto").add_auth(request)
    pairs = [(name, str(value)) for name, value in request.headers.items()]
    assert "x-amz-content-sha256" not in {name.lower() for name, _ in pairs}
    async with calling(three["sjc"]) as call:
        call.writer.write(head_of("POST", "/bkt?delete", pairs) + body)
        answer = await call.answer("POST")
    assert (answer.status, b"<Deleted>" in answer.body) == (200, True)
    assert not (await three["fra"].store.list_objects("bkt")).entries


def md5_of(body: bytes) -> str:
    return b64encode(md5(body).digest()).decode()
