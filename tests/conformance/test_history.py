"""Every edge of the lifecycle, walked on a real store and read back from its history."""

import pytest

from mainspring.core.lifecycle import EDGES, TRANSITIONS, Cause, Outcome
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.verbs import Action, Edit, Force, Group, NewWorkflow

B, S, READY, RUN = State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING
OK, FAILED, CANCELLED = State.SUCCEEDED, State.FAILED, State.CANCELLED
ONLY = Policy(on_parent_failure=OnParentFailure.ONLY)
RUN_ANYWAY = Policy(on_parent_failure=OnParentFailure.RUN)
IMMEDIATE = b'{"retry":{"strategy":"fixed","delay_s":0.0}}'


async def submitted(bench, state, **fields):
    """A task in a waiting state, and its parent."""
    (parent,) = await bench.submit(bench.task(delay=900))
    if state is B:
        fields["depends_on"] = (parent,)
    elif state is S:
        fields.setdefault("delay", 20)
    (task,) = await bench.submit(bench.task(**fields))
    return task, parent


async def running(bench, **fields):
    await bench.submit(bench.task(**fields))
    return await bench.claim_one(lease=600)


async def force(bench, task, action):
    await bench.store.force([Force(task, action)])
    return task


async def reported(bench, outcome, policy=None, **report):
    lease = await running(bench, policy=policy)
    await bench.settle(lease, outcome, **report)
    return lease.task


async def submit(bench, _old, new):
    return (await submitted(bench, new))[0]


async def unblock(bench, _old, new):
    (parent,) = await bench.submit_many(1)
    (task,) = await bench.submit(bench.task(depends_on=(parent,), delay=60 if new is S else 0))
    await bench.settle(await bench.claim_one())
    return task


async def doom(bench, _old, _new):
    task, parent = await submitted(bench, B)
    await force(bench, parent, Action.CANCEL)
    await bench.resolve_all()
    return task


async def promote(bench, _old, _new):
    task, _ = await submitted(bench, S)
    await bench.advance(21)
    await bench.promote()
    return task


async def claim(bench, _old, _new):
    return (await running(bench)).task


async def succeed(bench, _old, _new):
    return await reported(bench, Outcome.SUCCEEDED)


async def retry(bench, _old, new):
    if new is S:
        return await reported(bench, Outcome.FAILED, delay=20)
    return await reported(bench, Outcome.FAILED, IMMEDIATE)


async def fail(bench, _old, _new):
    return await reported(bench, Outcome.FAILED, retryable=False)


async def lose(bench, _old, new):
    task = await reported(bench, Outcome.LOST)
    if new is S:
        await bench.settle(await bench.claim_one(), Outcome.LOST)
    return task


async def poison(bench, _old, _new):
    return await reported(bench, Outcome.LOST, Policy(max_losses=1))


async def release(bench, _old, _new):
    return await reported(bench, Outcome.RELEASED)


async def snooze(bench, _old, new):
    return await reported(bench, Outcome.SNOOZED, delay=20 if new is S else 0)


async def cancel(bench, old, _new):
    if old is not RUN:
        return await force(bench, (await submitted(bench, old))[0], Action.CANCEL)
    return await reported(bench, Outcome.CANCELLED)


async def expire(bench, old, _new):
    now_us = (await bench.store.board()).now_us
    task, _ = await submitted(bench, old, deadline_us=now_us + bench.us(5))
    await bench.advance(6)
    await bench.store.overdue(10, 0)
    return task


async def replay(bench, old, new):
    outcome = Outcome.FAILED if old is FAILED else Outcome.CANCELLED
    task = await reported(bench, outcome, Policy(max_retries=0))
    await bench.store.force([Force(task, Action.REPLAY, delay_us=bench.us(20) if new is S else 0)])
    return task


async def reschedule(bench, old, new):
    task, _ = await submitted(bench, old)
    record = await bench.get(task)
    run_at_us = record.created_at_us + bench.us(60) if new is S else None
    edit = Edit(record.lane, record.payload, run_at_us, None, None, None, None)
    await bench.store.amend(task, record.version, edit)
    return task


async def spare(bench, _old, _new):
    (parent,) = await bench.submit_many(1)
    (task,) = await bench.submit(bench.task(depends_on=(parent,), policy=ONLY))
    await bench.settle(await bench.claim_one())
    return task


async def reopen(bench, old, new):
    """A failed parent and its child in a workflow: the child is brought into `old`, the failure retried."""
    now_us = (await bench.store.board()).now_us
    parent = bench.task(policy=Policy(max_retries=0))
    child = bench.task(
        depends_on=(parent.id,),
        policy=RUN_ANYWAY if old in (S, READY) else None,
        delay=30 if S in (old, new) else 0,
        deadline_us=now_us + bench.us(5) if old is FAILED else None,
    )
    workflow = NewWorkflow(bench.clock.new_id())
    await bench.put([Group([parent, child], workflow=workflow)])
    lease = await bench.claim_one()
    if old is FAILED:
        await bench.advance(6)
        await bench.store.overdue(10, 0)
    await bench.settle(lease, Outcome.FAILED)
    await bench.resolve_all()
    if new is not B:
        await force(bench, parent.id, Action.REPLAY)
        await bench.settle(await bench.claim_one())
    await bench.store.retry_workflow(workflow.id)
    return child.id


RECIPES = {
    Cause.SUBMIT: submit,
    Cause.UNBLOCK: unblock,
    Cause.DOOM: doom,
    Cause.PROMOTE: promote,
    Cause.CLAIM: claim,
    Cause.SUCCEED: succeed,
    Cause.RETRY: retry,
    Cause.FAIL: fail,
    Cause.LOSE: lose,
    Cause.POISON: poison,
    Cause.RELEASE: release,
    Cause.SNOOZE: snooze,
    Cause.CANCEL: cancel,
    Cause.EXPIRE: expire,
    Cause.REPLAY: replay,
    Cause.RESCHEDULE: reschedule,
    Cause.SPARE: spare,
    Cause.REOPEN: reopen,
}


# Only a store that takes part in transactions of its users rejects what they submit there: test_transactions.
EVERYWHERE = sorted(
    EDGES - {edge for edge in EDGES if edge[1] is Cause.REJECT}, key=lambda e: (e[1], e[0] or 0, e[2])
)


def label(edge):
    old, cause, new = edge
    return f"{cause.name.lower()}-{old.label if old else 'none'}-{new.label}"


@pytest.mark.parametrize("edge", EVERYWHERE, ids=label)
async def test_every_edge(bench, edge):
    """The step happens, is recorded with its cause, and leaves the record in its new state."""
    old, cause, new = edge
    task = await RECIPES[cause](bench, old, new)
    record = await bench.get(task)
    assert record.state is new
    steps = await bench.store.history(task)
    if bench.store.features.full_history:
        last = steps[-1]
        assert (last.old, last.cause, last.new) == edge
        assert (last.task, last.attempt, last.token) == (task, record.attempt, record.token)
    else:
        assert list(steps) == []


async def test_a_history_is_a_walk(bench):
    """From nothing, each step beginning where the last one ended, in the order of time."""
    lease = await running(bench)
    await bench.advance(1)
    await bench.settle(lease, Outcome.FAILED, delay=5)
    await bench.advance(6)
    await bench.promote()
    await bench.settle(await bench.claim_one())
    steps = await bench.store.history(lease.task)
    if bench.store.features.full_history:
        causes = [Cause.SUBMIT, Cause.CLAIM, Cause.RETRY, Cause.PROMOTE, Cause.CLAIM, Cause.SUCCEED]
        assert [step.cause for step in steps] == causes
        assert [step.old for step in steps] == [None, *[step.new for step in steps[:-1]]]
        assert all((step.old, step.new) in TRANSITIONS[step.cause] for step in steps)
        times = [step.at_us for step in steps]
        assert times == sorted(times)
        assert [step.attempt for step in steps] == [0, 1, 1, 1, 2, 2]
    assert list(await bench.store.history(bench.clock.new_id())) == []
