"""Limits, pauses and backlog caps: guarded at the claim and the submit, changed at run time."""

import asyncio

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane
from mainspring.verbs import Action, Force, Group, Refused
from tests.conformance.bench import LANE, MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "set_limit")
MAIL = Lane("mail", "send", "acme", 5)


# --- how many may run at once ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["queue:mail", "kind:send", "tenant:acme", "key:k1"])
async def test_no_more_run_than_the_limit(bench, name):
    """Per queue, kind, tenant and key: the slots come back one by one."""
    lane = MAIL._replace(key="k1")
    await bench.store.set_limit(name, LimitRule(max_running=2))
    tasks = await bench.submit_many(4, lane)
    one, two = await bench.claim(10)
    assert [one.task, two.task] == tasks[:2]
    assert await bench.claim(10) == []
    await bench.settle(two)
    assert await bench.claimed_ids(10) == [tasks[2]]


async def test_a_lane_at_its_limit_is_not_empty(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_running=1))
    await bench.submit_many(2, MAIL)
    assert (await bench.ask_for(10)).empty == []
    assert (await bench.ask_for(10)).empty == []


async def test_a_limit_holds_over_lanes_claims_and_batches(bench):
    """Lanes that share a name share its slots, within one call and over several."""
    other = MAIL._replace(priority=9)
    await bench.store.set_limit("kind:send", LimitRule(max_running=3))
    await bench.submit_many(3, MAIL)
    await bench.submit_many(3, other)
    answers = await bench.exchange(
        claims=[bench.ask(2, [MAIL], worker="w1"), bench.ask(5, [other, MAIL], worker="w2")]
    )
    assert [len(claimed.leases) for claimed in answers.claims] == [2, 1]


async def test_tasks_outside_of_the_limit_pass(bench):
    await bench.store.set_limit("key:k1", LimitRule(max_running=1))
    held, free = MAIL._replace(key="k1"), MAIL._replace(key="k2")
    await bench.submit_many(2, held)
    tasks = await bench.submit_many(2, free)
    assert len(await bench.claim(10, [held])) == 1
    assert await bench.claimed_ids(10, [held, free]) == tasks


async def test_a_family_rule_gives_every_name_its_own_slots(bench):
    await bench.store.set_limit("key:*", LimitRule(max_running=1))
    await bench.store.set_limit("key:vip", LimitRule(max_running=2))
    for key in ("a", "b", "vip"):
        await bench.submit_many(3, MAIL._replace(key=key))
    await bench.submit_many(3, MAIL)
    counts = {}
    for lease in await bench.claim(20):
        counts[lease.lane.key] = counts.get(lease.lane.key, 0) + 1
    assert counts == {"a": 1, "b": 1, "vip": 2, "": 3}


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_end_of_a_lease_gives_its_slot_back(bench, outcome):
    """After success, failure, hand-back, snooze, cancel and crash alike."""
    await bench.store.set_limit("queue:mail", LimitRule(max_running=1))
    tasks = await bench.submit_many(2, MAIL)
    lease = await bench.claim_one()
    await bench.settle(lease, outcome, delay=60)
    ids = await bench.claimed_ids(10)
    assert len(ids) == 1
    assert ids[0] in tasks


@pytest.mark.verbs("renew")
async def test_a_lease_given_back_by_a_heartbeat_gives_its_slot_back(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_running=1))
    await bench.submit_many(2, MAIL)
    await bench.claim(1, seq=1)
    await bench.renew(seq=1)
    assert len(await bench.claim(10)) == 1


@pytest.mark.verbs("force")
async def test_a_killed_task_gives_its_slot_back_once(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_running=1))
    await bench.submit_many(3, MAIL)
    lease = await bench.claim_one()
    await bench.store.force([Force(lease.task, Action.KILL)])
    await bench.settle(lease)
    assert len(await bench.claim(10)) == 1


async def test_a_repeated_claim_takes_no_second_slot(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_running=2))
    await bench.submit_many(3, MAIL)
    await bench.claim(1, seq=1)
    await bench.claim(1, seq=1)
    assert len(await bench.claim(10, seq=2)) == 1


async def test_tasks_that_ran_before_the_limit_was_set_count(bench):
    await bench.submit_many(4, MAIL)
    running = await bench.claim(2)
    await bench.store.set_limit("queue:mail", LimitRule(max_running=2))
    assert await bench.claim(10) == []
    await bench.settle(running[0])
    assert len(await bench.claim(10)) == 1


async def test_a_limit_below_what_runs_stops_nothing_that_runs(bench):
    await bench.submit_many(4, MAIL)
    one, two, three = await bench.claim(3)
    await bench.store.set_limit("queue:mail", LimitRule(max_running=1))
    for lease in (one, two):
        await bench.settle(lease)
        assert await bench.claim(10) == []
    await bench.settle(three)
    assert len(await bench.claim(10)) == 1


async def test_a_limit_can_be_raised_and_removed(bench):
    await bench.submit_many(6, MAIL)
    await bench.store.set_limit("queue:mail", LimitRule(max_running=1))
    assert len(await bench.claim(10)) == 1
    await bench.store.set_limit("queue:mail", LimitRule(max_running=3))
    assert len(await bench.claim(10)) == 2
    await bench.store.set_limit("queue:mail", None)
    assert len(await bench.claim(10)) == 3


async def test_a_limit_of_zero_stops_all(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_running=0))
    await bench.submit_many(1, MAIL)
    assert await bench.claim(10) == []


async def test_usage_is_told_with_every_exchange(bench):
    """The node's board learns of slots taken and of slots given back."""
    await bench.store.set_limit("queue:mail", LimitRule(max_running=2))
    await bench.submit_many(3, MAIL)
    answers = await bench.exchange(claims=[bench.ask(2)])
    assert answers.usage["queue:mail"].running == 2
    one, two = answers.claims[0].leases
    answers = await bench.exchange(settles=[bench.line(one)])
    assert answers.usage["queue:mail"].running == 1
    answers = await bench.exchange(settles=[bench.line(two)])
    assert answers.usage["queue:mail"].running == 0


async def test_no_limits_no_usage(bench):
    await bench.submit_many(1, MAIL)
    answers = await bench.exchange(claims=[bench.ask(1)])
    assert dict(answers.usage) == {}


# --- how fast they may start -------------------------------------------------------------------------


async def test_a_rate_holds_back_and_lets_go(bench):
    """The n+1st of a period waits; then they start one by one at the rate."""
    await bench.store.set_limit("queue:mail", LimitRule(rate=2, per_s=20 * bench.scale))
    await bench.submit_many(9, MAIL)
    assert len(await bench.claim(10)) == 2
    assert await bench.claim(10) == []
    await bench.advance(11)
    assert len(await bench.claim(10)) == 1
    await bench.advance(60)
    assert len(await bench.claim(10)) == 2


async def test_a_burst_of_its_own(bench):
    rule = LimitRule(rate=1, per_s=10 * bench.scale, burst=3)
    await bench.store.set_limit("queue:mail", rule)
    await bench.submit_many(9, MAIL)
    assert len(await bench.claim(10)) == 3
    await bench.advance(11)
    assert len(await bench.claim(10)) == 1


@pytest.mark.verbs("board")
async def test_a_spent_rate_is_told_though_nothing_runs(bench):
    """A node that did not know would ask for the next task again and again, and not say why it waits."""
    await bench.store.set_limit("queue:mail", LimitRule(rate=1, per_s=600 * bench.scale))
    await bench.store.set_limit("queue:default", LimitRule(max_running=9))
    await bench.submit_many(2, MAIL)
    await bench.submit_many(1, LANE)
    (lease,) = await bench.claim(10, [MAIL])
    await bench.settle(lease)
    assert len(await bench.claim(10, [LANE])) == 1
    answers = await bench.exchange(claims=[bench.ask(1, [MAIL])])
    assert answers.claims[0].leases == []
    board = await bench.store.board()
    for usage, now_us in ((answers.usage, answers.now_us), (board.usage, board.now_us)):
        assert usage["queue:mail"].running == 0
        assert usage["queue:mail"].arrival_us > now_us
        assert usage["queue:default"].running == 1


@pytest.mark.exact_time
async def test_a_rate_opens_in_time(bench):
    await bench.store.set_limit("queue:mail", LimitRule(rate=1, per_s=1.0))
    await bench.submit_many(3, MAIL)
    assert len(await bench.claim(10)) == 1
    bench.clock.offset_us += 1_000_000 - MS
    assert await bench.claim(10) == []
    bench.clock.offset_us += 2 * MS
    assert len(await bench.claim(10)) == 1


async def test_rate_and_concurrency_together(bench):
    rule = LimitRule(max_running=1, rate=5, per_s=5 * bench.scale)
    await bench.store.set_limit("queue:mail", rule)
    await bench.submit_many(3, MAIL)
    lease = await bench.claim_one()
    assert await bench.claim(10) == []
    await bench.settle(lease)
    assert len(await bench.claim(10)) == 1


# --- how many may wait -------------------------------------------------------------------------------


@pytest.mark.verbs("get")
async def test_a_full_backlog_refuses_the_whole_group(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_waiting=3))
    await bench.submit_many(2, MAIL)
    tasks = [bench.task(MAIL), bench.task(MAIL)]
    refused = await bench.put_one(*tasks)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.row) == ("backlog_full", 1)
    assert await bench.store.get([task.id for task in tasks]) == [None, None]
    await bench.submit(bench.task(MAIL))


async def test_scheduled_and_blocked_tasks_wait_too(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_waiting=2))
    (parent,) = await bench.submit(bench.task())
    await bench.submit(bench.task(MAIL, delay=60), bench.task(MAIL, depends_on=(parent,)))
    assert (await bench.put_one(bench.task(MAIL))).code == "backlog_full"


async def test_running_and_finished_tasks_do_not_wait(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_waiting=1))
    await bench.submit(bench.task(MAIL))
    lease = await bench.claim_one()
    await bench.submit(bench.task(MAIL))
    await bench.settle(lease)
    assert (await bench.put_one(bench.task(MAIL))).code == "backlog_full"


async def test_groups_of_a_batch_fill_it_one_after_the_other(bench):
    await bench.store.set_limit("queue:mail", LimitRule(max_waiting=2))
    answers = await bench.put([Group([bench.task(MAIL)]) for _ in range(3)])
    assert [isinstance(answer, Refused) for answer in answers] == [False, False, True]


async def test_other_queues_have_room(bench):
    await bench.store.set_limit("queue:*", LimitRule(max_waiting=1))
    await bench.submit(bench.task(MAIL))
    await bench.submit(bench.task(LANE))
    assert (await bench.put_one(bench.task(LANE))).code == "backlog_full"


# --- pauses ------------------------------------------------------------------------------------------


@pytest.mark.verbs("set_queue", "board")
async def test_a_paused_queue_gives_nothing(bench):
    """Claims are refused, submits are not; what runs goes on; resuming continues in order."""
    tasks = await bench.submit_many(2, MAIL)
    lease = await bench.claim_one()
    await bench.store.set_queue("mail", "alice")
    tasks += await bench.submit_many(1, MAIL)
    assert dict((await bench.store.board()).paused) == {"mail": "alice"}
    claimed = await bench.ask_for(10)
    assert (claimed.leases, claimed.empty) == ([], [])
    await bench.settle(lease)
    await bench.store.set_queue("mail", None)
    assert dict((await bench.store.board()).paused) == {}
    assert await bench.claimed_ids(10) == tasks[1:]


@pytest.mark.verbs("set_queue")
async def test_other_queues_go_on(bench):
    await bench.store.set_queue("mail", "alice")
    await bench.submit_many(1, MAIL)
    tasks = await bench.submit_many(1, LANE)
    assert await bench.claimed_ids(10) == tasks


@pytest.mark.verbs("set_queue")
async def test_a_queue_may_be_paused_before_its_first_task(bench):
    await bench.store.set_queue("mail", "alice")
    await bench.store.set_queue("mail", "bob")
    await bench.submit_many(1, MAIL)
    assert await bench.claim(10) == []
    await bench.store.set_queue("mail", None)
    await bench.store.set_queue("mail", None)
    assert len(await bench.claim(10)) == 1


@pytest.mark.verbs("set_queue", "settle", "promote")
async def test_a_paused_queue_still_takes_back_and_promotes(bench):
    await bench.submit(bench.task(MAIL), bench.task(MAIL, delay=5))
    lease = await bench.claim_one()
    await bench.store.set_queue("mail", "alice")
    await bench.settle(lease, Outcome.RELEASED)
    await bench.advance(6)
    assert (await bench.promote()).count == 1
    assert await bench.claim(10) == []
    await bench.store.set_queue("mail", None)
    assert len(await bench.claim(10)) == 2


# --- whether there was one ---------------------------------------------------------------------------


async def test_a_limit_tells_whether_there_was_one(bench):
    """And one that is only to be made does not replace another."""
    first, second = LimitRule(max_running=1), LimitRule(max_running=2)
    store = bench.store
    assert await store.set_limit("queue:mail", None, only_new=True) is False
    assert await store.set_limit("queue:mail", first, only_new=True) is False
    assert await store.set_limit("queue:mail", second, only_new=True) is True
    await bench.submit_many(3, MAIL)
    assert len(await bench.claim(10)) == 1
    assert await store.set_limit("queue:mail", second) is True
    assert len(await bench.claim(10)) == 1
    assert await store.set_limit("queue:mail", None) is True
    assert await store.set_limit("queue:mail", None) is False
    assert await store.set_limit("queue:mail", first) is False


async def test_of_many_that_make_a_limit_at_once_one_does(bench):
    rules = [LimitRule(max_running=n) for n in range(1, 9)]
    were_there = await asyncio.gather(
        *(bench.store.set_limit("queue:mail", rule, only_new=True) for rule in rules)
    )
    assert sorted(were_there) == [False] + [True] * 7
    await bench.submit_many(10, MAIL)
    assert len(await bench.claim(10)) == rules[were_there.index(False)].max_running
