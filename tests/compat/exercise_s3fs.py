"""What a program does with s3fs. Arguments: bucket, folder of small files, big file."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import s3fs

bucket, small, big = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
fs = s3fs.S3FileSystem(
    key=os.environ["AWS_ACCESS_KEY_ID"],
    secret=os.environ["AWS_SECRET_ACCESS_KEY"],
    client_kwargs={"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": "auto"},
)

files = sorted(path for path in small.rglob("*") if path.is_file())
fs.put(f"{small}/", f"{bucket}/x/", recursive=True)
fs.invalidate_cache()
found = fs.find(f"{bucket}/x")
assert len(found) == len(files), (len(found), len(files))
with tempfile.TemporaryDirectory() as back:
    fs.get(f"{bucket}/x/", f"{back}/", recursive=True)
    for path in files:
        assert (Path(back) / path.relative_to(small)).read_bytes() == path.read_bytes(), path

fs.put_file(str(big), f"{bucket}/big")
content = big.read_bytes()
assert fs.size(f"{bucket}/big") == len(content)
with fs.open(f"{bucket}/big", "rb") as file:
    file.seek(100_000_000)
    assert file.read(1000) == content[100_000_000:100_001_000]
assert fs.cat_file(f"{bucket}/big", start=-100) == content[-100:]

with fs.open(f"{bucket}/written", "wb", block_size=5 * 2**20) as file:
    for _ in range(7):
        file.write(b"0123456789" * 200_000)
assert fs.cat(f"{bucket}/written") == b"0123456789" * 1_400_000
fs.mv(f"{bucket}/written", f"{bucket}/moved")
assert not fs.exists(f"{bucket}/written")
assert fs.exists(f"{bucket}/moved")
assert sorted(name.split("/")[1] for name in fs.ls(bucket)) == ["big", "moved", "x"]
fs.rm(bucket, recursive=True)
sys.stdout.write("ok\n")
