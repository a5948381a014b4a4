"""Answers: one tree of plain values, written as XML the way that AWS tools parse it, or as JSON.

A list's items are `member` elements, an `Entries` a map's `entry` elements; None is left out.
"""

from __future__ import annotations

from time import gmtime, strftime
from typing import Any, NamedTuple

import msgspec

from amur.gateway import xml
from amur.gateway.context import Response
from amur.gateway.xml import Markup, tag
from amur.iam.model import NANOSECONDS

NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}
JSON_TYPE = ("content-type", "application/json")
XML_TYPE = ("content-type", "text/xml")
NO_STORE = ("cache-control", "no-store")
"""Answers hold secrets."""


class Entries(dict[str, Any]):
    """A map with keys of its own, not a structure."""


class Answer(NamedTuple):
    """`result` is what stands in `<OPERATION>Result`, None where there is no such element.

    `document` is the JSON flavour's where that is not the same in JSON.
    """

    result: dict[str, Any] | None = None
    document: Any = None


def iso(time_ns: int) -> str:
    """As AWS prints times: 2026-01-31T12:00:00Z."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(time_ns // NANOSECONDS))


def response(
    answer: Answer, operation: str, service: str, request_id: str, *, json: bool
) -> Response:
    if json:
        return json_response(_json(answer, operation, request_id))
    metadata = tag("ResponseMetadata", tag("RequestId", request_id))
    children = [metadata]
    if answer.result is not None:
        children.insert(0, _element(f"{operation}Result", answer.result))
    document = xml.document(f"{operation}Response", *children, namespace=NAMESPACES[service])
    return Response(200, [XML_TYPE, NO_STORE], document)


def json_response(document: Any, status: int = 200) -> Response:
    return Response(status, [JSON_TYPE, NO_STORE], msgspec.json.encode(document))


def _json(answer: Answer, operation: str, request_id: str) -> Any:
    if answer.document is not None:
        return answer.document
    metadata = {"ResponseMetadata": {"RequestId": request_id}}
    if answer.result is None:
        return metadata
    return {f"{operation}Result": _without_none(answer.result)} | metadata


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value]
    return value


def _element(name: str, value: Any) -> Markup:
    if isinstance(value, Entries):
        entries = (
            tag("entry", tag("key", key), _element("value", each)) for key, each in value.items()
        )
        return tag(name, *entries)
    if isinstance(value, dict):
        return tag(name, *(_element(n, each) for n, each in value.items() if each is not None))
    if isinstance(value, list):
        return tag(name, *(_element("member", each) for each in value))
    return tag(name, value)
