"""A namespace with a living workload is spoiled in every way there is: the audit finds all of it, repair
mends it, and the work goes on to its end."""

import asyncio
from collections import Counter

import msgspec
import pytest
from redis import Redis

from mainspring.core.laws import LAWS, LOST_LANE
from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule, names
from mainspring.core.model import Lane, OnParentFailure, Policy, State, UniqueRule
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.errors import StoreCorrupt
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services.doctor import examine, treat
from mainspring.stores.redis.scripts import keys
from mainspring.verbs import (
    Action,
    Answer,
    Force,
    Group,
    Idempotency,
    Mending,
    NewSchedule,
    Retention,
    WorkerInfo,
)
from tests.conformance.bench import LANE
from tests.conformance.server_benches import RedisBench, ValkeyBench
from tests.corruption.course import run, table
from tests.corruption.living import DONE, LABELS, ONCE, WAIT, WORK, Living
from tests.corruption.redis_classes import CLASSES, Ground, claim_of, edge, read_head, write_head

EACH = 80
TOLD_ONLY = frozenset({"unreadable_limit"})
INDEXED = Lane("indexed", "echo", "default", 5)


class Indexed(Living):
    """With something in every index, and more of what many classes want to spoil."""

    async def build(self) -> None:
        await super().build()
        bench, each = self.bench, self.each
        await bench.submit_many(6 * each, WAIT, policy=Policy(max_retries=1))
        await bench.submit_many(9 * each, DONE, labels=LABELS, policy=ONCE)
        ended = await self._claim(DONE, 10_000, "finisher")
        outcomes = [Outcome.FAILED if n % 3 == 0 else Outcome.SUCCEEDED for n in range(len(ended))]
        lines = zip(ended, outcomes, strict=True)
        await bench.settle_lines(*[bench.line(lease, outcome, result=b"1") for lease, outcome in lines])
        await bench.submit_many(4 * each, WORK)
        await self._claim(WORK, 4 * each, "worker")
        far_us = (await bench.store.board()).now_us + bench.us(1_000_000)
        states = frozenset({State.READY})
        tasks = [
            bench.task(
                INDEXED, unique=UniqueRule(b"u%d" % n, states), deadline_us=far_us, timeout_us=bench.us(9_000)
            )
            for n in range(2 * each)
        ]
        await bench.submit(*tasks)
        await self._claim(INDEXED, each, "indexer")
        idempotencies = [Idempotency("you", f"key-{n}", b"digest", bench.us(86_400)) for n in range(each)]
        await bench.put([Group([bench.task(DONE)], key) for key in idempotencies])
        scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
        rules, template = Schedule(Timing(every_us=bench.us(7_000))), Template(INDEXED, b"null")
        for n in range(each):
            await scheduler.schedules.create(NewSchedule(rules, template), f"listed-{n}")


def spoil(bench, seed, each):
    """Plant every class, and say what and on which tasks."""
    ground = Ground(bench._url, bench._namespace, seed, each)
    # Thousands of commands one by one: nothing of this has to survive the server.
    ground.db.config_set("appendfsync", "no")
    try:
        planted = {kind.__name__: kind(ground) for kind in CLASSES}
    finally:
        ground.db.config_set("appendfsync", "always")
    touched = ground.taken | {lane[0] for lane in ground.lanes.values()}
    touched |= {str(number) for number in ground.lanes} | set(ground.names("lost"))
    touched |= {name for lane in ground.lanes.values() for name in names(Lane(*lane))}
    running = [head for head in ground.heads.values() if head["INCARNATION"]]
    touched |= {claim_of(head["INCARNATION"], head["CLAIM_SEQ"]).hex() for head in running}
    touched |= {head["FINGERPRINT"] for head in ground.heads.values() if head["FINGERPRINT"]}
    ground.db.close()
    return planted, touched


async def course(bench, seed, each):
    bench.breaks = TOLD_ONLY
    living = Indexed(bench, each)
    await living.build()
    assert (await examine(bench.store)).findings == []
    planted, touched = spoil(bench, seed, each)
    found = await run(bench.store, planted, touched)
    print("\n" + table(found.fates))
    for name, fate in found.fates.items():
        assert fate.planted >= each, name
        assert fate.found == fate.planted, name
        assert fate.repaired + fate.reported == fate.planted, name
        assert (fate.reported > 0) == (name in TOLD_ONLY), name
    assert found.unexplained == []
    assert {finding.law for finding in found.left} == TOLD_ONLY
    await living.rest()
    assert await living.finish() == []
    assert {finding.law for finding in (await examine(bench.store)).findings} == TOLD_ONLY


@pytest.mark.limit(240)
async def test_every_class(tmp_path):
    """80 of each class, at random: all found, all repaired or reported, and every task ends."""
    async with RedisBench(tmp_path) as bench:
        await course(bench, 1, EACH)
        assert all(not LAWS[law].mending for law in TOLD_ONLY)


@pytest.mark.limit(240)
@pytest.mark.parametrize("kind", [RedisBench, ValkeyBench])
@pytest.mark.parametrize("seed", range(2, 5))
async def test_other_rows(tmp_path, kind, seed):
    """A few of each, on other tasks, in other ways, on both servers."""
    async with kind(tmp_path) as bench:
        await course(bench, seed, 6)


# --- what becomes of the tasks ----------------------------------------------------------------------


class Hand:
    """Somebody who writes into the namespace by plain commands."""

    def __init__(self, bench):
        self.db = Redis.from_url(bench._url)
        self.key = keys(bench._namespace)

    def set(self, *tasks, **fields):
        for id_ in tasks:
            head = read_head(self.db.hget(self.key["heads"], id_)) | fields
            self.db.hset(self.key["heads"], id_, write_head(head))


@pytest.fixture
def bench(tmp_path):
    return RedisBench(tmp_path)


@pytest.fixture
def hand(bench):
    hand = Hand(bench)
    yield hand
    hand.db.close()


async def mend(bench):
    """Examine and mend; what was done."""
    done, left = await treat(bench.store, (await examine(bench.store)).findings)
    assert left == []
    return done


async def test_what_ran_well_stays_so_and_what_nobody_knows_is_a_dead_letter(bench, hand):
    ended, other, running = await bench.submit_many(3)
    await bench.settle(await bench.claim_one(), result=b'{"done":1}')
    (lease,) = await bench.claim(1)
    assert lease.task == other
    hand.set(ended, other, running, STATE=77)
    await mend(bench)
    assert (await bench.get(ended)).state is State.SUCCEEDED
    assert (await bench.get(ended)).result == b'{"done":1}'
    for task in (other, running):
        record = await bench.get(task)
        assert record.state is State.FAILED
        assert b"RecordDamaged" in record.error
        (again,) = await bench.store.force([Force(task, Action.REPLAY)])
        assert again.state is State.READY
    assert await bench.settle(lease) is Answer.LOST


async def test_a_head_that_cannot_be_read_is_a_dead_letter_of_the_lost(bench, hand):
    """All that is left of it is its body."""
    (task,) = await bench.submit_many(1)
    hand.db.hset(hand.key["heads"], task, b"\xc1")
    assert await bench.store.get([task]) == [None]
    await mend(bench)
    record = await bench.get(task)
    assert (record.state, record.lane, record.payload) == (State.FAILED, LOST_LANE, b'{"n":1}')
    assert b"RecordDamaged" in record.error


async def test_a_task_of_a_lost_lane_can_be_looked_at_and_is_no_ones_to_run(bench, hand):
    waiting, ended = await bench.submit_many(2)
    hand.set(waiting, LANE=4711)
    await bench.settle(await bench.claim_one())
    hand.set(ended, LANE=4711)
    await mend(bench)
    for task, state in ((waiting, State.FAILED), (ended, State.SUCCEEDED)):
        record = await bench.get(task)
        assert (record.lane, record.state) == (LOST_LANE, state)


async def test_a_run_without_a_holder_runs_again_and_its_worker_is_fenced(bench, hand):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    hand.set(lease.task, WORKER=False)
    await mend(bench)
    assert await bench.settle(lease) is Answer.LOST
    again = await bench.claim_one()
    assert again.task == lease.task
    assert again.token > lease.token
    assert again.attempt == 2
    assert await bench.settle(again) is Answer.OK


async def test_a_cancelled_run_without_a_holder_is_cancelled(bench, hand):
    (task,) = await bench.submit_many(1)
    await bench.claim_one()
    await bench.store.force([Force(task, Action.CANCEL)])
    hand.set(task, LEASE_UNTIL=False)
    await mend(bench)
    assert (await bench.get(task)).state is State.CANCELLED


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (OnParentFailure.CANCEL, State.CANCELLED),
        (OnParentFailure.BLOCK, State.CANCELLED),
        (OnParentFailure.RUN, State.READY),
        (OnParentFailure.ONLY, State.READY),
    ],
)
async def test_a_child_of_a_lost_parent_goes_by_its_rule(bench, hand, rule, state):
    parent = bench.task()
    child = bench.task(depends_on=(parent.id,), policy=Policy(on_parent_failure=rule))
    await bench.submit(parent, child)
    hand.db.hdel(hand.key["heads"], parent.id)
    await mend(bench)
    record = await bench.get(child.id)
    assert record.state is state
    if state is State.CANCELLED:
        assert b"has been lost" in record.error


async def test_a_child_whose_edges_were_lost_waits_on_for_those_that_are_left(bench, hand):
    parents = [bench.task(), bench.task()]
    child = bench.task(depends_on=tuple(parent.id for parent in parents))
    await bench.submit(*parents, child)
    await bench.settle(await bench.claim_one())
    for parent in parents:
        for index in ("edges", "dependents"):
            hand.db.zrem(hand.key[index], edge(parent.id, child.id))
    await mend(bench)
    await bench.resolve_all()
    assert (await bench.get(child.id)).state is State.BLOCKED
    await bench.settle(await bench.claim_one())
    assert (await bench.get(child.id)).state is State.READY


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
    hand.db.delete(*[hand.key[index] for index in indexes])
    await mend(bench)
    assert await unversioned(living) == before
    await living.rest()
    assert await living.finish() == []


# --- while it is not mended yet ---------------------------------------------------------------------


async def test_a_damaged_task_stops_nobody_else(bench, hand):
    """Services go on with all other tasks: claims, due tasks, lapsed leases, parents, retention."""
    bench.breaks = frozenset(LAWS)
    scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
    damaged, *tasks = await bench.submit_many(4)
    await bench.submit_many(1, delay=5)
    hand.db.hset(hand.key["heads"], damaged, b"\xc1")
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
    hand.db.hset(hand.key["rules"], "queue:mail", b"{")
    assert await bench.claimed_ids(10) == [other]
    assert (await bench.store.board()).rules["queue:mail"].max_running == 0
    await bench.store.set_limit("queue:mail", LimitRule(max_running=5))
    assert len(await bench.claim(10)) == 1


@pytest.mark.parametrize(
    ("spoil", "verb"),
    [
        (lambda hand, task: hand.set(task, STATE=42), lambda store, task: store.get([task])),
        (lambda hand, task: hand.set(task, LANE=42), lambda store, task: store.get([task])),
        (
            lambda hand, task: hand.db.hset(hand.key["counts"], "42:default", 1),
            lambda store, task: store.stats(),
        ),
        (
            lambda hand, task: hand.db.hset(hand.key["workers"], "w", b"{"),
            lambda store, task: store.workers(),
        ),
    ],
)
async def test_who_asks_for_what_is_damaged_is_sent_to_the_doctor(bench, hand, spoil, verb):
    (task,) = await bench.submit_many(1, labels=b'{"a":"b"}')
    await bench.store.beat(WorkerInfo("w", "i", "n", ("echo",), (), 1))
    spoil(hand, task)
    with pytest.raises(StoreCorrupt, match="run mainspring doctor"):
        await verb(bench.store, task)
    await mend(bench)
    await verb(bench.store, task)


async def test_a_clock_that_was_set_back_is_told(bench, hand):
    """What was given out stays given out: nobody can mend the past, and work goes on meanwhile."""
    bench.breaks = frozenset({"clock_ahead"})
    await bench.submit_many(1)
    minted = int(hand.db.hget(hand.key["meta"], "minted"))
    hand.db.hset(hand.key["meta"], "minted", minted + bench.us(3_600))
    (finding,) = (await examine(bench.store)).findings
    assert finding.law == "clock_ahead"
    (mended,) = await bench.store.repair([finding])
    assert mended.mending is Mending.REPORTED
    lease = await bench.claim_one()
    assert lease.token > minted
    assert await bench.settle(lease) is Answer.OK


# --- at the same time -------------------------------------------------------------------------------


async def test_a_finding_that_others_have_mended_changes_nothing(bench):
    living = Indexed(bench, 4)
    await living.build()
    spoil(bench, 3, 4)
    bench.breaks = TOLD_ONLY
    found = (await examine(bench.store)).findings
    await treat(bench.store, found)
    before = {task.id: task for task in await living.tasks()}
    answers = await bench.store.repair(found)
    assert [answer for answer in answers if answer.mending is Mending.REPAIRED] == []
    assert {task.id: task for task in await living.tasks()} == before


@pytest.mark.limit(120)
async def test_mending_while_others_work(bench, hand):
    """Two doctors and a worker at once: what is mended stays so, and nobody trips."""
    await bench.submit_many(60)
    hand.set(*await bench.submit_many(60), SEQ=False)
    doctors = [bench.new_node(), bench.new_node()]
    for doctor in doctors:
        await doctor.open()

    async def heal(doctor):
        done, _ = await treat(doctor, (await examine(doctor)).findings)
        return done

    healing = asyncio.gather(*(heal(doctor) for doctor in doctors))
    ended = 0
    while ended < 120:
        for lease in await bench.claim(5):
            ended += await bench.settle(lease) is Answer.OK
        await asyncio.sleep(0)
    done = [one for several in await healing for one in several]
    for doctor in doctors:
        await doctor.close()
    told = Counter(one.mending for one in done if one.finding.law == "ready_without_place")
    assert 1 <= told[Mending.REPAIRED] <= 60
    assert (await examine(bench.store)).findings == []
