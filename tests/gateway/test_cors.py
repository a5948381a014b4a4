"""Cross-origin rules: matching, preflight, headers on answers, the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from amur.gateway.handlers.cors import matching_rule
from amur.meta.records import CorsRule

Client = Any

RULES = b"""<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<CORSRule><ID>one</ID><AllowedOrigin>https://*.example.com</AllowedOrigin>
<AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>
<AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>
<MaxAgeSeconds>300</MaxAgeSeconds></CORSRule>
<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>
</CORSConfiguration>"""


@pytest.mark.parametrize(
    ("pattern", "origin", "fits"),
    [
        ("*", "https://any", True),
        ("https://a.com", "https://a.com", True),
        ("https://a.com", "https://a.com.evil", False),
        ("https://*.a.com", "https://b.a.com", True),
        ("https://*.a.com", "https://a.com", False),
        ("https://*a.com", "https://a.com", True),
        ("ab*ba", "aba", False),  # the halves must not overlap
        ("https://a.com", "HTTPS://A.COM", False),
        ("https://a.?om", "https://a.com", False),
        ("[a]*", "a1", False),
    ],
)
def test_origins(pattern: str, origin: str, fits: bool) -> None:
    rule = CorsRule(origins=[pattern], methods=["GET"])
    assert (matching_rule([rule], origin, "GET") is rule) is fits


def test_rules_are_tried_in_order() -> None:
    first = CorsRule(origins=["https://a"], methods=["PUT"])
    second = CorsRule(origins=["*"], methods=["GET", "PUT"], headers=["Content-Type"])
    assert matching_rule([first, second], "https://a", "PUT") is first
    assert matching_rule([first, second], "https://a", "GET") is second
    assert matching_rule([first, second], "https://a", "PUT", ["content-type"]) is second
    assert matching_rule([first, second], "https://a", "PUT", ["x-other"]) is None
    assert matching_rule([first, second], "https://a", "DELETE") is None


async def test_configuration_goes_in_and_out(client: Client) -> None:
    await client("PUT", "/bkt")
    assert (await client("GET", "/bkt?cors")).code == "NoSuchCORSConfiguration"
    assert (await client("PUT", "/bkt?cors", RULES)).status == 200
    answer = await client("GET", "/bkt?cors")
    assert answer.texts("CORSRule/AllowedOrigin") == ["https://*.example.com", "*"]
    assert answer.texts("CORSRule/MaxAgeSeconds") == ["300"]
    assert (await client("PUT", "/bkt?cors", answer.body)).status == 200
    assert (await client("GET", "/bkt?cors")).body == answer.body
    assert (await client("DELETE", "/bkt?cors")).status == 204
    assert (await client("GET", "/bkt?cors")).status == 404


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"<AllowedMethod>PUT", b"<AllowedMethod>PATCH", "InvalidRequest"),
        (b"<AllowedMethod>PUT", b"<AllowedMethod>put", "InvalidRequest"),
        (b"https://*.example", b"*://*.example", "InvalidRequest"),
        (b"<ExposeHeader>ETag", b"<ExposeHeader>ETag&#13;&#10;Set-Cookie: a", "InvalidRequest"),
        (b"<ExposeHeader>ETag", b"<ExposeHeader>ETag&#10;X: a", "InvalidRequest"),
        (b"<ExposeHeader>ETag", b"<ExposeHeader>\xc3\xa9", "InvalidRequest"),
        (b"300", b"soon", "MalformedXML"),
        (b"CORSRule", b"Rule", "MalformedXML"),
        (b"<AllowedOrigin>*</AllowedOrigin>", b"", "MalformedXML"),
    ],
)
async def test_rules_that_are_refused(client: Client, old: bytes, new: bytes, code: str) -> None:
    await client("PUT", "/bkt")
    assert (await client("PUT", "/bkt?cors", RULES.replace(old, new))).code == code
    assert (await client("GET", "/bkt?cors")).status == 404


async def test_preflight(client: Client) -> None:
    browser = client.as_("nobody")
    asked = {
        "origin": "https://www.example.com",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "X-Amz-Meta-A, x-amz-date",
    }
    assert (await browser("OPTIONS", "/bkt/key", headers=asked)).code == "NoSuchBucket"
    await client("PUT", "/bkt")
    refused = await browser("OPTIONS", "/bkt/key", headers=asked)
    assert (refused.status, refused.code) == (403, "AccessForbidden")
    await client("PUT", "/bkt?cors", RULES)
    answer = await browser("OPTIONS", "/bkt/key", headers=asked)
    assert answer.status == 200
    told = answer.headers
    assert told["access-control-allow-origin"] == "https://www.example.com"
    assert told["access-control-allow-methods"] == "GET, PUT"
    assert told["access-control-allow-headers"] == "x-amz-meta-a, x-amz-date"
    assert told["access-control-max-age"] == "300"
    assert told["access-control-expose-headers"] == "ETag"
    assert told["access-control-allow-credentials"] == "true"
    assert "Origin" in told["vary"]
    for name, value in (
        ("origin", "https://evil.com"),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "authorization"),
    ):
        assert (await browser("OPTIONS", "/bkt/key", headers=asked | {name: value})).status == 403
    assert (await browser("OPTIONS", "/bkt/key")).status == 400
    assert (await browser("OPTIONS", "/")).status == 405


async def test_answers_carry_the_rules(client: Client) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt?cors", RULES)
    await client("PUT", "/bkt/key", b"x")
    mine = await client("GET", "/bkt/key", headers={"origin": "https://www.example.com"})
    assert mine.headers["access-control-allow-origin"] == "https://www.example.com"
    any_ = await client("GET", "/bkt/key", headers={"origin": "https://other.com"})
    assert any_.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in any_.headers
    deleted = await client("DELETE", "/bkt/key", headers={"origin": "https://other.com"})
    assert "access-control-allow-origin" not in deleted.headers
    # errors too, or the page could not read them
    missing = await client("GET", "/bkt/none", headers={"origin": "https://other.com"})
    assert missing.status == 404
    assert missing.headers["access-control-allow-origin"] == "*"


async def test_a_request_may_name_another_method_than_its_own(client: Client) -> None:
    await client("PUT", "/bkt")
    await client("PUT", "/bkt?cors", RULES)
    sent = {"origin": "https://other.com", "access-control-request-method": "GET"}
    answer = await client.as_("nobody")("PUT", "/bkt/key", headers=sent)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (403, "*")
    sent["access-control-request-method"] = "PUT"
    answer = await client.as_("nobody")("PUT", "/bkt/key", headers=sent)
    assert "access-control-allow-origin" not in answer.headers
