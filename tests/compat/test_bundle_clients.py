"""Published clients of bundles, unmodified, and what else they do that Amur can do today."""

from __future__ import annotations

import gzip
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pycurl  # type: ignore[import-untyped]
import pytest
import tigris_boto3_ext as tigris_ext
import zstandard
from botocore.exceptions import ClientError
from tigris_boto3_ext import BundleError, bundle_objects

Bundled = Any  # of conftest.py
NODE = Path(__file__).parent / "node"
ERRORS = "__bundle_errors.json"
TYPES = {"none": "application/x-tar", "gzip": "application/gzip", "zstd": "application/zstd"}
Member = tuple[str, bytes]


def unpacked(compression: str, data: Any) -> Any:
    """A file of tar from a file of a bundle."""
    if compression == "gzip":
        return gzip.open(data, "rb")
    if compression == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(data)
    return data


def read(compression: str, data: Any) -> tuple[list[Member], list[dict[str, str]] | None]:
    """Members in the stream's order, and what its document of errors says, if it has one."""
    members = []
    with tarfile.open(fileobj=unpacked(compression, data), mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            members.append((member.name, file.read()))
    assert ERRORS not in dict(members[:-1])
    if members[-1][0] != ERRORS:
        return members, None
    return members[:-1], json.loads(members.pop()[1])["skipped"]


def counters(response: Any) -> tuple[int | None, int | None, int | None]:
    return response.object_count, response.bundle_bytes, response.skipped_count


# --- tigris-boto3-ext ---


@pytest.mark.parametrize("compression", TYPES)
def test_boto3_ext(s3: Any, bundled: Bundled, compression: str) -> None:
    with bundle_objects(s3, bundled.bucket, bundled.keys, compression=compression) as response:
        assert response.content_type == TYPES[compression]
        assert "content-encoding" not in response.headers
        assert counters(response) == bundled.counters
        members, skipped = read(compression, response)
        assert response.read() == b""
    assert members == bundled.members
    assert skipped == bundled.skipped


def test_boto3_ext_decompresses_zstd_in_one_go(s3: Any, bundled: Bundled) -> None:
    """Works only when the frame says how much will come, as that package's own tests rely on."""
    packed = bundle_objects(s3, bundled.bucket, bundled.keys, compression="zstd").read()
    assert zstandard.get_frame_parameters(packed).content_size > bundled.counters[1]
    tar = zstandard.ZstdDecompressor().decompress(packed)
    assert read("none", io.BytesIO(tar)) == (bundled.members, bundled.skipped)


@pytest.mark.parametrize("on_error", ["skip", "fail"])
@pytest.mark.parametrize("compression", TYPES)
def test_boto3_ext_when_all_are_there(
    s3: Any, bundled: Bundled, compression: str, on_error: str
) -> None:
    wanted = bundled.members[:300]
    keys = [key for key, _ in wanted]
    with bundle_objects(
        s3, bundled.bucket, keys, compression=compression, on_error=on_error
    ) as response:
        assert counters(response) == (300, sum(len(body) for _, body in wanted), 0)
        assert read(compression, response) == (wanted, None)


def test_boto3_ext_fails_when_told_to(s3: Any, bundled: Bundled) -> None:
    with pytest.raises(BundleError) as raised:
        bundle_objects(s3, bundled.bucket, bundled.keys, on_error="fail")
    error = raised.value
    assert (error.status_code, error.code) == (404, "BundleKeyNotFound")
    assert error.request_id
    for skipped in bundled.skipped:
        assert skipped["reason"] != "NoSuchKey" or f"<Key>{skipped['key']}</Key>" in error.body


def test_boto3_ext_errors(s3: Any, server: Any, bundled: Bundled) -> None:
    with pytest.raises(BundleError) as raised:
        bundle_objects(s3, "no-such-bucket", ["k"])
    assert (raised.value.status_code, raised.value.code) == (404, "NoSuchBucket")
    stranger = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="auto",
        aws_access_key_id=server.key_id,
        aws_secret_access_key="another",
    )
    with closing(stranger), pytest.raises(BundleError) as raised:
        bundle_objects(stranger, bundled.bucket, bundled.keys)
    assert (raised.value.status_code, raised.value.code) == (403, "SignatureDoesNotMatch")


def test_boto3_ext_at_its_limit(s3: Any, bundled: Bundled) -> None:
    """5,000 keys, of which most aren't there, some twice."""
    known = [key for key, _ in bundled.members if key != "big.bin"][:1000]
    keys = known + [f"missing/{number}" for number in range(3000)] + known
    random.Random(1).shuffle(keys)
    bodies = dict(bundled.members)
    with bundle_objects(s3, bundled.bucket, keys) as response:
        assert response.object_count == 2000
        assert response.skipped_count == 3000
        members, skipped = read("none", response)
    assert members == [(key, bodies[key]) for key in keys if key in bodies]
    assert skipped == [{"key": key, "reason": "NoSuchKey"} for key in keys if key not in bodies]


def test_boto3_ext_given_up_half_way(s3: Any, bundled: Bundled) -> None:
    for _ in range(20):
        with bundle_objects(s3, bundled.bucket, bundled.keys) as response:
            assert len(response.read(100_000)) == 100_000
    with bundle_objects(s3, bundled.bucket, bundled.keys) as response:
        assert read("none", response) == (bundled.members, bundled.skipped)


def test_boto3_ext_beside_bundles(s3: Any, bucket: str) -> None:
    public = f"{bucket}-public"
    tigris_ext.create_bucket(
        s3,
        public,
        access="public",
        default_storage_class="STANDARD_IA",
        public_list_objects=True,
    )
    s3.put_object(Bucket=public, Key="a b+c.txt", Body=b"x")
    assert s3.head_object(Bucket=public, Key="a b+c.txt")["StorageClass"] == "STANDARD_IA"
    s3.put_object(Bucket=public, Key="taken", Body=b"y")
    tigris_ext.rename_object(s3, public, "a b+c.txt", "new #1?%.txt")
    with pytest.raises(ClientError, match="KeyAlreadyExists"):
        tigris_ext.rename_object(s3, public, "new #1?%.txt", "taken")
    listed = s3.list_objects_v2(Bucket=public)["Contents"]
    assert [entry["Key"] for entry in listed] == ["new #1?%.txt", "taken"]
    assert tigris_ext.get_restore_info(s3, public, "taken") is None
    assert not tigris_ext.has_snapshot_enabled(s3, public)
    tigris_ext.force_delete_bucket(s3, public)
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket=public)


# --- curl ---


def plain(bundled: Bundled) -> list[Member]:
    """The members that GNU tar lists and extracts under their own names."""
    return [(key, body) for key, body in bundled.members if key.startswith(("train/", "big"))]


@pytest.fixture
def curl(server: Any) -> Iterator[Callable[..., list[str]]]:
    """The request of `curl -X POST URL --aws-sigv4 aws:amz:auto:s3 -H .. -d ..`, by libcurl."""
    handle = pycurl.Curl()

    def post(target: str, body: str, output: Any, *headers: str) -> list[str]:
        """`output` gets the answer's body; its header lines and trailers."""
        told: list[bytes] = []
        handle.reset()
        handle.setopt(pycurl.URL, f"{server.endpoint}/{target}")
        handle.setopt(pycurl.CUSTOMREQUEST, "POST")
        handle.setopt(pycurl.AWS_SIGV4, "aws:amz:auto:s3")
        handle.setopt(pycurl.USERPWD, f"{server.key_id}:{server.secret}")
        handle.setopt(pycurl.HTTPHEADER, list(headers))
        handle.setopt(pycurl.POSTFIELDS, body)
        handle.setopt(pycurl.WRITEDATA, output)
        handle.setopt(pycurl.HEADERFUNCTION, told.append)
        handle.setopt(pycurl.TIMEOUT, 60)
        handle.perform()
        return [line.decode().strip() for line in told]

    yield post
    handle.close()


def test_curl_into_tar(curl: Any, bundled: Bundled, tmp_path: Path) -> None:
    """The seed's request, whose JSON goes out as a form, piped into `tar -tv`."""
    wanted = plain(bundled)
    body = json.dumps({"keys": [key for key, _ in wanted]})
    with (tmp_path / "listed").open("w+") as listing:
        with subprocess.Popen(["tar", "-tv"], stdin=subprocess.PIPE, stdout=listing) as tar:
            assert tar.stdin is not None
            with tar.stdin as pipe:
                told = curl(f"{bundled.bucket}?bundle", body, pipe, "x-tigris-bundle-format: tar")
        listing.seek(0)
        listed = [line.split(maxsplit=5) for line in listing.read().splitlines()]
    assert tar.returncode == 0
    assert [(line[-1], int(line[2])) for line in listed] == [
        (key, len(body)) for key, body in wanted
    ]
    # Among the headers, and as trailers behind the last byte.
    assert told[0] == "HTTP/1.1 200 OK"
    size = sum(len(body) for _, body in wanted)
    for part in told[: told.index("")], told[told.index("") :]:
        for name, value in ("count", len(wanted)), ("bytes", size), ("skipped", 0):
            assert f"x-tigris-bundle-{name}: {value}" in part


def test_curl_with_xml(curl: Any, bundled: Bundled) -> None:
    objects = "".join(f"<Object><Key>{key}</Key></Object>" for key, _ in plain(bundled)[:500])
    output = io.BytesIO()
    curl(
        f"{bundled.bucket}?bundle",
        f'<Bundle xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}</Bundle>',
        output,
        "x-tigris-bundle-format: tar",
        "x-tigris-bundle-compression: gzip",
        "content-type: application/xml",
    )
    output.seek(0)
    assert read("gzip", output) == (plain(bundled)[:500], None)


def test_curl_of_the_system_into_tar(run: Any, bundled: Bundled, tmp_path: Path) -> None:
    """The seed's line by the program that is there: Debian 12's signs in its own way."""
    wanted = plain(bundled)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key for key, _ in wanted]}))
    (tmp_path / "out").mkdir()
    line = f"""curl -X POST "$AWS_ENDPOINT_URL/{bundled.bucket}?bundle" \\
      --aws-sigv4 "aws:amz:auto:s3" \\
      --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
      -H "x-tigris-bundle-format: tar" \\
      -d @{tmp_path}/keys.json \\
      | tar -x -C {tmp_path}/out"""
    run("bash", "-eo", "pipefail", "-c", line)
    files = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    found = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in files}
    assert found == dict(wanted)


# --- @tigrisdata/storage, tar-stream ---


def digests(members: list[Member]) -> list[list[Any]]:
    return [[name, len(body), sha256(body).hexdigest()] for name, body in members]


@pytest.fixture
def node(run: Any, server: Any) -> Callable[..., str]:
    def runner(script: str, *arguments: Any, bucket: str = "") -> str:
        environment = {
            "TIGRIS_STORAGE_ENDPOINT": server.endpoint,
            "TIGRIS_STORAGE_ACCESS_KEY_ID": server.key_id,
            "TIGRIS_STORAGE_SECRET_ACCESS_KEY": server.secret,
            "TIGRIS_STORAGE_BUCKET": bucket,
        }
        told: str = run("node", NODE / script, *arguments, environment=environment).stdout
        return told

    return runner


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_storage_and_tar_stream(
    node: Any, bundled: Bundled, tmp_path: Path, compression: str
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(bundled.keys))
    told = json.loads(node("bundle.mjs", keys, compression, "skip", bucket=bundled.bucket))
    assert told["type"] == TYPES[compression]
    assert told["members"] == digests(bundled.members)
    assert told["errors"] == {"skipped": bundled.skipped}


def test_storage_with_zstd(node: Any, bundled: Bundled, tmp_path: Path) -> None:
    """Unpacked here: Node 20 has no zstd."""
    keys, output = tmp_path / "keys.json", tmp_path / "batch.tar.zst"
    keys.write_text(json.dumps(bundled.keys))
    told = json.loads(node("bundle.mjs", keys, "zstd", "skip", output, bucket=bundled.bucket))
    assert told == {"type": TYPES["zstd"]}
    with output.open("rb") as file:
        assert read("zstd", file) == (bundled.members, bundled.skipped)


def test_storage_fails_when_told_to(node: Any, bundled: Bundled, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    wanted = bundled.members[:100]
    keys.write_text(json.dumps([key for key, _ in wanted]))
    told = json.loads(node("bundle.mjs", keys, "none", "fail", bucket=bundled.bucket))
    assert told == {"type": TYPES["none"], "members": digests(wanted), "errors": None}
    keys.write_text(json.dumps(bundled.keys))
    told = json.loads(node("bundle.mjs", keys, "none", "fail", bucket=bundled.bucket))
    assert told == {"error": "Not Found"}  # all that this client tells of an error in XML


def test_storage_beside_bundles(node: Any, bucket: str) -> None:
    assert node("storage.mjs", f"{bucket}-js").strip() == "ok"


# --- @tigrisdata/cli ---


@pytest.mark.parametrize(
    ("suffix", "compression"), [(".tar", "none"), (".tar.gz", "gzip"), (".tar.zst", "zstd")]
)
def test_cli(tigris: Any, bundled: Bundled, tmp_path: Path, suffix: str, compression: str) -> None:
    """A file of keys; the output's name tells the compression."""
    wanted = plain(bundled)
    (tmp_path / "keys.txt").write_text("# mine\n\n" + "\n".join(key for key, _ in wanted))
    output = tmp_path / f"batch{suffix}"
    line = f"tigris bundle {bundled.bucket} --keys {tmp_path}/keys.txt -o {output} --json"
    assert json.loads(tigris(line).stdout) == {
        "action": "bundled",
        "bucket": bundled.bucket,
        "keys": len(wanted),
        "compression": compression,
        "output": str(output),
    }
    with output.open("rb") as file:
        assert read(compression, file) == (wanted, None)


def test_cli_keys_from_elsewhere(tigris: Any, bundled: Bundled, tmp_path: Path) -> None:
    bodies = dict(bundled.members)
    keys = [key for key in bodies if key.startswith("train/3/")] + ["train/3/none"]
    (tmp_path / "keys.txt").write_text("\n".join(key.removeprefix("train/3/") for key in keys))
    wanted = [(key, bodies[key]) for key in keys[:-1]]
    missing = [{"key": "train/3/none", "reason": "NoSuchKey"}]
    # From stdin, under a prefix, to a pipe, with a compression that no name tells.
    tigris(
        f"cat {tmp_path}/keys.txt | tigris bundle t3://{bundled.bucket}/train/3"
        f" --compression gzip | cat > {tmp_path}/piped"
    )
    with (tmp_path / "piped").open("rb") as file:
        assert read("gzip", file) == (wanted, missing)
    # In the command line.
    line = f"tigris bundle t3://{bundled.bucket} --keys {','.join(keys[-3:])} --output"
    tigris(f"{line} {tmp_path}/few.tar")
    with (tmp_path / "few.tar").open("rb") as file:
        assert read("none", file) == (wanted[-2:], missing)
    failed = tigris(f"{line} {tmp_path}/none.tar --on-error fail", check=False)
    assert failed.returncode == 1
    assert "Not Found" in failed.stderr
    assert not (tmp_path / "none.tar").exists()


def test_cli_beside_bundles(tigris: Any, s3: Any, bucket: str, tmp_path: Path) -> None:
    source, back, name = tmp_path / "source", tmp_path / "back", f"{bucket}-cli"
    dice = random.Random(3)
    files = {f"d{n % 3}/f {n}+.bin": dice.randbytes(1000 * n) for n in range(20)}
    files["big.bin"] = dice.randbytes(6_000_000)  # in parts
    for path, body in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(body)
    tigris(
        f"tigris mk {name} && tigris mk t3://{name}/folder/ && tigris touch t3://{name}/empty"
        f" && tigris cp {source}/ t3://{name}/in/ --recursive"
        f" && mkdir {back} && tigris cp t3://{name}/in/ {back}/ --recursive"
    )
    copied = {f"in/{path}": body for path, body in files.items()}
    listed = s3.list_objects_v2(Bucket=name)["Contents"]
    assert {entry["Key"]: entry["Size"] for entry in listed} == {
        "folder/": 0,
        "empty": 0,
    } | {key: len(body) for key, body in copied.items()}
    assert {
        str(path.relative_to(back)): path.read_bytes() for path in back.rglob("*") if path.is_file()
    } == files

    told = json.loads(tigris(f"tigris ls t3://{name}/in/ --json").stdout)
    assert [item["key"] for item in told["items"]] == ["d0/", "d1/", "d2/", "big.bin"]
    told = tigris(f"tigris stat t3://{name}/in/big.bin --json").stdout
    assert "big.bin" in told
    tigris(
        f"tigris mv t3://{name}/empty t3://{name}/moved --force"
        f" && tigris rm t3://{name}/in/ --recursive --force"
    )
    left = s3.list_objects_v2(Bucket=name)["Contents"]
    assert [entry["Key"] for entry in left] == ["folder/", "moved"]
    tigris(f"tigris rm t3://{name} --force")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket=name)
