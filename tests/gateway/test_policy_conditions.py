"""Conditions over real requests: what a request is asked is what it is, and nothing is believed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from amur.gateway.app import App
from amur.gateway.proxies import Proxies
from amur.iam.service import Iam
from amur.objects.store import Store
from amur.objects.types import Attributes
from tests.gateway.conftest import HOST
from tests.support.managed import Signing, allow, deny, made

BUCKET, OBJECTS = "arn:aws:s3:::bkt", "arn:aws:s3:::bkt/*"


@pytest.fixture(autouse=True)
async def bucket(store: Store) -> None:
    await store.create_bucket("bkt", owner="acme")
    await store.put("bkt", "open", b"open", Attributes(tags={"level": "open", "Case": "x"}))
    await store.put("bkt", "shut", b"shut", Attributes(tags={"level": "shut"}))
    await store.put("bkt", "bare", b"bare")


async def caller(app: App, iam: Iam, *statements: Any) -> Signing:
    return Signing(app, await made(iam, *statements))


def when(operator: str, key: str, *values: str) -> dict[str, Any]:
    return {"Condition": {operator: {key: list(values)}}}


async def readable(call: Signing) -> set[str]:
    keys = ("open", "shut", "bare")
    return {key for key in keys if (await call("GET", f"/bkt/{key}")).status == 200}


# --- tags of the object ---
async def test_existing_tags_of_what_is_read(app: App, iam: Iam) -> None:
    is_open = when("StringEquals", "s3:ExistingObjectTag/level", "open")
    call = await caller(app, iam, allow("s3:GetObject", OBJECTS, **is_open))
    assert await readable(call) == {"open"}
    assert (await call("HEAD", "/bkt/shut")).status == 403
    assert (await call("GET", "/bkt/missing")).code == "AccessDenied"
    call = await caller(
        app, iam, allow("s3:GetObject", OBJECTS), deny("s3:GetObject", OBJECTS, **is_open)
    )
    assert await readable(call) == {"shut", "bare"}
    other = when("StringEquals", "s3:ExistingObjectTag/case", "x")  # keys of tags have case
    assert await readable(await caller(app, iam, allow("s3:GetObject", OBJECTS, **other))) == set()


async def test_existing_tags_of_a_copys_source_and_of_a_bundle(app: App, iam: Iam) -> None:
    is_open = when("StringEquals", "s3:ExistingObjectTag/level", "open")
    call = await caller(
        app, iam, allow("s3:GetObject", OBJECTS, **is_open),
        allow(["s3:PutObject", "s3:GetObjectTagging", "s3:PutObjectTagging"], OBJECTS),
    )  # fmt: skip
    for source, status in (("open", 200), ("shut", 403)):
        headers = {"x-amz-copy-source": f"bkt/{source}"}
        assert (await call("PUT", "/bkt/copy", headers=headers)).status == status
    answer = await call(
        "POST", "/bkt?bundle", b'{"keys":["open","shut"]}', {"x-tigris-bundle-format": "tar"}
    )
    assert answer.status == 200
    assert b"shut" not in answer.body.replace(b'"key":"shut"', b"").replace(b'"shut"', b"")
    assert b"open" in answer.body


async def test_existing_tags_of_what_is_tagged(app: App, iam: Iam) -> None:
    is_open = when("StringEquals", "s3:ExistingObjectTag/level", "open")
    call = await caller(app, iam, allow("s3:PutObjectTagging", OBJECTS, **is_open))
    document = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    assert (await call("PUT", "/bkt/shut?tagging", document)).code == "AccessDenied"
    assert (await call("PUT", "/bkt/open?tagging", document)).status == 200
    assert (await call("PUT", "/bkt/open?tagging", document)).code == "AccessDenied"  # not any more


# --- tags of the request ---
async def test_tags_that_a_request_brings(app: App, iam: Iam) -> None:
    is_mine = when("StringEquals", "s3:RequestObjectTag/team", "mine")
    call = await caller(
        app, iam, allow("s3:PutObject", OBJECTS), allow("s3:PutObjectTagging", OBJECTS, **is_mine)
    )
    for tagging, status in (("team=mine", 200), ("team=theirs", 403), ("other=mine", 403)):
        answer = await call("PUT", "/bkt/new", b"x", {"x-amz-tagging": tagging})
        assert answer.status == status, tagging
    document = "<Tagging><TagSet><Tag><Key>team</Key><Value>{}</Value></Tag></TagSet></Tagging>"
    for team, status in (("mine", 200), ("theirs", 403)):
        body = document.format(team).encode()
        assert (await call("PUT", "/bkt/open?tagging", body)).status == status, team
    assert (await call("DELETE", "/bkt/open?tagging")).code == "AccessDenied"


async def test_a_header_does_not_stand_in_for_the_document(app: App, iam: Iam) -> None:
    """RustFS GHSA-6r96: what decides is what is stored."""
    is_mine = when("StringEquals", "s3:RequestObjectTag/team", "mine")
    call = await caller(app, iam, allow("s3:PutObjectTagging", OBJECTS, **is_mine))
    body = b"<Tagging><TagSet><Tag><Key>team</Key><Value>theirs</Value></Tag></TagSet></Tagging>"
    answer = await call("PUT", "/bkt/open?tagging", body, {"x-amz-tagging": "team=mine"})
    assert answer.code == "AccessDenied"


# --- lists ---
async def test_prefixes_of_lists(app: App, iam: Iam) -> None:
    home = when("StringLike", "s3:prefix", "home/ann/*")
    call = await caller(app, iam, allow("s3:ListBucket", BUCKET, **home))
    for query, status in (
        ("prefix=home%2Fann%2F", 200),
        ("list-type=2&prefix=home%2Fann%2Fdeep", 200),
        ("prefix=home%2Fbob%2F", 403),
        ("prefix=home%2Fann", 403),
        ("prefix=", 403),
        ("", 403),
        ("list-type=2&delimiter=%2F", 403),
    ):
        assert (await call("GET", f"/bkt?{query}")).status == status, query
    assert (await call("GET", "/bkt?versions&prefix=home%2Fann%2F")).status == 403
    root = when("StringEquals", "s3:prefix", "")
    call = await caller(app, iam, allow("s3:ListBucket", BUCKET, **root))
    assert (await call("GET", "/bkt?prefix=")).status == 200
    assert (await call("GET", "/bkt")).status == 403  # it has none, as at Amazon
    assert (await call("GET", "/bkt?prefix=a")).status == 403


async def test_how_many(app: App, iam: Iam) -> None:
    few = when("NumericLessThanEquals", "s3:max-keys", "10")
    call = await caller(app, iam, allow("s3:ListBucket", BUCKET, **few))
    for query, status in (("max-keys=10", 200), ("max-keys=11", 403), ("", 403)):
        assert (await call("GET", f"/bkt?{query}")).status == status, query


# --- where from, when, how ---
def at_address(call: Signing, address: str) -> Signing:
    there = call.by(call.key)
    there.client = f"{address}:4711"
    return there


@pytest.mark.parametrize(
    ("network", "address", "status"),
    [
        ("192.0.2.0/24", "192.0.2.200", 200),
        ("192.0.2.0/24", "192.0.3.1", 403),
        ("2001:db8::/32", "2001:db8::7", 200),
        ("2001:db8::/32", "2001:db9::7", 403),
        ("192.0.2.0/24", "::ffff:192.0.2.7", 200),
        ("192.0.2.7", "192.0.2.7", 200),
    ],
)
async def test_addresses(app: App, iam: Iam, network: str, address: str, status: int) -> None:
    call = await caller(
        app, iam, allow("s3:GetObject", OBJECTS, **when("IpAddress", "aws:SourceIp", network))
    )
    assert (await at_address(call, address)("GET", "/bkt/open")).status == status


FORWARDED = {"x-forwarded-for": "192.0.2.1, 203.0.113.9"}


async def test_nobodys_word_is_taken_for_an_address(app: App, iam: Iam) -> None:
    """RustFS CVE-2026-21862."""
    call = await caller(
        app, iam, allow("s3:GetObject", OBJECTS, **when("IpAddress", "aws:SourceIp", "192.0.2.1"))
    )
    call = at_address(call, "198.51.100.1")
    for headers in ({"x-forwarded-for": "192.0.2.1"}, {"x-real-ip": "192.0.2.1"}, FORWARDED):
        assert (await call("GET", "/bkt/open", headers=headers)).code == "AccessDenied"


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("192.0.2.1", 200),
        ("6.6.6.6, 192.0.2.1", 200),  # what stands before may be anybody's invention
        ("192.0.2.1, 6.6.6.6", 403),
        ("192.0.2.1, 198.51.100.2", 200),  # through two proxies of ours
        ("192.0.2.1, nonsense", 403),
        ("", 403),
    ],
)
async def test_the_word_of_a_proxy_of_ours(store: Store, iam: Iam, told: str, status: int) -> None:
    app = App(store, iam, proxies=Proxies(["198.51.100.0/24"]))
    call = await caller(
        app, iam, allow("s3:GetObject", OBJECTS, **when("IpAddress", "aws:SourceIp", "192.0.2.1"))
    )
    call = at_address(call, "198.51.100.1")
    answer = await call("GET", "/bkt/open", headers={"x-forwarded-for": told} if told else None)
    assert answer.status == status


async def test_tls(store: Store, iam: Iam) -> None:
    app = App(store, iam, proxies=Proxies(["198.51.100.1"]))
    secure = when("Bool", "aws:SecureTransport", "true")
    call = await caller(app, iam, allow("s3:GetObject", OBJECTS, **secure))
    headers = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https"}
    assert (await call("GET", "/bkt/open", headers=headers)).code == "AccessDenied"
    assert (
        await at_address(call, "198.51.100.1")("GET", "/bkt/open", headers=headers)
    ).status == 200


class FixedClock:
    def __init__(self, now_s: int) -> None:
        self.now_s = now_s

    def now_ns(self) -> int:
        return self.now_s * 10**9


async def test_times(app: App, iam: Iam) -> None:
    """The seed's training job: from one time to another, the first included, the last not."""
    from amur.iam.policy import values

    start, end = 1_790_000_000, 1_790_003_600
    window = {
        "Condition": {
            "DateGreaterThanEquals": {"aws:CurrentTime": values.iso(start * 10**9)},
            "DateLessThan": {"aws:CurrentTime": values.iso(end * 10**9)},
        }
    }
    call = await caller(app, iam, allow("s3:GetObject", OBJECTS, **window))
    for now, status in ((start - 1, 403), (start, 200), (end - 1, 200), (end, 403)):
        app._clock = FixedClock(now)  # type: ignore[assignment]
        assert (await call("GET", "/bkt/open", now_s=now)).status == status, now - start


async def test_the_age_of_a_signature(app: App, iam: Iam) -> None:
    young = when("NumericLessThan", "s3:signatureAge", "60000")
    call = await caller(app, iam, allow("s3:GetObject", OBJECTS, **young))
    now = int(time.time())
    link = call.link("GET", "/bkt/open", expires_s=3600, now_s=now)
    for age, status in ((0, 200), (59, 200), (61, 403)):
        app._clock = FixedClock(now + age)  # type: ignore[assignment]
        assert (await call.send("GET", link, [("host", HOST)])).status == status, age


async def test_links_or_headers(app: App, iam: Iam) -> None:
    by_link = when("StringEquals", "s3:authType", "REST-QUERY-STRING")
    call = await caller(app, iam, allow("s3:GetObject", OBJECTS, **by_link))
    assert (await call("GET", "/bkt/open")).code == "AccessDenied"
    link = call.link("GET", "/bkt/open")
    assert (await call.send("GET", link, [("host", HOST)])).status == 200


# --- what a PUT asks for besides ---
async def test_acls_and_tags_are_rights_of_their_own(app: App, iam: Iam) -> None:
    call = await caller(app, iam, allow("s3:PutObject", OBJECTS))
    assert (await call("PUT", "/bkt/new", b"x")).status == 200
    assert (await call("PUT", "/bkt/new", b"x", {"x-amz-acl": "private"})).status == 200
    for headers in ({"x-amz-acl": "public-read"}, {"x-amz-tagging": "a=b"}):
        assert (await call("PUT", "/bkt/new", b"x", headers)).code == "AccessDenied"
        assert (await call("POST", "/bkt/new?uploads", b"", headers)).code == "AccessDenied"


async def test_renaming_takes_the_old_name_away(app: App, iam: Iam) -> None:
    may = ["s3:GetObject", "s3:PutObject"]
    call = await caller(app, iam, allow(may, OBJECTS))
    headers = {"x-amz-copy-source": "bkt/open", "x-tigris-rename": "true"}
    assert (await call("PUT", "/bkt/renamed", headers=headers)).code == "AccessDenied"
    may.append("s3:DeleteObject")
    call = await caller(app, iam, allow(may, OBJECTS))  # it has tags, that go along
    assert (await call("PUT", "/bkt/renamed", headers=headers)).code == "AccessDenied"
    may += ["s3:GetObjectTagging", "s3:PutObjectTagging"]
    call = await caller(app, iam, allow(may, OBJECTS))
    assert (await call("PUT", "/bkt/renamed", headers=headers)).status == 200


async def test_many_deletions_are_decided_one_by_one(app: App, iam: Iam) -> None:
    call = await caller(app, iam, allow("s3:DeleteObject", "arn:aws:s3:::bkt/o*"))
    rows = "".join(f"<Object><Key>{key}</Key></Object>" for key in ("open", "shut"))
    version = "<Object><Key>open</Key><VersionId>null</VersionId></Object>"
    body = f"<Delete>{rows}{version}</Delete>".encode()
    from base64 import b64encode
    from hashlib import md5

    headers = {"content-md5": b64encode(md5(body).digest()).decode()}
    answer = await call("POST", "/bkt?delete", body, headers)
    assert answer.status == 200
    assert answer.texts("Deleted/Key") == ["open"]
    assert answer.texts("Error/Key") == ["shut", "open"]
    assert answer.texts("Error/Code") == ["AccessDenied", "AccessDenied"]


async def test_a_forced_deletion_deletes_objects(app: App, iam: Iam) -> None:
    headers = {"tigris-force-delete": "true"}
    call = await caller(app, iam, allow("s3:DeleteBucket", BUCKET))
    assert (await call("DELETE", "/bkt", headers=headers)).code == "AccessDenied"
    call = await caller(  # a policy may say something else of one of them
        app, iam, allow(["s3:DeleteBucket"], BUCKET),
        allow(["s3:DeleteObject", "s3:DeleteObjectVersion"], OBJECTS),
    )  # fmt: skip
    assert (await call("DELETE", "/bkt", headers=headers)).code == "AccessDenied"
    call = Signing(app, await made(iam, roles=[("bkt", "ReadWrite")]))
    assert (await call("DELETE", "/bkt", headers=headers)).code == "AccessDenied"
    call = Signing(app, await made(iam, roles=[("bkt", "Editor")]))
    assert (await call("DELETE", "/bkt", headers=headers)).status == 204


async def test_the_past_is_a_right_of_its_own(app: App, iam: Iam) -> None:
    """RustFS GHSA-3ppv; Swift CVE-2015-1856."""
    call = await caller(
        app, iam, allow(["s3:GetObject", "s3:GetObjectTagging", "s3:DeleteObject"], OBJECTS)
    )
    for method, target in (
        ("GET", "/bkt/open?versionId=null"),
        ("HEAD", "/bkt/open?versionId=null"),
        ("GET", "/bkt/open?tagging&versionId=null"),
        ("DELETE", "/bkt/open?versionId=null"),
        ("GET", "/bkt?versions"),
    ):
        assert (await call(method, target)).status == 403, target
    assert (await call("GET", "/bkt/open?tagging")).status == 200


async def test_variables_are_the_callers_own(app: App, iam: Iam, store: Store) -> None:
    call = await caller(app, iam, allow("s3:PutObject", "arn:aws:s3:::bkt/home/${aws:username}/*"))
    assert call.key is not None
    assert (await call("PUT", f"/bkt/home/{call.key.id}/f", b"x")).status == 200
    for other in ("tid_other", "*", "${aws:username}", ""):
        assert (await call("PUT", f"/bkt/home/{other}/f", b"x")).code == "AccessDenied", other


@pytest.mark.parametrize("key", ["a*", "*", "a?c", "${aws:username}", "..", "a/../open"])
async def test_keys_are_no_patterns(app: App, iam: Iam, key: str) -> None:
    call = await caller(app, iam, allow("s3:PutObject", "arn:aws:s3:::bkt/abc"))
    from urllib.parse import quote

    assert (await call("PUT", "/bkt/" + quote(key), b"x")).code in (
        "AccessDenied",
        "SignatureDoesNotMatch",
    )


# --- whether there is such a key ---
async def test_a_missing_key_is_told_to_who_may_list_its_name(app: App, iam: Iam) -> None:
    inside = when("StringLike", "s3:prefix", "mine/*")
    call = await caller(
        app,
        iam,
        allow("s3:GetObject", "arn:aws:s3:::bkt/mine/*"),
        allow("s3:ListBucket", BUCKET, **inside),
    )
    assert (await call("GET", "/bkt/mine/none")).code == "NoSuchKey"
    assert (await call("HEAD", "/bkt/mine/none")).status == 404
    for target in ("/bkt/none", "/bkt/none?prefix=mine/x", "/bkt/shut?prefix=mine/x"):
        assert (await call("GET", target)).code == "AccessDenied", target


async def test_who_may_list_nothing_but_the_top_learns_of_no_key(app: App, iam: Iam) -> None:
    top = when("StringEquals", "s3:prefix", "")
    call = await caller(app, iam, allow("s3:ListBucket", BUCKET, **top))
    assert (await call("GET", "/bkt?prefix=")).status == 200
    for key in ("open", "none"):
        assert (await call("GET", f"/bkt/{key}")).code == "AccessDenied", key
