from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from amur.client import Bundle, BundleBroken, BundleError, Skipped, bundle_objects
from amur.client.bundle import ERRORS_NAME

OBJECTS = {f"a/{at:03}": bytes([at % 256]) * at * 7 for at in range(200)} | {"ü & ü": b"x"}


@pytest.fixture(autouse=True)
def objects(stub: Any) -> None:
    stub.objects = dict(OBJECTS)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_members_come_in_order_with_counts(s3: Any, stub: Any, compression: Any) -> None:
    keys = list(OBJECTS)[::-1]
    with bundle_objects(s3, "photos", keys, compression=compression) as bundle:
        assert list(bundle) == [(key, OBJECTS[key]) for key in keys]
    assert bundle.object_count == 201
    assert bundle.bundle_bytes == sum(map(len, OBJECTS.values()))
    assert bundle.skipped_count == 0
    assert bundle.skipped == []
    assert bundle.content_type.startswith("application/")
    assert stub.headers[0]["x-tigris-bundle-compression"] == compression


def test_the_request_is_signed_with_the_clients_keys(s3: Any, stub: Any) -> None:
    with bundle_objects(s3, "photos", ["ü & ü"], on_error="fail") as bundle:
        assert list(bundle) == [("ü & ü", b"x")]
    sent = stub.headers[0]
    assert "Credential=tid_test/" in sent["authorization"]
    assert "/auto/s3/aws4_request" in sent["authorization"]
    assert "x-tigris-bundle-on-error" in sent["authorization"]
    body = '{"keys": ["ü & ü"]}'.encode()
    assert sent["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("has_counts", [True, False])
def test_skipped_keys_are_known_after_reading(s3: Any, stub: Any, has_counts: bool) -> None:
    stub.has_counts = has_counts
    with bundle_objects(s3, "photos", ["no", "a/001", "neither"]) as bundle:
        assert bundle.skipped == []
        assert list(bundle) == [("a/001", OBJECTS["a/001"])]
        assert bundle.skipped == [Skipped("no", "NoSuchKey"), Skipped("neither", "NoSuchKey")]
    assert bundle.skipped_count == (2 if has_counts else None)


@pytest.mark.parametrize("keys", [[ERRORS_NAME, "a/001"], ["a/001", ERRORS_NAME], [ERRORS_NAME]])
@pytest.mark.parametrize("extra", [[], ["no"]])
def test_an_object_named_as_the_manifest_is_not_it(
    s3: Any, stub: Any, keys: list[str], extra: list[str]
) -> None:
    stub.objects[ERRORS_NAME] = b"mine"
    with bundle_objects(s3, "photos", keys + extra) as bundle:
        assert list(bundle) == [(key, stub.objects[key]) for key in keys]
    assert [each.key for each in bundle.skipped] == extra


def test_it_is_a_file_for_tarfile(s3: Any) -> None:
    with (
        bundle_objects(s3, "photos", list(OBJECTS), compression="gzip") as bundle,
        tarfile.open(fileobj=bundle, mode="r|*") as tar,  # type: ignore[call-overload]
    ):
        assert [member.name for member in tar] == list(OBJECTS)


def test_reading_all_or_by_pieces_gives_the_archive_as_sent(s3: Any) -> None:
    with bundle_objects(s3, "photos", list(OBJECTS)) as bundle:
        pieces = list(iter(lambda: bundle.read(777), b""))
        assert bundle.read(1) == b""
    with bundle_objects(s3, "photos", list(OBJECTS)) as bundle:
        whole = bundle.read()
        assert bundle.read() == b""
    assert b"".join(pieces) == whole
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == list(OBJECTS)


@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("cut", [0.0, 0.001, 0.5, 0.8, 0.999])
def test_a_cut_connection_is_never_a_short_bundle(
    s3: Any, stub: Any, cut: float, compression: Any, has_length: bool
) -> None:
    stub.plan, stub.has_length = [cut], has_length
    with (
        pytest.raises(BundleBroken),
        bundle_objects(s3, "photos", list(OBJECTS), compression=compression) as bundle,
    ):
        list(bundle)
    stub.plan = [cut]
    with pytest.raises(BundleBroken), bundle_objects(s3, "photos", list(OBJECTS)) as bundle:
        bundle.read()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw[512:], "200 of 201 objects"),
        (lambda raw: raw.rstrip(b"\0")[: -512 * 3], "missing|no end"),
        (lambda raw: b"x" + raw[1:], "damaged"),
        (lambda raw: b"", "no end"),
        (lambda raw: raw[: 512 * 9] + bytes(1024), "of 201 objects"),
    ],
    ids=["first member gone", "tail gone", "flipped", "empty", "ends early"],
)
def test_an_archive_that_is_not_what_was_announced_is_broken(
    s3: Any, stub: Any, change: Any, told: str
) -> None:
    stub.plan = [change]
    with (
        pytest.raises(BundleBroken, match=told),
        bundle_objects(s3, "photos", list(OBJECTS)) as bundle,
    ):
        list(bundle)


@pytest.mark.parametrize(
    "manifest", ["{", "[]", "null", '{"skipped": [1]}', '{"skipped": ' + "[" * 100_000]
)
def test_a_damaged_manifest_is_broken(s3: Any, stub: Any, manifest: str) -> None:
    stub.objects[ERRORS_NAME] = manifest.encode()
    stub.has_counts = False
    with (
        pytest.raises(BundleBroken, match=ERRORS_NAME),
        bundle_objects(s3, "photos", ["a/000", ERRORS_NAME]) as bundle,
    ):
        list(bundle)


def test_a_count_that_is_none_is_not_told() -> None:
    for value in ("", "-1", "x", "9" * 5_000):
        assert Bundle({"x-tigris-bundle-count": value}, None).object_count is None


def test_a_lost_manifest_is_broken(s3: Any, stub: Any) -> None:
    stub.plan = [lambda raw: raw[:512] + bytes(1024)]
    with (
        pytest.raises(BundleBroken, match="2 keys were skipped"),
        bundle_objects(s3, "photos", ["a/000", "no", "neither"]) as bundle,
    ):
        list(bundle)


def test_fail_tells_what_is_missing(s3: Any) -> None:
    with pytest.raises(BundleError) as caught:
        bundle_objects(s3, "photos", ["a/001", "x & y", "z"], on_error="fail")
    assert caught.value.status == 404
    assert caught.value.code == "BundleKeyNotFound"
    assert caught.value.message == "One or more keys could not be resolved"
    assert caught.value.missing_keys == ["x & y", "z"]
    assert "BundleKeyNotFound" in str(caught.value)


def test_a_refusal_carries_the_error_document(s3: Any, stub: Any) -> None:
    stub.plan = [503]
    with pytest.raises(BundleError) as caught:
        bundle_objects(s3, "photos", ["a/001"])
    error = caught.value
    assert (error.status, error.code, error.request_id) == (503, "SlowDown", "r1")


def test_connections_are_used_again_and_a_left_one_is_not(s3: Any, stub: Any) -> None:
    for _ in range(3):
        with bundle_objects(s3, "photos", list(OBJECTS)) as bundle:
            next(iter(bundle))  # left: most of it is unread
        with bundle_objects(s3, "photos", list(OBJECTS)) as bundle:
            assert len(list(bundle)) == 201


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"keys": []}, ValueError), ({"keys": ["a"] * 5001}, ValueError),
        ({"keys": "a"}, TypeError), ({"keys": [b"a"]}, TypeError), ({"bucket": ""}, ValueError),
        ({"compression": "lzma"}, ValueError), ({"on_error": "x"}, ValueError),
        ({"format": "rar"}, ValueError),
    ],
    ids=str,
)  # fmt: skip
def test_what_no_server_accepts_is_not_sent(s3: Any, stub: Any, change: Any, error: Any) -> None:
    with pytest.raises(error):
        bundle_objects(s3, **({"bucket": "photos", "keys": ["a"]} | change))
    assert stub.asked == []


def test_without_keys_or_server(access: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = boto3.client("s3", **access | {"endpoint_url": "http://127.0.0.1:1"})
    with pytest.raises(EndpointConnectionError):
        bundle_objects(nowhere, "photos", ["a"])
    nowhere.close()
    anonymous = boto3.client("s3", **access | {"config": Config(signature_version=UNSIGNED)})
    monkeypatch.setattr(anonymous._request_signer, "_credentials", None)
    with pytest.raises(NoCredentialsError):
        bundle_objects(anonymous, "photos", ["a"])
    anonymous.close()


def test_importing_the_client_imports_no_torch_and_no_server() -> None:
    script = (
        "import sys, amur.client; print([m for m in sys.modules if m.partition('.')[0] == 'torch' "
        "or m.startswith('amur.') and not m.startswith('amur.client')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
