"""BundleObjects over the gateway: what is asked, what comes, what is refused, what is let go."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, cast

import pytest
import zstandard

from amur import limits
from amur.data.store import DataDamaged
from amur.extent import Extent
from amur.gateway.app import App
from amur.gateway.bundle import stream as stream_module
from amur.gateway.bundle.compress import compressed, compressor
from amur.gateway.bundle.request import parse_keys, parse_options
from amur.gateway.bundle.stream import BundleBroken, archive, bounded
from amur.gateway.bundle.tar import TarEncoder
from amur.gateway.errors import S3Error
from amur.httpd.exchange import ClientGone
from amur.limits import KIB, MIB
from amur.objects.bundling import Bundle, Member, Run
from amur.objects.store import Store
from amur.objects.types import Attributes

Client = Any  # of conftest.py
Answer = Any

TARGET = "/bkt?bundle"
COUNT, BYTES, SKIPPED = (f"x-tigris-bundle-{name}" for name in ("count", "bytes", "skipped"))


@pytest.fixture
async def bkt(store: Store) -> dict[str, bytes]:
    """A bucket of alice's with one object of each kind of storage."""
    await store.create_bucket("bkt", owner="alice")
    sizes = {"a/inline": 100, "b/packed": 50 * KIB, "c/large": 2 * MIB + 5, "d/empty": 0}
    stored = {key: key.encode() * (size // len(key)) for key, size in sizes.items()}
    for key, content in stored.items():
        await store.put("bkt", key, content)
    return stored


def asked(keys: Sequence[str]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def in_xml(keys: Sequence[str]) -> bytes:
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    return f'<Bundle xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}</Bundle>'.encode()


def untarred(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member.name, file.read()))
    return found


def skipped(data: bytes) -> list[tuple[str, str]]:
    """(key, reason) of the last member, which must be the document of errors."""
    name, document = untarred(data)[-1]
    assert name == "__bundle_errors.json"
    told = json.loads(document)
    assert list(told) == ["skipped"]
    return [(each["key"], each["reason"]) for each in told["skipped"]]


# --- what comes ---


async def test_members_in_the_order_of_the_request(client: Client, bkt: dict[str, bytes]) -> None:
    wanted = ["d/empty", "c/large", "a/inline", "b/packed", "a/inline"]
    answer = await client("POST", TARGET, asked(wanted))
    assert (answer.status, answer.is_whole) == (200, True)
    assert untarred(answer.body) == [(key, bkt[key]) for key in wanted]
    assert answer.headers["content-type"] == "application/x-tar"
    assert "content-encoding" not in answer.headers
    assert "content-length" not in answer.headers
    total = sum(len(bkt[key]) for key in wanted)
    counters = {COUNT: "5", BYTES: str(total), SKIPPED: "0"}
    assert answer.trailers == counters
    assert counters.items() <= answer.headers.items()
    assert answer.headers["trailer"] == ", ".join(counters)


@pytest.mark.parametrize("target", ["/bkt?bundle", "/bkt?bundle=", "/bkt/?bundle"])
@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/x"]
)
@pytest.mark.parametrize("document", [asked, in_xml])
async def test_the_body_tells_its_own_format(
    client: Client, bkt: dict[str, bytes], target: str, kind: str, document: Any
) -> None:
    for data in (document(["a/inline"]), b"\xef\xbb\xbf \r\n" + document(["a/inline"])):
        answer = await client("POST", target, data, {"content-type": kind})
        assert untarred(answer.body) == [("a/inline", bkt["a/inline"])]


async def test_virtual_host_style(client: Client, bkt: dict[str, bytes]) -> None:
    answer = await client("POST", "/?bundle", asked(["a/inline"]), host="bkt.s3.test")
    assert untarred(answer.body) == [("a/inline", bkt["a/inline"])]


async def test_zip(client: Client, bkt: dict[str, bytes]) -> None:
    headers = {"x-tigris-bundle-format": "zip"}
    answer = await client("POST", TARGET, asked([*bkt, "nothing"]), headers)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archived:
        assert archived.testzip() is None
        assert archived.namelist() == [*bkt, "__bundle_errors.json"]
        assert all(archived.read(key) == content for key, content in bkt.items())


@pytest.mark.parametrize("form", ["tar", "zip"])
@pytest.mark.parametrize("wanted", [["nothing"], ["a/inline"], ["c/large", "b/packed", "é" * 90]])
@pytest.mark.parametrize("name", ["gzip", "zstd"])
async def test_compressed_streams_are_the_plain_ones(
    client: Client, bkt: dict[str, bytes], store: Store, name: str, wanted: list[str], form: str
) -> None:
    await store.put("bkt", "é" * 90, b"international")
    plain = {"x-tigris-bundle-format": form}
    expected = await client("POST", TARGET, asked(wanted), plain)
    packed = await client(
        "POST", TARGET, asked(wanted), plain | {"x-tigris-bundle-compression": name}
    )
    assert packed.headers["content-type"] == f"application/{name}"
    assert "content-encoding" not in packed.headers
    if name == "gzip":
        data = gzip.decompress(packed.body)
    else:  # in one call, which needs the content size in the frame
        size = zstandard.get_frame_parameters(packed.body).content_size
        data = zstandard.ZstdDecompressor().decompress(packed.body)
        assert len(data) == size
    if "nothing" in wanted:  # the document of errors is dated now
        assert len(data) == len(expected.body)
    else:
        assert data == expected.body


# --- keys without a member ---


async def test_skipped_keys_are_told_by_the_last_member(
    client: Client, bkt: dict[str, bytes], store: Store
) -> None:
    await store.update_bucket("bkt", lambda record: setattr(record, "versioning", "Enabled"))
    await store.put("bkt", "gone", b"x")
    await store.delete("bkt", "gone")
    await store.put("bkt", "../up", b"x")
    wanted = ["none", "a/inline", "gone", "../up", "x" * 1025]
    answer = await client("POST", TARGET, asked(wanted))
    assert [name for name, _ in untarred(answer.body)] == ["a/inline", "__bundle_errors.json"]
    assert skipped(answer.body) == [
        ("none", "NoSuchKey"),
        ("gone", "NoSuchKey"),
        ("../up", "UnsafeName"),
        ("x" * 1025, "KeyTooLongError"),
    ]
    assert (answer.trailers[COUNT], answer.trailers[SKIPPED]) == ("1", "4")
    assert answer.trailers[BYTES] == str(len(bkt["a/inline"]))


async def test_fail_mode_lists_what_is_missing(client: Client, bkt: dict[str, bytes]) -> None:
    headers = {"x-tigris-bundle-on-error": "fail"}
    wanted = ["none", "a/inline", "<&>"]
    answer = await client("POST", TARGET, asked(wanted), headers)
    assert (answer.status, answer.code) == (404, "BundleKeyNotFound")
    assert answer.xml.findtext("Message") == "One or more keys could not be resolved"
    assert answer.texts("MissingKeys/Key") == ["none", "<&>"]
    headers["accept"] = "application/json"
    answer = await client("POST", TARGET, asked(wanted), headers)
    assert json.loads(answer.body)["MissingKeys"] == ["none", "<&>"]


async def test_fail_mode_with_all_there(client: Client, bkt: dict[str, bytes]) -> None:
    headers = {"x-tigris-bundle-on-error": "fail"}
    answer = await client("POST", TARGET, asked(list(bkt)), headers)
    assert untarred(answer.body) == list(bkt.items())


async def test_no_bucket(client: Client) -> None:
    for who in ("root", "alice", "nobody"):
        answer = await client.as_(who)("POST", "/nowhere?bundle", asked(["k"]))
        assert (answer.status, answer.code) == (404, "NoSuchBucket")


# --- permission, key by key as for GetObject ---


@pytest.fixture
async def shared(store: Store, bkt: dict[str, bytes]) -> list[str]:
    for key, acl, owner in (
        ("public", "public-read", "alice"),
        ("keyed", "authenticated-read", "alice"),
        ("bobs", "private", "bob"),
        ("private", "", "alice"),
    ):
        await store.put("bkt", key, key.encode(), Attributes(acl=acl, owner=owner))
    return ["public", "keyed", "bobs", "private", "missing"]


READABLE = {
    "root": {"public", "keyed", "bobs", "private"},
    "alice": {"public", "keyed", "bobs", "private"},
    "bob": {"public", "keyed", "bobs"},
    "nobody": {"public"},
}


@pytest.mark.parametrize("who", READABLE)
async def test_each_key_needs_its_own_permission(
    client: Client, shared: list[str], who: str
) -> None:
    ask = client.as_(who)
    answer = await ask("POST", TARGET, asked(shared))
    members = dict(untarred(answer.body)[:-1])
    assert members == {key: key.encode() for key in READABLE[who]}
    for key, reason in skipped(answer.body):
        alone = await ask("GET", f"/bkt/{key}")
        assert alone.code == reason, key
    headers = {"x-tigris-bundle-on-error": "fail"}
    failed = await ask("POST", TARGET, asked(shared), headers)
    assert set(failed.texts("MissingKeys/Key")) == set(shared) - READABLE[who]


async def test_anybody_bundles_from_a_public_bucket(client: Client, store: Store) -> None:
    await store.create_bucket("open")
    await store.update_bucket("open", lambda record: setattr(record, "acl", "public-read"))
    await store.put("open", "k", b"for all")
    answer = await client.as_("nobody")("POST", "/open?bundle", asked(["k"]))
    assert untarred(answer.body) == [("k", b"for all")]


# --- what is refused ---


@pytest.mark.parametrize("name", ["Format", "Compression", "On-Error"])
@pytest.mark.parametrize("value", ["rar", "", "tar,zip"])
async def test_a_wrong_value_names_its_header(
    client: Client, bkt: dict[str, bytes], name: str, value: str
) -> None:
    answer = await client("POST", TARGET, asked(["k"]), {f"x-tigris-bundle-{name.lower()}": value})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert answer.xml.findtext("ArgumentName") == f"X-Tigris-Bundle-{name}"
    assert f"X-Tigris-Bundle-{name}" in (answer.xml.findtext("Message") or "")


def test_options() -> None:
    assert parse_options({}) == ("tar", "none", "skip")
    headers = {"x-tigris-bundle-format": " Zip ", "x-tigris-bundle-on-error": "FAIL"}
    assert parse_options(headers) == ("zip", "none", "fail")


BAD_DOCUMENTS = {
    "InvalidRequest": [
        b"", b"keys=a", b'["a"]', b"{}", b'{"keys":"a"}', b'{"keys":[1]}', b'{"keys":[null]}',
        b'{"keys":[["a"]]}', b'{"keys":["a"],"bucket":"b"}', b'{"keys":["a"]} x', b'{"keys":["a"',
        b'{"keys":["\xff"]}', b'{"keys":["\\ud800"]}', b'{"Keys":["a"]}',
    ],
    "InvalidArgument": [b'{"keys":[]}', b'{"keys":["a",""]}', b"<Bundle/>", in_xml(["a", ""])],
    "MalformedXML": [
        b"<Bundle>", b"<Delete/>", b"<Bundle><Object/></Bundle>", b"<Bundle><Key>a</Key></Bundle>",
        b"<Bundle><Object><Key>a</Key><VersionId>1</VersionId></Object></Bundle>",
        b"<Bundle><Object><Key>a</Key><Key>b</Key></Object></Bundle>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><Bundle><Object><Key>&b;</Key></Object></Bundle>',
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "data"), [(code, data) for code, all_ in BAD_DOCUMENTS.items() for data in all_]
)
async def test_bad_documents(client: Client, bkt: dict[str, bytes], code: str, data: bytes) -> None:
    answer = await client("POST", TARGET, data)
    assert (answer.status, answer.code) == (400, code)


def test_keys_are_taken_as_they_stand() -> None:
    odd = [" a ", "a//b", "./c", 'quoted "', "back\\", "\\", "é€\U0001f600", "x" * 2000, "a\x00b"]
    assert parse_keys(asked(odd)) == odd
    assert parse_keys(in_xml([" a\n", "&lt;é"])) == [" a\n", "<é"]


@pytest.mark.parametrize("document", [asked, in_xml])
def test_5000_keys_and_no_more(document: Any) -> None:
    most = [f"{at:05}" for at in range(5000)]
    assert parse_keys(document(most)) == most
    for many in (5001, 100_000 if document is asked else 20_000):
        with pytest.raises(S3Error, match="at most 5000 keys") as caught:
            parse_keys(document(["k"] * many))
        assert caught.value.status == 400
    if document is asked:  # of the longest keys, full of what must be escaped
        most = ["\\" * 500 + '"' * 500] * 5000
        assert parse_keys(document(most)) == most


def test_a_document_of_very_many_keys_takes_little_memory() -> None:
    data = b'{"keys":[' + b'"a",' * 1_300_000 + b'"a"]}'
    tracemalloc.start()
    try:
        with pytest.raises(S3Error, match="at most 5000 keys"):
            parse_keys(data)
        assert tracemalloc.get_traced_memory()[1] < 12 * MIB
    finally:
        tracemalloc.stop()


async def test_a_longer_document_is_not_read(client: Client, bkt: dict[str, bytes]) -> None:
    data = asked(["a/inline"])
    most = limits.BUNDLE_REQUEST_BYTES_MAX
    answer = await client("POST", TARGET, data + b" " * (most - len(data)))
    assert answer.status == 200
    answer = await client("POST", TARGET, data + b" " * (most - len(data) + 1))
    assert (answer.status, answer.code) == (400, "MaxMessageLengthExceeded")


async def test_5000_long_keys_fit(client: Client, bkt: dict[str, bytes]) -> None:
    wanted = [f"{at:01024}" for at in range(4999)]
    answer = await client("POST", TARGET, asked([*wanted, "a/inline"]))
    assert answer.headers[SKIPPED] == "4999"
    assert [key for key, _ in skipped(answer.body)] == wanted


async def test_50_gib_and_no_more(
    client: Client, bkt: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(map(len, bkt.values()))
    monkeypatch.setattr(limits, "BUNDLE_BYTES_MAX", total)
    assert (await client("POST", TARGET, asked(list(bkt)))).status == 200
    answer = await client("POST", TARGET, asked([*bkt, "a/inline"]))
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
    assert answer.xml.findtext("MaxSizeAllowed") == str(total)


async def test_the_document_is_held_against_its_digest(
    client: Client, bkt: dict[str, bytes]
) -> None:
    headers = {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    answer = await client("POST", TARGET, asked(["a/inline"]), headers)
    assert (answer.status, answer.code) == (400, "BadDigest")


# --- broken off, closed, bounded ---


async def test_damage_in_mid_stream_breaks_the_connection(
    client: Client, bkt: dict[str, bytes], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store.core.data.read_many
    calls = 0

    async def rot(extents: Sequence[Extent]) -> list[bytes]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise DataDamaged("rot")
        return await read(extents)

    monkeypatch.setattr(store.core.data, "read_many", rot)
    answer = await client("POST", TARGET, asked(["b/packed"] * 12))
    assert answer.status == 200
    assert not answer.is_whole
    assert answer.trailers == {}
    calls = 1  # before the first byte it is an error like any other
    answer = await client("POST", TARGET, asked(["b/packed"]))
    assert (answer.status, answer.code) == (500, "InternalError")


@pytest.mark.parametrize("size", [299, 301])
@pytest.mark.parametrize("is_large", [False, True])
async def test_a_body_of_another_length_breaks_the_stream(size: int, is_large: bool) -> None:
    member = Member("k", size, 0, None, [], b"")

    class Lying:
        async def runs(self, _members: object) -> AsyncGenerator[Run]:
            bodies = None if is_large else [bytes(300)]
            yield Run([member], bodies, pieces_of(b"x" * 300) if is_large else None)

    with pytest.raises(BundleBroken):
        async for _ in archive(cast(Bundle, Lying()), [member], TarEncoder(), b"", 0):
            pass


async def pieces_of(*pieces: bytes, pause: float = 0.0) -> AsyncGenerator[bytes]:
    for piece in pieces:
        await asyncio.sleep(pause)
        yield piece


async def test_a_stream_ends_at_its_deadline() -> None:
    stream = bounded(pieces_of(b"a", b"b", pause=0.05), 0.08)
    assert await anext(stream) == b"a"
    with pytest.raises(BundleBroken, match="not sent within"):
        await anext(stream)
    assert stream_module._under_way == 0


async def test_only_so_many_at_once(
    client: Client, bkt: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUNDLES_MAX", 1)
    first = bounded(pieces_of(b"a", b"b"), 60)
    await anext(first)
    answer = await client("POST", TARGET, asked(["a/inline"]))
    assert (answer.status, answer.code) == (503, "SlowDown")
    await first.aclose()
    assert (await client("POST", TARGET, asked(["a/inline"]))).status == 200


@pytest.mark.parametrize("name", ["none", "gzip", "zstd"])
async def test_a_client_that_goes_leaves_nothing_running(
    app: App, client: Client, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await store.create_bucket("bkt")
    for at in range(30):
        await store.put("bkt", f"{at}", bytes(500 * KIB))
    cancelled = asyncio.Event()
    read = store.core.data.read_many
    calls = 0

    async def slow(extents: Sequence[Extent]) -> list[bytes]:
        nonlocal calls
        calls += 1
        try:
            await asyncio.sleep(0 if calls == 1 else 3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return await read(extents)

    async def gone(_piece: bytes) -> None:
        while calls < 2:  # noqa: ASYNC110 - until it reads ahead
            await asyncio.sleep(0)
        raise ClientGone

    monkeypatch.setattr(store.core.data, "read_many", slow)
    from tests.gateway.conftest import FakeExchange

    headers = {"x-tigris-bundle-compression": name}
    document = asked([f"{at}" for at in range(30)])
    pairs = client._headers("POST", TARGET, document, headers, "s3.test")
    exchange: Any = FakeExchange("POST", TARGET, pairs, document)
    exchange.send = gone
    await app(exchange)
    assert cancelled.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert stream_module._under_way == 0
    assert not exchange.is_answered


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["none", "zstd"])
@pytest.mark.usefixtures("traced")
async def test_memory_is_bounded_whatever_is_asked(store: Store, name: str) -> None:
    await store.create_bucket("bkt")
    await store.put("bkt", "small", bytes(900 * KIB))
    await store.put("bkt", "large", bytes(3 * MIB))
    for at in range(500):
        await store.put("bkt", f"{at}", bytes(4 * KIB))
    wanted = [f"{at}" for at in range(500)] + ["small"] * 150 + ["large"] * 30 + ["small"] * 20
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    bundle = await store.bundle("bkt", wanted)
    members = [entry for entry in bundle.entries if isinstance(entry, Member)]
    stream = archive(bundle, members, TarEncoder(), b"", 0)
    if name == "zstd":
        total = TarEncoder.total((member.key, member.size) for member in members)
        stream = compressed(stream, compressor(name, total))
    sent = 0
    async for piece in stream:
        sent += len(piece)
        assert len(piece) <= 2 * MIB
    assert name == "zstd" or sent > 240 * MIB
    assert tracemalloc.get_traced_memory()[1] - before < 24 * MIB
