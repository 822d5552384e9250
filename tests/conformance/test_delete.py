"""Deleting: final tasks are forgotten whole, unless an unfinished task depends on them."""

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.verbs import Action, Answer, Force, Query

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "delete", "get")


async def code(bench, task):
    (refused,) = await bench.store.delete([task])
    return refused.code if refused else None


async def finished(bench, **fields):
    (task,) = await bench.submit(bench.task(**fields))
    await bench.settle(await bench.claim_one())
    return task


@pytest.mark.verbs("find", "stats")
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.CANCELLED])
async def test_a_final_task_is_gone(bench, outcome):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await bench.settle(lease, outcome)
    assert await code(bench, lease.task) is None
    assert await bench.store.get([lease.task]) == [None]
    assert (await bench.store.find(Query())).tasks == []
    assert not any((await bench.store.stats()).counts.values())
    assert await bench.settle(lease, outcome) is Answer.LOST


async def test_deleting_again_says_not_found(bench):
    task = await finished(bench)
    assert await code(bench, task) is None
    assert await code(bench, task) == "not_found"


async def test_unfinished_tasks_are_refused(bench):
    scheduled, running = bench.task(delay=60), bench.task()
    blocked = bench.task(depends_on=(scheduled.id,))
    await bench.submit(scheduled, blocked, running)
    await bench.claim_one()
    await bench.submit(ready := bench.task())
    for task in (scheduled, running, blocked, ready):
        assert await code(bench, task.id) == "wrong_state"
        assert (await bench.get(task.id)).id == task.id


async def test_a_parent_of_unfinished_children_is_refused(bench):
    """As long as any child is unfinished, whether it still waits for this parent or not."""
    parent = await finished(bench)
    other = bench.task(delay=60)
    await bench.submit(other, bench.task(depends_on=(parent,)), bench.task(depends_on=(parent, other.id)))
    assert await code(bench, parent) == "wrong_state"
    await bench.settle(await bench.claim_one())
    assert await code(bench, parent) == "wrong_state"


@pytest.mark.verbs("force")
async def test_a_parent_of_finished_children_is_not(bench):
    parent = await finished(bench)
    (child,) = await bench.submit(bench.task(depends_on=(parent,)))
    await bench.settle(await bench.claim_one())
    assert await code(bench, parent) is None
    assert (await bench.get(child)).depends_on == (parent,)
    assert await code(bench, child) is None


@pytest.mark.verbs("force")
async def test_a_replayed_child_holds_its_parent_again(bench):
    parent = await finished(bench)
    (child,) = await bench.submit(bench.task(depends_on=(parent,)))
    await bench.store.force([Force(child, Action.CANCEL)])
    await bench.store.force([Force(child, Action.REPLAY)])
    assert await code(bench, parent) == "wrong_state"
    await bench.settle(await bench.claim_one())
    assert await code(bench, parent) is None


@pytest.mark.verbs("force")
async def test_a_replayed_child_outlives_a_deleted_parent(bench):
    parent = await finished(bench)
    (child,) = await bench.submit(bench.task(depends_on=(parent,)))
    await bench.store.force([Force(child, Action.CANCEL)])
    assert await code(bench, parent) is None
    await bench.store.force([Force(child, Action.REPLAY)])
    await bench.settle(await bench.claim_one())
    assert (await bench.get(child)).state is State.SUCCEEDED


async def test_lines_of_a_batch_are_independent(bench):
    done, ready = await finished(bench), (await bench.submit_many(1))[0]
    answers = await bench.store.delete([ready, done, done])
    assert [refused and refused.code for refused in answers] == ["wrong_state", None, "not_found"]


async def test_a_child_before_its_parent_in_one_batch(bench):
    """Neither order of a finished family is in the way."""
    parent = await finished(bench)
    child = await finished(bench, depends_on=(parent,))
    assert list(await bench.store.delete([parent, child])) == [None, None]


async def test_an_id_may_come_back(bench):
    task = await finished(bench)
    await code(bench, task)
    await bench.submit(bench.task(id=task))
    assert await bench.claimed_ids(10) == [task]
