"""Where bodies are under each policy: by hand, in closed form, and that nothing is ever lost."""

from __future__ import annotations

import pytest

from bench.simulation.geography import COUNT, NAMES, round_trips_s
from bench.simulation.policies import (
    CACHED,
    DURABLE,
    HALF_LIFE_S,
    INLINE,
    INLINE_MAX,
    INLINE_S,
    JOINED,
    LAG_S,
    LOCAL_RATE,
    LOCAL_S,
    MOVE_READS,
    PULLED,
    PUT_RATE,
    PUT_S,
    REMOTE,
    WAN_RATE,
    Accelerate,
    Policy,
    Pull,
    PullAndMove,
    SingleRegion,
)
from bench.simulation.run import serve, tell
from bench.simulation.traffic import DAY_S, Plan, Requests, generate

SJC, ORD, IAD, FRA, LHR, SYD = (
    NAMES.index(name) for name in ("sjc", "ord", "iad", "fra", "lhr", "syd")
)
RTT = round_trips_s()
MIB = 1 << 20
KEY = 7
HERE = LOCAL_S + MIB / LOCAL_RATE
THERE = MIB / WAN_RATE
PLAN = Plan(objects=20_000, requests=30_000)


def policies(cache: int) -> list[Policy]:
    return [Pull(cache), PullAndMove(cache), Accelerate(), SingleRegion()]


@pytest.fixture(scope="module")
def requests() -> Requests:
    return generate(PLAN)


def test_a_first_read_costs_a_round_trip_and_the_second_none() -> None:
    policy = Pull(MIB)
    assert policy.get(0, SJC, KEY, MIB, SJC) == (HERE, DURABLE)
    assert policy.get(1, FRA, KEY, MIB, SJC) == (
        pytest.approx(HERE + RTT[SJC][FRA] + THERE),
        PULLED,
    )
    assert policy.get(2, FRA, KEY, MIB, SJC) == (HERE, CACHED)
    assert policy.pulled == MIB


def test_a_pull_is_from_the_nearest_region_that_is_known_to_hold_it() -> None:
    policy = Pull(MIB)
    arrives = policy.get(0, FRA, KEY, MIB, SJC)[0]
    early = arrives + RTT[FRA][LHR] / 2 + LAG_S / 2
    assert policy.get(early, LHR, KEY, MIB, SJC)[0] == pytest.approx(HERE + RTT[SJC][LHR] + THERE)
    policy = Pull(MIB)
    policy.get(0, FRA, KEY, MIB, SJC)
    assert policy.get(9, LHR, KEY, MIB, SJC)[0] == pytest.approx(HERE + RTT[FRA][LHR] + THERE)


def test_who_comes_during_a_pull_waits_for_it() -> None:
    policy = Pull(MIB)
    arrives = policy.get(0, FRA, KEY, MIB, SJC)[0]
    assert policy.get(0.05, FRA, KEY, MIB, SJC) == (pytest.approx(HERE + arrives - 0.05), JOINED)
    assert policy.pulled == MIB


def test_inline_bodies_are_everywhere() -> None:
    policy = Pull(MIB)
    policy.put(0, SJC, KEY, 1000)
    assert policy.get(1, SYD, KEY, 1000, SJC) == (INLINE_S, INLINE)
    assert (policy.pulled, policy.pushed) == (0, 1000 * (COUNT - 1))


def test_a_new_version_makes_copies_worthless_and_lives_where_it_was_written() -> None:
    policy = Pull(MIB)
    policy.get(0, FRA, KEY, MIB, SJC)
    assert policy.put(1, LHR, KEY, MIB) == pytest.approx(PUT_S + MIB / PUT_RATE)
    assert policy.cached() == 0
    assert policy.get(2, LHR, KEY, MIB, SJC)[1] == DURABLE
    assert policy.get(3, FRA, KEY, MIB, SJC)[0] == pytest.approx(HERE + RTT[LHR][FRA] + THERE)
    assert policy.get(4, SJC, KEY, MIB, SJC)[1] == PULLED


def test_an_evicted_copy_is_pulled_again() -> None:
    policy = Pull(MIB)
    policy.get(0, FRA, KEY, MIB, SJC)
    policy.get(1, FRA, KEY + 1, MIB, SJC)
    assert policy.get(2, FRA, KEY, MIB, SJC)[1] == PULLED


def read(policy: Policy, times: int, region: int, begin: float, every: float = 1) -> list[int]:
    return [policy.get(begin + n * every, region, KEY, MIB, SJC)[1] for n in range(times)]


def test_the_home_follows_the_reader_and_the_old_copy_may_go() -> None:
    policy = PullAndMove(MIB)
    reads = int(MOVE_READS) + 1
    assert read(policy, reads, FRA, 0) == [PULLED] + [CACHED] * (reads - 1)
    assert read(policy, 1, FRA, 100) == [DURABLE]
    assert policy.moves == 1
    assert read(policy, 1, SJC, 101) == [CACHED]
    policy.get(102, SJC, KEY + 1, MIB, FRA)  # evicts it there
    assert read(policy, 1, FRA, 103) == [DURABLE]
    assert read(policy, 1, SJC, 104) == [PULLED]
    policy.check()


def test_the_old_home_keeps_its_copy_until_the_new_one_has_promised() -> None:
    policy = PullAndMove(MIB)
    read(policy, int(MOVE_READS) + 1, FRA, 0)
    assert read(policy, 1, SJC, MOVE_READS + RTT[FRA][SJC] - 0.01) == [DURABLE]
    assert read(policy, 1, SJC, MOVE_READS + RTT[FRA][SJC] + 0.01) == [CACHED]


def test_a_copy_that_was_evicted_can_not_be_promised() -> None:
    policy = PullAndMove(MIB)
    read(policy, int(MOVE_READS) + 1, FRA, 0)
    for after in (0.01, 0.02):  # at its second pull it is let into the main queue
        policy.get(MOVE_READS + after, FRA, KEY + 1, MIB, SJC)
    assert KEY not in policy.caches[FRA]
    assert read(policy, 1, SJC, 100) == [DURABLE]
    assert policy.moves == 0
    policy.check()


def test_the_home_stays_while_others_read_as_much() -> None:
    policy = PullAndMove(MIB)
    for begin in range(0, 40, 2):
        read(policy, 1, FRA, begin)
        read(policy, 1, SJC, begin + 1)
    assert read(policy, 1, FRA, 100) == [CACHED]
    assert policy.moves == 0


def test_reads_long_ago_count_little() -> None:
    policy = PullAndMove(MIB)
    read(policy, 20, FRA, 0, every=HALF_LIFE_S)  # never worth more than two
    assert policy.moves == 0


def test_a_move_does_not_outlive_a_new_version() -> None:
    policy = PullAndMove(MIB)
    read(policy, int(MOVE_READS) + 1, FRA, 0, every=0.5)
    policy.put(0.5 * MOVE_READS + 0.01, LHR, KEY, MIB)
    assert read(policy, 1, FRA, 0.5 * MOVE_READS + 0.02) == [PULLED]
    assert read(policy, 1, LHR, 100) == [DURABLE]
    assert policy.moves == 0
    policy.check()


def test_accelerated_bodies_arrive_everywhere_and_are_waited_for() -> None:
    policy = Accelerate()
    written = policy.put(0, SJC, KEY, MIB)
    arrives = written + LAG_S + RTT[SJC][FRA] + THERE
    assert policy.pushed == MIB * (COUNT - 1)
    assert policy.get(0.2, FRA, KEY, MIB, SJC) == (pytest.approx(HERE + arrives - 0.2), JOINED)
    assert policy.get(arrives, FRA, KEY, MIB, SJC) == (HERE, DURABLE)
    assert policy.get(0, FRA, KEY + 1, MIB, SJC) == (HERE, DURABLE)


def test_a_single_region_is_near_to_itself_only() -> None:
    policy = SingleRegion()
    assert policy.get(0, IAD, KEY, MIB, SYD) == (HERE, DURABLE)
    far = RTT[SYD][IAD] + THERE
    assert policy.get(0, SYD, KEY, MIB, SYD) == (pytest.approx(HERE + far), REMOTE)
    assert policy.put(0, SYD, KEY, MIB) == pytest.approx(PUT_S + MIB / PUT_RATE + far)


@pytest.mark.parametrize("cache", [MIB, 256 * MIB])
def test_every_read_is_served_and_every_moved_byte_has_a_reason(
    requests: Requests, cache: int
) -> None:
    """`serve` ends with the policy's own check of budgets and homes."""
    is_inline = requests.size <= INLINE_MAX
    for policy in policies(cache):
        answers = serve(policy, requests, warm_s=0)
        is_get = ~requests.is_put
        assert (answers.outcome[is_get] >= 0).all()
        assert (answers.outcome[requests.is_put] == -1).all()
        assert (answers.seconds > 0).all()
        moved = (answers.outcome == PULLED) | (answers.outcome == REMOTE)
        assert answers.pulled == requests.size[moved].sum()
        if isinstance(policy, Pull):
            assert policy.cached() <= cache * COUNT
            pushed = requests.size[requests.is_put & is_inline].sum() * (COUNT - 1)
            assert answers.pushed == pushed


def test_the_home_has_its_body_after_every_single_event(requests: Requests) -> None:
    for policy in (Pull(8 * MIB), PullAndMove(8 * MIB)):
        moved = 0
        for now, region, key, size, writer, is_put in list(requests.rows())[:4000]:
            if is_put:
                policy.put(now, region, key, size)
            else:
                policy.get(now, region, key, size, writer)
                home = policy.homes.get(key, writer)
                moved += home != writer
                if size > INLINE_MAX:
                    assert home in policy.holders.get(key, {home: 0.0})
                    assert key not in policy.caches[home]
            policy.check()
        assert moved > 0


def test_the_same_seed_gives_the_same_figures(requests: Requests) -> None:
    for one, two in zip(policies(64 * MIB), policies(64 * MIB), strict=True):
        assert tell(one, PLAN, requests) == tell(two, PLAN, generate(PLAN))


def test_what_is_told_adds_up(requests: Requests) -> None:
    counted = requests.time >= PLAN.warm_days * DAY_S
    for policy in policies(64 * MIB):
        told = tell(policy, PLAN, requests)
        assert sum(told.outcomes.values()) == told.gets == (counted & ~requests.is_put).sum()
        assert told.gets + told.puts == counted.sum()
        assert told.get_ms["p50"] <= told.get_ms["p99"] <= told.get_ms["p99.9"]
        assert len(told.hourly) == PLAN.days * 24
        if not isinstance(policy, SingleRegion):  # inline bodies are everywhere
            assert 0 < told.bodies_in_region <= told.served_in_region <= 1
        assert 1 <= told.stored_over_written <= COUNT


def test_a_single_region_serves_its_own_share_and_accelerate_all(requests: Requests) -> None:
    counted = (requests.time >= PLAN.warm_days * DAY_S) & ~requests.is_put
    own = (requests.region[counted] == IAD).mean()
    assert tell(SingleRegion(), PLAN, requests).served_in_region == pytest.approx(own)
    accelerated = tell(Accelerate(), PLAN, requests)
    joined = accelerated.outcomes["joined"]
    assert accelerated.served_in_region == pytest.approx(1 - joined / accelerated.gets)
    assert accelerated.stored_over_written == pytest.approx(COUNT)
