"""Unique rules: at most one task with a digest among the states named, within the period named."""

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import WAITING, State, UniqueRule
from mainspring.verbs import Accepted, Group, NewWorkflow
from tests.conformance.bench import MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "get")
UNFINISHED = WAITING | {State.RUNNING}
RULE = UniqueRule(b"digest", UNFINISHED)


async def test_the_second_finds_the_first(bench):
    """It is accepted, and names the task that stands for it."""
    (first,) = await bench.submit(bench.task(unique=RULE))
    second = bench.task(unique=RULE, payload=b"2")
    accepted = await bench.put_one(second)
    assert isinstance(accepted, Accepted)
    assert [(place, task.id) for place, task in accepted.existing.items()] == [(0, first)]
    assert list(accepted.states) == [State.READY]
    assert await bench.store.get([second.id]) == [None]


async def test_another_digest_is_another_task(bench):
    await bench.submit(bench.task(unique=RULE))
    accepted = await bench.put_one(bench.task(unique=UniqueRule(b"other", UNFINISHED)))
    assert not accepted.existing


async def test_a_task_without_a_rule_is_never_in_the_way(bench):
    await bench.submit(bench.task())
    assert not (await bench.put_one(bench.task(unique=RULE))).existing


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.CANCELLED])
async def test_only_the_states_named_count(bench, outcome):
    """A finished task does not block, unless asked to."""
    (first,) = await bench.submit(bench.task(unique=RULE))
    lease = await bench.claim_one()
    assert (await bench.put_one(bench.task(unique=RULE))).existing
    await bench.settle(lease, outcome)
    ever = UniqueRule(b"digest", frozenset(State))
    assert (await bench.put_one(bench.task(unique=ever))).existing[0].id == first
    assert not (await bench.put_one(bench.task(unique=RULE))).existing


async def test_it_holds_while_waiting_for_a_retry(bench):
    """The lock frees on completion, not on a failed attempt."""
    await bench.submit(bench.task(unique=RULE))
    await bench.settle(await bench.claim_one(), Outcome.FAILED, delay=60)
    assert (await bench.put_one(bench.task(unique=RULE))).existing


async def test_it_holds_for_scheduled_and_blocked_tasks(bench):
    parent = bench.task()
    delayed = bench.task(delay=60, unique=UniqueRule(b"a", UNFINISHED))
    blocked = bench.task(depends_on=(parent.id,), unique=UniqueRule(b"b", UNFINISHED))
    await bench.submit(parent, delayed, blocked)
    again = await bench.put_one(bench.task(unique=delayed.unique), bench.task(unique=blocked.unique))
    assert [task.id for task in again.existing.values()] == [delayed.id, blocked.id]


async def test_a_waiting_only_rule_lets_one_wait_while_one_runs(bench):
    rule = UniqueRule(b"digest", WAITING)
    await bench.submit(bench.task(unique=rule))
    await bench.claim_one()
    (waiting,) = await bench.submit(bench.task(unique=rule))
    assert (await bench.put_one(bench.task(unique=rule))).existing[0].id == waiting


async def test_the_period_counts_from_the_first_submit(bench):
    rule = UniqueRule(b"digest", frozenset(State), period_us=bench.us(20))
    await bench.submit(bench.task(unique=rule))
    await bench.advance(15)
    assert (await bench.put_one(bench.task(unique=rule))).existing
    await bench.advance(10)
    assert not (await bench.put_one(bench.task(unique=rule))).existing


@pytest.mark.exact_time
async def test_the_border_of_the_period_is_exact(bench):
    """A task is a duplicate until it is as old as the period, and not a millisecond longer."""
    rule = UniqueRule(b"digest", frozenset(State), period_us=239_000_000)
    await bench.submit(bench.task(unique=rule))
    bench.clock.offset_us += 239_000_000 - MS
    assert (await bench.put_one(bench.task(unique=rule))).existing
    bench.clock.offset_us += 2 * MS
    assert not (await bench.put_one(bench.task(unique=rule))).existing


async def test_each_submit_asks_by_its_own_period(bench):
    await bench.submit(bench.task(unique=UniqueRule(b"digest", frozenset(State), period_us=bench.us(5))))
    await bench.advance(10)
    longer = UniqueRule(b"digest", frozenset(State), period_us=bench.us(60))
    assert (await bench.put_one(bench.task(unique=longer))).existing


async def test_twice_in_a_group(bench):
    one, two = bench.task(unique=RULE), bench.task(unique=RULE)
    accepted = await bench.put_one(one, two)
    assert [(place, task.id) for place, task in accepted.existing.items()] == [(1, one.id)]
    assert await bench.store.get([two.id]) == [None]


async def test_twice_in_a_batch(bench):
    one, two = bench.task(unique=RULE), bench.task(unique=RULE)
    first, second = await bench.put([Group([one]), Group([two])])
    assert not first.existing
    assert second.existing[0].id == one.id


async def test_siblings_depend_on_the_task_that_was_found(bench):
    """The duplicate is not stored: who waits for it waits for the one that stands for it."""
    (first,) = await bench.submit(bench.task(unique=RULE))
    duplicate = bench.task(unique=RULE)
    child = bench.task(depends_on=(duplicate.id,))
    accepted = await bench.put_one(duplicate, child)
    assert list(accepted.states) == [State.READY, State.BLOCKED]
    assert (await bench.get(child.id)).depends_on == (first,)
    await bench.settle(await bench.claim_one())
    assert (await bench.get(child.id)).state is State.READY


async def test_a_refused_group_leaves_no_lock(bench):
    bad = bench.task(depends_on=(bench.clock.new_id(),))
    refused = await bench.put_one(bench.task(unique=RULE), bad)
    assert refused.code == "unknown_parent"
    assert not (await bench.put_one(bench.task(unique=RULE))).existing


@pytest.mark.verbs("delete")
async def test_a_deleted_task_blocks_nobody(bench):
    ever = UniqueRule(b"digest", frozenset(State))
    (first,) = await bench.submit(bench.task(unique=ever))
    await bench.settle(await bench.claim_one())
    assert await bench.store.delete([first]) == [None]
    assert not (await bench.put_one(bench.task(unique=ever))).existing


@pytest.mark.verbs("get_workflow")
async def test_a_workflow_of_which_nothing_is_new_takes_no_name(bench):
    """It makes none, so one of the same name is in nobody's way."""
    rule = UniqueRule(b"d", frozenset({State.READY}))
    first = bench.task(unique=rule)
    document = Group([first], workflow=NewWorkflow("w"))
    assert isinstance((await bench.put([document]))[0], Accepted)
    (answer,) = await bench.put([Group([bench.task(unique=rule)], workflow=NewWorkflow("w"))])
    assert [task.id for task in answer.existing.values()] == [first.id]
