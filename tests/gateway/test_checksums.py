"""Promises about bodies: what is computed, what is verified, what is refused."""

from __future__ import annotations

import base64
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from amur.gateway import checksums
from amur.gateway.errors import S3Error
from amur.objects.digests import digests_of
from amur.objects.errors import BadDigest, ContentSha256Mismatch
from amur.objects.types import Checksum

DATA = b"123456789"  # the check values of the CRC catalogue
KNOWN = {
    "CRC32": "y/Q5Jg==",
    "CRC32C": "4waSgw==",
    "CRC64NVME": "rosUhgp5mIg=",
    "SHA1": base64.b64encode(hashlib.sha1(DATA).digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(DATA).digest()).decode(),
}
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()


def body(sha256: str = "", **trailers: str) -> Any:
    return SimpleNamespace(
        expected_sha256=sha256, trailers={name.replace("_", "-"): v for name, v in trailers.items()}
    )


def verified(headers: dict[str, str], of: Any = None, required: str = "") -> list[Checksum]:
    algorithms, verify = checksums.expectations(headers, of or body(), required)
    return verify(digests_of(DATA, algorithms))


def refused(headers: dict[str, str], of: Any = None, required: str = "") -> str:
    with pytest.raises(S3Error) as caught:
        verified(headers, of, required)
    return caught.value.code


@pytest.mark.parametrize("algorithm", KNOWN)
def test_a_header_is_verified_and_kept(algorithm: str) -> None:
    header = checksums.HEADERS[algorithm]
    assert verified({header: KNOWN[algorithm]}) == [Checksum(algorithm, KNOWN[algorithm])]
    wrong = base64.b64encode(bytes(checksums.SIZES[algorithm])).decode()
    with pytest.raises(BadDigest):
        verified({header: wrong})


@pytest.mark.parametrize("algorithm", KNOWN)
def test_a_trailer_is_verified_and_kept(algorithm: str) -> None:
    name = checksums.HEADERS[algorithm]
    of = body(**{name: KNOWN[algorithm]})
    assert verified({"x-amz-trailer": name.title()}, of) == [Checksum(algorithm, KNOWN[algorithm])]
    with pytest.raises(BadDigest):
        verified({"x-amz-trailer": name}, body(**{name: "AAAA"}))


def test_an_announced_trailer_must_arrive() -> None:
    assert refused({"x-amz-trailer": "x-amz-checksum-crc32"}) == "MalformedTrailerError"


@pytest.mark.parametrize("algorithm", KNOWN)
def test_an_algorithm_alone_is_computed(algorithm: str) -> None:
    found = verified({"x-amz-sdk-checksum-algorithm": algorithm.lower()})
    assert found == [Checksum(algorithm, KNOWN[algorithm])]


def test_the_default_is_crc64nvme() -> None:
    assert verified({}) == [Checksum("CRC64NVME", KNOWN["CRC64NVME"])]
    assert verified({"content-md5": MD5}) == [Checksum("CRC64NVME", KNOWN["CRC64NVME"])]


def test_a_part_gets_its_uploads_algorithm() -> None:
    assert verified({}, required="SHA1") == [Checksum("SHA1", KNOWN["SHA1"])]
    header = {"x-amz-checksum-crc32": KNOWN["CRC32"]}
    assert verified(header, required="CRC32") == [Checksum("CRC32", KNOWN["CRC32"])]
    assert refused(header, required="SHA1") == "InvalidRequest"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-crc32": KNOWN["CRC32"], "x-amz-checksum-sha1": KNOWN["SHA1"]},
        {"x-amz-checksum-crc32": KNOWN["CRC32"], "x-amz-trailer": "x-amz-checksum-crc32"},
        {"x-amz-trailer": "x-amz-checksum-crc32, x-amz-checksum-sha1"},
        {"x-amz-trailer": "x-amz-checksum-crc16"},
        {"x-amz-trailer": "x-amz-meta-a"},
        {"x-amz-checksum-crc32": ""},
        {"x-amz-checksum-crc32": "bad"},
        {"x-amz-checksum-sha256": KNOWN["CRC32"]},
        {"x-amz-checksum-crc32": "y/Q5Jg== "[:-2]},
        {"x-amz-checksum-crc32": "é"},
        {"x-amz-sdk-checksum-algorithm": "MD5"},
    ],
)
def test_refused_before_the_body_is_read(headers: dict[str, str]) -> None:
    assert refused(headers, body(**{"x-amz-checksum-crc32": KNOWN["CRC32"]})) == "InvalidRequest"


@pytest.mark.parametrize("value", ["", "x", MD5[:-2], MD5[:-4], "é", MD5 + MD5, "rL0Y20zC+Fzt"])
def test_a_malformed_md5(value: str) -> None:
    assert refused({"content-md5": value}) == "InvalidDigest"


def test_a_wrong_md5() -> None:
    with pytest.raises(BadDigest):
        verified({"content-md5": base64.b64encode(bytes(16)).decode()})


def test_the_signed_sha256() -> None:
    right = hashlib.sha256(DATA).hexdigest()
    assert verified({}, body(right)) == [Checksum("CRC64NVME", KNOWN["CRC64NVME"])]
    header = {"x-amz-checksum-sha256": KNOWN["SHA256"]}
    assert checksums.expectations(header, body(right))[0] == ("SHA256",)
    assert verified(header, body(right)) == [Checksum("SHA256", KNOWN["SHA256"])]
    with pytest.raises(ContentSha256Mismatch):
        verified({}, body("0" * 64))


def test_a_document() -> None:
    checksums.check_document({}, body(), DATA)
    for headers in ({"content-md5": MD5}, {"x-amz-checksum-sha1": KNOWN["SHA1"]}):
        checksums.check_document(headers, body(), DATA, required=True)
        with pytest.raises(BadDigest):
            checksums.check_document(headers, body(), DATA + b"0", required=True)
    with pytest.raises(S3Error) as caught:
        checksums.check_document({}, body(), DATA, required=True)
    assert caught.value.code == "InvalidRequest"
    trailer = {"x-amz-trailer": "x-amz-checksum-crc32"}
    checksums.check_document(
        trailer, body(x_amz_checksum_crc32=KNOWN["CRC32"]), DATA, required=True
    )
    with pytest.raises(BadDigest):
        checksums.check_document(trailer, body(x_amz_checksum_crc32="AAAAAA=="), DATA)


def test_headers_of_stored_checksums() -> None:
    assert checksums.checksum_headers([]) == []
    assert checksums.checksum_headers([Checksum("SHA1", "v-2", "COMPOSITE")]) == [
        ("x-amz-checksum-sha1", "v-2"),
        ("x-amz-checksum-type", "COMPOSITE"),
    ]
