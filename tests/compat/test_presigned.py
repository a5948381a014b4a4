"""Presigned links and forms, opened by curl."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


def test_get_and_put(s3: Any, bucket: str, run: Any, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * 100)
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b/ü+%"})
    run("curl", "-sS", "--fail", "-T", body, put)
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/ü+%"})
    run("curl", "-sS", "--fail", "-o", tmp_path / "back", get)
    assert (tmp_path / "back").read_bytes() == body.read_bytes()


def test_odd_keys(s3: Any, bucket: str, run: Any, odd_keys: list[str]) -> None:
    for key in odd_keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        assert run("curl", "-sS", "--fail", "--path-as-is", "-g", link).stdout == key


def test_response_overrides(s3: Any, bucket: str, run: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    wanted = {"ResponseContentDisposition": 'attachment; filename="a b.txt"'}
    link = s3.generate_presigned_url(
        "get_object",
        Params={"Bucket": bucket, "Key": "k", "ResponseContentType": "text/x", **wanted},
    )
    headers = run("curl", "-sS", "--fail", "-D", "-", "-o", "/dev/null", link).stdout.lower()
    assert "content-type: text/x" in headers
    assert "content-disposition: attachment" in headers


def test_changed_link_is_refused(s3: Any, bucket: str, run: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "other"})
    answer = run("curl", "-sS", link.replace("/other", "/k")).stdout
    assert "<Code>SignatureDoesNotMatch</Code>" in answer


def test_expired_link_is_refused(s3: Any, bucket: str, run: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    link = s3.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=1
    )
    time.sleep(2.5)
    answer = run("curl", "-sS", link).stdout
    assert "<Code>AccessDenied</Code>" in answer
    assert "expired" in answer


def test_post_form(s3: Any, bucket: str, run: Any, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"from a form")
    form = s3.generate_presigned_post(bucket, "forms/${filename}")
    fields = [part for name, value in form["fields"].items() for part in ("-F", f"{name}={value}")]
    run("curl", "-sS", "--fail", *fields, "-F", f"file=@{body}", form["url"])
    assert s3.get_object(Bucket=bucket, Key="forms/body")["Body"].read() == b"from a form"
