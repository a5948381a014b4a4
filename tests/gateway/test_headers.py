"""Attributes in and out of headers."""

from __future__ import annotations

from contextlib import suppress
from email.utils import formatdate
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amur import limits
from amur.gateway import headers as wire
from amur.gateway.errors import S3Error
from amur.meta.records import Checksum, ObjectRecord

NS = 1_000_000_000


def refused(sent: dict[str, str]) -> str:
    with pytest.raises(S3Error) as caught:
        wire.read_attributes(sent)
    return caught.value.code


def test_nothing_said() -> None:
    found = wire.read_attributes({"host": "x", "x-amz-date": "now"}, "me")
    assert found.content_type == "binary/octet-stream"
    assert found.headers == found.metadata == found.tags == {}
    assert found.acl == found.storage_class == ""
    assert found.owner == "me"


def test_everything_said() -> None:
    sent = {name: f"/a {name}" for name in wire.STORED}
    found = wire.read_attributes(
        {
            **sent,
            "content-type": "text/plain",
            "x-amz-meta-colour": "blue",
            "x-amz-tagging": "a=b&c=d+e&f=%2B",
            "x-amz-acl": "public-read",
            "x-amz-storage-class": "STANDARD_IA",
        }
    )
    assert found.headers == sent
    assert found.content_type == "text/plain"
    assert found.metadata == {"colour": "blue"}
    assert found.tags == {"a": "b", "c": "d e", "f": "+"}
    assert (found.acl, found.storage_class) == ("public-read", "STANDARD_IA")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("aws-chunked", None),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("gzip, br", "gzip, br"),
        ("aws-chunked,aws-chunked", None),
    ],
)
def test_aws_chunked_is_no_encoding_of_the_object(sent: str, kept: str | None) -> None:
    found = wire.read_attributes({"content-encoding": sent})
    assert found.headers.get("content-encoding") == kept


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"x-amz-acl": "public"}, "InvalidArgument"),
        ({"x-amz-acl": "log-delivery-write"}, "InvalidArgument"),
        ({"x-amz-storage-class": "FAST"}, "InvalidStorageClass"),
        ({"x-amz-grant-read": "id=x"}, "NotImplemented"),
        ({"x-amz-meta-a": "x" * 2048}, "MetadataTooLarge"),
        ({"x-amz-meta-a\r\nset-cookie": "x"}, "InvalidArgument"),
        ({"x-amz-meta-a b": "x"}, "InvalidArgument"),
        ({"x-amz-meta-": "x\r\ny"}, "InvalidArgument"),
        ({"x-amz-meta-a": "x\ry"}, "InvalidArgument"),
        ({"x-amz-meta-a": "x\0y"}, "InvalidArgument"),
        ({"content-type": "x\ny"}, "InvalidArgument"),
        ({"cache-control": "x\r\ny"}, "InvalidArgument"),
        ({"x-amz-tagging": "a=b&a=c"}, "InvalidArgument"),
        ({"x-amz-tagging": "a=%ff"}, "InvalidArgument"),
        ({"x-amz-website-redirect-location": "ftp://x"}, "InvalidRedirectLocation"),
        ({"x-amz-tagging": "=b"}, "InvalidTag"),
        ({"x-amz-tagging": "aws:a=b"}, "InvalidTag"),
        ({"x-amz-tagging": "a=%7B"}, "InvalidTag"),
        ({"x-amz-tagging": "&".join(f"k{n}=v" for n in range(11))}, "BadRequest"),
        ({"x-amz-tagging": "k" * 129 + "=v"}, "InvalidTag"),
        ({"x-amz-tagging": "k=" + "v" * 257}, "InvalidTag"),
    ],
)
def test_refused(sent: dict[str, str], code: str) -> None:
    assert refused(sent) == code


def test_limits_are_inclusive() -> None:
    wire.read_attributes({"x-amz-meta-a": "x" * (limits.USER_METADATA_BYTES_MAX - 1)})
    tags = {f"{n}".rjust(128, "k"): "v" * 256 for n in range(10)}
    assert wire.parse_tagging(urlencode(tags)) == tags


@given(
    st.dictionaries(
        st.text("abcXYZ 0+-=._:/@é", min_size=1, max_size=20),
        st.text("abcXYZ 0+-=._:/@é", max_size=20),
        max_size=10,
    )
)
def test_tags_read_back(tags: dict[str, str]) -> None:
    assert wire.parse_tagging(urlencode(tags)) == tags


@given(st.text(max_size=60))
def test_any_tagging_header_is_read_or_refused(text: str) -> None:
    with suppress(S3Error):
        wire.check_tags(wire.parse_tagging(text))


@given(st.integers(0, 4_102_444_800))
def test_dates(seconds: int) -> None:
    assert wire.http_date(seconds) == formatdate(seconds, usegmt=True)


def record(**changes: object) -> ObjectRecord:
    found = ObjectRecord(version=784_111_777 * NS, etag="abc", content_type="text/plain", size=5)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_plain_object_headers() -> None:
    assert wire.object_headers(record(), 5) == [
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", '"abc"'),
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("accept-ranges", "bytes"),
    ]


def test_all_object_headers() -> None:
    told = dict(
        wire.object_headers(
            record(
                headers={"cache-control": "no-cache"},
                metadata={"a": "1", "b": "=?UTF-8?Q?=C3=A9?=", "c": "é"},
                tags={"x": "y"},
                storage_class="GLACIER",
                acl="public-read",
            ),
            3,
        )
    )
    assert told["content-length"] == "3"
    assert told["cache-control"] == "no-cache"
    assert told["x-amz-meta-a"] == "1"
    assert told["x-amz-meta-b"] == "=?UTF-8?Q?=C3=A9?="
    assert told["x-amz-meta-c"] == "=?UTF-8?B?w6k=?="
    assert told["x-amz-tagging-count"] == "1"
    assert told["x-amz-storage-class"] == "GLACIER"
    assert told["x-amz-acl"] == "public-read"


@given(st.text(max_size=50))
def test_nothing_that_goes_out_breaks_a_header(value: str) -> None:
    try:
        kept = wire.checked("x", value)
    except S3Error:
        return
    assert not set(wire.printed(kept)) & {"\r", "\n", "\0"}
    assert wire.printed(kept).isascii()


def test_overrides() -> None:
    headers = wire.object_headers(record(), 5)
    params = {name: "a " + name for name in wire.OVERRIDES}
    wire.apply_overrides(headers, {**params, "x": "y"}, is_signed=True)
    for param, name in wire.OVERRIDES.items():
        assert [value for found, value in headers if found == name] == ["a " + param]
    with pytest.raises(S3Error) as caught:
        wire.apply_overrides(headers, params, is_signed=False)
    assert caught.value.code == "InvalidRequest"
    wire.apply_overrides(headers, {"x": "y"}, is_signed=False)
    with pytest.raises(S3Error) as caught:
        wire.apply_overrides(headers, {"response-expires": "a\r\nb: c"}, is_signed=True)
    assert caught.value.code == "InvalidArgument"


def test_checksums_are_told_when_asked_for() -> None:
    kept = record(checksums=[Checksum("CRC32", "y/Q5Jg==")])
    assert wire.checksum_mode({}, kept.checksums) == []
    assert dict(wire.checksum_mode({"x-amz-checksum-mode": "enabled"}, kept.checksums)) == {
        "x-amz-checksum-crc32": "y/Q5Jg==",
        "x-amz-checksum-type": "FULL_OBJECT",
    }
