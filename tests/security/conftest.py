"""The gateway's in-process client, over memory, and a judge of whatever it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from xml.etree import ElementTree

import pytest

from amur.gateway.app import App
from tests.gateway.conftest import KEYS, Answer, FakeExchange, app, client, iam, store
from tests.support.request_fuzz import Sent

__all__ = ["app", "client", "iam", "store"]

_NAME = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_BAD = re.compile("[\x00-\x08\x0a-\x1f\x7f]").search
_REFERENCE = re.compile(b"&#x[0-9A-F]+;")
_TOLD = frozenset({"NotImplemented", "SlowDown", "StorageFull"})  # of 5xx: what is no fault


def check_answer(answer: Answer, method: str) -> None:
    """What must hold of every answer to anything."""
    assert 200 <= answer.status < 600
    names = [name for name, _ in answer.pairs]
    assert names.count("x-amz-request-id") == 1
    for name, value in answer.pairs:
        assert _NAME(name), f"no header name: {name!r}"
        assert not _BAD(value), f"{name}: {value!r} would split the response"
        assert value.isascii(), f"{name}: {value!r} is not ASCII"
    if answer.status >= 400 and method != "HEAD":
        code = _code(answer)
        assert answer.status < 500 or code in _TOLD, f"{answer.status} {answer.body!r}"
    elif answer.headers.get("content-type") == "application/xml" and answer.body:
        _parsed(answer.body)


def _code(answer: Answer) -> str:
    request_id = answer.headers["x-amz-request-id"]
    if answer.headers["content-type"] == "application/json":
        told = json.loads(answer.body)
        assert told["RequestId"] == request_id
        return str(told["Code"])
    root = _parsed(answer.body)
    for node in root.iter():  # IAM's document has a namespace, and is deeper
        node.tag = node.tag.rpartition("}")[2]
    assert root.tag in ("Error", "ErrorResponse")
    assert root.findtext("RequestId") == request_id
    return root.findtext("Code") or root.findtext("Error/Code") or ""


def _parsed(body: bytes) -> ElementTree.Element:
    # references to characters outside XML are Amazon's way too: see amur/gateway/xml.py
    return ElementTree.fromstring(_REFERENCE.sub(b"?", body))


Deliver = Callable[[Sent], Awaitable[Answer]]


@pytest.fixture
def deliver(app: App) -> Deliver:
    """Give a request to the app as it is, and judge the answer."""

    async def send(sent: Sent) -> Answer:
        exchange = FakeExchange(sent.method, "/", sent.headers, sent.body)
        exchange.path, exchange.query = sent.path, sent.query
        await app(exchange)  # type: ignore[arg-type]
        answer = Answer(exchange)
        check_answer(answer, sent.method)
        return answer

    return send


@pytest.fixture
def key_pairs() -> dict[str, tuple[str, str]]:
    return KEYS
