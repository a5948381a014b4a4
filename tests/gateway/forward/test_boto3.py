"""boto3 as it comes, at a gateway that passes everything on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from amur.limits import MIB
from tests.support.gateways import ROOT, Cluster, cluster

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "a//ü +%2F/~x"
BODY = bytes(range(256)) * 4096 * 13  # 13 MiB: three parts


@pytest.fixture
async def three() -> AsyncIterator[Cluster]:
    async with cluster() as found:
        yield found


def client_of(three: Cluster) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{three['sjc'].port}",
        aws_access_key_id=ROOT[0],
        aws_secret_access_key=ROOT[1],
        region_name="auto",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def create(s3: S3Client, bucket: str, regions: str) -> None:
    def add(params: dict[str, dict[str, str]], **_: object) -> None:
        params["headers"]["X-Tigris-Regions"] = regions

    s3.meta.events.register("before-call.s3.CreateBucket", add)
    s3.create_bucket(Bucket=bucket)


def use(s3: S3Client) -> None:
    create(s3, "bkt", "fra")
    s3.put_object(Bucket="bkt", Key=KEY, Body=b"small", Metadata={"a": "b"})
    found = s3.get_object(Bucket="bkt", Key=KEY)
    assert (found["Body"].read(), found["Metadata"]) == (b"small", {"a": "b"})
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(BytesIO(BODY), "bkt", "big", Config=config)
    into = BytesIO()
    s3.download_fileobj("bkt", "big", into, Config=config)
    assert into.getvalue() == BODY
    s3.put_object(Bucket="bkt", Key="whole", Body=BytesIO(BODY), ChecksumAlgorithm="CRC32C")
    s3.copy_object(Bucket="bkt", Key="copy", CopySource={"Bucket": "bkt", "Key": KEY})
    listed = [each["Key"] for each in s3.list_objects_v2(Bucket="bkt")["Contents"]]
    assert sorted(listed) == sorted([KEY, "big", "copy", "whole"])
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": KEY})
    with urlopen(url) as answer:
        assert answer.read() == b"small"
    with pytest.raises(HTTPError, match="403"):
        urlopen(Request(url.replace("X-Amz-Signature=", "X-Amz-Signature=0")))
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="bkt", Key="none")
    s3.delete_objects(Bucket="bkt", Delete={"Objects": [{"Key": key} for key in listed]})
    s3.delete_bucket(Bucket="bkt")


async def test_boto3(three: Cluster) -> None:
    await asyncio.to_thread(use, client_of(three))
    assert len(three["fra"].targets) > 10
    for line in three["fra"].log.lines:
        assert line.status < 500
