"""Claiming: the heads of lanes in the order asked, each task to one holder."""

import asyncio

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Lane
from mainspring.core.order import Quota
from mainspring.verbs import Answer, Group
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs("submit", "claim")
HIGH, LOW = LANE._replace(priority=8), LANE._replace(priority=2)


async def test_a_lease_tells_all_that_a_worker_needs(bench):
    new = bench.task(
        Lane("mail", "send", "acme", 9, "k"),
        payload=b'{"to":"x"}',
        policy=b'{"max_retries":7}',
        timeout_us=5_000_000,
        deadline_us=4_100_000_000_000_000,
        labels=b'{"team":"a"}',
    )
    await bench.submit(new)
    lease = await bench.claim_one(worker="w9")
    assert (lease.task, lease.lane, lease.payload) == (new.id, new.lane, new.payload)
    assert lease.lane_id == bench.lane_ids[new.lane]
    assert (lease.policy, lease.timeout_us, lease.deadline_us) == (
        new.policy,
        new.timeout_us,
        new.deadline_us,
    )
    assert (lease.labels, lease.checkpoint, lease.attempts) == (new.labels, None, None)
    assert (lease.attempt, lease.retries, lease.losses, lease.snoozes) == (1, 0, 0, 0)
    assert lease.token > 0
    assert lease.worker == "w9"
    assert lease.started_at_us is not None
    assert lease.lease_until_us == lease.started_at_us + bench.us(15)


@pytest.mark.verbs("get")
async def test_the_record_shows_the_holder(bench):
    await bench.submit(bench.task())
    lease = await bench.claim_one(worker="w9")
    record = await bench.get(lease.task)
    assert record.state.label == "running"
    assert (record.worker, record.token, record.attempt) == ("w9", lease.token, 1)
    assert (record.lease_until_us, record.started_at_us) == (lease.lease_until_us, lease.started_at_us)


@pytest.mark.verbs("get")
async def test_a_run_ends_at_its_timeout_or_its_deadline(bench):
    """Whichever comes first; without either it may run for ever."""
    now_us = (await bench.put_one(bench.task(LOW))).created_at_us
    early, late = now_us + bench.us(100), now_us + bench.us(900)
    limits = [
        (None, None),
        (bench.us(300), None),
        (None, late),
        (bench.us(300), late),
        (bench.us(300), early),
    ]
    await bench.submit(*[bench.task(HIGH, timeout_us=span, deadline_us=at) for span, at in limits])
    leases = await bench.claim(5, [HIGH])
    ends = [(await bench.get(lease.task)).timeout_at_us for lease in leases]
    timeout = leases[0].started_at_us + bench.us(300)
    assert ends == [None, timeout, late, timeout, early]


@pytest.mark.verbs("get")
async def test_every_claim_raises_the_version(bench):
    (task,) = await bench.submit(bench.task())
    before = (await bench.get(task)).version
    await bench.claim_one()
    assert (await bench.get(task)).version > before


async def test_first_in_first_out(bench):
    """S1-03: equal priority runs in the order of submitting, over groups and batches."""
    tasks = [*await bench.submit_many(3), *await bench.submit_many(2), *await bench.submit_many(1)]
    assert await bench.claimed_ids(4) == tasks[:4]
    assert await bench.claimed_ids(4) == tasks[4:]


async def test_lanes_in_the_order_asked(bench):
    """The node ranks, the store obeys: it has no order of its own among lanes."""
    low = await bench.submit_many(2, LOW)
    high = await bench.submit_many(2, HIGH)
    assert await bench.claimed_ids(3, [LOW, HIGH]) == [*low, high[0]]


async def test_quota_bounds_a_lane_and_limit_the_whole(bench):
    low = await bench.submit_many(3, LOW)
    high = await bench.submit_many(3, HIGH)
    quotas = [Quota(bench.lane_ids[HIGH], 1), Quota(bench.lane_ids[LOW], 2)]
    assert await bench.claimed_ids(10, quotas) == [high[0], *low[:2]]
    assert await bench.claimed_ids(2, [HIGH, LOW]) == high[1:]


async def test_a_lane_may_be_asked_twice(bench):
    """An aged head first, then the lane again in its own turn."""
    low, high = await bench.submit_many(3, LOW), await bench.submit_many(1, HIGH)
    quotas = [Quota(bench.lane_ids[LOW], 1), Quota(bench.lane_ids[HIGH], 5), Quota(bench.lane_ids[LOW], 5)]
    assert await bench.claimed_ids(10, quotas) == [low[0], high[0], *low[1:]]


async def test_one_holder_per_task(bench):
    """Claims of one batch never share a task, nor does a later claim."""
    tasks = await bench.submit_many(5)
    asks = [bench.ask(2, worker="w1"), bench.ask(2, worker="w2"), bench.ask(2, worker="w3")]
    answers = await bench.exchange(claims=asks)
    granted = [[lease.task for lease in claimed.leases] for claimed in answers.claims]
    assert granted == [tasks[:2], tasks[2:4], tasks[4:]]
    assert await bench.claimed_ids(10) == []


@pytest.mark.verbs("settle")
async def test_a_task_never_has_a_token_twice(bench):
    """Its tokens rise from claim to claim: that is what fences the earlier holders."""
    await bench.submit_many(1)
    tokens = []
    for _ in range(20):
        lease = await bench.claim_one()
        tokens.append(lease.token)
        await bench.settle(lease, Outcome.RELEASED)
    assert tokens == sorted(set(tokens))


async def test_an_empty_lane_is_told(bench):
    """A lane that gave less than it was asked for is empty; one with tasks left is not."""
    await bench.submit_many(3, LOW)
    await bench.submit_many(3, HIGH)
    quotas = [Quota(bench.lane_ids[HIGH], 2), Quota(bench.lane_ids[LOW], 5)]
    claimed = await bench.ask_for(10, quotas)
    assert claimed.empty == [bench.lane_ids[LOW]]


async def test_an_unknown_lane_is_empty(bench):
    """A node may ask by a number that the store lost in a crash."""
    await bench.submit_many(1)
    unknown = max(bench.lane_ids.values()) + 1_000_000
    claimed = await bench.ask_for(10, [Quota(unknown, 5), LANE])
    assert len(claimed.leases) == 1
    assert unknown in claimed.empty


async def test_tasks_submitted_in_the_same_exchange_can_be_claimed(bench):
    await bench.submit(bench.task())
    new = bench.task()
    answers = await bench.exchange(submits=[Group([new])], claims=[bench.ask(10)])
    assert new.id in [lease.task for lease in answers.claims[0].leases]
    assert LANE not in [head.lane for head in answers.ready]


async def test_delayed_and_blocked_tasks_are_not_handed_out(bench):
    parent, delayed = bench.task(HIGH), bench.task(HIGH, delay=60)
    child = bench.task(HIGH, depends_on=(parent.id,))
    await bench.submit(parent, delayed, child)
    assert await bench.claimed_ids(10) == [parent.id]


async def test_a_task_past_its_deadline_is_not_handed_out(bench):
    """A task that was not started before its deadline never runs late; those behind it do run."""
    created = (await bench.put_one(bench.task(LOW))).created_at_us
    late = bench.task(HIGH, deadline_us=created + bench.us(5))
    good = bench.task(HIGH, deadline_us=created + bench.us(500))
    await bench.submit(late, good)
    await bench.advance(10)
    assert await bench.claimed_ids(10, [HIGH]) == [good.id]


async def test_before_its_deadline_a_task_is_handed_out(bench):
    created = (await bench.put_one(bench.task(LOW))).created_at_us
    await bench.submit(bench.task(HIGH, deadline_us=created + bench.us(5)))
    await bench.advance(1)
    assert len(await bench.claim(10, lanes=[HIGH])) == 1


# --- repeated claims: the answer was lost on the way -------------------------------------------------


async def test_a_repeated_claim_returns_the_same_leases(bench):
    await bench.submit_many(5)
    first = await bench.claim(2, seq=1)
    again = await bench.claim(2, seq=1)
    assert again == first
    assert len(await bench.claim(5, seq=2)) == 3


async def test_a_repeat_returns_no_other_claims_leases(bench):
    tasks = await bench.submit_many(3)
    assert await bench.claimed_ids(1, seq=1) == tasks[:1]
    assert await bench.claimed_ids(2, seq=2) == tasks[1:]
    assert await bench.claimed_ids(2, seq=2) == tasks[1:]


async def test_a_repeat_asks_no_lane_and_has_its_leases(bench):
    """The node that is asked again may know of no lane with ready tasks, least of all when these were the
    last ones."""
    await bench.submit_many(2)
    first = await bench.claim(2, seq=1)
    again = msgspec.structs.replace(bench.ask(2, seq=1), lanes=[])
    news = msgspec.structs.replace(bench.ask(2, seq=2), lanes=[])
    repeated, new = (await bench.exchange(claims=[again, news])).claims
    assert (len(first), repeated.leases) == (2, first)
    assert (new.leases, new.empty) == ([], [])


async def test_a_repeat_within_one_batch(bench):
    await bench.submit_many(5)
    asks = [bench.ask(2, seq=1), bench.ask(2, seq=1)]
    one, two = (await bench.exchange(claims=asks)).claims
    assert one.leases == two.leases
    assert len(one.leases) == 2


async def test_another_incarnation_is_another_claim(bench):
    tasks = await bench.submit_many(4)
    assert await bench.claimed_ids(2, seq=1, worker="w1") == tasks[:2]
    assert await bench.claimed_ids(2, seq=1, worker="w2") == tasks[2:]


async def test_a_claim_that_granted_nothing_may_be_asked_again(bench):
    """A long poll asks under one name until there is something."""
    await bench.submit_many(1)
    await bench.claim(1)
    assert await bench.claim(1, seq=7) == []
    (task,) = await bench.submit_many(1)
    assert await bench.claimed_ids(1, seq=7) == [task]


@pytest.mark.verbs("settle")
async def test_a_repeat_returns_only_what_is_still_held(bench):
    await bench.submit_many(2)
    first, second = await bench.claim(2, seq=1)
    await bench.settle(first)
    assert [lease.task for lease in await bench.claim(2, seq=1)] == [second.task]


@pytest.mark.verbs("settle", "claim")
async def test_an_exchange_settles_before_it_claims(bench):
    """A task released in an exchange can be claimed in the same one."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    answers = await bench.exchange(
        settles=[bench.line(lease, Outcome.RELEASED)], claims=[bench.ask(1, worker="w2")]
    )
    (again,) = answers.claims[0].leases
    assert again.task == lease.task
    assert again.token > lease.token


# --- many at once ------------------------------------------------------------------------------------


async def test_calls_in_flight_together_share_no_task(bench):
    """S1-06: many workers claim at once; each task goes to one of them, none is left out."""
    tasks = await bench.submit_many(60)
    answers = await asyncio.gather(*[bench.claim(5, worker=f"w{n}") for n in range(16)])
    granted = [lease.task for leases in answers for lease in leases]
    assert sorted(granted) == sorted(tasks)


async def test_submits_in_flight_together_are_all_stored(bench):
    tasks = [bench.task() for _ in range(40)]
    await asyncio.gather(*[bench.submit(task) for task in tasks])
    assert sorted(await bench.claimed_ids(100)) == sorted(task.id for task in tasks)


@pytest.mark.verbs("settle")
async def test_settlements_in_flight_together_write_once(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    lines = [bench.line(lease, Outcome.SUCCEEDED, result=str(n).encode()) for n in range(8)]
    answers = await asyncio.gather(*[bench.settle_lines(line) for line in lines])
    assert sorted(answer for (answer,) in answers) == [Answer.OK, *[Answer.LOST] * 7]


@pytest.mark.verbs("settle")
@pytest.mark.breaks("clock_ahead", "number_ahead")
async def test_tasks_are_claimed_at_once_after_the_clock_was_set_back(bench):
    """By an administrator, or as another server takes over whose clock is behind."""
    await bench.submit_many(3)
    for _ in range(3):
        await bench.settle(await bench.claim_one())
    await bench.advance(-3600)
    new = await bench.submit_many(3)
    leases = [await bench.claim_one() for _ in range(3)]
    assert [lease.task for lease in leases] == new
    assert [await bench.settle(lease) for lease in leases] == [Answer.OK] * 3
