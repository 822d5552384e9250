"""What surrounds a task: its place in line, what waits in other lanes, who holds slots, open parents."""

import pytest

from mainspring.core.explain import OpenParent
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, State
from mainspring.core.turns import COUNTED
from mainspring.verbs import WorkerInfo
from tests.conformance.bench import LANE, MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "get", "board", "surroundings")
MAIL = Lane("mail", "send", "acme", 8)


async def around(bench, task, shown=5):
    return await bench.store.surroundings(task, shown)


@pytest.mark.verbs("beat")
async def test_the_record_the_board_and_the_workers(bench):
    """As the verbs of their own would tell them."""
    (task,) = await bench.submit_many(1)
    await bench.store.beat(WorkerInfo("w1", "w1-i", "n1", ("echo",), (), 4, 1))
    found = await around(bench, task)
    board = await bench.store.board()
    assert found.task == await bench.get(task)
    assert found.board.heads == board.heads
    assert [(info.worker, info.running) for info in found.workers] == [("w1", 1)]


async def test_an_unknown_task(bench):
    await bench.submit_many(1)
    assert await around(bench, bench.clock.new_id()) is None


async def test_the_place_in_line(bench):
    """From 0, inside the task's own lane; what is claimed leaves the line."""
    tasks = await bench.submit_many(5)
    await bench.submit_many(3, MAIL)
    assert [(await around(bench, task)).place for task in tasks] == [0, 1, 2, 3, 4]
    await bench.claim(2, [LANE])
    assert [(await around(bench, task)).place for task in tasks[2:]] == [0, 1, 2]


async def test_what_waits_in_every_lane(bench):
    (task, *_) = await bench.submit_many(3)
    await bench.submit_many(2, MAIL)
    await bench.submit(bench.task(MAIL, delay=60))
    found = await around(bench, task)
    assert found.waiting == {await bench.lane_id(LANE): 3, await bench.lane_id(MAIL): 2}


async def test_a_long_lane_is_counted_so_far_and_no_further(bench):
    tasks = await bench.submit_many(COUNTED + 10)
    found = await around(bench, tasks[-1])
    assert found.waiting == {await bench.lane_id(LANE): COUNTED}
    assert found.place == COUNTED + 9


@pytest.mark.exact_time
async def test_tasks_past_their_deadline_are_not_counted(bench):
    """A claim passes them over. Exactly at its deadline a task may still start."""
    created = (await bench.put_one(bench.task())).created_at_us
    limit_us = created + bench.us(5)
    dying = await bench.submit(*[bench.task(deadline_us=limit_us) for _ in range(2)])
    (last,) = await bench.submit_many(1)
    await bench.advance((limit_us - created) / 1e6)
    assert (await around(bench, last)).place == 3
    await bench.advance(MS / 1e6)
    found = await around(bench, last)
    assert found.place == 1
    assert found.waiting == {await bench.lane_id(LANE): 2}
    assert (await around(bench, dying[0])).task.state is State.READY


@pytest.mark.verbs("set_limit")
async def test_who_holds_the_slots_of_its_limits(bench):
    """Of every limited name of its lane, whatever lane the holders are in; never more than asked for."""
    await bench.store.set_limit("tenant:acme", LimitRule(max_running=9))
    await bench.store.set_limit("queue:other", LimitRule(max_running=9))
    running = await bench.submit_many(3, MAIL._replace(priority=2))
    running += await bench.submit_many(1, MAIL._replace(queue="other"))
    await bench.submit_many(1)
    assert len(await bench.claim(10)) == 5
    (task,) = await bench.submit_many(1, MAIL)
    found = await around(bench, task, 10)
    assert {name: set(held) for name, held in found.holders.items()} == {"tenant:acme": set(running)}
    assert len((await around(bench, task, 2)).holders["tenant:acme"]) == 2
    assert found.board.usage["tenant:acme"].running == 4


async def test_the_parents_that_a_task_still_waits_for(bench):
    """Parents that have succeeded are not among them."""
    first, second, third = (bench.task(name=name) for name in ("extract", None, "load"))
    child = bench.task(depends_on=(first.id, second.id, third.id))
    await bench.submit(first, second, third, child)
    (lease,) = await bench.claim(1)
    found = await around(bench, child.id)
    assert sorted(found.parents) == sorted(
        [
            OpenParent(first.id, "extract", State.RUNNING),
            OpenParent(second.id, None, State.READY),
            OpenParent(third.id, "load", State.READY),
        ]
    )
    assert len((await around(bench, child.id, 2)).parents) == 2
    await bench.settle(lease)
    assert {parent.task for parent in (await around(bench, child.id)).parents} == {second.id, third.id}


@pytest.mark.verbs("force")
async def test_what_is_not_ready_has_no_place(bench):
    """Scheduled, running and final tasks alike: their state is reason enough."""
    later, now = await bench.submit(bench.task(delay=60), bench.task())
    assert (await around(bench, later)).waiting == {}
    lease = await bench.claim_one()
    assert (await around(bench, now)).task.worker == "w1"
    await bench.settle(lease)
    found = await around(bench, now)
    assert (found.task.state, found.place, found.waiting, found.holders) == (State.SUCCEEDED, 0, {}, {})
