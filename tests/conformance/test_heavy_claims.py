"""Claims of large tasks: an answer has a bound in bytes, and nobody goes away with nothing."""

import pytest

from mainspring.core.limits import LimitRule
from mainspring.core.order import Quota
from mainspring.verbs import CLAIM_BYTES, Group
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs("submit", "claim")
HIGH, LOW = LANE._replace(priority=8), LANE._replace(priority=2)
LARGE = CLAIM_BYTES // 4


async def submit_large(bench, count, lane=LANE):
    return await bench.submit_many(count, lane, payload=b" " * LARGE)


async def test_a_claim_gets_fewer_tasks_if_they_are_large(bench):
    """In their order; what is left is not taken for nothing, and comes with the next claims."""
    tasks = await submit_large(bench, 6)
    first, second = await bench.ask_for(6, worker="w1"), await bench.ask_for(6, worker="w2")
    assert [lease.task for lease in first.leases] == tasks[:4]
    assert {lease.payload for lease in first.leases} == {b" " * LARGE}
    assert first.empty == []
    assert [lease.task for lease in second.leases] == tasks[4:]
    assert second.empty == [bench.lane_ids[LANE]]


async def test_the_last_one_may_be_of_any_size(bench):
    """At least one is given, and small ones before a large one cost nothing."""
    small = await bench.submit_many(60)
    (large,) = await bench.submit_many(1, payload=b" " * (CLAIM_BYTES + 1))
    after = await bench.submit_many(1)
    assert await bench.claimed_ids(100) == [*small, large]
    assert await bench.claimed_ids(100, worker="w2") == after
    (alone,) = await bench.submit_many(1, payload=b" " * (CLAIM_BYTES + 1))
    await bench.submit_many(1)
    assert await bench.claimed_ids(100, worker="w3") == [alone]


async def test_lanes_that_were_not_reached_are_not_empty(bench):
    high = await submit_large(bench, 3, HIGH)
    low = await submit_large(bench, 2, LOW)
    await bench.submit(bench.task(LANE))
    claimed = await bench.ask_for(9, [HIGH, LOW, LANE])
    assert [lease.task for lease in claimed.leases] == [*high, low[0]]
    assert claimed.empty == [bench.lane_ids[HIGH]]


async def test_a_lane_that_is_asked_twice(bench):
    tasks = await submit_large(bench, 6)
    number = await bench.lane_id(LANE)
    claimed = await bench.ask_for(6, [Quota(number, 1), Quota(number, 5)])
    assert [lease.task for lease in claimed.leases] == tasks[:4]
    assert claimed.empty == []


@pytest.mark.verbs("set_limit")
async def test_under_limits(bench):
    """Where lanes are looked at one by one."""
    high, low = await submit_large(bench, 3, HIGH), await submit_large(bench, 3, LOW)
    await bench.store.set_limit(f"kind:{LANE.kind}", LimitRule(max_running=20))
    assert await bench.claimed_ids(9, [HIGH, LOW]) == [*high, low[0]]
    assert await bench.claimed_ids(9, [HIGH, LOW], worker="w2") == low[1:]


async def test_a_repeat_gets_what_the_claim_got(bench):
    await submit_large(bench, 6)
    ask = bench.ask(6)
    (first,) = (await bench.exchange(claims=[ask])).claims
    (again,) = (await bench.exchange(claims=[ask])).claims
    assert [lease.task for lease in again.leases] == [lease.task for lease in first.leases]
    assert len(again.leases) == 4


async def test_tasks_that_come_in_the_same_exchange(bench):
    (other,) = await bench.submit_many(1)
    tasks = [bench.task(payload=b" " * LARGE) for _ in range(6)]
    asks = [bench.ask(9, [LANE], worker=worker) for worker in ("w1", "w2")]
    answer = await bench.exchange(submits=[Group([task]) for task in tasks], claims=asks)
    got = [[lease.task for lease in claimed.leases] for claimed in answer.claims]
    assert got == [[other, *[task.id for task in tasks[:4]]], [task.id for task in tasks[4:]]]
    assert answer.claims[0].leases[-1].payload == b" " * LARGE
