"""boto3, the client that most programs use."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from amur.serve.testing import ServedAmur

MIB = 1024 * 1024


def test_small_objects_many_at_once(s3: Any, bucket: str) -> None:
    bodies = {f"p{n % 10}/k{n:05d}": str(n).encode() * (n % 97) for n in range(2000)}
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(lambda kv: s3.put_object(Bucket=bucket, Key=kv[0], Body=kv[1]), bodies.items())
        )
        got = dict(zip(bodies, pool.map(lambda k: _read(s3, bucket, k), bodies), strict=True))
    assert got == bodies
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    listed = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert listed == sorted(bodies)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for page in pages for p in page["CommonPrefixes"]] == [
        f"p{n}/" for n in range(10)
    ]


def test_odd_keys(s3: Any, bucket: str, odd_keys: list[str]) -> None:
    for key in odd_keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"n": "1"})
    for key in odd_keys:
        assert _read(s3, bucket, key) == key.encode()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    listed = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert listed == sorted(odd_keys, key=str.encode)
    for key in odd_keys:
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
        assert _read(s3, bucket, "copy") == key.encode()
    objects = [{"Key": key} for key in [*odd_keys, "copy"]]
    assert "Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_big_file_in_parts(s3: Any, bucket: str, big_file: Path, tmp_path: Path) -> None:
    settings = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    s3.upload_file(str(big_file), bucket, "big", Config=settings)
    head = s3.head_object(Bucket=bucket, Key="big")
    assert head["ContentLength"] == big_file.stat().st_size
    assert head["ETag"].endswith('-14"')
    s3.download_file(bucket, "big", str(tmp_path / "back"), Config=settings)
    assert _digest(tmp_path / "back") == _digest(big_file)


def test_big_file_in_one_put(s3: Any, bucket: str, big_file: Path) -> None:
    with big_file.open("rb") as body:
        put = s3.put_object(Bucket=bucket, Key="big", Body=body, ChecksumAlgorithm="SHA256")
    assert put["ETag"].strip('"') == hashlib.md5(big_file.read_bytes()).hexdigest()
    got = s3.get_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    digest = hashlib.sha256()
    for piece in got["Body"].iter_chunks(MIB):
        digest.update(piece)
    assert digest.hexdigest() == _digest(big_file)
    part = s3.get_object(Bucket=bucket, Key="big", Range="bytes=104857600-104857699")
    assert part["Body"].read() == big_file.read_bytes()[104857600:104857700]


def test_multipart_by_hand(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    bodies = {n: bytes([n]) * (5 * MIB if n < 3 else 100) for n in (3, 1, 2)}
    etags = {
        n: s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=n, Body=b)["ETag"]
        for n, b in bodies.items()
    }
    listed = s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)["Parts"]
    assert [(p["PartNumber"], p["ETag"]) for p in listed] == sorted(etags.items())
    parts = [{"PartNumber": n, "ETag": etags[n]} for n in sorted(etags)]
    s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert _read(s3, bucket, "m") == b"".join(bodies[n] for n in sorted(bodies))
    part = s3.get_object(Bucket=bucket, Key="m", PartNumber=3)
    assert (part["Body"].read(), part["PartsCount"]) == (bodies[3], 3)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_conditional_writes(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"4", IfMatch=first)
    assert _read(s3, bucket, "k") == b"3"


def test_versions(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=bytes([n]))["VersionId"] for n in range(3)]
    s3.delete_object(Bucket=bucket, Key="k")
    listed = s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == ids[::-1]
    assert len(listed["DeleteMarkers"]) == 1
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=ids[0])["Body"].read() == b"\0"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(s3: Any, bucket: str, algorithm: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"hello"
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def test_virtual_host_addressing(server: ServedAmur, s3: Any, bucket: str, run: Any) -> None:
    s3.put_object(Bucket=bucket, Key="a/b c", Body=b"by name")
    client = boto3.client(
        "s3",
        endpoint_url=f"http://s3.test:{server.port}",
        region_name="auto",
        aws_access_key_id=server.key_id,
        aws_secret_access_key=server.secret,
        config=Config(s3={"addressing_style": "virtual"}),
    )
    link = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a/b c"})
    client.close()
    assert link.startswith(f"http://{bucket}.s3.test:")
    where = f"{bucket}.s3.test:{server.port}:127.0.0.1"
    assert run("curl", "-sS", "--fail", "--resolve", where, link).stdout == "by name"


def test_bad_secret(server: ServedAmur) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="auto",
        aws_access_key_id=server.key_id,
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client.list_buckets()
    client.close()


def _read(s3: Any, bucket: str, key: str) -> bytes:
    with s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
        content: bytes = body.read()
        return content


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
