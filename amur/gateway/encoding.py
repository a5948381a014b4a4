"""Percent-encoding as SigV4 counts it, and the one way a query string is decoded.

Source: Amazon S3 documentation, "Create a canonical request": every byte except `A-Za-z0-9-._~`
is encoded, with upper-case hex; a path keeps its slashes and is encoded once, never normalised.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from amur.gateway.errors import S3Error

QueryPairs = list[tuple[str, str]]

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_UNRESERVED_AND_SLASH = _UNRESERVED + b"/"
_HEX = b"0123456789ABCDEFabcdef"
_BYTE_OF_HEX = {bytes((a, b)): bytes((int(chr(a) + chr(b), 16),)) for a in _HEX for b in _HEX}


def encode_path(path: str) -> str:
    """The canonical URI of a decoded path."""
    raw = path.encode()
    if raw.translate(None, _UNRESERVED_AND_SLASH):
        return quote_from_bytes(raw, safe="/")
    return path


def encode(text: str) -> str:
    """A name or value of the canonical query string; `/` is encoded too."""
    raw = text.encode()
    if raw.translate(None, _UNRESERVED):
        return quote_from_bytes(raw, safe="")
    return text


def decode(text: str) -> str:
    """A name or value of a raw query string; `+` is a space, as S3 and HTML forms read it.

    Raises InvalidURI of a `%` without two hex digits and of what is not UTF-8.
    """
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    first, *others = text.encode().split(b"%")
    pieces = [first]
    try:
        for piece in others:
            pieces += (_BYTE_OF_HEX[piece[:2]], piece[2:])
        return b"".join(pieces).decode()
    except (KeyError, UnicodeDecodeError):
        raise S3Error("InvalidURI", "The query string is not percent-encoded UTF-8.") from None


def parse_query(raw_query: str) -> QueryPairs:
    """Decoded names and values in their order; a bare name has an empty value."""
    pairs: QueryPairs = []
    for piece in raw_query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            pairs.append((decode(name), decode(value)))
    return pairs


def canonical_query(pairs: QueryPairs) -> str:
    """Encoded and sorted by name, then value."""
    if len(pairs) == 1:
        return f"{encode(pairs[0][0])}={encode(pairs[0][1])}"
    encoded = [(encode(name), encode(value)) for name, value in pairs]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])
