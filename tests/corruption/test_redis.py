"""A namespace of Redis that is spoiled as no other store can be. What all have in common: test_scenes.py."""

import msgspec
import pytest

from mainspring.core.laws import LAWS, LOST_LANE
from mainspring.core.limits import LimitRule
from mainspring.core.model import State
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services.doctor import examine, treat
from mainspring.verbs import Answer, Mending, Retention
from tests.conformance.bench import LANE
from tests.corruption.indexed import Indexed

TOLD_ONLY = frozenset({"unreadable_limit"})


@pytest.fixture
def kind():
    return "redis"


async def mend(bench):
    """Examine and mend."""
    _, left = await treat(bench.store, (await examine(bench.store)).findings)
    assert left == []


async def test_a_head_that_cannot_be_read_is_a_dead_letter_of_the_lost(bench, hand):
    """All that is left of it is its body."""
    (task,) = await bench.submit_many(1)
    hand.put("heads", task, b"\xc1")
    assert await bench.store.get([task]) == [None]
    await mend(bench)
    record = await bench.get(task)
    assert (record.state, record.lane, record.payload) == (State.FAILED, LOST_LANE, b'{"n":1}')
    assert b"RecordDamaged" in record.error


async def unversioned(living):
    return {task.id: msgspec.structs.replace(task, version=0) for task in await living.tasks()}


async def test_indexes_are_made_to_agree_whatever_was_lost(bench, hand):
    """Every index of every kind is thrown away: the heads are enough to build them anew."""
    living = Indexed(bench, 3)
    await living.build()
    before = await unversioned(living)
    indexes = (
        "places", "ready", "due", "deadlines", "claim_open", "claims", "holding", "timeouts", "uniques",
        "dead", "letters", "groups", "fired", "open_fires", "expiring", "founded", "counts", "running",
        "lane_uses", "lane_ids",
    )  # fmt: skip
    with hand.db as db:
        db.delete(*[hand.key[index] for index in indexes])
    await mend(bench)
    assert await unversioned(living) == before
    await living.rest()
    assert await living.finish() == []


async def test_a_damaged_task_stops_nobody_else(bench, hand):
    """Services go on with all other tasks: claims, due tasks, lapsed leases, parents, retention."""
    bench.breaks = frozenset(LAWS)
    scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
    damaged, *tasks = await bench.submit_many(4)
    await bench.submit_many(1, delay=5)
    hand.put("heads", damaged, b"\xc1")
    assert [lease.task for lease in await bench.claim(10)] == tasks
    hand.set(tasks[0], STATE=42)
    await bench.advance(20)
    assert (await bench.promote()).count == 1
    await scheduler.start()
    await scheduler.lost(await bench.store.expired(10))
    await scheduler.close()
    assert await bench.states(*tasks[1:]) == [State.READY] * 2
    for lease in await bench.claim(10):
        await bench.settle(lease)
    await bench.advance(20)
    assert (await bench.store.prune(100, Retention(1, 1, 1), None)).count == 3


async def test_a_limit_that_cannot_be_read_stops_what_is_under_it_alone(bench, hand):
    bench.breaks = TOLD_ONLY
    mail = LANE._replace(queue="mail")
    await bench.store.set_limit("queue:mail", LimitRule(max_running=5))
    await bench.submit_many(1, mail)
    (other,) = await bench.submit_many(1)
    hand.put("rules", "queue:mail", b"{")
    assert await bench.claimed_ids(10) == [other]
    assert (await bench.store.board()).rules["queue:mail"].max_running == 0
    await bench.store.set_limit("queue:mail", LimitRule(max_running=5))
    assert len(await bench.claim(10)) == 1


async def test_a_clock_that_was_set_back_is_told(bench, hand):
    """What was given out stays given out: nobody can mend the past, and work goes on meanwhile."""
    bench.breaks = frozenset({"clock_ahead"})
    await bench.submit_many(1)
    with hand.db as db:
        minted = int(db.hget(hand.key["meta"], "minted"))
    hand.put("meta", "minted", minted + bench.us(3_600))
    (finding,) = (await examine(bench.store)).findings
    assert finding.law == "clock_ahead"
    (mended,) = await bench.store.repair([finding])
    assert mended.mending is Mending.REPORTED
    lease = await bench.claim_one()
    assert lease.token > minted
    assert await bench.settle(lease) is Answer.OK
