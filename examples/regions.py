"""Three regions 80 ms apart, on this machine: write in one, read in another, lose one, get it back.

    pip install '.[client]'
    python examples/regions.py

It makes a directory for the regions' data, and removes it in the end. `--listen HOST:PORT` is for
when port 9000 (or one of the 18 behind it) is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGIONS = ("sjc", "ord", "fra")
DISTANCES = ("sjc:ord=80ms", "sjc:fra=80ms", "ord:fra=80ms")
MIB = 1 << 20
WAIT_SECONDS = 60


def amur(*arguments: str, quiet: bool = True) -> None:
    """Run an `amur cluster` command, and show it."""
    print(f"\n  $ amur cluster {' '.join(arguments)}")
    output = subprocess.DEVNULL if quiet else None
    command = [sys.executable, "-m", "amur.cli.main", "cluster", *arguments]
    subprocess.run(command, check=True, stdout=output)


def say(text: str) -> None:
    print(f"\n{text}")


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do it, and tell how long it took."""
    began = time.perf_counter()
    result = work()
    print(f"  {what:<56} {1000 * (time.perf_counter() - began):7.0f} ms")
    return result


def until(check: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + WAIT_SECONDS
    while not check():
        if time.monotonic() > end:
            sys.exit("that takes too long: look into the logs in the directory's run/")
        time.sleep(0.05)


class Store:
    """The bucket, as a client near one region sees it."""

    def __init__(self, endpoint: str, key: tuple[str, str]) -> None:
        self._s3 = boto3.client(
            "s3", endpoint_url=endpoint, region_name="auto",
            aws_access_key_id=key[0], aws_secret_access_key=key[1],
            config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
        )  # fmt: skip

    def create(self) -> None:
        self._s3.create_bucket(Bucket="demo")

    def put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket="demo", Key=key, Body=body)

    def get(self, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket="demo", Key=key)["Body"].read()
        return body

    def places(self, key: str) -> str:
        """The regions that have the bytes, the object's home first; "" of an unknown object."""
        try:
            answer = self._s3.head_object(Bucket="demo", Key=key)
        except ClientError:
            return ""
        found: str = answer["ResponseMetadata"]["HTTPHeaders"]["x-tigris-regions"]
        return found

    def close(self) -> None:
        self._s3.close()


def refusal(store: Store, key: str) -> str:
    """What a GET that can't be served says."""
    try:
        store.get(key)
    except ClientError as error:
        answer = error.response["ResponseMetadata"]
        return f"{answer['HTTPStatusCode']}, try again in {answer['HTTPHeaders']['retry-after']} s"
    sys.exit(f"{key} was served, though its only region is down")


def write_here_read_there(sjc: Store, ord_: Store, fra: Store, photo: bytes) -> None:
    say("1. Write in San Jose. The write is as fast as if there were one region only.")
    sjc.create()
    timed("PUT photo (8 MiB) in sjc", lambda: sjc.put("photo", photo))
    timed("PUT note (12 bytes) in sjc", lambda: sjc.put("note", b"hello, world"))
    timed("PUT draft (8 MiB) in sjc", lambda: sjc.put("draft", photo[::-1]))

    say("2. Metadata is pushed: Frankfurt knows of all three at once. Tiny objects come with it.")
    timed("until fra knows of them", lambda: until(lambda: bool(fra.places("draft"))))
    assert timed("GET note in fra", lambda: fra.get("note")) == b"hello, world"

    say("3. Data is pulled: the first reader in Frankfurt waits for the ocean, the next do not.")
    print(f"  the photo's bytes are in: {fra.places('photo')}")
    assert timed("GET photo in fra, the first time", lambda: fra.get("photo")) == photo
    for _ in range(2):
        assert timed("GET photo in fra, again", lambda: fra.get("photo")) == photo
    until(lambda: "fra" in ord_.places("photo"))
    print(f"  the photo's bytes are in: {ord_.places('photo')} (and Chicago knows it, too)")


def lose_a_region(directory: str, stores: dict[str, Store], front: Store, photo: bytes) -> None:
    say("4. San Jose burns down: no gateway, no block service.")
    amur("kill", "sjc", "--dir", directory)
    time.sleep(2)  # the endpoint in front of all regions has noticed
    got = timed("GET photo from the endpoint: ord serves it, from fra", lambda: front.get("photo"))
    assert got == photo
    front.put("meanwhile", b"life goes on")
    print("  PUT meanwhile, to the endpoint: taken in by ord")
    said = timed("GET draft, whose only bytes are in sjc", lambda: refusal(front, "draft"))
    print(f"  ... it says {said}: not lost, and not 404")

    say("5. San Jose comes back, and catches up by itself.")
    amur("start", "sjc", "--dir", directory)
    sjc = stores["sjc"]
    timed("until sjc knows what was written meanwhile",
          lambda: until(lambda: bool(sjc.places("meanwhile"))))  # fmt: skip
    assert sjc.get("meanwhile") == b"life goes on"
    assert front.get("draft") == photo[::-1]
    print("  GET draft: there again. Nothing was lost.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Three regions on this machine.")
    parser.add_argument("--listen", default="127.0.0.1:9000", help="of the endpoint")
    listen = parser.parse_args().listen
    key = "tid_demo", secrets.token_urlsafe(24)
    os.environ |= {"AMUR_ROOT_ACCESS_KEY_ID": key[0], "AMUR_ROOT_SECRET_ACCESS_KEY": key[1]}
    photo = secrets.token_bytes(8 * MIB)
    with tempfile.TemporaryDirectory(prefix="amur-regions-") as directory:
        far = [f"--latency={each}" for each in DISTANCES]
        amur("up", directory, f"--regions={','.join(REGIONS)}", f"--listen={listen}", *far,
             "--detach", quiet=False)  # fmt: skip
        try:
            facts = json.loads((Path(directory) / "cluster.json").read_bytes())
            near = {name: Store(facts["regions"][name]["endpoint"], key) for name in REGIONS}
            front = Store(facts["endpoint"], key)
            write_here_read_there(near["sjc"], near["ord"], near["fra"], photo)
            lose_a_region(directory, near, front, photo)
            for store in (front, *near.values()):
                store.close()
        finally:
            say("6. Clean up.")
            amur("down", "--dir", directory)


if __name__ == "__main__":
    main()
