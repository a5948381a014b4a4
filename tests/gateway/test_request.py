"""From the wire to a Request: addressing, parameters, guards."""

from __future__ import annotations

import pytest

from amur import limits
from amur.gateway.errors import S3Error
from amur.gateway.request import Request


def parsed(
    path: str = "/",
    query: str = "",
    pairs: list[tuple[str, str]] | None = None,
    host: str = "127.0.0.1:9000",
    domains: tuple[str, ...] = ("s3.example.com", "localhost"),
) -> Request:
    request = Request("GET", path, query, pairs if pairs is not None else [("host", host)])
    request.parse(domains)
    return request


def code(**arguments: object) -> str:
    with pytest.raises(S3Error) as caught:
        parsed(**arguments)  # type: ignore[arg-type]
    return caught.value.code


@pytest.mark.parametrize(
    ("path", "bucket", "key"),
    [
        ("/", "", ""),
        ("/b", "b", ""),
        ("/b/", "b", ""),
        ("/b/k", "b", "k"),
        ("/b/k/", "b", "k/"),
        ("/b//k", "b", "/k"),
        ("/b//", "b", "/"),
        ("/b/../c", "b", "../c"),
        ("/b/./c", "b", "./c"),
        ("/b/%2F", "b", "%2F"),  # a percent sign that came as %25
        ("/b/a\\b", "b", "a\\b"),
        ("/b/a\nb", "b", "a\nb"),
        ("/b/ü 中", "b", "ü 中"),
        ("/b/-/health", "b", "-/health"),
    ],
)
def test_path_style(path: str, bucket: str, key: str) -> None:
    request = parsed(path)
    assert (request.bucket, request.key, request.is_virtual_host) == (bucket, key, False)


@pytest.mark.parametrize(
    ("host", "path", "bucket", "key"),
    [
        ("b.s3.example.com", "/", "b", ""),
        ("b.s3.example.com", "/k/l", "b", "k/l"),
        ("B.S3.Example.Com:443", "//k", "b", "/k"),
        ("my.dotted.bucket.s3.example.com", "/k", "my.dotted.bucket", "k"),
        ("b.localhost:9000", "/c/k", "b", "c/k"),
        ("b.s3.example.com", "/-/health", "b", "-/health"),
        ("s3.example.com", "/b/k", "b", "k"),
        ("evils3.example.com", "/b/k", "b", "k"),
        ("other.example.com", "/b/k", "b", "k"),
        ("[::1]:9000", "/b/k", "b", "k"),
        ("[::1]", "/b/k", "b", "k"),
    ],
)
def test_both_styles_on_one_listener(host: str, path: str, bucket: str, key: str) -> None:
    request = parsed(path, host=host)
    assert (request.bucket, request.key) == (bucket, key)


def test_parameters() -> None:
    request = parsed("/b", "delete&a=1&a=2&p=%2Fx%26+y&empty=&&=z&x-id=ListObjects&q=a=b")
    assert request.params == {
        "delete": "", "a": "1", "p": "/x& y", "empty": "", "x-id": "ListObjects", "q": "a=b",
    }  # fmt: skip


def test_presigned_headers_come_from_the_query() -> None:
    query = (
        "X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Signature=S&X-Amz-SignedHeaders=host"
        "&x-amz-acl=public-read&x-amz-meta-Color=red%20ish&x-amz-checksum-crc32=AAAAAA%3D%3D"
        "&x-amz-sdk-checksum-algorithm=CRC32&X-Tigris-Rename=true"
    )
    pairs = [("host", "h"), ("x-amz-acl", "private")]
    request = parsed("/b/k", query, pairs)
    assert request.headers["x-amz-acl"] == "public-read"
    assert request.headers["x-amz-meta-color"] == "red ish"
    assert request.headers["x-tigris-rename"] == "true"
    assert request.has_tigris
    assert not [name for name in request.headers if "checksum" in name]
    assert not [name for name in request.headers if "signature" in name or "credential" in name]
    assert request.pairs == pairs


def test_unsigned_query_is_no_header() -> None:
    assert "x-amz-acl" not in parsed("/b/k", "x-amz-acl=public-read").headers


def test_repeated_headers_are_joined() -> None:
    pairs = [("host", "h"), ("x-a", "1"), ("x-a", "2"), ("x-b", "")]
    request = parsed("/", "", pairs)
    assert request.headers == {"host": "h", "x-a": "1,2", "x-b": ""}
    assert request.pairs == pairs


def test_json_only_when_xml_is_not_taken() -> None:
    def wants(accept: str) -> bool:
        return Request("GET", "/", "", [("accept", accept)]).wants_json

    assert wants("application/json")
    assert wants("application/json, text/plain, */*")
    assert not wants("application/json, application/xml")
    assert not wants("*/*")
    assert not Request("GET", "/", "", []).wants_json


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("host", "")],
        [("host", "a"), ("host", "b")],
        [("host", "a,b")],
        [("host", "a"), ("content-length", "3"), ("transfer-encoding", "chunked")],
        [("host", "a"), ("content-length", "3"), ("content-length", "3")],
        [("host", "a"), ("content-length", "-3")],
        [("host", "a"), ("content-length", "+3")],
        [("host", "a"), ("content-length", "")],
        [("host", "a"), ("content-length", "0x3")],
        [("host", "a"), ("content-length", "³")],
    ],
)
def test_ambiguous_framing_is_refused(pairs: list[tuple[str, str]]) -> None:
    assert code(pairs=pairs) == "InvalidRequest"


def test_header_limits() -> None:
    host = ("host", "h")
    fill = limits.HEADER_BYTES_MAX - len("hosth") - len("x-a")
    assert parsed(pairs=[host, ("x-a", "v" * fill)])
    assert code(pairs=[host, ("x-a", "v" * (fill + 1))]) == "RequestHeaderSectionTooLarge"
    many = [host, *((f"x-{n}", "") for n in range(limits.HEADERS_MAX - 1))]
    assert parsed(pairs=many)
    assert code(pairs=[*many, ("x-z", "")]) == "RequestHeaderSectionTooLarge"


def test_url_and_key_limits() -> None:
    assert parsed("/b/" + "k" * limits.KEY_BYTES_MAX).key
    assert code(path="/b/" + "k" * (limits.KEY_BYTES_MAX + 1)) == "KeyTooLongError"
    assert parsed("/b/" + "é" * 512).key
    assert code(path="/b/" + "é" * 513) == "KeyTooLongError"
    assert code(path="/b", query="a=" + "x" * limits.URL_BYTES_MAX) == "InvalidURI"


@pytest.mark.parametrize("path", ["/b/a\0b", "\0", "*", "b/k", "//k", "///"])
def test_paths_that_name_nothing(path: str) -> None:
    assert code(path=path) == "InvalidURI"


@pytest.mark.parametrize("query", ["prefix=%FF", "prefix=%C0%AF", "%ED%A0%80=1"])
def test_query_must_be_utf8(query: str) -> None:
    assert code(path="/b", query=query) == "InvalidURI"


@pytest.mark.parametrize("path", ["/-", "/-/", "/-/health", "/-/x/y"])
def test_our_pages_are_no_bucket(path: str) -> None:
    assert code(path=path) == "NoSuchBucket"
