"""Every kind of change to a store, one after another, each told on stdout before and after.

Run by test_sweep.py under strace, which kills it or fails a system call. Argument: directory.
Lines: `try {key: hash or null}`, `ok`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import amur
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, BucketRecord

dice = random.Random(11)
INLINE, PACK, BLOCK = (dice.randbytes(size) for size in (900, 30_000, 1_300_000))
PARTS = [dice.randbytes(5 * 1024 * 1024), dice.randbytes(700)]


def tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def step(changes: dict[str, bytes | None], work: Awaitable[Any]) -> Any:
    hashed = {
        key: None if body is None else hashlib.sha256(body).hexdigest()
        for key, body in changes.items()
    }
    tell("try " + json.dumps(hashed))
    result = await work
    tell("ok")
    return result


async def change_everything(store: Store) -> None:
    await step({}, store.create_bucket(BucketRecord(name="box", owner="root")))
    for name, body in (("inline", INLINE), ("pack", PACK), ("block", BLOCK)):
        await step({name: body}, store.put("box", name, body))
    await step({"pack": INLINE}, store.put("box", "pack", INLINE))
    await step({"copy": BLOCK}, store.copy(("box", "block", ""), "box", "copy", None))
    await step({"block": None}, store.delete("box", "block"))
    await step({"inline": None, "moved": INLINE}, store.rename("box", "inline", "moved"))
    upload = await store.create_upload("box", "parts", Attributes())
    done = []
    for number, body in enumerate(PARTS, 1):
        part = await store.put_part("box", "parts", upload.id.hex(), number, body)
        done.append(CompletedPart(number, part.etag, {}))
    completing = store.complete_upload("box", "parts", upload.id.hex(), done)
    await step({"parts": b"".join(PARTS)}, completing)
    await step({}, store.update_bucket("box", lambda b: setattr(b, "versioning", "Enabled")))
    await step({"versioned": PACK}, store.put("box", "versioned", PACK))
    await step({"versioned": None}, store.delete("box", "versioned"))
    both = [store.put("box", f"both-{n}", PACK[n:]) for n in range(2)]
    await step({"both-0": PACK, "both-1": PACK[1:]}, asyncio.gather(*both))


async def main() -> None:
    async with amur.open(Path(sys.argv[1])) as store:
        await change_everything(store)
    tell("closed")


if __name__ == "__main__":
    asyncio.run(main())
