"""What a bundle request asks for: its headers, and its keys in JSON or XML. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from amur import limits
from amur.gateway import xml
from amur.gateway.errors import S3Error

FORMATS = ("tar", "zip")  # zip is ours
COMPRESSIONS = ("none", "gzip", "zstd")
ON_ERROR = ("skip", "fail")

_STRINGS_MAX = 2 * limits.BUNDLE_KEYS_MAX


class Options(NamedTuple):
    """One of FORMATS, of COMPRESSIONS, of ON_ERROR."""

    format: str
    compression: str
    on_error: str


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[str]


_decode = msgspec.json.Decoder(_Document).decode


def parse_options(headers: Mapping[str, str]) -> Options:
    """The X-Tigris-Bundle-* headers; the first of its values where there is none.

    Tigris calls the format required, but every stream of theirs is a tar: so is ours by default.
    """
    return Options(
        _choice(headers, "X-Tigris-Bundle-Format", FORMATS),
        _choice(headers, "X-Tigris-Bundle-Compression", COMPRESSIONS),
        _choice(headers, "X-Tigris-Bundle-On-Error", ON_ERROR),
    )


def _choice(headers: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = headers.get(name.lower(), choices[0]).strip().lower()
    if value not in choices:
        raise S3Error(
            "InvalidArgument",
            f"{name} must be one of: {', '.join(choices)}.",
            ArgumentName=name,
            ArgumentValue=value,
        )
    return value


def parse_keys(data: bytes) -> list[str]:
    """The keys, one or more, as they stand in the document.

    The first byte tells JSON from XML: curl sends both as a form. Raises S3Error InvalidRequest,
    MalformedXML, InvalidArgument.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        keys = _of_xml(text)
    elif text.startswith(b"{"):
        keys = _of_json(text)
    else:
        raise S3Error(
            "InvalidRequest",
            'The body must be JSON, {"keys": ["..."]}, or an XML document of type Bundle.',
        )
    if len(keys) > limits.BUNDLE_KEYS_MAX:
        raise _too_many()
    if not all(keys):
        raise S3Error("InvalidArgument", "A key of a bundle must not be empty.")
    if not keys:
        raise S3Error("InvalidArgument", "A bundle needs at least one key.")
    return keys


def _too_many() -> S3Error:
    most = limits.BUNDLE_KEYS_MAX
    return S3Error(
        "InvalidArgument", f"A bundle has at most {most} keys.", MaxKeysAllowed=str(most)
    )


def _of_json(text: bytes) -> list[str]:
    # A million empty strings would be a hundred megabytes once decoded. An escaped quote that is
    # none (`\\"` ends a string) makes this count too low, never too high by more than one a string.
    if text.count(b'"') - text.count(b'\\"') > 2 * _STRINGS_MAX:
        raise _too_many()
    try:
        return _decode(text).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise S3Error("InvalidRequest", f"The JSON of the bundle is not valid: {error}.") from None


def _of_xml(text: bytes) -> list[str]:
    root = xml.parse(text, "Bundle", limit=limits.BUNDLE_REQUEST_BYTES_MAX)
    return [_key(node) for node in root.children]


def _key(node: xml.Node) -> str:
    if node.name != "Object" or [child.name for child in node.children] != ["Key"]:
        raise S3Error("MalformedXML", "A Bundle holds Objects, each with one Key and nothing else.")
    return node.children[0].text
