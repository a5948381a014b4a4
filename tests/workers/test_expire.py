"""Abandoned uploads are aborted; the others are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from amur.meta import keys
from amur.objects.errors import NoSuchUpload
from amur.objects.types import Attributes
from amur.workers.expire import Expirer
from amur.workers.runner import run_until_idle


async def test_old_uploads_go_with_their_parts(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.expire.ABORTS_MAX", 2)
    monkeypatch.setattr("amur.workers.expire.UPLOADS_MAX", 3)
    await world.bucket("other")
    old = []
    for number in range(7):
        bucket = ("bucket", "other")[number % 2]
        upload = await world.store.create_upload(bucket, f"k{number}", Attributes())
        await world.store.put_part(bucket, f"k{number}", upload.id.hex(), 1, world.body(20_000))
        old.append((bucket, f"k{number}", upload.id.hex()))
    world.clock.advance(1000)
    young = await world.store.create_upload("bucket", "k3", Attributes())
    await run_until_idle([Expirer(world.core, expiry_seconds=999)])
    for bucket, key, upload_id in old:
        with pytest.raises(NoSuchUpload):
            await world.store.upload(bucket, key, upload_id)
    assert (await world.store.upload("bucket", "k3", young.id.hex())).id == young.id
    assert await world.table(keys.PARTS) == []
    await world.assert_sound()
    await world.rest()
    assert world.files() == set()
