"""By hand: cancel, kill, replay, run now. Guarded by version, and whoever held a lease is fenced."""

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.verbs import Action, Answer, Append, Force, Refused

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "force", "get")
ERROR = b'{"type":"ValueError","message":"no"}'


async def forced(bench, task, action, version=None):
    (answer,) = await bench.store.force([Force(task, action, version)])
    return answer


async def waiting_tasks(bench):
    ready, scheduled = bench.task(), bench.task(delay=60)
    blocked = bench.task(depends_on=(scheduled.id,))
    return await bench.submit(ready, scheduled, blocked)


async def dead_letter(bench, **fields):
    await bench.submit(bench.task(policy=Policy(max_retries=0), **fields))
    lease = await bench.claim_one()
    await bench.settle(lease, Outcome.FAILED, error=ERROR)
    return lease


@pytest.mark.parametrize("action", [Action.CANCEL, Action.KILL])
async def test_waiting_tasks_are_cancelled_at_once(bench, action):
    """Ready, scheduled and blocked alike, and never run."""
    tasks = await waiting_tasks(bench)
    answers = await bench.store.force([Force(task, action) for task in tasks])
    assert [record.state for record in answers] == [State.CANCELLED] * 3
    assert all(record.finished_at_us is not None for record in answers)
    assert [record.id for record in answers] == tasks
    assert await bench.states(*tasks) == [State.CANCELLED] * 3
    await bench.advance(100)
    assert await bench.claimed_ids(10) == []


async def test_a_running_task_is_asked_to_stop(bench):
    """It runs on under its lease until its worker hears of it."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    record = await forced(bench, lease.task, Action.CANCEL)
    assert record.state is State.RUNNING
    assert record.cancel_requested_at_us is not None
    assert record.token == lease.token
    assert record.version > 0
    assert await bench.settle(lease, Outcome.CANCELLED) is Answer.CANCEL


async def test_asking_twice_is_asking_once(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    first = await forced(bench, lease.task, Action.CANCEL)
    await bench.advance(1)
    second = await forced(bench, lease.task, Action.CANCEL)
    assert second.cancel_requested_at_us == first.cancel_requested_at_us


@pytest.mark.verbs("renew", "append")
async def test_kill_fences_the_holder(bench):
    """The running task is over at once; nothing that its worker sends later is written."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    record = await forced(bench, lease.task, Action.KILL)
    assert record.state is State.CANCELLED
    assert record.token > lease.token
    assert await bench.renew(lease) == [Answer.LOST]
    assert list(await bench.store.append([Append(lease.task, lease.token, b"1")])) == [Answer.LOST]
    assert await bench.settle(lease, result=b"1") is Answer.LOST
    assert (await bench.get(lease.task)).state is State.CANCELLED


async def test_replay_runs_a_dead_letter_again(bench):
    """S1-09: fresh counters, the history of attempts kept, everything else as submitted."""
    lease = await dead_letter(bench, payload=b'{"n":7}')
    before = await bench.get(lease.task)
    record = await forced(bench, lease.task, Action.REPLAY)
    assert record.state is State.READY
    assert (record.attempt, record.retries, record.losses, record.snoozes) == (0, 0, 0, 0)
    assert (record.result, record.error, record.finished_at_us) == (None, None, None)
    assert record.attempts == before.attempts
    assert record.version > before.version
    again = await bench.claim_one()
    assert (again.task, again.payload, again.attempt) == (lease.task, b'{"n":7}', 1)
    assert again.token > lease.token
    assert len(msgspec.json.decode(again.attempts)) == 1
    assert await bench.settle(lease) is Answer.LOST
    assert await bench.settle(again) is Answer.OK


async def test_replay_of_a_cancelled_task(bench):
    """It is cancelled no more: a later failure is retried again."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await forced(bench, lease.task, Action.CANCEL)
    await bench.settle(lease, Outcome.CANCELLED)
    record = await forced(bench, lease.task, Action.REPLAY)
    assert (record.state, record.cancel_requested_at_us) == (State.READY, None)
    assert await bench.settle(await bench.claim_one(), Outcome.FAILED, delay=5) is Answer.OK


@pytest.mark.verbs("overdue")
async def test_replay_drops_a_deadline_that_has_passed(bench):
    """Else the task would fail again before anybody could claim it."""
    created = (await bench.put_one(bench.task())).created_at_us
    await bench.claim_one()
    (task,) = await bench.submit(bench.task(deadline_us=created + bench.us(5)))
    await bench.advance(10)
    assert list((await bench.store.overdue(10, 0)).expired) == [task]
    record = await forced(bench, task, Action.REPLAY)
    assert record.deadline_us is None
    assert await bench.claimed_ids(1) == [task]


@pytest.mark.verbs("board", "promote")
async def test_run_now(bench):
    """A delayed task may be run at once, and is then gone from the schedule."""
    (task,) = await bench.submit(bench.task(delay=5))
    assert (await forced(bench, task, Action.RUN_NOW)).state is State.READY
    await bench.refresh_lanes()
    assert await bench.claimed_ids(10) == [task]
    await bench.advance(10)
    assert (await bench.promote()).count == 0


async def test_run_now_of_a_task_that_waits_for_its_retry(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await bench.settle(lease, Outcome.FAILED, delay=60)
    await forced(bench, lease.task, Action.RUN_NOW)
    again = await bench.claim_one()
    assert (again.task, again.attempt, again.retries) == (lease.task, 2, 1)


# --- what is refused ---------------------------------------------------------------------------------


async def in_state(bench, state):
    """The id of a task in that state."""
    if state is State.BLOCKED:
        return (await waiting_tasks(bench))[2]
    if state is State.SCHEDULED:
        return (await bench.submit(bench.task(delay=60)))[0]
    (task,) = await bench.submit(bench.task(policy=Policy(max_retries=0)))
    if state is State.READY:
        return task
    lease = await bench.claim_one()
    if state is not State.RUNNING:
        outcome = {
            State.SUCCEEDED: Outcome.SUCCEEDED,
            State.FAILED: Outcome.FAILED,
            State.CANCELLED: Outcome.CANCELLED,
        }[state]
        await bench.settle(lease, outcome)
    return task


ALLOWED = {
    Action.CANCEL: {State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING},
    Action.KILL: {State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING},
    Action.REPLAY: {State.FAILED, State.CANCELLED},
    Action.RUN_NOW: {State.SCHEDULED},
    Action.DISCARD: {State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING},
}


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.label)
@pytest.mark.parametrize("action", list(Action), ids=lambda action: action.name.lower())
async def test_every_action_in_every_state(bench, action, state):
    """Where an action does not belong it is refused, and changes nothing."""
    task = await in_state(bench, state)
    before = await bench.get(task)
    assert before.state is state
    answer = await forced(bench, task, action)
    if state in ALLOWED[action]:
        assert answer == await bench.get(task)
        assert answer.version > before.version
    else:
        assert isinstance(answer, Refused)
        assert answer.code == "wrong_state"
        assert await bench.get(task) == before


@pytest.mark.parametrize("action", list(Action), ids=lambda action: action.name.lower())
async def test_an_unknown_task(bench, action):
    assert (await forced(bench, bench.clock.new_id(), action)).code == "not_found"


@pytest.mark.parametrize("action", list(Action), ids=lambda action: action.name.lower())
async def test_an_old_version_changes_nothing(bench, action):
    task = await in_state(bench, max(ALLOWED[action]))
    before = await bench.get(task)
    answer = await forced(bench, task, action, before.version - 1)
    assert answer.code == "version_mismatch"
    assert await bench.get(task) == before
    assert not isinstance(await forced(bench, task, action, before.version), Refused)


async def test_what_others_wait_for_is_not_discarded(bench):
    """Peer behaviour 150. Refused, it and what depends on it are as they were; so is one that runs."""
    parent, middle = bench.task(), bench.task(delay=60)
    child = bench.task(depends_on=(parent.id, middle.id))
    await bench.submit(parent, middle, child)
    await bench.claim_one()
    before = [await bench.get(task.id) for task in (parent, middle, child)]
    for task in (parent, middle):
        answer = await forced(bench, task.id, Action.DISCARD)
        assert (answer.code, "depend on" in answer.detail) == ("wrong_state", True)
    assert [await bench.get(task.id) for task in (parent, middle, child)] == before
    assert (await forced(bench, child.id, Action.DISCARD)).state is State.CANCELLED
    assert (await forced(bench, middle.id, Action.DISCARD)).state is State.CANCELLED


async def test_lines_of_a_batch_are_independent(bench):
    tasks = await bench.submit_many(2)
    answers = await bench.store.force(
        [
            Force(tasks[0], Action.REPLAY),
            Force(bench.clock.new_id(), Action.CANCEL),
            Force(tasks[1], Action.CANCEL),
        ]
    )
    assert [getattr(answer, "code", "ok") for answer in answers] == ["wrong_state", "not_found", "ok"]


async def test_two_lines_for_one_task_in_a_batch(bench):
    """One after the other: cancelled, then ready again."""
    (task,) = await bench.submit_many(1)
    cancelled, replayed, refused = await bench.store.force(
        [Force(task, Action.CANCEL), Force(task, Action.REPLAY), Force(task, Action.REPLAY)]
    )
    assert (cancelled.state, replayed.state) == (State.CANCELLED, State.READY)
    assert refused.code == "wrong_state"
    assert await bench.claimed_ids(10) == [task]


@pytest.mark.verbs("resolve")
async def test_a_parent_replayed_in_the_batch_that_ends_it_is_waited_for(bench):
    """Its children would else run before it has."""
    run = Policy(on_parent_failure=OnParentFailure.RUN)
    again, other = await bench.submit_many(2)
    (child,) = await bench.submit_many(1, depends_on=(again, other), policy=run)
    await bench.store.force([Force(again, Action.CANCEL), Force(again, Action.REPLAY)])
    await bench.resolve_all()
    assert (await bench.get(child)).open_parents == 2
    leases = {lease.task: lease for lease in await bench.claim(10)}
    await bench.settle(leases[other])
    assert await bench.states(child) == [State.BLOCKED]
    await bench.settle(leases[again])
    assert await bench.states(child) == [State.READY]
