"""Signing, the other side of `sigv4`: for our own clients, presigned links and tests. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import digest as hmac_digest

from amur.gateway.encoding import QueryPairs, canonical_query, encode_path, parse_query
from amur.gateway.sigv4 import (
    ALGORITHM,
    UNSIGNED_PAYLOAD,
    ChunkChain,
    amz_date_of,
    canonical_request,
    signing_key,
    string_to_sign,
)


def sign_request(
    method: str,
    path: str,
    raw_query: str,
    headers: Mapping[str, str],
    *,
    key_id: str,
    secret: str,
    now_s: int,
    region: str = "auto",
    service: str = "s3",
    payload: str = UNSIGNED_PAYLOAD,
) -> dict[str, str]:
    """The headers to send: those given (host among them), all signed, and what SigV4 adds.

    `path` is decoded; `payload` is the body's hex SHA-256 or a PayloadMode's value.
    """
    amz_date = amz_date_of(now_s)
    sent = {name.lower(): value for name, value in headers.items()}
    sent |= {"x-amz-date": amz_date, "x-amz-content-sha256": payload}
    scope = f"{amz_date[:8]}/{region}/{service}/aws4_request"
    signed = ";".join(sorted(sent))
    query = parse_query(raw_query)
    canonical = canonical_request(method, path, canonical_query(query), sent, signed, payload)
    signature = _signature(signing_key(secret, scope), string_to_sign(amz_date, scope, canonical))
    sent["authorization"] = (
        f"{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    return sent


def presign_url(
    method: str,
    base_url: str,
    path: str,
    query: QueryPairs | None = None,
    *,
    key_id: str,
    secret: str,
    now_s: int,
    expires_s: int,
    region: str = "auto",
    payload: str = UNSIGNED_PAYLOAD,
    signed_headers: Mapping[str, str] | None = None,
) -> str:
    """A link that carries its own signature.

    `base_url` is scheme and host without a path; `signed_headers` must be sent along exactly so.
    With another `payload` (as of `sign_request`) the link takes no other body.
    """
    amz_date = amz_date_of(now_s)
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    headers = {name.lower(): value for name, value in (signed_headers or {}).items()}
    headers["host"] = base_url.partition("://")[2]
    signed = ";".join(sorted(headers))
    pairs = [
        *(query or []),
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{key_id}/{scope}"),
        ("X-Amz-Date", amz_date),
        ("X-Amz-Expires", str(expires_s)),
        ("X-Amz-SignedHeaders", signed),
    ]
    if payload != UNSIGNED_PAYLOAD:
        pairs.append(("X-Amz-Content-Sha256", payload))
    canonical = canonical_request(method, path, canonical_query(pairs), headers, signed, payload)
    to_sign = string_to_sign(amz_date, scope, canonical)
    signature = _signature(signing_key(secret, scope), to_sign)
    sent = f"{canonical_query(pairs)}&X-Amz-Signature={signature}"
    return f"{base_url}{encode_path(path)}?{sent}"


def encode_chunks(
    pieces: Iterable[bytes],
    chain: ChunkChain | None = None,
    trailers: Mapping[str, str] | None = None,
) -> bytes:
    """An aws-chunked body of the pieces (none empty); signed when there is a chain."""
    previous = chain.seed if chain else ""
    body = bytearray()
    for piece in (*pieces, b""):
        line = f"{len(piece):x}"
        if chain:
            previous = _signature(
                chain.key, chain.chunk_to_sign(previous, sha256(piece).hexdigest())
            )
            line += f";chunk-signature={previous}"
        body += line.encode() + b"\r\n"
        if piece:
            body += piece + b"\r\n"
    for name, value in (trailers or {}).items():
        body += f"{name}:{value}\r\n".encode()
    if chain and trailers is not None:
        lines = "".join([f"{name}:{value}\n" for name, value in trailers.items()])
        signature = _signature(chain.key, chain.trailer_to_sign(previous, lines))
        body += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return bytes(body + b"\r\n")


def _signature(key: bytes, to_sign: str) -> str:
    return hmac_digest(key, to_sign.encode(), "sha256").hex()
