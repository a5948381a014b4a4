"""Pieces that several handlers' answers share."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from amur.gateway import xml
from amur.gateway.context import Response
from amur.gateway.errors import S3Error
from amur.gateway.xml import Markup, tag

XML_TYPE = ("content-type", "application/xml")


def xml_response(root: str, *children: str) -> Response:
    """200 with a document in S3's namespace; `children` are Markup."""
    return Response(200, [XML_TYPE], xml.document(root, *children))


@lru_cache(maxsize=1024)
def owner_tag(owner: str, name: str = "Owner") -> Markup:
    """An account; its display name is its id."""
    return tag(name, tag("ID", owner), tag("DisplayName", owner))


def page_size(params: dict[str, str], name: str, maximum: int) -> int:
    """How many entries the client asks for, cut to `maximum`."""
    text = params.get(name, "")
    if not text:
        return maximum
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise S3Error(
            "InvalidArgument",
            f"Provided {name} not an integer or within integer range",
            ArgumentName=name,
            ArgumentValue=text,
        )
    return min(int(text), maximum)


def error_document(
    error: S3Error, resource: str, request_id: str, host_id: str, *, as_json: bool = False
) -> tuple[str, bytes]:
    """Content type and document. `resource` is the path asked for."""
    if as_json:
        told = {"Code": error.code, "Message": error.message, **error.detail}
        told |= {"Resource": resource, "RequestId": request_id, "HostId": host_id}
        return "application/json", msgspec.json.encode(told)
    return "application/xml", xml.document(
        "Error",
        xml.tag("Code", error.code),
        xml.tag("Message", error.message),
        *(xml.tag(name, *_detail(value)) for name, value in error.detail.items()),
        xml.tag("Resource", resource),
        xml.tag("RequestId", request_id),
        xml.tag("HostId", host_id),
        namespace="",
    )


def _detail(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else [xml.tag("Key", key) for key in value]
