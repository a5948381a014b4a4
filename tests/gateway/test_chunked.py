"""aws-chunked bodies: Amazon's vectors, any cut of the input, and everything that is damaged."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amur.gateway import chunked
from amur.gateway.chunked import ChunkedDecoder
from amur.gateway.errors import S3Error
from amur.gateway.presign import encode_chunks
from amur.gateway.sigv4 import ChunkChain, PayloadMode, is_signature, signing_key

SIGNED = PayloadMode.SIGNED_CHUNKS
SIGNED_TRAILER = PayloadMode.SIGNED_CHUNKS_TRAILER
UNSIGNED = PayloadMode.UNSIGNED_CHUNKS_TRAILER
MODES = [SIGNED, SIGNED_TRAILER, UNSIGNED]

SCOPE = "20130524/us-east-1/s3/aws4_request"
KEY = signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SCOPE)
CHAIN = ChunkChain(KEY, "20130524T000000Z", SCOPE, "5" * 64)
CHECKSUM = {"x-amz-checksum-crc32c": "sOO8/Q=="}
PIECES = [b"first piece", b"2", b"the third\r\n0\r\n\r\n"]
PAYLOAD = b"".join(PIECES)


def decoder(mode: PayloadMode, length: int, announced: str | None = None) -> ChunkedDecoder:
    if announced is None:
        announced = "" if mode is SIGNED else "x-amz-checksum-crc32c"
    chain = None if mode is UNSIGNED else CHAIN
    return ChunkedDecoder(mode, length, chain=chain, announced=announced)


def encoded(mode: PayloadMode, pieces: list[bytes]) -> bytes:
    trailers = None if mode is SIGNED else CHECKSUM
    return encode_chunks(pieces, None if mode is UNSIGNED else CHAIN, trailers)


def decode(reader: ChunkedDecoder, *inputs: bytes) -> bytes:
    out: list[bytes] = []
    for data in inputs:
        out += reader.feed(data)
    reader.finish()
    assert all(out)
    return b"".join(out)


def cut(body: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(body), *[place % (len(body) + 1) for place in at]})
    return [body[start:end] for start, end in pairwise(edges)]


def refused(mode: PayloadMode, body: bytes, length: int = len(PAYLOAD), **more: str) -> str:
    with pytest.raises(S3Error) as caught:
        decode(decoder(mode, length, **more), body)
    return caught.value.code


# --- Amazon's own example: 66,560 bytes in chunks of 64 KiB ---


def amazon(seed: str, signatures: list[str], trailer: bytes = b"") -> tuple[ChunkChain, bytes]:
    sizes = [65536, 1024, 0]
    body = b""
    for size, signature in zip(sizes, signatures, strict=True):
        body += f"{size:x};chunk-signature={signature}\r\n".encode() + b"a" * size
        body += b"\r\n" if size else b""
    return CHAIN._replace(seed=seed), body + trailer + b"\r\n"


def test_amazons_signed_chunks() -> None:
    chain, body = amazon(
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
    )
    assert len(body) == 66824  # the Content-Length of the example
    assert decode(ChunkedDecoder(SIGNED, 66560, chain=chain), body) == b"a" * 66560
    pieces = [b"a" * 65536, b"a" * 1024]
    assert encode_chunks(pieces, chain) == body


def test_amazons_signed_trailer() -> None:
    chain, body = amazon(
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
        b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
        b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
    )
    reader = ChunkedDecoder(SIGNED_TRAILER, 66560, chain=chain, announced="x-amz-checksum-crc32c")
    assert decode(reader, body) == b"a" * 66560
    assert reader.trailers == CHECKSUM
    assert encode_chunks([b"a" * 65536, b"a" * 1024], chain, CHECKSUM) == body


# --- any cut, any sizes ---


@given(
    st.sampled_from(MODES),
    st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    st.lists(st.integers(0, 4000), max_size=12),
)
def test_any_cut_decodes_the_same(mode: PayloadMode, pieces: list[bytes], at: list[int]) -> None:
    body = encoded(mode, pieces)
    reader = decoder(mode, sum(map(len, pieces)))
    assert decode(reader, *cut(body, at)) == b"".join(pieces)
    assert reader.trailers == ({} if mode is SIGNED else CHECKSUM)


@pytest.mark.parametrize("mode", MODES)
def test_byte_by_byte(mode: PayloadMode) -> None:
    body = encoded(mode, PIECES)
    assert decode(decoder(mode, len(PAYLOAD)), *[bytes((byte,)) for byte in body]) == PAYLOAD


@pytest.mark.parametrize("mode", MODES)
def test_empty_payload(mode: PayloadMode) -> None:
    assert decode(decoder(mode, 0), encoded(mode, [])) == b""


@pytest.mark.parametrize("mode", MODES)
def test_truncated_at_every_byte(mode: PayloadMode) -> None:
    body = encoded(mode, PIECES)
    for end in range(len(body)):
        assert refused(mode, body[:end]) == "IncompleteBody"


@pytest.mark.parametrize("mode", [SIGNED, SIGNED_TRAILER])
def test_any_changed_byte_of_a_signed_body_fails(mode: PayloadMode) -> None:
    body = encoded(mode, PIECES)
    for at in range(len(body)):
        for change in (1, 0x20, 0x80):
            changed = bytearray(body)
            changed[at] ^= change
            reader = decoder(mode, len(PAYLOAD))
            try:
                payload = decode(reader, bytes(changed))
            except S3Error:
                continue
            # only letter case that carries no meaning: a size's hex digit, a trailer's name
            assert (payload, reader.trailers) == (PAYLOAD, {} if mode is SIGNED else CHECKSUM)
            assert bytes(changed).lower() == body.lower()


def test_bytes_are_not_given_out_before_their_signature_holds() -> None:
    body = bytearray(encoded(SIGNED, PIECES))
    body[body.index(PIECES[2]) + 3] ^= 1
    reader = decoder(SIGNED, len(PAYLOAD))
    out: list[bytes] = []
    with pytest.raises(S3Error, match="chunk does not match"):  # noqa: PT012
        for at in range(len(body)):
            out += reader.feed(bytes(body[at : at + 1]))
    assert b"".join(out) == PIECES[0] + PIECES[1]


@example(b"\r\n" * 600)
@example(b"0" * 5000)
@example(b"1\r\n" * 500)
@given(st.binary(max_size=3000))
def test_rubbish_is_an_error_not_a_crash(body: bytes) -> None:
    for mode in MODES:
        with pytest.raises(S3Error):
            decode(decoder(mode, 10), body)


# --- the matrix ---


def _lines(body: bytes) -> list[bytes]:
    """Size line, bytes, size line, bytes ... of PIECES."""
    parts, rest = [], body
    for piece in PIECES:
        line, _, rest = rest.partition(b"\r\n")
        parts.append(line + b"\r\n" + piece + b"\r\n")
        rest = rest[len(piece) + 2 :]
    return [*parts, rest]


GOOD = encoded(SIGNED, PIECES)
PARTS = _lines(GOOD)
LAST_SIGNATURE = PARTS[3].partition(b"=")[2][:64]
TRAILED = encoded(SIGNED_TRAILER, PIECES)
PLAIN = encoded(UNSIGNED, PIECES)


def other_seed(body: bytes) -> bytes:
    assert is_signature(LAST_SIGNATURE.decode(), KEY, CHAIN.chunk_to_sign(
        PARTS[2].partition(b"=")[2][:64].decode(), sha256().hexdigest()))  # fmt: skip
    return encode_chunks(PIECES, CHAIN._replace(seed="6" * 64))


CASES: dict[str, tuple[PayloadMode, bytes, str]] = {
    "bad seed": (SIGNED, other_seed(GOOD), "SignatureDoesNotMatch"),
    "bad first": (
        SIGNED,
        GOOD.replace(PARTS[0][:30], PARTS[0][:29] + b"x", 1),
        "SignatureDoesNotMatch",
    ),
    "bad last": (
        SIGNED,
        GOOD.replace(LAST_SIGNATURE, b"0" * 64),
        "SignatureDoesNotMatch",
    ),
    "missing last": (SIGNED, b"".join(PARTS[:3]), "IncompleteBody"),
    "last without its line break": (SIGNED, GOOD[:-2], "IncompleteBody"),
    "swapped": (SIGNED, PARTS[1] + PARTS[0] + PARTS[2] + PARTS[3], "SignatureDoesNotMatch"),
    "repeated": (SIGNED, PARTS[0] + GOOD, "SignatureDoesNotMatch"),
    "left out": (SIGNED, PARTS[0] + PARTS[2] + PARTS[3], "SignatureDoesNotMatch"),
    "last alone": (SIGNED, PARTS[3], "SignatureDoesNotMatch"),
    "from another request": (
        SIGNED,
        encode_chunks(PIECES, CHAIN._replace(amz_date="20130524T000001Z")),
        "SignatureDoesNotMatch",
    ),
    "size too small": (SIGNED, GOOD.replace(b"b;", b"a;", 1), "SignatureDoesNotMatch"),
    "size too large": (SIGNED, GOOD.replace(b"b;", b"c;", 1), "SignatureDoesNotMatch"),
    "unsigned size too small": (UNSIGNED, PLAIN.replace(b"b\r", b"a\r", 1), "IncompleteBody"),
    "unsigned size too large": (UNSIGNED, PLAIN.replace(b"b\r", b"c\r", 1), "IncompleteBody"),
    "size negative": (UNSIGNED, b"-1\r\n", "IncompleteBody"),
    "size with a sign": (UNSIGNED, b"+b\r\nfirst piece\r\n", "IncompleteBody"),
    "size with underscore": (UNSIGNED, b"0_b\r\nfirst piece\r\n", "IncompleteBody"),
    "size with prefix": (UNSIGNED, b"0xb\r\nfirst piece\r\n", "IncompleteBody"),
    "size with a space": (UNSIGNED, b" b\r\nfirst piece\r\n", "IncompleteBody"),
    "size empty": (UNSIGNED, b"\r\nfirst piece\r\n", "IncompleteBody"),
    "size enormous": (UNSIGNED, b"f" * 17 + b"\r\n", "IncompleteBody"),
    "size beyond the decoded length": (UNSIGNED, b"ffff\r\n", "IncompleteBody"),
    "line without end": (UNSIGNED, b"0" * 2000, "IncompleteBody"),
    "bare line feed": (UNSIGNED, PLAIN.replace(b"\r\n", b"\n"), "IncompleteBody"),
    "extension": (UNSIGNED, PLAIN.replace(b"b\r", b"b;a=b\r", 1), "IncompleteBody"),
    "signature where none belongs": (UNSIGNED, TRAILED, "IncompleteBody"),
    "no signature": (SIGNED, encode_chunks(PIECES), "IncompleteBody"),
    "signature empty": (
        SIGNED,
        b"0;chunk-signature=\r\n\r\n",
        "SignatureDoesNotMatch",
    ),
    "data behind the end": (SIGNED, GOOD + b"x", "IncompleteBody"),
    "second body behind the end": (UNSIGNED, PLAIN + PLAIN, "IncompleteBody"),
    "trailer missing": (
        UNSIGNED,
        encode_chunks(PIECES),
        "MalformedTrailerError",
    ),
    "signed trailer missing": (
        SIGNED_TRAILER,
        encode_chunks(PIECES, CHAIN, {}),
        "MalformedTrailerError",
    ),
    "trailer signature missing": (
        SIGNED_TRAILER,
        TRAILED[: TRAILED.index(b"x-amz-trailer-signature")] + b"\r\n",
        "SignatureDoesNotMatch",
    ),
    "trailer signature wrong": (
        SIGNED_TRAILER,
        TRAILED[:-68] + b"0" * 64 + b"\r\n\r\n",
        "SignatureDoesNotMatch",
    ),
    "trailer value changed": (
        SIGNED_TRAILER,
        TRAILED.replace(b"sOO8/Q==", b"AAAAAA=="),
        "SignatureDoesNotMatch",
    ),
    "trailer behind its signature": (
        SIGNED_TRAILER,
        TRAILED[:-2] + b"x-amz-checksum-crc32c:AAAAAA==\r\n\r\n",
        "MalformedTrailerError",
    ),
    "trailer not announced": (
        UNSIGNED,
        encode_chunks(PIECES, None, CHECKSUM | {"x-amz-meta-a": "1"}),
        "MalformedTrailerError",
    ),
    "trailer in a mode without": (
        SIGNED,
        GOOD[:-2] + b"x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
        "MalformedTrailerError",
    ),
    "trailer signature in a mode without": (
        UNSIGNED,
        PLAIN[:-2] + b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n",
        "MalformedTrailerError",
    ),
    "trailer repeated": (
        UNSIGNED,
        PLAIN[:-2] + b"x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
        "MalformedTrailerError",
    ),
    "trailer without colon": (
        UNSIGNED,
        encode_chunks(PIECES)[:-2] + b"x-amz-checksum-crc32c\r\n\r\n",
        "MalformedTrailerError",
    ),
    "trailer too long": (
        UNSIGNED,
        encode_chunks(PIECES)[:-2] + b"x-amz-checksum-crc32c:" + b"A" * 5000,
        "IncompleteBody",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_damage_is_refused(case: str) -> None:
    mode, body, code = CASES[case]
    assert refused(mode, body) == code


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [-1, 1])
def test_decoded_length_must_be_exact(mode: PayloadMode, error: int) -> None:
    assert refused(mode, encoded(mode, PIECES), len(PAYLOAD) + error) == "IncompleteBody"


def test_signed_chunk_is_bounded_and_unsigned_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "AWS_CHUNK_BYTES_MAX", 10)
    assert refused(SIGNED, encode_chunks([b"x" * 11], CHAIN), 11) == "EntityTooLarge"
    assert decode(decoder(SIGNED, 10), encode_chunks([b"x" * 10], CHAIN)) == b"x" * 10
    # clients exist that send any object as one unsigned chunk
    assert decode(decoder(UNSIGNED, 11), encoded(UNSIGNED, [b"x" * 11])) == b"x" * 11


def test_trailers_can_not_be_announced_in_a_mode_without() -> None:
    with pytest.raises(S3Error, match="does not allow trailers"):
        decoder(SIGNED, 0, announced="x-amz-checksum-crc32c")


def test_announced_names_are_matched_without_case() -> None:
    reader = decoder(UNSIGNED, 1, announced=" X-Amz-Checksum-CRC32C ,")
    assert decode(reader, encode_chunks([b"x"], None, CHECKSUM)) == b"x"
    assert reader.trailers == CHECKSUM


def test_large_input_is_not_copied_to_no_purpose() -> None:
    data = b"x" * 100_000
    reader = decoder(UNSIGNED, len(data), announced="")
    reader.feed(b"186a0\r\n")
    assert reader.feed(data)[0] is data
    reader.feed(b"\r\n0\r\n\r\n")
    reader.finish()
