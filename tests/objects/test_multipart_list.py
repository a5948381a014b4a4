"""Listing uploads against a plain model: order, prefixes, delimiters, markers, pages."""

from __future__ import annotations

import random

import pytest

from amur.clock import FakeClock
from amur.meta.engine import Visitor
from amur.meta.memory import MemoryEngine
from amur.objects.errors import InvalidArgument, NoSuchBucket
from amur.objects.store import Store
from amur.objects.types import Attributes

Line = tuple[str, str]  # key and upload id, "" of a common prefix


async def fill(store: Store, clock: FakeClock, bucket: str, names: list[str]) -> list[Line]:
    made = []
    for name in names:
        clock.advance(1)
        made.append((name, (await store.create_upload(bucket, name, Attributes())).id.hex()))
    return sorted(made, key=lambda line: (line[0].encode(), line[1]))


def model(made: list[Line], prefix: str, delimiter: str) -> list[Line]:
    lines: list[Line] = []
    for key, upload_id in made:
        if not key.startswith(prefix):
            continue
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        line = (key[: end + len(delimiter)], "") if end >= 0 else (key, upload_id)
        if line not in lines:
            lines.append(line)
    return lines


async def pages(store: Store, bucket: str, prefix: str, delimiter: str, limit: int) -> list[Line]:
    lines: list[Line] = []
    key, upload_id = "", ""
    while True:
        found, more, key, upload_id = await store.list_uploads(
            bucket, prefix=prefix, delimiter=delimiter, key_marker=key,
            upload_marker=upload_id, limit=limit,
        )  # fmt: skip
        assert len(found) <= limit
        lines += [(name, record.id.hex() if record else "") for name, record in found]
        if not more:
            assert (key, upload_id) == ("", "")
            return lines
        assert len(found) == limit


async def test_pages_of_every_size_are_the_model(
    store: Store, clock: FakeClock, bucket: str
) -> None:
    rng = random.Random(7)
    alphabet = ["a", "b", "/", "\x00", "é", "\U0001f600", "//"]
    names = ["".join(rng.choices(alphabet, k=rng.randint(1, 5))) for _ in range(60)]
    made = await fill(store, clock, bucket, names + names[:10])
    for prefix in ("", "a", "a/", "/", "\x00", "é", "nothing"):
        for delimiter in ("", "/", "\x00", "a/", "//"):
            expected = model(made, prefix, delimiter)
            for limit in (1, 3, 1000):
                assert await pages(store, bucket, prefix, delimiter, limit) == expected


async def test_uploads_of_one_key_come_in_the_order_of_their_beginning(
    store: Store, clock: FakeClock, bucket: str
) -> None:
    ids = []
    for _ in range(3):
        clock.advance(1)
        ids.append((await store.create_upload(bucket, "k", Attributes())).id.hex())
    assert await pages(store, bucket, "", "", 1) == [("k", upload_id) for upload_id in ids]
    found, *_ = await store.list_uploads(bucket, key_marker="k")
    assert found == []
    found, *_ = await store.list_uploads(bucket, key_marker="k", upload_marker=ids[1])
    assert [record.id.hex() for _, record in found if record] == ids[2:]
    with pytest.raises(InvalidArgument):
        await store.list_uploads(bucket, key_marker="k", upload_marker="no hex")


async def test_a_page_costs_what_it_shows(store: Store, clock: FakeClock, bucket: str) -> None:
    await fill(store, clock, bucket, [f"{a}/{b:03}" for a in "abc" for b in range(200)])
    seen = 0
    walk = MemoryEngine.walk

    async def counting(
        self: MemoryEngine, start: bytes, end: bytes, visit: Visitor, *, reverse: bool = False
    ) -> None:
        def counted(key: bytes, value: memoryview, version: int) -> bytes | None:
            nonlocal seen
            seen += 1
            return visit(key, value, version)

        await walk(self, start, end, counted, reverse=reverse)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryEngine, "walk", counting)
        assert len((await store.list_uploads(bucket, delimiter="/"))[0]) == 3
        assert seen == 3
        await store.list_uploads(bucket, prefix="b/", limit=10)
        assert seen == 3 + 11


async def test_no_bucket_and_no_room(store: Store, clock: FakeClock, bucket: str) -> None:
    with pytest.raises(NoSuchBucket):
        await store.list_uploads("nowhere")
    await fill(store, clock, bucket, ["a"])
    assert await store.list_uploads(bucket, limit=0) == ([], False, "", "")
