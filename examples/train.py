"""Train a small network on images that lie in a bucket, one object each, read by bundles.

    amur serve ./amur-data        # prints the AWS_* variables that this reads
    pip install '.[torch]'
    python examples/train.py

The images (32 x 32 grey pixels, raw bytes, the class in the key) are made here: circles, squares,
triangles and crosses of any size and place, half lost in noise. Stop it at any time, by Ctrl-C or
worse, and start it again: it goes on at the batch after the last checkpoint, which is an object
of the bucket, too.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import torch
from botocore.exceptions import ClientError
from torch import Tensor, nn

from amur.client.torch import BundleDataLoader, BundleDataset

SHAPES = ("circle", "square", "triangle", "cross")
SIDE = 32
CHECKPOINT = "checkpoint.pt"


def drawn(shape: str, random: torch.Generator) -> bytes:
    """One image: SIDE * SIDE bytes."""
    size, x, y, light, dark = torch.rand(5, generator=random).tolist()
    size = 5 + 6 * size
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    down = (rows - 11 - 10 * y) / size
    right = (columns - 11 - 10 * x) / size
    inside = {
        "circle": down**2 + right**2 < 1,
        "square": torch.maximum(down.abs(), right.abs()) < 0.85,
        "triangle": (down < 0.8) & (down > 2 * right.abs() - 1),
        "cross": (torch.minimum(down.abs(), right.abs()) < 0.3)
        & (torch.maximum(down.abs(), right.abs()) < 1),
    }[shape]
    noise = torch.randn(SIDE, SIDE, generator=random)
    pixels = 60 * dark + (90 + 60 * light) * inside + 30 * noise
    return bytes(pixels.clamp(0, 255).to(torch.uint8).flatten().tolist())


def uploaded(s3: Any, bucket: str, samples: int) -> None:
    """The images that are not there yet; one in ten is kept for the test of what was learnt."""
    with_bucket = {each["Name"] for each in s3.list_buckets()["Buckets"]}
    if bucket not in with_bucket:
        s3.create_bucket(Bucket=bucket)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    there = {each["Key"] for page in pages for each in page.get("Contents", ())}

    def upload(number: int) -> bool:
        shape = SHAPES[number % len(SHAPES)]
        part = "test" if number // len(SHAPES) % 10 == 0 else "train"
        key = f"{part}/{number:06}-{shape}"
        if key in there:
            return False
        s3.put_object(
            Bucket=bucket, Key=key, Body=drawn(shape, torch.Generator().manual_seed(number))
        )
        return True

    with ThreadPoolExecutor(8) as threads:
        count = sum(threads.map(upload, range(samples)))
    print(f"{samples} images in bucket {bucket}, {count} of them new")


def decoded(key: str, body: bytes) -> tuple[Tensor, int]:
    """An image (1 x SIDE x SIDE) and the number of its class."""
    pixels = torch.frombuffer(bytearray(body), dtype=torch.uint8).view(1, SIDE, SIDE)
    return pixels.float() / 255, SHAPES.index(key.rpartition("-")[2])


def loader(bucket: str, part: str, workers: int, batch: int) -> BundleDataLoader:
    dataset = BundleDataset(
        None, bucket, prefix=f"{part}/", decode=decoded, batch_size=batch, shuffle=part == "train"
    )
    return dataset.loader(num_workers=workers)


def network() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for wider in (16, 32, 64):
        layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = wider
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16, len(SHAPES)))


def accuracy(model: nn.Module, images: BundleDataLoader) -> float:
    right = total = 0
    model.eval()
    with torch.no_grad():
        for pixels, labels in images:
            right += int((model(pixels).argmax(1) == labels).sum())
            total += len(labels)
    model.train()
    return right / total


class Checkpoints:
    """Everything that the run is made of, as one object."""

    def __init__(self, s3: Any, bucket: str, parts: dict[str, Any]) -> None:
        """`parts` have state_dict and load_state_dict."""
        self._s3, self._bucket, self._parts = s3, bucket, parts

    def save(self) -> None:
        whole = io.BytesIO()
        torch.save({name: part.state_dict() for name, part in self._parts.items()}, whole)
        self._s3.put_object(Bucket=self._bucket, Key=CHECKPOINT, Body=whole.getvalue())

    def load(self) -> bool:
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=CHECKPOINT)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return False
            raise
        states = torch.load(io.BytesIO(body), weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(states[name])
        return True


def train(options: argparse.Namespace, s3: Any) -> None:
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    images = loader(options.bucket, "train", options.workers, options.batch)
    held_back = loader(options.bucket, "test", 0, options.batch)
    checkpoints = Checkpoints(
        s3, options.bucket, {"model": model, "optimizer": optimizer, "images": images}
    )
    if checkpoints.load():
        print(f"going on in epoch {images.epoch} at {images.state_dict()['done']} images")
    for epoch in range(images.epoch, options.epochs):
        images.set_epoch(epoch)
        began, loss_sum, seen = time.monotonic(), 0.0, 0
        for number, (pixels, labels) in enumerate(images, 1):
            loss = nn.functional.cross_entropy(model(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(labels)
            seen += len(labels)
            if number % options.every == 0:
                checkpoints.save()
        checkpoints.save()
        print(
            f"epoch {epoch}: {seen} images, {seen / (time.monotonic() - began):.0f} a second, "
            f"loss {loss_sum / seen:.3f}, accuracy {accuracy(model, held_back):.1%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bucket", default="shapes")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=20, help="batches between checkpoints")
    options = parser.parse_args()
    s3 = boto3.client("s3")
    uploaded(s3, options.bucket, options.samples)
    try:
        train(options, s3)
    except KeyboardInterrupt:
        sys.exit("stopped; start it again to go on")


if __name__ == "__main__":
    main()
