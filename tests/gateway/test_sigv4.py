"""SigV4 in headers and in the query: Amazon's vectors, botocore as oracle, and what must fail."""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from urllib.parse import unquote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from amur.gateway.errors import S3Error
from amur.gateway.presign import presign_url, sign_request
from amur.gateway.sigv4 import (
    Authentication,
    PayloadMode,
    amz_date_of,
    authenticate,
    canonical_request,
    epoch_of,
    signing_key,
    string_to_sign,
)
from tests.support.iam import finding

KEY_ID, SECRET = "tid_reader", "tsec_1234567890abcdef"
NOW = 1_790_000_000
HOST = "store.example:9000"
BODY_SHA256 = sha256(b"body").hexdigest()
DAY = 86_400


@dataclass
class Wire:
    """A request as it reaches `authenticate`."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    now_s: int = NOW
    max_expires_s: int = 7 * DAY
    secrets: dict[str, str] = field(default_factory=lambda: {KEY_ID: SECRET})

    def check(self) -> Authentication:
        return authenticate(
            self.method,
            self.path,
            self.query,
            self.headers,
            find_secrets=finding(self.secrets),
            now_s=self.now_s,
            max_expires_s=self.max_expires_s,
        )

    def header(self, name: str) -> str:
        return dict(self.headers)[name]

    def with_header(self, name: str, value: str | None) -> Wire:
        kept = [pair for pair in self.headers if pair[0] != name]
        return replace(self, headers=kept if value is None else [*kept, (name, value)])

    def edit(self, old: str, new: str) -> Wire:
        """Change the Authorization header."""
        value = self.header("authorization")
        assert old in value
        return self.with_header("authorization", value.replace(old, new))

    def edit_query(self, old: str, new: str) -> Wire:
        assert old in self.query
        return replace(self, query=self.query.replace(old, new))


def signed(
    query: str = "", extra: dict[str, str] | None = None, now_s: int = NOW, region: str = "auto"
) -> Wire:
    headers = sign_request(
        "PUT",
        "/photos/a key",
        query,
        {"host": HOST} | (extra or {}),
        key_id=KEY_ID,
        secret=SECRET,
        now_s=now_s,
        region=region,
        payload=BODY_SHA256,
    )
    return Wire("PUT", "/photos/a key", query, list(headers.items()))


def presigned(
    query: list[tuple[str, str]] | None = None,
    signed_headers: dict[str, str] | None = None,
    expires_s: int = 600,
    payload: str = "UNSIGNED-PAYLOAD",
) -> Wire:
    url = presign_url(
        "PUT",
        f"http://{HOST}",
        "/photos/a key",
        query,
        key_id=KEY_ID,
        secret=SECRET,
        now_s=NOW,
        expires_s=expires_s,
        payload=payload,
        signed_headers=signed_headers,
    )
    headers = [("host", HOST), *(signed_headers or {}).items()]
    return Wire("PUT", "/photos/a key", urlsplit(url).query, headers)


def refused(wire: Wire) -> S3Error:
    with pytest.raises(S3Error) as caught:
        wire.check()
    return caught.value


# --- Amazon's own examples ---

AMAZON = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
AMAZON_NOW = epoch_of("20130524T000000Z")
EMPTY = sha256().hexdigest()


def amazon(method: str, path: str, query: str, headers: dict[str, str], signature: str) -> Wire:
    given = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z"} | headers
    names = ";".join(sorted(given))
    given["authorization"] = (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={names},Signature={signature}"
    )
    return Wire(method, path, query, list(given.items()), AMAZON_NOW, secrets=AMAZON)


@pytest.mark.parametrize(
    "wire",
    [
        amazon(
            "GET",
            "/test.txt",
            "",
            {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        amazon(
            "PUT",
            "/test$file.text",
            "",
            {
                "date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
                "x-amz-content-sha256": (
                    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
                ),
            },
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        amazon(
            "GET",
            "/",
            "lifecycle",
            {"x-amz-content-sha256": EMPTY},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        amazon(
            "GET",
            "/",
            "max-keys=2&prefix=J",
            {"x-amz-content-sha256": EMPTY},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_amazons_examples(wire: Wire) -> None:
    assert wire.check().key_id == "AKIAIOSFODNN7EXAMPLE"


def test_amazons_presigned_example() -> None:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
        "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
        "X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    host = [("host", "examplebucket.s3.amazonaws.com")]
    wire = Wire("GET", "/test.txt", query, host, AMAZON_NOW + DAY, secrets=AMAZON)
    answer = wire.check()
    assert (answer.kind, answer.payload) == ("presigned", PayloadMode.UNSIGNED)


# --- botocore as oracle ---

ODD_TARGETS = [
    "/bucket/plain.txt",
    "/bucket/with%20space",
    "/bucket/with%2Bplus",
    "/bucket/100%25",
    "/bucket/a//b",
    "/bucket//",
    "/bucket/./x/../y",
    "/bucket/%C3%BC/%F0%9F%90%9F",
    "/bucket/~tilde-._",
    "/bucket/%27%28%29%2A%21",
    "/bucket/a%3Db%26c%3Fd",
    "/bucket/%5C%09%0A",
    "/bucket/",
    "/bucket",
    "/",
    "/bucket?delete",
    "/bucket?versions=",
    "/bucket?list-type=2&prefix=a%20b%2Bc&delimiter=%2F&encoding-type=url",
    "/bucket?prefix=%C3%BC&marker=~x&max-keys=1000",
    "/bucket?tag=b&tag=a&tag=&tag",
    "/bucket?metadata&with-size=true",
    "/bucket/k?uploadId=abc%3D%3D&partNumber=3",
    "/bucket/k?a-b=1&a=2&ab=3&A=4",
]


@pytest.fixture(autouse=True)
def _standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)


def by_botocore(
    signer: Callable[..., object], method: str, target: str, headers: dict[str, str]
) -> Wire:
    request = AWSRequest(method, f"http://{HOST}{target}", headers={"Host": HOST} | headers)
    request.data = b""
    signer(Credentials(KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)  # type: ignore[attr-defined]
    parts = urlsplit(str(request.url))
    sent = [(name.lower(), str(value)) for name, value in request.headers.items()]
    return Wire(method, unquote(parts.path), parts.query, sent)


@pytest.mark.parametrize("target", ODD_TARGETS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "HEAD"])
def test_botocore_signs_headers(method: str, target: str) -> None:
    headers = {"x-amz-meta-a": "  two   spaces\tand tab ", "content-type": "text/plain"}
    answer = by_botocore(botocore.auth.S3SigV4Auth, method, target, headers).check()
    assert (answer.kind, answer.key_id, answer.payload) == ("header", KEY_ID, PayloadMode.SHA256)
    assert answer.sha256 == EMPTY


@pytest.mark.parametrize("target", ODD_TARGETS)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_botocore_presigns(method: str, target: str) -> None:
    wire = by_botocore(botocore.auth.S3SigV4QueryAuth, method, target, {})
    assert wire.check().kind == "presigned"


path_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(path_text, st.lists(st.tuples(path_text, path_text), max_size=5), st.sampled_from("+ "))
def test_any_path_and_query_signs_and_verifies(
    path: str, query: list[tuple[str, str]], space: str
) -> None:
    url = presign_url(
        "GET",
        f"http://{HOST}",
        "/" + path,
        [pair for pair in query if pair[0]],
        key_id=KEY_ID,
        secret=SECRET,
        now_s=NOW,
        expires_s=1,
    )
    raw = url.partition("?")[2]
    if space == "+":
        raw = raw.replace("%20", "+")  # as HTML forms and old clients write it
    assert Wire("GET", "/" + path, raw, [("host", HOST)]).check().key_id == KEY_ID


@given(st.integers(0, 1000), st.integers(1, 255))
def test_any_changed_byte_of_the_link_fails(at: int, change: int) -> None:
    wire = presigned([("versionId", "1790000000000000000"), ("response-content-type", "a/b")])
    at %= len(wire.query)
    changed = wire.query[:at] + chr((ord(wire.query[at]) + change) % 128) + wire.query[at + 1 :]
    if changed == wire.query or _same_meaning(changed, wire.query):
        return
    refused(replace(wire, query=changed))


def _same_meaning(one: str, other: str) -> bool:
    def decoded(query: str) -> list[str]:
        return sorted(unquote(piece.replace("+", " ")) for piece in query.split("&"))

    return decoded(one) == decoded(other)


# --- what real clients do, and is fine ---


def test_signed_by_ourselves() -> None:
    assert signed().check() == Authentication(
        "header", KEY_ID, PayloadMode.SHA256, BODY_SHA256, None, "s3", NOW
    )
    assert presigned().check() == Authentication("presigned", KEY_ID, signed_s=NOW)


@pytest.mark.parametrize("region", ["auto", "us-east-1", "fra", "x"])
def test_any_region(region: str) -> None:
    assert signed(region=region).check().key_id == KEY_ID


def test_commas_of_the_authorization_header_need_no_space() -> None:
    assert signed().edit(", ", ",").check().kind == "header"


def test_repeated_header_is_joined_by_comma() -> None:
    wire = signed(extra={"x-amz-meta-a": "1,2"})
    wire = wire.with_header("x-amz-meta-a", None)
    wire.headers += [("x-amz-meta-a", "1"), ("x-amz-meta-a", " 2 ")]
    assert wire.check().key_id == KEY_ID


def test_unsigned_headers_of_no_consequence() -> None:
    wire = signed()
    wire.headers += [("x-amzn-trace-id", "1"), ("range", "bytes=0-1"), ("x-amz-cf-id", "1")]
    assert wire.check().key_id == KEY_ID


def test_presigned_put_of_javascript_repeats_its_query_as_headers() -> None:
    wire = presigned([("x-amz-acl", "private"), ("x-amz-meta-a", "1")])
    wire.headers += [("x-amz-acl", "private"), ("x-amz-meta-a", "1"), ("content-type", "a/b")]
    assert wire.check().kind == "presigned"


def test_presigned_content_sha256_in_the_query() -> None:
    wire = presigned([("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")])
    assert wire.check().payload is PayloadMode.UNSIGNED
    assert presigned(payload=BODY_SHA256).check().sha256 == BODY_SHA256


def test_presigned_content_sha256_as_signed_header() -> None:
    wire = presigned(signed_headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    # the holder is bound to what was signed as the header, and the payload line is its value
    assert wire.check().payload is PayloadMode.UNSIGNED


@pytest.mark.parametrize("expires_s", [1, 600, 7 * DAY])
def test_presigned_is_valid_to_its_last_second(expires_s: int) -> None:
    wire = presigned(expires_s=expires_s)
    assert replace(wire, now_s=NOW + expires_s).check().kind == "presigned"
    error = refused(replace(wire, now_s=NOW + expires_s + 1))
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")


def test_presigned_for_ninety_days_where_allowed() -> None:
    wire = replace(presigned(expires_s=90 * DAY), max_expires_s=90 * DAY)
    assert wire.check().kind == "presigned"
    assert refused(replace(wire, max_expires_s=7 * DAY)).code == (
        "AuthorizationQueryParametersError"
    )


@pytest.mark.parametrize("skew", [-900, 900])
def test_fifteen_minutes_of_skew(skew: int) -> None:
    assert replace(signed(), now_s=NOW + skew).check().kind == "header"


@pytest.mark.parametrize(
    "date", ["Mon, 21 Sep 2026 14:13:20 GMT", "Mon, 21 Sep 2026 16:13:20 +0200", amz_date_of(NOW)]
)
def test_date_header_in_place_of_x_amz_date(date: str) -> None:
    headers = {"host": HOST, "date": date, "x-amz-content-sha256": EMPTY}
    signed_names = "date;host;x-amz-content-sha256"
    canonical = canonical_request("GET", "/b", "", headers, signed_names, EMPTY)
    scope = f"{amz_date_of(NOW)[:8]}/auto/s3/aws4_request"
    to_sign = string_to_sign(amz_date_of(NOW), scope, canonical)
    signature = hmac.digest(signing_key(SECRET, scope), to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={signed_names}, "
        f"Signature={signature}"
    )
    assert Wire("GET", "/b", "", list(headers.items())).check().kind == "header"


@pytest.mark.parametrize("mode", [m for m in PayloadMode if m is not PayloadMode.SHA256])
def test_payload_modes(mode: PayloadMode) -> None:
    headers = sign_request(
        "PUT", "/b/k", "", {"host": HOST}, key_id=KEY_ID, secret=SECRET, now_s=NOW,
        payload=mode.value,
    )  # fmt: skip
    answer = Wire("PUT", "/b/k", "", list(headers.items())).check()
    assert answer.payload is mode
    assert (answer.chain is not None) == mode.value.startswith("STREAMING-AWS4")
    if answer.chain is not None:
        assert headers["authorization"].endswith(answer.chain.seed)


def test_iam_calls_where_allowed() -> None:
    request = AWSRequest("POST", f"http://{HOST}/", data=b"Action=ListUsers")
    request.headers["Host"] = HOST
    botocore.auth.SigV4Auth(Credentials(KEY_ID, SECRET), "iam", "us-east-1").add_auth(request)
    sent = [(name.lower(), str(value)) for name, value in request.headers.items()]
    digest = sha256(b"Action=ListUsers").hexdigest()
    answer = authenticate(
        "POST", "/", "", sent, find_secrets=finding({KEY_ID: SECRET}), now_s=NOW,
        services=("s3", "iam"), body_sha256=digest,
    )  # fmt: skip
    assert (answer.service, answer.sha256) == ("iam", digest)
    with pytest.raises(S3Error, match="incorrect service"):
        authenticate(
            "POST",
            "/",
            "",
            sent,
            find_secrets=finding({KEY_ID: SECRET}),
            now_s=NOW,
            body_sha256=digest,
        )


def test_rotated_secret_takes_effect_at_once() -> None:
    wire = signed()
    assert wire.check().key_id == KEY_ID
    assert refused(replace(wire, secrets={KEY_ID: "new"})).code == "SignatureDoesNotMatch"
    assert wire.check().key_id == KEY_ID


def test_anonymous() -> None:
    wire = Wire("GET", "/b/k", "prefix=a", [("host", HOST)])
    assert wire.check() == Authentication("anonymous")
    chunked = wire.with_header("content-encoding", "aws-chunked")
    assert chunked.check().payload is PayloadMode.UNSIGNED_CHUNKS_TRAILER
    hashed = wire.with_header("x-amz-content-sha256", BODY_SHA256)
    assert hashed.check().sha256 == BODY_SHA256
    forged = wire.with_header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert refused(forged).code == "AccessDenied"


def test_the_error_tells_what_was_signed_but_not_the_signature() -> None:
    error = refused(replace(signed(), method="GET"))
    assert error.detail["CanonicalRequest"].startswith("GET\n/photos/a%20key\n")
    told = str(error.detail) + error.message
    assert SECRET not in told
    assert signed().header("authorization")[-64:] not in told


def test_unknown_key_does_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counting(one: str, other: str) -> bool:
        compared.append(len(one))
        return False

    monkeypatch.setattr("amur.gateway.sigv4.compare_digest", counting)
    assert refused(signed()).code == "SignatureDoesNotMatch"
    assert refused(replace(signed(), secrets={})).code == "InvalidAccessKeyId"
    assert compared == [64, 64]


# --- the matrix of what must fail: header form ---

_SIGNATURE = signed().header("authorization")[-64:]
_DATE = amz_date_of(NOW)

HEADER_CASES: dict[str, tuple[Wire, str]] = {
    "wrong scheme": (signed().edit("AWS4-HMAC-SHA256", "Basic"), "InvalidArgument"),
    "bearer": (signed().with_header("authorization", "Bearer abc"), "InvalidArgument"),
    "empty authorization": (signed().with_header("authorization", ""), "InvalidArgument"),
    "scheme alone": (
        signed().with_header("authorization", "AWS4-HMAC-SHA256"),
        "AuthorizationHeaderMalformed",
    ),
    "ecdsa": (signed().edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "InvalidArgument"),
    "sigv2": (signed().with_header("authorization", "AWS id:c2ln"), "InvalidRequest"),
    "no credential": (signed().edit("Credential", "Xredential"), "AuthorizationHeaderMalformed"),
    "no signature": (
        signed().edit(f", Signature={_SIGNATURE}", ""),
        "AuthorizationHeaderMalformed",
    ),
    "an extra field": (signed().edit(", Sig", ", X=1, Sig"), "AuthorizationHeaderMalformed"),
    "two signatures": (
        signed().edit(", Sig", ", Signature=0, Sig"),
        "AuthorizationHeaderMalformed",
    ),
    "two authorization headers": (
        replace(signed(), headers=[*signed().headers, signed().headers[-1]]),
        "AuthorizationHeaderMalformed",
    ),
    "scope of four": (signed().edit("/auto/", "/"), "AuthorizationHeaderMalformed"),
    "scope of six": (signed().edit("/auto/", "/a/b/"), "AuthorizationHeaderMalformed"),
    "no region": (signed().edit("/auto/", "//"), "AuthorizationHeaderMalformed"),
    "wrong service": (signed().edit("/s3/", "/ec2/"), "AuthorizationHeaderMalformed"),
    "wrong terminator": (signed().edit("aws4_request", "aws3"), "AuthorizationHeaderMalformed"),
    "wrong day": (signed().edit(_DATE[:8], "20200101"), "AuthorizationHeaderMalformed"),
    "other region": (signed().edit("/auto/", "/fra/"), "SignatureDoesNotMatch"),
    "unknown key": (signed().edit(KEY_ID, "tid_nobody"), "InvalidAccessKeyId"),
    "empty key": (signed().edit(KEY_ID, ""), "InvalidAccessKeyId"),
    "disabled key": (replace(signed(), secrets={}), "InvalidAccessKeyId"),
    "wrong secret": (replace(signed(), secrets={KEY_ID: "x"}), "SignatureDoesNotMatch"),
    "session token not signed": (
        signed().with_header("x-amz-security-token", "abc"),
        "AccessDenied",
    ),
    "host not signed": (signed().edit("host;", ""), "AccessDenied"),
    "x-amz header not signed": (signed().with_header("x-amz-acl", "public-read"), "AccessDenied"),
    "copy source not signed": (signed().with_header("x-amz-copy-source", "/b/k"), "AccessDenied"),
    "metadata not signed": (signed().with_header("x-amz-meta-a", ""), "AccessDenied"),
    "tigris header not signed": (signed().with_header("x-tigris-rename", "true"), "AccessDenied"),
    "x-amz header taken from the list": (
        signed(extra={"x-amz-acl": "private"}).edit("x-amz-acl;", ""),
        "AccessDenied",
    ),
    "unsorted": (
        signed().edit("host;x-amz-content-sha256", "x-amz-content-sha256;host"),
        "AuthorizationHeaderMalformed",
    ),
    "duplicated": (signed().edit("host;", "host;host;"), "AuthorizationHeaderMalformed"),
    "upper case": (signed().edit("=host", "=Host"), "AuthorizationHeaderMalformed"),
    "empty name": (signed().edit("=host", "=;host"), "AuthorizationHeaderMalformed"),
    "no names": (
        signed().edit("host;x-amz-content-sha256;x-amz-date", ""),
        "AuthorizationHeaderMalformed",
    ),
    "absent header": (signed().edit("=host", "=accept;host"), "SignatureDoesNotMatch"),
    "header removed": (
        signed(extra={"content-type": "a/b"}).with_header("content-type", None),
        "SignatureDoesNotMatch",
    ),
    "header changed": (
        signed(extra={"content-type": "a/b"}).with_header("content-type", "a/c"),
        "SignatureDoesNotMatch",
    ),
    "header repeated": (
        replace(
            signed(extra={"x-amz-meta-a": "1"}),
            headers=[*signed(extra={"x-amz-meta-a": "1"}).headers, ("x-amz-meta-a", "1")],
        ),
        "SignatureDoesNotMatch",
    ),
    "wrong host": (signed().with_header("host", "evil.example:9000"), "SignatureDoesNotMatch"),
    "wrong port": (signed().with_header("host", "store.example"), "SignatureDoesNotMatch"),
    "two hosts": (
        replace(signed(), headers=[*signed().headers, ("host", HOST)]),
        "SignatureDoesNotMatch",
    ),
    "wrong method": (replace(signed(), method="DELETE"), "SignatureDoesNotMatch"),
    "method in lower case": (replace(signed(), method="put"), "SignatureDoesNotMatch"),
    "other key": (replace(signed(), path="/photos/b key"), "SignatureDoesNotMatch"),
    "doubled slash": (replace(signed(), path="/photos//a key"), "SignatureDoesNotMatch"),
    "dot segment": (replace(signed(), path="/photos/./a key"), "SignatureDoesNotMatch"),
    "encoded twice": (replace(signed(), path="/photos/a%20key"), "SignatureDoesNotMatch"),
    "not UTF-8": (replace(signed(), path="/photos/a\ufffdkey"), "SignatureDoesNotMatch"),
    "parameter added": (replace(signed(), query="acl"), "SignatureDoesNotMatch"),
    "parameter changed": (
        replace(signed("versionId=1"), query="versionId=2"),
        "SignatureDoesNotMatch",
    ),
    "parameter removed": (replace(signed("versionId=1"), query=""), "SignatureDoesNotMatch"),
    "parameter repeated": (replace(signed("a=1"), query="a=1&a=1"), "SignatureDoesNotMatch"),
    "plus for %2B": (replace(signed("a=1%2B1"), query="a=1+1"), "SignatureDoesNotMatch"),
    "query encoded twice": (replace(signed("a=%20"), query="a=%2520"), "SignatureDoesNotMatch"),
    "semicolon for ampersand": (replace(signed("a=1&b"), query="a=1;b"), "SignatureDoesNotMatch"),
    "bad percent": (replace(signed("a=%20"), query="a=%2"), "InvalidURI"),
    "bad UTF-8": (replace(signed("a=%20"), query="a=%ff"), "InvalidURI"),
    "no content sha256": (signed().with_header("x-amz-content-sha256", None), "InvalidRequest"),
    "content sha256 of another body": (
        signed().with_header("x-amz-content-sha256", EMPTY),
        "SignatureDoesNotMatch",
    ),
    "content sha256 made unsigned": (
        signed().with_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        "SignatureDoesNotMatch",
    ),
    "unsigned trailer without a valid signature": (
        replace(
            signed().with_header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            secrets={KEY_ID: "x"},
        ),
        "SignatureDoesNotMatch",
    ),
    "content sha256 of no meaning": (
        signed().with_header("x-amz-content-sha256", "abc"),
        "InvalidArgument",
    ),
    "content sha256 with spaces": (
        signed().with_header("x-amz-content-sha256", "ab " * 21 + "a"),
        "InvalidArgument",
    ),
    "content sha256 in upper case": (
        signed().with_header("x-amz-content-sha256", BODY_SHA256.upper()),
        "InvalidArgument",
    ),
    "no date": (signed().with_header("x-amz-date", None), "AccessDenied"),
    "date of no form": (signed().with_header("x-amz-date", "2026-11-20"), "AccessDenied"),
    "date of no calendar": (signed().with_header("x-amz-date", "20260231T000000Z"), "AccessDenied"),
    "date with signs": (signed().with_header("x-amz-date", "20260921T+1+1+1Z"), "AccessDenied"),
    "date with foreign digits": (
        signed().with_header(
            "x-amz-date", "\u0662\u0660\u0662\u0666\u0660\u0669\u0662\u0661T000000Z"
        ),
        "AccessDenied",
    ),
    "date of hour 24": (signed().with_header("x-amz-date", "20260921T240000Z"), "AccessDenied"),
    "other second": (
        signed().with_header("x-amz-date", amz_date_of(NOW + 1)),
        "SignatureDoesNotMatch",
    ),
    "slow clock": (replace(signed(), now_s=NOW + 901), "RequestTimeTooSkewed"),
    "fast clock": (replace(signed(), now_s=NOW - 901), "RequestTimeTooSkewed"),
    "replayed next year": (replace(signed(), now_s=NOW + 365 * DAY), "RequestTimeTooSkewed"),
    "signature in upper case": (
        signed().edit(_SIGNATURE, _SIGNATURE.upper()),
        "SignatureDoesNotMatch",
    ),
    "signature short": (signed().edit(_SIGNATURE, _SIGNATURE[:-1]), "SignatureDoesNotMatch"),
    "signature long": (signed().edit(_SIGNATURE, _SIGNATURE + "0"), "SignatureDoesNotMatch"),
    "signature empty": (signed().edit(_SIGNATURE, ""), "SignatureDoesNotMatch"),
    "signature not hex": (signed().edit(_SIGNATURE, "z" * 64), "SignatureDoesNotMatch"),
    "signature not ASCII": (signed().edit(_SIGNATURE, "é" * 64), "SignatureDoesNotMatch"),
    "signature of zeros": (signed().edit(_SIGNATURE, "0" * 64), "SignatureDoesNotMatch"),
    "query credential besides": (
        replace(signed(), query=presigned().query),
        "InvalidArgument",
    ),
    "query signature besides": (replace(signed(), query="X-Amz-Signature=0"), "InvalidArgument"),
    "query credential besides, encoded": (
        replace(signed(), query="%58-Amz-Credential=0"),
        "InvalidArgument",
    ),
}


@pytest.mark.parametrize("case", HEADER_CASES)
def test_header_form_is_refused(case: str) -> None:
    wire, code = HEADER_CASES[case]
    assert refused(wire).code == code


# --- presigned form ---

_LINK = presigned([("versionId", "1"), ("response-content-type", "a/b")])
_LINK_SIGNATURE = _LINK.query[-64:]

PRESIGNED_CASES: dict[str, tuple[Wire, str]] = {
    "other key": (replace(_LINK, path="/photos/b key"), "SignatureDoesNotMatch"),
    "other bucket": (replace(_LINK, path="/other/a key"), "SignatureDoesNotMatch"),
    "other method": (replace(_LINK, method="DELETE"), "SignatureDoesNotMatch"),
    "GET link for HEAD": (replace(_LINK, method="HEAD"), "SignatureDoesNotMatch"),
    "other version": (_LINK.edit_query("versionId=1", "versionId=2"), "SignatureDoesNotMatch"),
    "no version": (_LINK.edit_query("versionId=1&", ""), "SignatureDoesNotMatch"),
    "other response header": (_LINK.edit_query("a%2Fb", "text%2Fhtml"), "SignatureDoesNotMatch"),
    "response header added": (
        replace(_LINK, query=_LINK.query + "&response-expires=x"),
        "SignatureDoesNotMatch",
    ),
    "sub-resource added": (replace(_LINK, query=_LINK.query + "&acl"), "SignatureDoesNotMatch"),
    "other host": (_LINK.with_header("host", "evil.example"), "SignatureDoesNotMatch"),
    "no host": (_LINK.with_header("host", None), "SignatureDoesNotMatch"),
    "longer life": (_LINK.edit_query("Expires=600", "Expires=601"), "SignatureDoesNotMatch"),
    "expires at once": (presigned(expires_s=0), "AccessDenied"),
    "expires negative": (presigned(expires_s=-1), "AuthorizationQueryParametersError"),
    "expires too late": (presigned(expires_s=7 * DAY + 1), "AuthorizationQueryParametersError"),
    "expires enormous": (presigned(expires_s=10**30), "AuthorizationQueryParametersError"),
    "expires no number": (
        _LINK.edit_query("Expires=600", "Expires=6e2"),
        "AuthorizationQueryParametersError",
    ),
    "expires empty": (
        _LINK.edit_query("Expires=600", "Expires="),
        "AuthorizationQueryParametersError",
    ),
    "expires in foreign digits": (
        _LINK.edit_query("Expires=600", "Expires=%D9%A6%D9%A0"),
        "AuthorizationQueryParametersError",
    ),
    "expired by a second": (replace(_LINK, now_s=NOW + 601), "AccessDenied"),
    "from the future": (replace(_LINK, now_s=NOW - 901), "AccessDenied"),
    "copy source added": (_LINK.with_header("x-amz-copy-source", "/b/k"), "AccessDenied"),
    "acl added": (_LINK.with_header("x-amz-acl", "public-read"), "AccessDenied"),
    "tagging added": (_LINK.with_header("x-amz-tagging", "a=b"), "AccessDenied"),
    "metadata added": (_LINK.with_header("x-amz-meta-a", "b"), "AccessDenied"),
    "content sha256 added": (_LINK.with_header("x-amz-content-sha256", EMPTY), "AccessDenied"),
    "rename added": (_LINK.with_header("x-tigris-rename", "true"), "AccessDenied"),
    "snapshot added": (_LINK.with_header("x-tigris-snapshot", "true"), "AccessDenied"),
    "signed header absent": (
        replace(presigned(signed_headers={"x-amz-acl": "private"}), headers=[("host", HOST)]),
        "SignatureDoesNotMatch",
    ),
    "signed header changed": (
        presigned(signed_headers={"x-amz-acl": "private"}).with_header("x-amz-acl", "public-read"),
        "SignatureDoesNotMatch",
    ),
    "token in a header": (_LINK.with_header("x-amz-security-token", "abc"), "AccessDenied"),
    "token in the query, not signed": (
        replace(_LINK, query=_LINK.query + "&X-Amz-Security-Token=abc"),
        "SignatureDoesNotMatch",
    ),
    "authorization besides": (_LINK.with_header("authorization", "AWS a:b"), "InvalidArgument"),
    "unknown key": (_LINK.edit_query(KEY_ID, "tid_nobody"), "InvalidAccessKeyId"),
    "wrong secret": (replace(_LINK, secrets={KEY_ID: "x"}), "SignatureDoesNotMatch"),
    "wrong algorithm": (
        _LINK.edit_query("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        "AuthorizationQueryParametersError",
    ),
    "no algorithm": (
        _LINK.edit_query("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""),
        "AuthorizationQueryParametersError",
    ),
    "no date": (
        _LINK.edit_query(f"X-Amz-Date={_DATE}&", ""),
        "AuthorizationQueryParametersError",
    ),
    "no expiry": (
        _LINK.edit_query("X-Amz-Expires=600&", ""),
        "AuthorizationQueryParametersError",
    ),
    "no signature": (
        _LINK.edit_query(f"&X-Amz-Signature={_LINK_SIGNATURE}", ""),
        "AuthorizationQueryParametersError",
    ),
    "signature alone": (
        replace(_LINK, query="X-Amz-Signature=0"),
        "AuthorizationQueryParametersError",
    ),
    "expiry twice": (
        replace(_LINK, query=_LINK.query + "&X-Amz-Expires=600"),
        "AuthorizationQueryParametersError",
    ),
    "signature twice": (
        replace(_LINK, query=_LINK.query + f"&X-Amz-Signature={_LINK_SIGNATURE}"),
        "AuthorizationQueryParametersError",
    ),
    "signature empty": (_LINK.edit_query(_LINK_SIGNATURE, ""), "SignatureDoesNotMatch"),
    "signature in upper case": (
        _LINK.edit_query(_LINK_SIGNATURE, _LINK_SIGNATURE.upper()),
        "SignatureDoesNotMatch",
    ),
    "scope of another day": (
        _LINK.edit_query(f"%2F{_DATE[:8]}%2F", "%2F20200101%2F"),
        "AuthorizationQueryParametersError",
    ),
    "scope of another service": (
        _LINK.edit_query("%2Fs3%2F", "%2Fiam%2F"),
        "AuthorizationQueryParametersError",
    ),
    "scope cut": (
        _LINK.edit_query("%2Faws4_request", ""),
        "AuthorizationQueryParametersError",
    ),
    "date of no form": (
        _LINK.edit_query(f"X-Amz-Date={_DATE}", "X-Amz-Date=yesterday"),
        "AuthorizationQueryParametersError",
    ),
    "host not signed": (
        _LINK.edit_query("SignedHeaders=host", "SignedHeaders=range"),
        "AccessDenied",
    ),
    "sigv2": (
        replace(_LINK, query="AWSAccessKeyId=a&Signature=b&Expires=1"),
        "InvalidRequest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PRESIGNED_CASES)
def test_presigned_form_is_refused(case: str) -> None:
    wire, code = PRESIGNED_CASES[case]
    assert refused(wire).code == code


def test_the_good_ones_that_the_cases_were_made_from() -> None:
    assert signed().check().key_id == KEY_ID
    assert _LINK.check().key_id == KEY_ID


def test_sigv2_is_told_what_to_do() -> None:
    error = refused(HEADER_CASES["sigv2"][0])
    assert "s3v4" in error.message
    assert "Please use AWS4-HMAC-SHA256" in error.message
