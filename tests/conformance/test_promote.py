"""Promoting: scheduled tasks that are due become ready, in the order of their times."""

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.verbs import Action, Force
from tests.conformance.bench import LANE, MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "promote", "get")


async def test_not_before_its_time(bench):
    """S1-61: delayed execution."""
    (task,) = await bench.submit(bench.task(delay=10))
    await bench.advance(5)
    assert (await bench.promote()).count == 0
    await bench.advance(6)
    moved = await bench.promote()
    assert moved.count == 1
    assert [head.lane for head in moved.ready] == [LANE]
    assert await bench.claimed_ids(10) == [task]


@pytest.mark.exact_time
async def test_due_in_time(bench):
    await bench.submit(bench.task(delay=10))
    bench.clock.offset_us += 10_000_000 - MS
    assert (await bench.promote()).count == 0
    bench.clock.offset_us += 2 * MS
    assert (await bench.promote()).count == 1


async def test_in_the_order_of_their_times(bench):
    """Whatever the order of submitting."""
    tasks = [bench.task(delay=delay) for delay in (30, 10, 20)]
    await bench.submit(*tasks)
    await bench.advance(40)
    assert (await bench.promote()).count == 3
    assert await bench.claimed_ids(10) == [tasks[1].id, tasks[2].id, tasks[0].id]


async def test_one_time_in_the_order_of_submitting(bench):
    at_us = (await bench.put_one(bench.task(delay=900))).created_at_us + bench.us(10)
    tasks = await bench.submit_many(5, run_at_us=at_us)
    await bench.advance(11)
    assert (await bench.promote()).count == 5
    assert await bench.claimed_ids(10) == tasks


async def test_a_promoted_task_stands_behind_those_that_were_ready(bench):
    (delayed,) = await bench.submit(bench.task(delay=5))
    (ready,) = await bench.submit_many(1)
    await bench.advance(6)
    await bench.promote()
    assert await bench.claimed_ids(10) == [ready, delayed]


async def test_in_passes_of_the_limit_without_a_tail(bench):
    """A full pass says that there may be more."""
    await bench.submit_many(25, delay=5)
    await bench.advance(6)
    counts = [(await bench.promote(10)).count for _ in range(4)]
    assert counts == [10, 10, 5, 0]
    assert len(await bench.claim(30)) == 25


async def test_it_says_when_the_next_is_due(bench):
    assert (await bench.promote()).next_due_us is None
    await bench.submit(bench.task(delay=10), bench.task(delay=20))
    next_due_us = (await bench.promote()).next_due_us
    assert bench.us(5) <= next_due_us <= bench.us(10)
    await bench.advance(11)
    moved = await bench.promote()
    assert moved.count == 1
    assert bench.us(1) <= moved.next_due_us <= bench.us(9)
    await bench.advance(15)
    await bench.promote()
    assert (await bench.promote()).next_due_us is None


async def test_more_that_is_due_already_is_due_now(bench):
    await bench.submit_many(2, delay=5)
    await bench.advance(6)
    assert (await bench.promote(1)).next_due_us == 0


@pytest.mark.verbs("force")
async def test_cancelled_tasks_are_passed_over(bench):
    (gone, stays) = await bench.submit(bench.task(delay=5), bench.task(delay=5))
    await bench.store.force([Force(gone, Action.CANCEL)])
    await bench.advance(6)
    assert (await bench.promote()).count == 1
    assert await bench.claimed_ids(10) == [stays]


async def test_a_retry_is_promoted_in_its_time(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await bench.settle(lease, Outcome.FAILED, delay=10)
    await bench.advance(5)
    assert (await bench.promote()).count == 0
    await bench.advance(6)
    assert (await bench.promote()).count == 1
    assert (await bench.get(lease.task)).state is State.READY
