"""The laws on healthy stores: whatever has been done to a store through its verbs, nothing is found."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core.laws import LAWS
from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import OnParentFailure, Policy
from mainspring.errors import InvalidInput
from mainspring.verbs import Accepted, Action, Finding, Force, Group, Idempotency, Mending, Retention
from tests.conformance.bench import LANE
from tests.conformance.test_walks import STEPS, Walk

ONCE = Policy(max_retries=0)


async def sweep(store, limit=100):
    """Every slice of one sweep; the findings, and how many rows were looked at."""
    found, looked, cursor = [], 0, None
    while True:
        audit = await store.audit(cursor, limit)
        assert audit.looked <= limit
        found += audit.findings
        looked += audit.looked
        cursor = audit.cursor
        if cursor is None:
            return found, looked


async def nothing_is_wrong(bench, limit=7):
    found, _ = await sweep(bench.store, limit)
    assert found == []
    assert list(await bench.store.inspect()) == []


async def make_everything(bench):
    """Tasks in every state, dependencies of every rule, keys, limits, shares, a term."""
    await bench.store.set_limit("queue:default", LimitRule(max_running=50, rate=40, per_s=10))
    await bench.store.set_weight("default", 2.0)
    await bench.store.take_term("node", bench.us(6))
    lanes = [LANE, LANE._replace(queue="mail", key="k"), LANE._replace(priority=9)]
    for lane in lanes:
        await bench.submit_many(5, lane)
        await bench.submit_many(3, lane, delay=50)
    for rule in (OnParentFailure.CANCEL, OnParentFailure.RUN, OnParentFailure.BLOCK):
        parent = bench.task(policy=ONCE)
        child = bench.task(depends_on=(parent.id,), policy=Policy(on_parent_failure=rule))
        await bench.submit(parent, child, bench.task(depends_on=(parent.id, child.id)))
    await bench.put([Group([bench.task()], Idempotency("me", "key", b"digest", bench.us(60)))])
    leases = await bench.claim(40)
    for place, lease in enumerate(leases):
        outcome = [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SNOOZED, Outcome.LOST, None][place % 5]
        if outcome is not None:
            await bench.settle(lease, outcome, delay=3)
    return leases


async def test_an_empty_store(bench):
    await nothing_is_wrong(bench)


async def test_a_store_with_everything(bench):
    leases = await make_everything(bench)
    await nothing_is_wrong(bench)
    running = [lease for place, lease in enumerate(leases) if place % 5 == 4]
    await bench.store.force([Force(running[0].task, Action.KILL), Force(running[1].task, Action.CANCEL)])
    await nothing_is_wrong(bench)
    await bench.resolve_all()
    await bench.advance(60)
    await bench.promote()
    await nothing_is_wrong(bench)
    await bench.store.prune(1000, Retention(0, 0, 0), None)
    await nothing_is_wrong(bench)


async def test_a_sweep_looks_at_every_row_once(bench):
    await bench.submit_many(23)
    for limit in (1, 10, 23, 1000):
        found, looked = await sweep(bench.store, limit)
        assert found == []
        assert looked == 23


async def test_a_sweep_over_what_goes_away(bench):
    """A cursor stands even if the rows it stands at are gone, and all that come after them."""
    tasks = await bench.submit_many(20)
    audit = await bench.store.audit(None, 10)
    await bench.store.force([Force(task, Action.KILL) for task in tasks[5:]])
    await bench.store.delete(tasks[5:])
    rest = await bench.store.audit(audit.cursor, 10)
    assert (rest.looked, rest.cursor, list(rest.findings)) == (0, None, [])


@pytest.mark.parametrize("cursor", ["", "x", "[]", '["nowhere",1]', "-1", "1" * 50, '["tasks","x"]'])
async def test_a_foreign_cursor_is_refused(bench, cursor):
    with pytest.raises(InvalidInput):
        await bench.store.audit(cursor, 10)


@pytest.mark.loses_writes
async def test_after_lost_writes(bench):
    leases = await make_everything(bench)
    await bench.mark()
    for lease in leases:
        await bench.settle(lease)
    await bench.submit_many(5)
    await bench.lose_writes()
    await nothing_is_wrong(bench)


@pytest.mark.several_nodes
async def test_slices_while_others_write(bench):
    """Each slice is one moment: what others write meanwhile is never half seen."""
    node = bench.new_node()
    await node.open()
    try:
        writing = asyncio.create_task(_work_hard(bench))
        while not writing.done():
            found, _ = await sweep(node, 11)
            assert found == []
        await writing
    finally:
        await node.close()


async def _work_hard(bench):
    rolls = random.Random(3)
    for _ in range(40):
        parents = [bench.task(policy=ONCE) for _ in range(3)]
        children = [bench.task(depends_on=(rolls.choice(parents).id,)) for _ in range(3)]
        await bench.submit(*parents, *children)
        for lease in await bench.claim(5):
            await bench.settle(lease, rolls.choice([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.RELEASED]))
        await bench.resolve_all()
        await bench.store.prune(20, Retention(0, 0, 0), None)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=25, max_size=60),
    seed=st.integers(0, 1 << 32),
)
def test_after_every_step_of_a_random_walk(new_bench, steps, seed):
    async def walk():
        async with new_bench() as bench:
            walk = Walk(bench, seed)
            for step in steps:
                walk.now_us = (await bench.store.board()).now_us
                # A lane that has lost its last task may come back under another number.
                await bench.refresh_lanes()
                await getattr(walk, step)()
                await nothing_is_wrong(bench, 50)

    asyncio.run(walk())


# --- repairing what is not broken -------------------------------------------------------------------


async def test_repairing_a_healthy_store_changes_nothing(bench):
    """Findings of an earlier sweep may have been mended by others meanwhile."""
    await make_everything(bench)
    task = (await bench.submit_many(1))[0]
    before = await bench.get(task)
    stale = [Finding(law, "something", "was wrong", ("nothing", "of", "the", "kind")) for law in LAWS]
    answers = await bench.store.repair(stale)
    assert [answer.finding for answer in answers] == stale
    assert all(answer.mending is not Mending.REPAIRED for answer in answers)
    assert await bench.get(task) == before
    await nothing_is_wrong(bench)


async def test_a_changed_rate_does_not_look_like_a_breach(bench):
    """Starts booked under a slow limit lie far ahead under a fast one: the change brings them nearer."""
    await bench.store.set_limit("queue:default", LimitRule(rate=1, per_s=3600))
    await bench.submit_many(3)
    assert len(await bench.claim(3)) == 1
    await bench.store.set_limit("queue:default", LimitRule(rate=100, per_s=1))
    await nothing_is_wrong(bench)
    await bench.advance(2)
    assert len(await bench.claim(3)) == 2


async def test_ids_that_a_key_names_may_be_gone(bench):
    """An idempotency key outlives the tasks it made."""
    answer = await bench.put_one(bench.task(), idempotency=Idempotency("me", "key", b"digest", bench.us(60)))
    assert isinstance(answer, Accepted)
    await bench.settle(await bench.claim_one())
    await bench.store.prune(1000, Retention(0, 0, 0), None)
    await nothing_is_wrong(bench)
