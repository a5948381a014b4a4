"""Cross-origin rules: the configuration, and what a browser is told. The rules are sans-IO."""

from __future__ import annotations

from collections.abc import Sequence

from amur import limits
from amur.gateway import xml
from amur.gateway.context import Context, Response
from amur.gateway.errors import S3Error
from amur.gateway.responses import xml_response
from amur.gateway.xml import Node, tag
from amur.objects.types import BucketRecord, CorsRule

_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
VARY = ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")


def _matches(pattern: str, text: str) -> bool:
    """`pattern` holds at most one star, which stands for anything."""
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    fits = len(text) >= len(before) + len(after)
    return fits and text.startswith(before) and text.endswith(after)


def matching_rule(
    rules: Sequence[CorsRule], origin: str, method: str, asked: Sequence[str] = ()
) -> CorsRule | None:
    """The first rule that lets `origin` use `method` with the request headers `asked`."""
    for rule in rules:
        if (
            method in rule.methods
            and any(_matches(pattern, origin) for pattern in rule.origins)
            and all(
                any(_matches(pattern.lower(), name) for pattern in rule.headers) for name in asked
            )
        ):
            return rule
    return None


def response_headers(rule: CorsRule, origin: str) -> list[tuple[str, str]]:
    """What an answer says when `rule` applies."""
    anybody = "*" in rule.origins
    headers = [
        ("access-control-allow-origin", "*" if anybody else origin),
        ("access-control-allow-methods", ", ".join(rule.methods)),
        VARY,
    ]
    if not anybody:
        headers.append(("access-control-allow-credentials", "true"))
    if rule.expose:
        headers.append(("access-control-expose-headers", ", ".join(rule.expose)))
    return headers


def preflight(rules: Sequence[CorsRule], headers: dict[str, str]) -> Response:
    """The answer to OPTIONS. Raises S3Error when no rule permits what the browser asks."""
    origin = headers.get("origin", "")
    method = headers.get("access-control-request-method", "")
    if not origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    if not method:
        raise S3Error("BadRequest", "Invalid Access-Control-Request-Method: null")
    names = headers.get("access-control-request-headers", "").split(",")
    asked = [name.strip().lower() for name in names if name.strip()]
    if not rules:
        raise S3Error("AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")
    rule = matching_rule(rules, origin, method, asked)
    if rule is None:
        raise S3Error(
            "AccessForbidden",
            "CORSResponse: This CORS request is not allowed. This is usually because the "
            "evaluation of Origin, request method / Access-Control-Request-Method or "
            "Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        )
    told = response_headers(rule, origin)
    if asked:
        told.append(("access-control-allow-headers", ", ".join(asked)))
    if rule.max_age is not None:
        told.append(("access-control-max-age", str(rule.max_age)))
    return Response(200, told)


# --- the configuration ---


async def get_cors(ctx: Context) -> Response:
    bucket = await ctx.store.bucket(ctx.request.bucket)
    if not bucket.cors:
        raise S3Error("NoSuchCORSConfiguration", BucketName=bucket.name)
    return xml_response("CORSConfiguration", *map(_rule_tag, bucket.cors))


def _rule_tag(rule: CorsRule) -> str:
    parts = [tag("ID", rule.id)] if rule.id else []
    parts += [tag("AllowedMethod", method) for method in rule.methods]
    parts += [tag("AllowedOrigin", origin) for origin in rule.origins]
    parts += [tag("AllowedHeader", header) for header in rule.headers]
    if rule.max_age is not None:
        parts.append(tag("MaxAgeSeconds", rule.max_age))
    parts += [tag("ExposeHeader", header) for header in rule.expose]
    return tag("CORSRule", *parts)


async def put_cors(ctx: Context) -> Response:
    root = xml.parse(await ctx.body.read(limits.XML_BYTES_MAX), "CORSConfiguration")
    rules = [_read_rule(node) for node in root.all("CORSRule")]
    if not rules or len(rules) > limits.CORS_RULES_MAX:
        raise S3Error("MalformedXML")
    await _set_rules(ctx, rules)
    return Response(200)


async def delete_cors(ctx: Context) -> Response:
    await _set_rules(ctx, [])
    return Response(204)


async def _set_rules(ctx: Context, rules: list[CorsRule]) -> None:
    def change(bucket: BucketRecord) -> None:
        bucket.cors = rules

    await ctx.store.update_bucket(ctx.request.bucket, change)


def _read_rule(node: Node) -> CorsRule:
    origins, methods, headers, expose = (
        [child.text.strip() for child in node.all(name)]
        for name in ("AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")
    )
    if not origins or not methods:
        raise S3Error("MalformedXML")
    for method in methods:
        if method not in _METHODS:
            raise S3Error(
                "InvalidRequest",
                "Found unsupported HTTP method in CORS config. Unsupported method is " + method,
            )
    for pattern in (*origins, *headers):
        if pattern.count("*") > 1:
            raise S3Error("InvalidRequest", f"{pattern} can not have more than one wildcard.")
    for text in (*origins, *expose):
        # these are written into response headers
        if not text.isascii() or not text.isprintable():
            raise S3Error("InvalidRequest", "A CORS rule holds a character no header can.")
    age = node.value("MaxAgeSeconds")
    if age and not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise S3Error("MalformedXML")
    return CorsRule(
        id=node.value("ID")[:255],
        origins=origins,
        methods=methods,
        headers=headers,
        expose=expose,
        max_age=int(age) if age else None,
    )
