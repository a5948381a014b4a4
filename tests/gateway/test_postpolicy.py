"""POST forms: the documented vectors, botocore as oracle, and what a policy must stop."""

from __future__ import annotations

import base64
import copy
import datetime
import hmac
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from amur.gateway.errors import S3Error
from amur.gateway.postpolicy import FormReader, PostUpload, authorize
from amur.gateway.sigv4 import epoch_of, signing_key
from amur.limits import FORM_FIELD_BYTES_MAX, FORM_FIELDS_MAX
from tests.support.iam import finding

KEY_ID, SECRET = "tid_poster", "tsec_poster"
NOW = 1_790_000_000
BUCKET = "photos"
BOUNDARY = "----boundary1234"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
CREDENTIAL = f"{KEY_ID}/20260921/auto/s3/aws4_request"

Fields = dict[str, str]


def form(
    fields: Fields,
    file: bytes = b"file bytes",
    filename: str = "cat.jpg",
    after: Fields | None = None,
) -> bytes:
    def field(name: str, value: str) -> bytes:
        return (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        ).encode()

    body = b"".join(field(name, value) for name, value in fields.items())
    body += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body += file + b"\r\n"
    body += b"".join(field(name, value) for name, value in (after or {}).items())
    return body + f"--{BOUNDARY}--\r\n".encode()


def policy(*conditions: object, expiration: str = "2026-09-22T00:00:00.000Z") -> dict[str, Any]:
    return {
        "expiration": expiration,
        "conditions": [
            {"bucket": BUCKET},
            ["starts-with", "$key", "user/"],
            {"x-amz-credential": CREDENTIAL},
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            {"x-amz-date": "20260921T000000Z"},
            *conditions,
        ],
    }


def signed(document: object, fields: Fields | None = None) -> Fields:
    """The fields of a form whose policy is signed as it should be."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    encoded = base64.b64encode(text).decode()
    key = signing_key(SECRET, CREDENTIAL.partition("/")[2])
    return {
        "key": "user/cat",
        "X-Amz-Credential": CREDENTIAL,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Date": "20260921T000000Z",
        "Policy": encoded,
        "X-Amz-Signature": hmac.digest(key, encoded.encode(), "sha256").hex(),
    } | (fields or {})


def post(
    body: bytes, *, bucket: str = BUCKET, cuts: list[int] | None = None, now_s: int = NOW
) -> tuple[PostUpload, bytes]:
    reader = FormReader(CONTENT_TYPE)
    edges = sorted({0, len(body), *[at % (len(body) + 1) for at in cuts or []]})
    upload = None
    file = b""
    for start, end in pairwise(edges):
        file += b"".join(reader.feed(body[start:end]))
        if upload is None and reader.fields is not None:
            upload = authorize(reader, bucket, find_secrets=finding({KEY_ID: SECRET}), now_s=now_s)
    reader.finish()
    assert upload is not None
    return upload, file


def refused(body: bytes, **more: Any) -> S3Error:
    with pytest.raises(S3Error) as caught:
        post(body, **more)
    return caught.value


# --- documented vectors ---


def test_example_of_the_tigris_documentation() -> None:
    document = {
        "expiration": "2024-03-30T12:00:00.000Z",
        "conditions": [
            {"bucket": "my-user-images"},
            ["starts-with", "$key", "images1/"],
            {"success_action_redirect": "https://your-website.com/success.html"},
            ["starts-with", "$Content-Type", "image/"],
            {"x-amz-meta-uuid": "465888667"},
            {"x-amz-credential": "tid_example_key_id/20240330/auto/s3/aws4_request"},
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            {"x-amz-date": "20240330T000000Z"},
        ],
    }
    fields = {
        "key": "images1/${filename}",
        "success_action_redirect": "https://your-website.com/success.html",
        "Content-Type": "image/jpeg",
        "x-amz-meta-uuid": "465888667",
        "X-Amz-Credential": "tid_example_key_id/20240330/auto/s3/aws4_request",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Date": "20240330T000000Z",
        "Policy": base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode(),
        "X-Amz-Signature": "5e1fd1320a7d0b001275718a680f7c6d74343b40aecf9af5c16fd6a532144584",
    }
    secret = "tsec_example_H3CYVqDGmFxdXGlruqb16mS22qj59Ag9H3CYVqDGmFxdXGlruqb16mS22qj59"
    reader = FormReader(CONTENT_TYPE)
    list(reader.feed(form(fields, after={"submit": "Upload to Tigris"})))
    upload = authorize(
        reader,
        "my-user-images",
        find_secrets=finding({"tid_example_key_id": secret}),
        now_s=epoch_of("20240330T115959Z"),
    )
    assert upload.key == "images1/cat.jpg"
    assert upload.headers == {"content-type": "image/jpeg", "x-amz-meta-uuid": "465888667"}
    assert upload.success_redirect == "https://your-website.com/success.html"


def test_botocore_makes_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
    request = AWSRequest("POST", f"http://host/{BUCKET}")
    request.context["s3-presign-post-fields"] = {"key": "k", "acl": "private"}
    request.context["s3-presign-post-policy"] = {
        "expiration": "2026-09-22T00:00:00Z",
        "conditions": [{"bucket": BUCKET}, {"key": "k"}, {"acl": "private"}],
    }
    signer = botocore.auth.S3SigV4PostAuth(Credentials(KEY_ID, SECRET), "s3", "us-east-1")
    signer.add_auth(request)
    upload, file = post(form(request.context["s3-presign-post-fields"]))
    assert (upload.key_id, upload.key, file) == (KEY_ID, "k", b"file bytes")
    assert upload.headers == {"x-amz-acl": "private"}


# --- what is allowed ---


@given(st.binary(max_size=500), st.lists(st.integers(0, 5000), max_size=20))
def test_any_cut_reads_the_same(file: bytes, cuts: list[int]) -> None:
    body = form(signed(policy()), file)
    assert post(body, cuts=cuts) == post(body)
    assert post(body)[1] == file


def test_file_that_looks_like_boundaries() -> None:
    file = f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n\r\r\n-".encode()
    body = form(signed(policy()), file)
    assert post(body, cuts=list(range(len(body))))[1] == file


def test_field_names_and_operators_have_no_case() -> None:
    document = policy(["StArTs-WiTh", "$Content-TYPE", "image/"], {"ACL": "private"})
    fields = signed(document, {"CONTENT-type": "image/png", "Acl": "private"})
    upload, _ = post(form(fields))
    assert upload.headers == {"content-type": "image/png", "x-amz-acl": "private"}


def test_ignored_fields_and_a_field_named_bucket() -> None:
    fields = signed(policy(), {"x-ignore-me": "1", "bucket": BUCKET})
    assert post(form(fields))[0].headers == {}


def test_bucket_is_that_of_the_url() -> None:
    fields = signed(policy(), {"bucket": BUCKET})
    error = refused(form(fields), bucket="other")
    assert error.code == "AccessDenied"
    assert '"$bucket"' in error.message
    # and the field can't make another bucket's policy fit
    assert post(form(fields | {"bucket": "other"}))[0].key == "user/cat"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("cat.jpg", "cat.jpg"),
        ("C:\\\\pictures\\\\cat.jpg", "cat.jpg"),
        ("/a/b/cat", "cat"),
        ("", ""),
    ],
)
def test_filename_is_put_in_without_its_path(sent: str, name: str) -> None:
    fields = signed(policy(["starts-with", "$x-amz-meta-name", ""]))
    fields |= {"key": "user/${filename}", "x-amz-meta-name": "was ${filename}"}
    upload, _ = post(form(fields, filename=sent))
    assert (upload.key, upload.headers["x-amz-meta-name"]) == (f"user/{name}", f"was {name}")


def test_the_policy_sees_the_key_that_is_used() -> None:
    document = policy({"key": "user/cat.jpg"})
    assert post(form(signed(document, {"key": "user/${filename}"})))[0].key == "user/cat.jpg"
    error = refused(form(signed(document, {"key": "user/${filename}"}), filename="dog.jpg"))
    assert error.code == "AccessDenied"


@pytest.mark.parametrize("size", [3, 4, 5])
def test_content_length_range_at_both_ends(size: int) -> None:
    body = form(signed(policy(["content-length-range", 3, 5])), b"x" * size)
    assert len(post(body)[1]) == size


@pytest.mark.parametrize(("size", "code"), [(2, "EntityTooSmall"), (6, "EntityTooLarge")])
def test_content_length_range_is_enforced(size: int, code: str) -> None:
    body = form(signed(policy(["content-length-range", 3, 5])), b"x" * size)
    assert refused(body).code == code
    assert refused(body, cuts=list(range(len(body)))).code == code


def test_of_several_ranges_all_hold() -> None:
    document = policy(["content-length-range", 0, 9], ["content-length-range", "2", "99"])
    assert refused(form(signed(document), b"x")).code == "EntityTooSmall"
    assert refused(form(signed(document), b"x" * 10)).code == "EntityTooLarge"


def test_content_type_is_a_list_of_which_each_must_hold() -> None:
    document = policy(["starts-with", "$Content-Type", "image/"])
    assert post(form(signed(document, {"Content-Type": "image/a,image/b"})))
    assert refused(form(signed(document, {"Content-Type": "image/a,text/b"}))).code == (
        "AccessDenied"
    )


def test_no_policy_is_anonymous() -> None:
    upload, file = post(form({"key": "k", "acl": "public-read"}))
    assert (upload.key_id, upload.key, file) == ("", "k", b"file bytes")


@pytest.mark.parametrize(
    ("sent", "status"), [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("2e2", 204)]
)
def test_success_status(sent: str, status: int) -> None:
    document = policy(["starts-with", "$success_action_status", ""])
    upload, _ = post(form(signed(document, {"success_action_status": sent})))
    assert upload.success_status == status


@pytest.mark.parametrize(
    ("sent", "used"),
    [
        ("https://a.example/ok?x=1", True),
        ("http://a.example", True),
        ("javascript:alert(1)", False),
        ("//a.example/", False),
        ("https://a.example/\r\nSet-Cookie: a=b", False),
        ("https://a.example/\u2028", False),
        ("https://[", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("name", ["success_action_redirect", "redirect"])
def test_redirect_is_a_web_address_or_nothing(name: str, sent: str, used: bool) -> None:
    document = policy(["starts-with", f"${name}", ""])
    upload, _ = post(form(signed(document, {name: sent})))
    assert upload.success_redirect == (sent if used else "")


def test_fields_behind_the_file_are_ignored() -> None:
    after = {"acl": "public-read", "key": "user/other"}
    upload, _ = post(form(signed(policy()), after=after))
    assert (upload.key, upload.headers) == ("user/cat", {})


# --- what is not ---

GOOD = signed(policy())


def without(*names: str) -> Fields:
    return {name: value for name, value in GOOD.items() if name not in names}


def flipped(name: str) -> Fields:
    value = GOOD[name]
    return GOOD | {name: value[:-1] + ("0" if value[-1] != "0" else "1")}


def changed(change: Callable[[dict[str, Any]], object]) -> Fields:
    document = copy.deepcopy(policy())
    change(document)
    return signed(document)


FIELD_CASES: dict[str, tuple[Fields, str]] = {
    "no key": (without("key"), "InvalidArgument"),
    "empty key": (GOOD | {"key": ""}, "UserKeyMustBeSpecified"),
    "no policy": (without("Policy"), "InvalidArgument"),
    "no signature": (without("X-Amz-Signature"), "InvalidArgument"),
    "no credential": (without("X-Amz-Credential"), "InvalidArgument"),
    "no date": (without("X-Amz-Date"), "InvalidArgument"),
    "no algorithm": (without("X-Amz-Algorithm"), "InvalidArgument"),
    "wrong algorithm": (GOOD | {"X-Amz-Algorithm": "AWS4-HMAC-SHA1"}, "InvalidArgument"),
    "date of no form": (GOOD | {"X-Amz-Date": "2026-09-21"}, "InvalidArgument"),
    "credential of no form": (GOOD | {"X-Amz-Credential": KEY_ID}, "InvalidArgument"),
    "credential of another day": (
        GOOD | {"X-Amz-Date": "20260922T000000Z"},
        "InvalidArgument",
    ),
    "credential of another service": (
        GOOD | {"X-Amz-Credential": CREDENTIAL.replace("/s3/", "/iam/")},
        "InvalidArgument",
    ),
    "credential of another region": (
        GOOD | {"X-Amz-Credential": CREDENTIAL.replace("/auto/", "/fra/")},
        "SignatureDoesNotMatch",
    ),
    "unknown key id": (
        GOOD | {"X-Amz-Credential": CREDENTIAL.replace(KEY_ID, "tid_nobody")},
        "InvalidAccessKeyId",
    ),
    "signature changed": (flipped("X-Amz-Signature"), "SignatureDoesNotMatch"),
    "signature in upper case": (
        GOOD | {"X-Amz-Signature": GOOD["X-Amz-Signature"].upper()},
        "SignatureDoesNotMatch",
    ),
    "signature cut": (
        GOOD | {"X-Amz-Signature": GOOD["X-Amz-Signature"][:-1]},
        "SignatureDoesNotMatch",
    ),
    "signature not ASCII": (GOOD | {"X-Amz-Signature": "é" * 64}, "SignatureDoesNotMatch"),
    "policy encoded again": (
        GOOD | {"Policy": base64.b64encode(GOOD["Policy"].encode()).decode()},
        "SignatureDoesNotMatch",
    ),
    "policy with other spaces": (
        GOOD | {"Policy": base64.b64encode(json.dumps(policy(), indent=1).encode()).decode()},
        "SignatureDoesNotMatch",
    ),
    "policy of another": (
        GOOD | {"Policy": signed(policy({"acl": "public-read"}))["Policy"]},
        "SignatureDoesNotMatch",
    ),
    "sigv2": (
        {"key": "k", "AWSAccessKeyId": "a", "policy": "b", "signature": "c"},
        "InvalidRequest",
    ),
    "session token not covered": (GOOD | {"X-Amz-Security-Token": "abc"}, "AccessDenied"),
    "key elsewhere": (GOOD | {"key": "admin/cat"}, "AccessDenied"),
    "key by file name elsewhere": (GOOD | {"key": "${filename}"}, "AccessDenied"),
    "acl not covered": (GOOD | {"acl": "public-read"}, "AccessDenied"),
    "metadata not covered": (GOOD | {"x-amz-meta-a": "b"}, "AccessDenied"),
    "content type not covered": (GOOD | {"Content-Type": "text/html"}, "AccessDenied"),
    "redirect not covered": (GOOD | {"redirect": "https://a.example"}, "AccessDenied"),
    "repeated in another case": (GOOD | {"KEY": "user/dog"}, "InvalidArgument"),
    "required field absent": (
        signed(policy(["starts-with", "$x-amz-meta-a", "b"])),
        "AccessDenied",
    ),
    "exact field absent": (signed(policy({"acl": "private"})), "AccessDenied"),
    "value in other case": (
        signed(policy({"acl": "private"}), {"acl": "PRIVATE"}),
        "AccessDenied",
    ),
    "prefix not met": (
        signed(policy(["starts-with", "$acl", "private-"]), {"acl": "private"}),
        "AccessDenied",
    ),
    "expired": (signed(policy(expiration="2026-09-21T14:13:20Z")), "AccessDenied"),
    "expired long ago": (signed(policy(expiration="1999-01-01T00:00:00Z")), "AccessDenied"),
}  # fmt: skip

POLICY_CASES: dict[str, Fields] = {
    "not JSON": signed(b"x"),
    "empty object": signed({}),
    "list": signed([]),
    "number": signed(1),
    "nesting": signed(b"[" * 15000),
    "no expiration": changed(lambda d: d.pop("expiration")),
    "expiration in other case": changed(lambda d: d.update(EXPIRATION=d.pop("expiration"))),
    "no conditions": changed(lambda d: d.pop("conditions")),
    "conditions in other case": changed(lambda d: d.update(CONDITIONS=d.pop("conditions"))),
    "unknown member": changed(lambda d: d.update(extra=1)),
    "expiration is a number": changed(lambda d: d.update(expiration=NOW + 9)),
    "expiration without zone": changed(lambda d: d.update(expiration="2026-09-22T00:00:00")),
    "expiration with offset": changed(lambda d: d.update(expiration="2026-09-22T00:00:00+02:00")),
    "expiration of no calendar": changed(lambda d: d.update(expiration="2026-02-31T00:00:00Z")),
    "conditions is an object": changed(lambda d: d.update(conditions={})),
    "condition is a string": changed(lambda d: d["conditions"].append("acl")),
    "condition is empty": changed(lambda d: d["conditions"].append({})),
    "condition of two": changed(lambda d: d["conditions"].append(["eq", "$acl"])),
    "condition of four": changed(lambda d: d["conditions"].append(["eq", "$acl", "a", "b"])),
    "unknown operator": changed(lambda d: d["conditions"].append(["ends-with", "$acl", "a"])),
    "operator is a number": changed(lambda d: d["conditions"].append([1, 2, 3])),
    "field without dollar": changed(lambda d: d["conditions"].append(["eq", "acl", "a"])),
    "field is a number": changed(lambda d: d["conditions"].append(["eq", 1, "a"])),
    "value is null": changed(lambda d: d["conditions"].append({"acl": None})),
    "value is true": changed(lambda d: d["conditions"].append({"acl": True})),
    "range without maximum": changed(lambda d: d["conditions"].append(["content-length-range", 0])),
    "range negative": changed(lambda d: d["conditions"].append(["content-length-range", -1, 9])),
    "range of words": changed(lambda d: d["conditions"].append(["content-length-range", "a", 9])),
    "range of fractions": changed(
        lambda d: d["conditions"].append(["content-length-range", 0.5, 9])
    ),
}


def test_the_good_form_that_the_cases_were_made_from() -> None:
    assert post(form(GOOD))[0] == PostUpload(KEY_ID, "user/cat", {}, "", 204, "")


@pytest.mark.parametrize("case", FIELD_CASES)
def test_fields_are_refused(case: str) -> None:
    fields, code = FIELD_CASES[case]
    assert refused(form(fields)).code == code


@pytest.mark.parametrize("case", POLICY_CASES)
def test_policy_documents_are_refused(case: str) -> None:
    assert refused(form(POLICY_CASES[case])).code == "InvalidPolicyDocument"


def test_expired_by_the_second() -> None:
    body = form(signed(policy(expiration="2026-09-21T14:13:20.500Z")))
    assert post(body, now_s=NOW)
    assert refused(body, now_s=NOW + 1).message.endswith("Policy expired.")


# --- the form itself ---

FORM_CASES: dict[str, tuple[bytes, str]] = {
    "no file": (
        form(GOOD).replace(b'name="file"', b'name="other"'),
        "IncorrectNumberOfFilesInPostRequest",
    ),
    "no fields": (f"--{BOUNDARY}--\r\n".encode(), "IncorrectNumberOfFilesInPostRequest"),
    "empty": (b"", "IncorrectNumberOfFilesInPostRequest"),
    "not a form": (b"x" * 1000, "MalformedPOSTRequest"),
    "preamble": (b"preamble\r\n" * 20 + form(GOOD), "MalformedPOSTRequest"),
    "bare line feeds": (form(GOOD).replace(b"\r\n", b"\n"), "MalformedPOSTRequest"),
    "no disposition": (
        form(GOOD).replace(b"Content-Disposition", b"Content-Deposition"),
        "MalformedPOSTRequest",
    ),
    "no name": (form(GOOD).replace(b'; name="key"', b""), "MalformedPOSTRequest"),
    "name with a quirk": (form(GOOD).replace(b'name="key"', b"name=\xff"), "MalformedPOSTRequest"),
    "value not UTF-8": (form(GOOD).replace(b"user/cat", b"user/\xff"), "MalformedPOSTRequest"),
    "field too large": (
        form(GOOD | {"x-ignore-a": "x" * (FORM_FIELD_BYTES_MAX + 1)}),
        "MaxPostPreDataLengthExceededError",
    ),
    "too many fields": (
        form(GOOD | {f"x-ignore-{n}": "" for n in range(FORM_FIELDS_MAX)}),
        "MaxPostPreDataLengthExceededError",
    ),
    "headers too large": (
        form(GOOD).replace(b'name="key"', b'name="key"; x=' + b"y" * 5000),
        "MaxPostPreDataLengthExceededError",
    ),
    "key behind the file": (form(without("key"), after={"key": "user/a"}), "InvalidArgument"),
    "policy behind the file": (
        form(without("Policy"), after={"Policy": GOOD["Policy"]}),
        "InvalidArgument",
    ),
}


@pytest.mark.parametrize("case", FORM_CASES)
def test_forms_are_refused(case: str) -> None:
    body, code = FORM_CASES[case]
    assert refused(body, cuts=[7, 100, 1500]).code == code


def test_largest_field_and_most_fields_are_fine() -> None:
    fields = GOOD | {"x-ignore-a": "x" * FORM_FIELD_BYTES_MAX}
    fields |= {f"x-ignore-{n}": "" for n in range(FORM_FIELDS_MAX - len(fields))}
    assert len(fields) == FORM_FIELDS_MAX
    assert post(form(fields))[0].key == "user/cat"


def test_truncated_at_every_byte() -> None:
    body = form(GOOD, b"file")
    for end in range(len(body) - 2):
        error = refused(body[:end])
        assert error.code in ("IncorrectNumberOfFilesInPostRequest", "MalformedPOSTRequest")


@given(st.binary(max_size=2000))
def test_rubbish_is_an_error_not_a_crash(body: bytes) -> None:
    with pytest.raises(S3Error):
        post(body)
    with pytest.raises(S3Error):
        post(f"--{BOUNDARY}\r\n".encode() + body)


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("", "PreconditionFailed"),
        ("application/x-www-form-urlencoded", "PreconditionFailed"),
        ("multipart/form-data", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=" + "x" * 2000, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=x" + '; a="' * 200, "MalformedPOSTRequest"),
    ],
)
def test_content_type_must_be_a_form(content_type: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        FormReader(content_type)
    assert caught.value.code == code
