"""The engine contract (amur/meta/engine.py), clause by clause, over every engine."""

from __future__ import annotations

import asyncio

import pytest

from amur.clock import FakeClock
from amur.meta import keys
from amur.meta.engine import (
    ABSENT,
    STOP,
    Commit,
    Conflict,
    Engine,
    Entry,
    Put,
    prefix_end,
)
from amur.meta.stamping import inverted_bytes, version_bytes

LONG = [b"L" * 480 + bytes([n]) * 600 for n in (0, 1, 255)]
"""Keys that no engine with a small key limit stores as they are."""

FIRST, LAST = b"\x00", b"\xff" * 8


async def fill(engine: Engine, *names: bytes) -> int:
    return await engine.commit(Commit(put=[Put(name, b"v" + name) for name in names]))


async def names(engine: Engine, start: bytes = FIRST, end: bytes = LAST) -> list[bytes]:
    return [entry.key for entry in await engine.scan(start, end, 10_000)]


# --- get ---


async def test_get_finds_what_was_put_with_the_version_of_its_commit(engine: Engine) -> None:
    version = await fill(engine, b"a", *LONG)
    assert await engine.get(b"a") == Entry(b"a", b"va", version)
    for key in LONG:
        assert await engine.get(key) == Entry(key, b"v" + key, version)


async def test_get_of_an_absent_key_is_none(engine: Engine) -> None:
    assert await engine.get(b"b") is None
    await fill(engine, b"a", b"c", LONG[1])
    assert await engine.get(b"b") is None
    assert await engine.get(b"z") is None
    assert await engine.get(LONG[1][:-1]) is None
    assert await engine.get(LONG[1] + b"\x00") is None
    assert await engine.get(LONG[0]) is None


async def test_get_many_answers_in_the_order_asked_with_repeats(engine: Engine) -> None:
    version = await fill(engine, b"a", b"c")
    found = await engine.get_many([b"c", b"b", b"a", b"c"])
    c = Entry(b"c", b"vc", version)
    assert found == [c, None, Entry(b"a", b"va", version), c]
    assert await engine.get_many([]) == []


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000, 16 << 20])
async def test_values_of_any_size_come_back_whole(engine: Engine, size: int) -> None:
    value = (bytes(range(251)) * (size // 251 + 1))[:size]
    await engine.commit(Commit(put=[Put(b"k", value)]))
    entry = await engine.get(b"k")
    assert entry is not None
    assert entry.value == value
    assert isinstance(entry.value, bytes)


@pytest.mark.parametrize("length", [1, 2, 499, 500, 501, 511, 512, 1000, 1001, 1033, 2200])
async def test_keys_of_any_length(engine: Engine, length: int) -> None:
    key = b"\xff" * (length - 1) + b"\x00"
    version = await fill(engine, key)
    assert await engine.get(key) == Entry(key, b"v" + key, version)
    assert await names(engine, FIRST, b"\xff" * 2201) == [key]
    await engine.commit(Commit(delete=[key]))
    assert await engine.get(key) is None
    assert await names(engine, FIRST, b"\xff" * 2201) == []


# --- walk ---


async def test_scan_is_in_byte_order_from_start_to_before_end(engine: Engine) -> None:
    await fill(engine, b"b", b"a", b"a\x00", b"\xc3\xa9", b"a\xff", b"ab")
    assert await names(engine) == [b"a", b"a\x00", b"ab", b"a\xff", b"b", b"\xc3\xa9"]
    assert await names(engine, b"a\x00", b"b") == [b"a\x00", b"ab", b"a\xff"]
    assert await names(engine, b"b", b"b") == []
    assert await names(engine, b"c", b"b") == []


async def test_scan_backwards_mirrors_scan_forwards(engine: Engine) -> None:
    await fill(engine, *LONG, b"a", b"b", b"z")
    for start, end in [(FIRST, LAST), (b"b", LONG[1]), (LONG[0], LONG[2]), (LONG[1], b"z")]:
        forwards = await engine.scan(start, end, 100)
        backwards = await engine.scan(start, end, 100, reverse=True)
        assert backwards == forwards[::-1]
        assert [e.key for e in forwards] == [
            k for k in sorted([*LONG, b"a", b"b", b"z"]) if start <= k < end
        ]


@pytest.mark.parametrize("reverse", [False, True])
async def test_scan_stops_at_its_limit(engine: Engine, reverse: bool) -> None:
    await fill(engine, b"a", b"b", b"c")
    expected = [b"c", b"b"] if reverse else [b"a", b"b"]
    assert [e.key for e in await engine.scan(FIRST, LAST, 2, reverse=reverse)] == expected
    assert await engine.scan(FIRST, LAST, 0, reverse=reverse) == []


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_visitor_stops_a_walk(engine: Engine, reverse: bool) -> None:
    await fill(engine, b"a", b"b", b"c", *LONG)
    seen: list[bytes] = []

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(key)
        return STOP if len(seen) == 2 else None

    await engine.walk(FIRST, LAST, visit, reverse=reverse)
    assert seen == ([b"c", b"b"] if reverse else [LONG[0], LONG[1]])


async def test_a_visitor_is_given_key_value_and_version(engine: Engine) -> None:
    version = await fill(engine, b"a")
    seen: list[tuple[bytes, bytes, int]] = []

    def visit(key: bytes, value: memoryview, at: int) -> bytes | None:
        assert isinstance(key, bytes)
        assert isinstance(value, memoryview)
        seen.append((key, bytes(value), at))
        return None

    await engine.walk(FIRST, LAST, visit)
    assert seen == [(b"a", b"va", version)]


async def test_a_visitor_seeks_forward(engine: Engine) -> None:
    await fill(engine, b"a", b"b", b"c", b"d", *LONG)
    seen: list[bytes] = []
    jumps = {LONG[0]: LONG[2], LONG[2]: b"aa", b"b": b"b\x00", b"c": b"zz"}

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(key)
        return jumps.get(key)

    await engine.walk(FIRST, LAST, visit)
    assert seen == [LONG[0], LONG[2], b"b", b"c"]


async def test_a_visitor_seeks_backward_to_strictly_before(engine: Engine) -> None:
    await fill(engine, b"a", b"b", b"c", b"d", *LONG)
    seen: list[bytes] = []
    jumps = {b"d": b"c", b"b": b"b", b"a": LONG[2], LONG[1]: b"A"}

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(key)
        return jumps.get(key)

    await engine.walk(FIRST, LAST, visit, reverse=True)
    assert seen == [b"d", b"b", b"a", LONG[1]]


@pytest.mark.parametrize("length", [1, 480, 500, 501, 1000])
async def test_a_seek_backward_to_the_prefix_of_what_was_seen_leaves_it_out(
    engine: Engine, length: int
) -> None:
    prefix = b"p" * length
    await fill(engine, b"a", prefix, prefix + b"q" * 700)
    seen: list[bytes] = []

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(key)
        return prefix if len(key) > length else None

    await engine.walk(FIRST, LAST, visit, reverse=True)
    assert seen == [prefix + b"q" * 700, b"a"]


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_visitor_that_seeks_the_wrong_way_is_caught(engine: Engine, reverse: bool) -> None:
    await fill(engine, b"b")

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        return b"c" if reverse else b"b"

    with pytest.raises(AssertionError):
        await engine.walk(FIRST, LAST, visit, reverse=reverse)


async def test_what_a_visitor_raises_comes_out_and_the_engine_goes_on(engine: Engine) -> None:
    await fill(engine, b"b")

    def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            await engine.walk(FIRST, LAST, visit)
    assert await names(engine) == [b"b"]


async def test_walk_many_goes_one_after_another(engine: Engine) -> None:
    await fill(engine, b"a1", b"a2", b"b1", b"b2", b"c1")
    seen: list[bytes] = []

    def all_of(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(key)
        return None

    def first_of(key: bytes, value: memoryview, version: int) -> bytes | None:
        seen.append(key)
        return STOP

    await engine.walk_many([(b"c", b"d", all_of), (b"b", b"c", first_of), (b"a", b"b", all_of)])
    assert seen == [b"c1", b"b1", b"a1", b"a2"]


async def test_one_call_reads_one_snapshot(engine: Engine) -> None:
    """Writers move a token between two keys; no reading call may see none or both of them."""
    first, second = b"a", LONG[1]
    await engine.commit(Commit(put=[Put(first, b"")]))
    done = False

    async def move() -> None:
        nonlocal done
        for n in range(60):
            here, there = (first, second) if n % 2 == 0 else (second, first)
            await engine.commit(Commit(put=[Put(there, b"")], delete=[here]))
        done = True

    mover = asyncio.create_task(move())
    while not done:
        found = await engine.get_many([first, second])
        assert sum(entry is not None for entry in found) == 1
        assert len(await engine.scan(FIRST, LAST, 10)) == 1
        assert len(await engine.scan(FIRST, LAST, 10, reverse=True)) == 1
        await asyncio.sleep(0)
    await mover


# --- commit ---


async def test_what_a_commit_returned_every_later_call_sees(engine: Engine) -> None:
    for n in range(30):
        version = await engine.commit(Commit(put=[Put(b"k", b"%d" % n)]))
        assert await engine.get(b"k") == Entry(b"k", b"%d" % n, version)


async def test_put_overwrites_and_delete_removes(engine: Engine) -> None:
    await fill(engine, b"a", b"b", LONG[0])
    version = await engine.commit(
        Commit(put=[Put(b"a", b"new"), Put(LONG[0], b"n")], delete=[b"b", b"not there"])
    )
    assert await engine.scan(FIRST, LAST, 9) == [
        Entry(LONG[0], b"n", version),
        Entry(b"a", b"new", version),
    ]


async def test_deletes_come_before_puts(engine: Engine) -> None:
    await fill(engine, b"a", LONG[0])
    version = await engine.commit(
        Commit(put=[Put(b"a", b"1"), Put(LONG[0], b"2")], delete=[b"a", LONG[0]])
    )
    assert await engine.get(b"a") == Entry(b"a", b"1", version)
    assert await engine.get(LONG[0]) == Entry(LONG[0], b"2", version)


async def test_the_last_put_of_a_key_wins(engine: Engine) -> None:
    version = await engine.commit(Commit(put=[Put(b"a", b"1"), Put(b"a", b"2")]))
    assert await engine.scan(FIRST, LAST, 9) == [Entry(b"a", b"2", version)]


async def test_an_empty_commit_has_a_version_too(engine: Engine) -> None:
    first = await engine.commit(Commit())
    assert await engine.commit(Commit()) > first


@pytest.mark.parametrize("key", [b"a", LONG[0]])
async def test_expect_absent(engine: Engine, key: bytes) -> None:
    commit = Commit(expect=[(key, ABSENT)], put=[Put(key, b"1")])
    await engine.commit(commit)
    with pytest.raises(Conflict):
        await engine.commit(commit)
    await engine.commit(Commit(delete=[key]))
    await engine.commit(commit)


@pytest.mark.parametrize("key", [b"a", LONG[0]])
async def test_expect_version(engine: Engine, key: bytes) -> None:
    old = await fill(engine, key)
    new = await engine.commit(Commit(expect=[(key, old)], put=[Put(key, b"2")]))
    for wrong in (old, new + 1, ABSENT):
        with pytest.raises(Conflict):
            await engine.commit(Commit(expect=[(key, wrong)], put=[Put(key, b"3")]))
    assert await engine.get(key) == Entry(key, b"2", new)
    await engine.commit(Commit(delete=[key]))
    with pytest.raises(Conflict):
        await engine.commit(Commit(expect=[(key, new)]))


async def test_expect_empty(engine: Engine) -> None:
    await fill(engine, b"b", LONG[1])
    for start, end in [
        (b"a", b"c"),
        (b"b", b"b\x00"),
        (LONG[1], LONG[1] + b"\x00"),
        (LONG[0], LONG[2]),
        (LONG[1][:480], LONG[2][:500]),
    ]:
        with pytest.raises(Conflict):
            await engine.commit(Commit(expect_empty=[(b"x", b"y"), (start, end)]))
    ranges = [(b"a", b"b"), (b"b\x00", b"c"), (LONG[1] + b"\x00", b"a"), (LONG[0], LONG[1])]
    await engine.commit(Commit(expect_empty=ranges, put=[Put(b"b", b"")]))


async def test_a_failed_expectation_leaves_no_trace(engine: Engine) -> None:
    await fill(engine, b"a", b"b")
    before = await engine.scan(FIRST, LAST, 100)
    with pytest.raises(Conflict):
        await engine.commit(
            Commit(
                expect=[(b"c", ABSENT), (b"a", 1)],
                put=[Put(b"c", b""), Put(LONG[0], b"")],
                delete=[b"b"],
                log=[b"entry"],
            )
        )
    assert await engine.scan(FIRST, LAST, 100) == before


async def test_one_of_many_creators_wins(engine: Engine) -> None:
    async def create(n: int) -> bool:
        try:
            await engine.commit(Commit(expect=[(b"k", ABSENT)], put=[Put(b"k", b"%d" % n)]))
        except Conflict:
            return False
        return True

    won = await asyncio.gather(*(create(n) for n in range(50)))
    assert sum(won) == 1
    entry = await engine.get(b"k")
    assert entry is not None
    assert entry.value == b"%d" % won.index(True)


async def test_no_increment_is_lost(engine: Engine) -> None:
    async def increment() -> None:
        while True:
            entry = await engine.get(b"n")
            value, version = (int(entry.value), entry.version) if entry else (0, ABSENT)
            try:
                await engine.commit(
                    Commit(expect=[(b"n", version)], put=[Put(b"n", b"%d" % (value + 1))])
                )
            except Conflict:
                await asyncio.sleep(0)
            else:
                return

    await asyncio.gather(*(increment() for _ in range(24)))
    entry = await engine.get(b"n")
    assert entry is not None
    assert entry.value == b"24"


async def test_commits_that_exclude_each_other_do_not_both_succeed(engine: Engine) -> None:
    """Write skew: each expects the other's key absent."""
    for n in range(20):
        one, other = b"x%d" % n, b"y%d" % n
        outcomes = await asyncio.gather(
            engine.commit(Commit(expect=[(one, ABSENT)], put=[Put(other, b"")])),
            engine.commit(Commit(expect_empty=[(other, other + b"z")], put=[Put(one, b"")])),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


# --- versions, stamps, log ---


async def test_versions_grow_when_the_clock_stands_or_goes_back(
    engine: Engine, clock: FakeClock
) -> None:
    versions = []
    for seconds in (0, 0, 10, -3600, 0, 7200):
        clock.advance(seconds)
        versions.append(await engine.commit(Commit()))
    assert versions == sorted(set(versions))
    assert versions[0] >= FakeClock().ns
    assert versions[2] == FakeClock().ns + 10_000_000_000
    assert versions[-1] == clock.ns


async def test_a_version_is_greater_than_after(engine: Engine, clock: FakeClock) -> None:
    ahead = clock.ns + 10**12
    assert await engine.commit(Commit(after=ahead)) == ahead + 1
    assert await engine.commit(Commit()) == ahead + 2
    assert await engine.commit(Commit(after=5)) == ahead + 3


async def test_stamps_are_the_version_in_value_and_key(engine: Engine) -> None:
    value = b"12345678-rest"
    version = await engine.commit(
        Commit(
            put=[
                Put(b"v", value, stamp=0),
                Put(b"w", value, stamp=5),
                Put(b"k-12345678-k", b"", key_stamp=2),
                Put(b"L" * 600 + bytes(8), value, stamp=0, key_stamp=600),
            ]
        )
    )
    stamp, inverted = version_bytes(version), inverted_bytes(version)
    assert await engine.get(b"v") == Entry(b"v", stamp + value[8:], version)
    assert await engine.get(b"w") == Entry(b"w", value[:5] + stamp, version)
    key = b"k-" + inverted + b"-k"
    assert await engine.get(key) == Entry(key, b"", version)
    key = b"L" * 600 + inverted
    assert await engine.get(key) == Entry(key, stamp + value[8:], version)


async def test_log_values_stand_in_commit_order(engine: Engine) -> None:
    async def write(n: int) -> tuple[int, int]:
        return await engine.commit(Commit(log=[b"%d.0" % n, b"%d.1" % n])), n

    written = sorted(await asyncio.gather(*(write(n) for n in range(40))))
    entries = await engine.scan(keys.LOG, prefix_end(keys.LOG), 1000)
    assert [e.value for e in entries] == [b"%d.%d" % (n, i) for _, n in written for i in (0, 1)]
    assert [e.key for e in entries] == [keys.log_key(v, i) for v, _ in written for i in (0, 1)]
    assert [e.version for e in entries] == [v for v, _ in written for _ in (0, 1)]


async def test_no_log_entry_appears_behind_one_already_seen(engine: Engine) -> None:
    seen: list[bytes] = []
    writers = [asyncio.create_task(engine.commit(Commit(log=[b"x"]))) for _ in range(60)]
    while len(seen) < 60:
        now = [e.key for e in await engine.scan(keys.LOG, prefix_end(keys.LOG), 1000)]
        assert now[: len(seen)] == seen
        seen = now
        await asyncio.sleep(0)
    await asyncio.gather(*writers)


# --- watch and close ---


async def test_watch_wakes_for_its_prefix(engine: Engine) -> None:
    watch = engine.watch(b"L")
    waiting = asyncio.create_task(watch.wait(30))
    await asyncio.sleep(0)
    await engine.commit(Commit(log=[b"x"]))
    assert await waiting
    watch.close()


async def test_watch_remembers_what_came_between_two_waits(engine: Engine) -> None:
    watch = engine.watch(b"a")
    await fill(engine, b"ab")
    assert await watch.wait(30)
    await engine.commit(Commit(delete=[b"ab"]))
    assert await watch.wait(30)
    watch.close()


async def test_watch_answers_false_when_nothing_came(engine: Engine) -> None:
    await fill(engine, b"ab")
    watch = engine.watch(b"a")
    assert not await watch.wait(0.01)
    await fill(engine, b"b")
    assert not await watch.wait(0.01)
    watch.close()


async def test_close_finishes_what_was_accepted_and_can_be_repeated(engine: Engine) -> None:
    commits = [asyncio.create_task(fill(engine, b"%d" % n)) for n in range(20)]
    await asyncio.sleep(0)
    await engine.close()
    await engine.close()
    assert len(set(await asyncio.gather(*commits))) == 20
