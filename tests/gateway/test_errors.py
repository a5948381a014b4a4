"""The tables of errors, and the documents made from them."""

from __future__ import annotations

import inspect
import json
from xml.etree import ElementTree

import pytest

from amur.gateway.errors import MESSAGES, OF_STORE, S3Error, explained
from amur.gateway.responses import error_document
from amur.objects import errors as store


def store_errors() -> set[type]:
    return {
        kind
        for _, kind in inspect.getmembers(store, inspect.isclass)
        if issubclass(kind, store.StoreError) and kind is not store.StoreError
    }


def test_every_store_error_has_a_code() -> None:
    assert set(OF_STORE) == store_errors()


def test_every_code_has_a_status_and_a_message() -> None:
    assert set(OF_STORE.values()) <= set(MESSAGES)
    for code, (status, message) in MESSAGES.items():
        assert status == 304 or 400 <= status < 600, code
        assert message.endswith(".") or code == "BundleKeyNotFound", code  # Tigris' words


def test_unknown_code_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        S3Error("NoSuchThing")


def test_unlisted_store_error_is_internal() -> None:
    class Odd(store.StoreError):
        pass

    assert explained(Odd("secret")).status == 500


def test_headers_of_special_errors() -> None:
    assert explained(store.KeyIsDeleted("17")).headers == [
        ("x-amz-delete-marker", "true"),
        ("x-amz-version-id", "17"),
    ]
    marker = explained(store.VersionIsMarker("17", 1_700_000_000))
    assert marker.status == 405
    assert ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT") in marker.headers
    assert ("allow", "DELETE") in marker.headers
    unchanged = explained(store.NotModified("abc", 1_700_000_000, "9"))
    assert unchanged.status == 304
    assert ("etag", '"abc"') in unchanged.headers
    assert ("x-amz-version-id", "9") in unchanged.headers
    outside = explained(store.InvalidRange(5))
    assert outside.status == 416
    assert ("content-range", "bytes */5") in outside.headers
    assert outside.detail == {"ActualObjectSize": "5"}


@pytest.mark.parametrize("nasty", ["<x>", "a&b", '"', "\x00\x1f\r\n", "]]>", "\uffff"])
def test_documents_hold_what_the_client_sent(nasty: str) -> None:
    error = S3Error("NoSuchKey", Key=nasty)
    kind, data = error_document(error, "/b/" + nasty, "1234", "host", as_json=False)
    assert kind == "application/xml"
    assert b"<Code>NoSuchKey</Code>" in data
    assert data.count(b"<Error>") == 1
    if nasty.isprintable():
        root = ElementTree.fromstring(data)
        assert root.findtext("Key") == nasty
        assert root.findtext("Resource") == "/b/" + nasty
        assert root.findtext("RequestId") == "1234"
        assert root.findtext("HostId") == "host"


def test_json_document() -> None:
    error = S3Error("NoSuchBucket", BucketName="b")
    kind, data = error_document(error, "/b", "1234", "host", as_json=True)
    assert kind == "application/json"
    told = json.loads(data)
    assert (told["Code"], told["RequestId"], told["BucketName"]) == ("NoSuchBucket", "1234", "b")
    assert told["Message"] == "The specified bucket does not exist."
