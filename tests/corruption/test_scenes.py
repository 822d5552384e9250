"""A store with a living workload is spoiled in every way there is: the audit finds all of it, repair mends
it, and the work goes on to its end. One text for every store that several processes share."""

import asyncio
import itertools
from collections import Counter

import pytest

from mainspring.core.laws import LAWS, LOST_LANE
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.errors import StoreCorrupt, StoreUnavailable
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services.doctor import examine, treat
from mainspring.verbs import Action, Answer, Force, Mending, Query, Retention, WorkerInfo
from tests.corruption.course import run, table
from tests.corruption.hands import HANDS, SQL, WITH_TWINS

EACH = 80
TOLD_ONLY = frozenset({"unreadable_limit"})
sql = pytest.mark.parametrize("kind", SQL)


async def healed(store):
    """Examine and mend; what was done."""
    done, left = await treat(store, (await examine(store)).findings)
    assert left == []
    return done


# --- everything at once -----------------------------------------------------------------------------


async def course(bench, hand, seed, each):
    bench.breaks = TOLD_ONLY
    living = hand.living(bench, each)
    await living.build()
    assert (await examine(bench.store)).findings == []
    planted, touched = await hand.plant(seed, each)
    found = await run(bench.store, planted, touched)
    print("\n" + table(found.fates))
    assert len(found.fates) >= 40
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


@pytest.mark.limit(600)
async def test_every_class(bench, hand):
    """80 of each class, at random: all found, all repaired or reported, and every task ends."""
    await course(bench, hand, 1, EACH)
    assert all(not LAWS[law].mending for law in TOLD_ONLY)


@pytest.mark.limit(600)
@pytest.mark.parametrize("kind", WITH_TWINS)
@pytest.mark.parametrize("seed", range(2, 6))
async def test_other_rows(bench, hand, seed):
    """A few of each, on other rows, in other ways."""
    await course(bench, hand, seed, 6)


# --- what becomes of the tasks ----------------------------------------------------------------------


async def test_what_ran_well_stays_so_and_what_nobody_knows_is_a_dead_letter(bench, hand):
    ended, running, waiting = await bench.submit_many(3)
    await bench.settle(await bench.claim_one(), result=b'{"done":1}')
    lease = await bench.claim_one()
    assert lease.task == running
    await hand.unknown_state(ended, running, waiting)
    await healed(bench.store)
    record = await bench.get(ended)
    assert (record.state, record.result) == (State.SUCCEEDED, b'{"done":1}')
    for task in (running, waiting):
        record = await bench.get(task)
        assert record.state is State.FAILED
        assert b"RecordDamaged" in record.error
        (again,) = await bench.store.force([Force(task, Action.REPLAY)])
        assert again.state is State.READY
    assert await bench.settle(lease) is Answer.LOST


async def test_a_task_of_a_lost_lane_can_be_looked_at_and_is_no_ones_to_run(bench, hand):
    ended, waiting = await bench.submit_many(2)
    await bench.settle(await bench.claim_one())
    await hand.unknown_lane(ended, waiting)
    await healed(bench.store)
    for task, state in ((ended, State.SUCCEEDED), (waiting, State.FAILED)):
        record = await bench.get(task)
        assert (record.lane, record.state) == (LOST_LANE, state)


async def test_a_run_without_a_holder_runs_again_and_its_worker_is_fenced(bench, hand):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await hand.no_holder(lease.task)
    await healed(bench.store)
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
    await hand.no_holder(task)
    await healed(bench.store)
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
    await hand.lose(parent.id)
    await healed(bench.store)
    record = await bench.get(child.id)
    assert record.state is state
    if state is State.CANCELLED:
        assert b"has been lost" in record.error


async def test_a_child_whose_edges_were_lost_waits_on_for_those_that_are_left(bench, hand):
    parents = [bench.task(), bench.task()]
    child = bench.task(depends_on=tuple(parent.id for parent in parents))
    await bench.submit(*parents, child)
    await bench.settle(await bench.claim_one())
    await hand.lose_edges([parent.id for parent in parents], child.id)
    await healed(bench.store)
    await bench.resolve_all()
    assert (await bench.get(child.id)).state is State.BLOCKED
    await bench.settle(await bench.claim_one())
    assert (await bench.get(child.id)).state is State.READY


# --- while it is not mended yet ---------------------------------------------------------------------


@sql
async def test_a_damaged_row_stops_nobody_else(bench, hand):
    """Services go on with all other tasks: leases lapse, parents are applied, old tasks are forgotten."""
    bench.breaks = frozenset(LAWS)
    scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
    tasks = await bench.submit_many(4)
    leases = await bench.claim(4)
    parents = await bench.submit_many(2)
    children = await bench.submit(*[bench.task(depends_on=(parent,)) for parent in parents])
    for lease in await bench.claim(2):
        await bench.settle(lease, Outcome.FAILED, retryable=False)
    await hand.unreadable_policy(tasks[0], b"{")
    await hand.unreadable_attempts(tasks[0])
    await hand.unreadable_policy(children[0], b"\xff")
    await hand.unknown_state(parents[1])
    await bench.resolve_all()
    assert await bench.states(*children) == [State.CANCELLED, State.BLOCKED]
    await bench.advance(20)
    await scheduler.start()
    await scheduler.lost(await bench.store.expired(10))
    await scheduler.close()
    assert await bench.states(*tasks) == [State.READY] * 4
    assert len(leases) == 4
    await bench.advance(20)
    pruned = await bench.store.prune(100, Retention(1, 1, 1), None)
    assert pruned.count == 2


ASKED = {
    "get by state": (lambda hand, task: hand.unknown_state(task), lambda store, task: store.get([task])),
    "get by lane": (lambda hand, task: hand.unknown_lane(task), lambda store, task: store.get([task])),
    "stats": (lambda hand, task: hand.unknown_count(), lambda store, task: store.stats()),
    "workers": (lambda hand, task: hand.unreadable_worker(), lambda store, task: store.workers()),
}
LISTED = {
    "find by lane": (lambda hand, task: hand.unknown_lane(task), lambda store, task: store.find(Query())),
    "find by label": (
        lambda hand, task: hand.unreadable_labels(task),
        lambda store, task: store.find(Query(label=("a", "b"))),
    ),
}


@pytest.mark.parametrize(
    ("kind", "what"), [*itertools.product(HANDS, ASKED), *itertools.product(SQL, LISTED)]
)
async def test_who_asks_for_what_is_damaged_is_sent_to_the_doctor(bench, hand, what):
    spoil, verb = {**ASKED, **LISTED}[what]
    (task,) = await bench.submit_many(1, labels=b'{"a":"b"}')
    await bench.store.beat(WorkerInfo("w", "i", "n", ("echo",), (), 1))
    await spoil(hand, task)
    with pytest.raises(StoreCorrupt, match="run mainspring doctor"):
        await verb(bench.store, task)
    await healed(bench.store)
    await verb(bench.store, task)


# --- at the same time, twice, and half --------------------------------------------------------------


async def test_a_finding_that_others_have_mended_changes_nothing(bench, hand):
    bench.breaks = TOLD_ONLY
    living = hand.living(bench, 4)
    await living.build()
    await hand.plant(3, 4)
    found = (await examine(bench.store)).findings
    other = bench.new_node()
    await other.open()
    await treat(other, found)
    await other.close()
    before = {task.id: task for task in await living.tasks()}
    answers = await bench.store.repair(found)
    assert [answer for answer in answers if answer.mending is Mending.REPAIRED] == []
    assert {task.id: task for task in await living.tasks()} == before


@sql
async def test_a_repair_that_breaks_off_has_changed_nothing(bench, hand, monkeypatch):
    """One call is one transaction: a crash in its middle leaves all as it was, to be mended again."""
    await hand.unknown_state(*await bench.submit_many(10))
    found = (await examine(bench.store)).findings
    hand.break_off(monkeypatch, 7, StoreUnavailable("power is gone"))
    with pytest.raises(StoreUnavailable):
        await bench.store.repair(found)
    assert (await examine(bench.store)).findings == found
    monkeypatch.undo()
    _, left = await treat(bench.store, found)
    assert left == []


async def test_mending_while_others_work(bench, hand):
    """Two doctors and a worker at once: what is mended stays so, and nobody trips."""
    await bench.submit_many(60)
    await hand.no_place(*await bench.submit_many(60))
    doctors = [bench.new_node(), bench.new_node()]
    for doctor in doctors:
        await doctor.open()

    async def heal(doctor):
        return await treat(doctor, (await examine(doctor)).findings)

    healing = asyncio.gather(*[heal(doctor) for doctor in doctors])
    ended = 0
    while ended < 120:
        for lease in await bench.claim(5):
            ended += await bench.settle(lease) is Answer.OK
        await asyncio.sleep(0)
    done = [one for several, _ in await healing for one in several]
    for doctor in doctors:
        await doctor.close()
    told = Counter(one.mending for one in done if one.finding.law == "ready_without_place")
    assert 1 <= told[Mending.REPAIRED] <= 60
    assert (await examine(bench.store)).findings == []
