"""What a request promises of its body: Content-MD5, x-amz-checksum-*, x-amz-content-sha256.

Only headers and trailers count. The checksum that some clients put into the query of a presigned
URL is that of an empty body, made before there was one: it is never looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from amur.gateway.errors import S3Error
from amur.objects.digests import DEFAULT_ALGORITHM, base64_text, digest_of
from amur.objects.errors import BadDigest, ContentSha256Mismatch
from amur.objects.types import Checksum, Digests, Verify

if TYPE_CHECKING:
    from amur.gateway.body import RequestBody

HEADERS = {
    "CRC32": "x-amz-checksum-crc32",
    "CRC32C": "x-amz-checksum-crc32c",
    "CRC64NVME": "x-amz-checksum-crc64nvme",
    "SHA1": "x-amz-checksum-sha1",
    "SHA256": "x-amz-checksum-sha256",
}
ELEMENTS = {name: "Checksum" + name for name in HEADERS}
SIZES = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}  # bytes

_BY_HEADER = {header: name for name, header in HEADERS.items()}


def algorithm_name(text: str) -> str:
    """The S3 spelling of a checksum algorithm. Raises InvalidRequest."""
    name = text.strip().upper()
    if name not in HEADERS:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            "types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    return name


def _decoded(value: str, size: int) -> bytes | None:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == size else None


def content_md5(headers: Mapping[str, str]) -> bytes | None:
    """The digest in Content-MD5. Raises InvalidDigest."""
    value = headers.get("content-md5")
    if value is None:
        return None
    raw = _decoded(value.strip(), 16)
    if raw is None:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return raw


def named_checksum(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """The algorithm that headers or the announced trailer name, and the value if it is here.

    ("", None) when there is none. Raises InvalidRequest for several or a malformed one.
    """
    algorithm, value = "", None
    for name, header in HEADERS.items():
        found = headers.get(header)
        if found is not None:
            if algorithm:
                raise _several()
            algorithm, value = name, found.strip()
            if _decoded(value, SIZES[name]) is None:
                raise S3Error("InvalidRequest", f"Value for {header} header is invalid.")
    trailer = headers.get("x-amz-trailer")
    if trailer:
        for announced in trailer.lower().split(","):
            name = _BY_HEADER.get(announced.strip(), "")
            if not name:
                raise S3Error(
                    "InvalidRequest",
                    "The value specified in the x-amz-trailer header is not supported",
                )
            if algorithm:
                raise _several()
            algorithm = name
    if not algorithm:
        asked = headers.get("x-amz-sdk-checksum-algorithm")
        if asked:
            algorithm = algorithm_name(asked)
    return algorithm, value


def _several() -> S3Error:
    return S3Error(
        "InvalidRequest",
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )


def expectations(
    headers: Mapping[str, str], body: RequestBody, required: str = ""
) -> tuple[tuple[str, ...], Verify]:
    """The algorithms to compute of a body, and the check to run before it is committed.

    `required` is the algorithm of the upload that a part belongs to.
    """
    algorithm, value = named_checksum(headers)
    if required and algorithm and algorithm != required:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {required.lower()}, "
            f"actual checksum Type: {algorithm.lower()}",
        )
    md5 = content_md5(headers)
    sha256 = body.expected_sha256
    announced = "x-amz-trailer" in headers
    kept = algorithm or required or DEFAULT_ALGORITHM

    def verify(digests: Digests) -> list[Checksum]:
        if sha256 and digests.others["SHA256"].hex() != sha256:
            raise ContentSha256Mismatch
        if md5 is not None and digests.md5 != md5:
            raise BadDigest("The Content-MD5 you specified did not match what we received.")
        actual = base64_text(digests.others[kept])
        promised = body.trailers.get(HEADERS[kept]) if announced else value
        if announced and promised is None:
            raise S3Error("MalformedTrailerError", "The announced trailer did not arrive.")
        if promised is not None and promised.strip() != actual:
            raise BadDigest(f"The {kept} you specified did not match the calculated checksum.")
        return [Checksum(kept, actual)]

    return ((kept, "SHA256") if sha256 and kept != "SHA256" else (kept,)), verify


def check_document(
    headers: Mapping[str, str], body: RequestBody, data: bytes, *, required: bool = False
) -> None:
    """Hold a small document, read whole, against Content-MD5 and checksums.

    `required`: at least one of Content-MD5 and x-amz-checksum-* must be there (DeleteObjects).
    """
    md5 = content_md5(headers)
    algorithm, value = named_checksum(headers)
    if "x-amz-trailer" in headers and algorithm:
        value = body.trailers.get(HEADERS[algorithm])
    if required and md5 is None and value is None:
        raise S3Error(
            "InvalidRequest",
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        )
    if md5 is not None and hashlib.md5(data, usedforsecurity=False).digest() != md5:
        raise BadDigest("The Content-MD5 you specified did not match what we received.")
    if value is not None and value.strip() != base64_text(digest_of(algorithm, data)):
        raise BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")


def checksum_headers(checksums: Sequence[Checksum]) -> list[tuple[str, str]]:
    """Response headers of stored checksums; the type is one for all of an object's."""
    if not checksums:
        return []
    found = [(HEADERS[each.algorithm], each.value) for each in checksums]
    found.append(("x-amz-checksum-type", checksums[0].kind))
    return found
