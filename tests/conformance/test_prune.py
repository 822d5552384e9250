"""Retention: final tasks are forgotten after their time, a bounded number of rows a pass."""

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.verbs import Action, Existing, Force, Idempotency, Retention
from tests.conformance.bench import MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "prune", "force", "get", "stats")


def keep(bench, succeeded=None, failed=None, cancelled=None):
    """Retention in seconds; `None` keeps for ever."""
    kept = [None if seconds is None else bench.us(seconds) for seconds in (succeeded, failed, cancelled)]
    return Retention(*kept)


async def prune_all(bench, retention, limit=100):
    count, cursor = 0, None
    while True:
        pruned = await bench.store.prune(limit, retention, cursor)
        count, cursor = count + pruned.count, pruned.cursor
        if cursor is None:
            return count


async def ended(bench, outcome, **fields):
    (task,) = await bench.submit(bench.task(policy=Policy(max_retries=0), **fields))
    await bench.settle(await bench.claim_one(), outcome)
    return task


async def gone(bench, *tasks):
    return [record is None for record in await bench.store.get(tasks)]


async def test_each_final_state_has_its_own_time(bench):
    """Succeeded, failed and cancelled are kept apart; unfinished tasks are never forgotten."""
    tasks = [
        await ended(bench, Outcome.SUCCEEDED),
        await ended(bench, Outcome.FAILED),
        await ended(bench, Outcome.CANCELLED),
    ]
    waiting = await bench.submit(bench.task(), bench.task(delay=900))
    await bench.advance(15)
    assert await prune_all(bench, keep(bench, 10, 20, 30)) == 1
    assert await gone(bench, *tasks, *waiting) == [True, False, False, False, False]
    await bench.advance(10)
    assert await prune_all(bench, keep(bench, 10, 20, 30)) == 1
    await bench.advance(10)
    assert await prune_all(bench, keep(bench, 10, 20, 30)) == 1
    assert await gone(bench, *tasks, *waiting) == [True, True, True, False, False]


async def test_none_keeps_for_ever(bench):
    tasks = [await ended(bench, outcome) for outcome in (Outcome.SUCCEEDED, Outcome.FAILED)]
    await bench.advance(1_000)
    assert await prune_all(bench, keep(bench)) == 0
    assert await gone(bench, *tasks) == [False, False]


async def test_the_time_counts_from_the_end(bench):
    (task,) = await bench.submit_many(1)
    lease = await bench.claim_one(lease=600)
    await bench.advance(20)
    await bench.settle(lease)
    await bench.advance(5)
    assert await prune_all(bench, keep(bench, 10)) == 0
    await bench.advance(10)
    assert await prune_all(bench, keep(bench, 10)) == 1
    assert await gone(bench, task) == [True]


@pytest.mark.exact_time
async def test_the_border_is_exact(bench):
    await ended(bench, Outcome.SUCCEEDED)
    bench.clock.offset_us += bench.us(10) - MS
    assert await prune_all(bench, keep(bench, 10)) == 0
    bench.clock.offset_us += 2 * MS
    assert await prune_all(bench, keep(bench, 10)) == 1


async def test_a_pass_looks_at_a_bounded_number_of_rows(bench):
    """Rows that stay do not hide those behind them: the cursor goes on."""
    await bench.submit_many(5, delay=900)
    for _ in range(5):
        await ended(bench, Outcome.SUCCEEDED)
    await bench.advance(1)
    first = await bench.store.prune(4, keep(bench, 0), None)
    assert first.count == 0
    assert first.cursor is not None
    second = await bench.store.prune(4, keep(bench, 0), first.cursor)
    assert 1 <= second.count <= 4
    assert await prune_all(bench, keep(bench, 0), limit=3) == 5 - second.count
    assert sum((await bench.store.stats()).counts.values()) == 5


async def test_an_empty_store(bench):
    pruned = await bench.store.prune(10, keep(bench, 0, 0, 0), None)
    assert (pruned.count, pruned.cursor) == (0, None)


async def test_parents_of_unfinished_children_stay(bench):
    parent = await ended(bench, Outcome.FAILED)
    held = bench.task(depends_on=(parent,), policy=Policy(on_parent_failure=OnParentFailure.BLOCK))
    await bench.submit(held)
    await bench.advance(1)
    assert await prune_all(bench, keep(bench, 0, 0, 0)) == 0
    await bench.store.force([Force(held.id, Action.CANCEL)])
    await bench.advance(1)
    assert await prune_all(bench, keep(bench, 0, 0, 0)) == 2


async def test_a_replayed_task_is_not_forgotten(bench):
    task = await ended(bench, Outcome.FAILED)
    await bench.advance(20)
    await bench.store.force([Force(task, Action.REPLAY)])
    assert await prune_all(bench, keep(bench, 0, 0, 0)) == 0
    assert (await bench.get(task)).state is State.READY


async def test_a_key_outlives_the_pruned_task(bench):
    """Its time to live is a promise of its own."""
    key = Idempotency("alice", "k", b"body", bench.us(60))
    await bench.put_one(bench.task(), idempotency=key)
    await bench.settle(await bench.claim_one())
    await bench.advance(5)
    assert await prune_all(bench, keep(bench, 0)) == 1
    assert isinstance(await bench.put_one(bench.task(), idempotency=key), Existing)
