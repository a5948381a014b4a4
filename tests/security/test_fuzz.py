"""S1: whatever is sent, the answer is one of S3's, never a 500 and never an exception.

AMUR_FUZZ=n sends n requests, AMUR_FUZZ_SEED=n begins elsewhere; a failure prints its episode.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from amur.gateway.app import App
from amur.gateway.endpoints import ALL
from tests.support.request_fuzz import PART_BODY, Fuzzer

EPISODE = 300  # requests to one store
REQUESTS = int(os.environ.get("AMUR_FUZZ", "6000"))
SEED = int(os.environ.get("AMUR_FUZZ_SEED", "1"))


@pytest.mark.parametrize("episode", range(SEED, SEED + max(1, REQUESTS // EPISODE)))
async def test_any_request_gets_an_answer(
    app: App, client: Any, deliver: Any, key_pairs: Any, caplog: Any, episode: int
) -> None:
    uploads = await _populate(client)
    fuzzer = Fuzzer(episode, key_pairs, int(time.time()))
    fuzzer.uploads = uploads
    for number in range(EPISODE):
        endpoint = ALL[number % len(ALL)] if number < len(ALL) else None
        sent = fuzzer.request(endpoint)
        try:
            await deliver(sent)
        except BaseException as error:
            raise AssertionError(f"request {number} of episode {episode}: {sent}") from error
    assert not caplog.records


async def _populate(client: Any) -> list[tuple[str, str]]:
    for bucket in ("fuzz", "versioned", "public"):
        acl = "public-read-write" if bucket == "public" else "private"
        owner = client.as_("alice") if bucket == "fuzz" else client
        assert (await owner("PUT", f"/{bucket}", headers={"x-amz-acl": acl})).status == 200
        document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        if bucket == "versioned":
            await client("PUT", f"/{bucket}?versioning", document)
        await client("PUT", f"/{bucket}/small", b"small")
        await client("PUT", f"/{bucket}/a/b", b"x" * 5000)
    await client("PUT", "/fuzz/large", b"x" * 1_100_000)
    cors = (
        b"<CORSConfiguration><CORSRule><AllowedOrigin>http://*</AllowedOrigin><AllowedMethod>GET"
        b"</AllowedMethod><AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>"
    )
    assert (await client("PUT", "/fuzz?cors", cors)).status == 200
    found = []
    for _ in range(2):
        for key in ("small", "a/b"):
            answer = await client("POST", f"/fuzz/{key}?uploads")
            found.append((key, answer.xml.findtext("UploadId") or ""))
    await client("PUT", f"/fuzz/small?uploadId={found[0][1]}&partNumber=1", PART_BODY)
    return found
