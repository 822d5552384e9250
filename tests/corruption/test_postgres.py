"""A database with a living workload is spoiled in every way there is: the audit finds all of it, repair mends
it, and the work goes on to its end."""

import asyncio
import os
from collections import Counter

import pytest

from mainspring.core.laws import LAWS, LOST_LANE
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.errors import StoreCorrupt, StoreUnavailable
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services.doctor import examine, treat
from mainspring.stores.postgres.auditing import repairing
from mainspring.stores.postgres.auditing.mending import mend
from mainspring.verbs import Action, Answer, Force, Mending, Query, Retention, WorkerInfo
from tests.conformance.server_benches import PostgresBench
from tests.corruption.course import run, table
from tests.corruption.living import Living
from tests.corruption.postgres_classes import CLASSES, Ground, unknown_lane

EACH = 80
TOLD_ONLY = frozenset({"unreadable_limit"})


@pytest.fixture(autouse=True)
def there_is_a_server():
    if (reason := PostgresBench.missing()) and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)


async def spoil(bench, seed, each):
    """Plant every class, and say what and on which rows."""
    ground = Ground(bench._admin, seed, each)
    planted = {kind.__name__: await kind(ground) for kind in CLASSES}
    queues = set(await ground.column("SELECT DISTINCT queue FROM mainspring.counts"))
    return planted, ground.taken | queues


@pytest.mark.limit(240)
async def test_every_class(tmp_path):
    """80 of each class, at random: all found, all repaired or reported, and every task ends."""
    async with PostgresBench(tmp_path) as bench:
        bench.breaks = TOLD_ONLY
        living = Living(bench, EACH)
        await living.build()
        assert (await examine(bench.store)).findings == []

        planted, touched = await spoil(bench, 1, EACH)
        course = await run(bench.store, planted, touched)
        print("\n" + table(course.fates))

        assert len(course.fates) >= 12
        for name, fate in course.fates.items():
            assert fate.planted >= EACH, name
            assert fate.found == fate.planted, name
            assert fate.repaired + fate.reported == fate.planted, name
            assert (fate.reported > 0) == (name in TOLD_ONLY), name
        assert course.unexplained == []
        assert {finding.law for finding in course.left} == TOLD_ONLY
        assert all(not LAWS[law].mending for law in TOLD_ONLY)

        await living.rest()
        assert await living.finish() == []
        assert {finding.law for finding in (await examine(bench.store)).findings} == TOLD_ONLY


@pytest.mark.limit(240)
@pytest.mark.parametrize("seed", range(2, 6))
async def test_other_rows(tmp_path, seed):
    """A few of each, on other rows, in other ways."""
    async with PostgresBench(tmp_path) as bench:
        bench.breaks = TOLD_ONLY
        living = Living(bench, 6)
        await living.build()
        planted, touched = await spoil(bench, seed, 6)
        course = await run(bench.store, planted, touched)
        for name, fate in course.fates.items():
            assert fate.found == fate.planted == fate.repaired + fate.reported, name
        assert course.unexplained == []
        assert {finding.law for finding in course.left} == TOLD_ONLY
        await living.rest()
        assert await living.finish() == []


# --- what becomes of the tasks ----------------------------------------------------------------------


async def by_hand(bench, assignments, *tasks):
    wanted = [task.id for task in tasks]
    where = "id = ANY ($1::text[])" if wanted else "cardinality($1::text[]) = 0"
    await bench._admin.execute(f"UPDATE mainspring.tasks SET {assignments} WHERE {where}", wanted)


async def healed(store):
    return await treat(store, (await examine(store)).findings)


async def test_what_ran_well_stays_so_and_what_nobody_knows_is_a_dead_letter(tmp_path):
    async with PostgresBench(tmp_path) as bench:
        living = Living(bench, 4)
        await living.build()
        before = await living.tasks()
        ended = [task for task in before if task.state is State.SUCCEEDED and task.result][:3]
        others = [task for task in before if task.state in (State.READY, State.RUNNING)][:6]
        await by_hand(bench, "state = 77", *ended, *others)
        await healed(bench.store)
        for task in ended:
            record = await bench.get(task.id)
            assert (record.state, record.result) == (State.SUCCEEDED, task.result)
        for task in others:
            record = await bench.get(task.id)
            assert record.state is State.FAILED
            assert b"RecordDamaged" in record.error
            (again,) = await bench.store.force([Force(task.id, Action.REPLAY)])
            assert again.state is State.READY


async def test_a_task_of_a_lost_lane_can_be_looked_at_and_is_no_ones_to_run(tmp_path):
    async with PostgresBench(tmp_path) as bench:
        await Living(bench, 4).build()
        spoiled = await unknown_lane(Ground(bench._admin, 7, 4))
        await healed(bench.store)
        for task in await bench.store.get([id for _, (_, id) in spoiled]):
            assert task.lane == LOST_LANE
            assert task.state.is_final


async def test_a_run_without_a_holder_runs_again_and_its_worker_is_fenced(tmp_path):
    async with PostgresBench(tmp_path) as bench:
        await bench.submit_many(1)
        lease = await bench.claim_one()
        await by_hand(bench, "incarnation = NULL", await bench.get(lease.task))
        await healed(bench.store)
        assert await bench.settle(lease) is Answer.LOST
        again = await bench.claim_one()
        assert again.task == lease.task
        assert again.token > lease.token
        assert again.attempt == 2
        assert await bench.settle(again) is Answer.OK


async def test_a_cancelled_run_without_a_holder_is_cancelled(tmp_path):
    async with PostgresBench(tmp_path) as bench:
        (task,) = await bench.submit_many(1)
        await bench.claim_one()
        await bench.store.force([Force(task, Action.CANCEL)])
        await by_hand(bench, "worker = NULL", await bench.get(task))
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
async def test_a_child_of_a_lost_parent_goes_by_its_rule(tmp_path, rule, state):
    async with PostgresBench(tmp_path) as bench:
        parent = bench.task()
        child = bench.task(depends_on=(parent.id,), policy=Policy(on_parent_failure=rule))
        await bench.submit(parent, child)
        await bench._admin.execute("DELETE FROM mainspring.tasks WHERE id = $1", parent.id)
        await healed(bench.store)
        record = await bench.get(child.id)
        assert record.state is state
        if state is State.CANCELLED:
            assert b"has been lost" in record.error


async def test_a_child_whose_edges_were_lost_waits_on_for_those_that_are_left(tmp_path):
    async with PostgresBench(tmp_path) as bench:
        parents = [bench.task(), bench.task()]
        child = bench.task(depends_on=tuple(parent.id for parent in parents))
        await bench.submit(*parents, child)
        await bench.settle(await bench.claim_one())
        await bench._admin.execute("DELETE FROM mainspring.edges")
        await healed(bench.store)
        await bench.resolve_all()
        assert (await bench.get(child.id)).state is State.BLOCKED
        await bench.settle(await bench.claim_one())
        assert (await bench.get(child.id)).state is State.READY


# --- while it is not mended yet ---------------------------------------------------------------------


async def test_a_damaged_row_stops_nobody_else(tmp_path):
    """Services go on with all other tasks: leases lapse, parents are applied, old tasks are forgotten."""
    async with PostgresBench(tmp_path) as bench:
        bench.breaks = frozenset(LAWS)
        scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
        tasks = await bench.submit_many(4)
        leases = await bench.claim(4)
        parents = await bench.submit_many(2)
        children = await bench.submit(*[bench.task(depends_on=(parent,)) for parent in parents])
        for lease in await bench.claim(2):
            await bench.settle(lease, Outcome.FAILED, retryable=False)
        await by_hand(bench, "policy = '{', attempts = '['", await bench.get(tasks[0]))
        await by_hand(bench, r"policy = '\xff'", await bench.get(children[0]))
        await by_hand(bench, "state = 42", await bench.get(parents[1]))
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


@pytest.mark.parametrize(
    ("spoil", "verb"),
    [
        ("UPDATE mainspring.tasks SET state = 42", lambda store, task: store.get([task])),
        ("UPDATE mainspring.tasks SET lane_id = 42", lambda store, task: store.find(Query())),
        ("UPDATE mainspring.tasks SET labels = '{'", lambda store, task: store.find(Query(label=("a", "b")))),
        ("UPDATE mainspring.counts SET state = 42", lambda store, task: store.stats()),
        ("UPDATE mainspring.workers SET info = '{'", lambda store, task: store.workers()),
    ],
)
async def test_who_asks_for_what_is_damaged_is_sent_to_the_doctor(tmp_path, spoil, verb):
    async with PostgresBench(tmp_path) as bench:
        (task,) = await bench.submit_many(1, labels=b'{"a":"b"}')
        await bench.store.beat(WorkerInfo("w", "i", "n", ("echo",), (), 1))
        await bench._admin.execute(spoil)
        with pytest.raises(StoreCorrupt, match="run mainspring doctor"):
            await verb(bench.store, task)
        await healed(bench.store)
        await verb(bench.store, task)


# --- at the same time, twice, and half --------------------------------------------------------------


async def test_a_finding_that_others_have_mended_changes_nothing(tmp_path):
    async with PostgresBench(tmp_path) as bench:
        bench.breaks = TOLD_ONLY
        living = Living(bench, 4)
        await living.build()
        await spoil(bench, 3, 4)
        found = (await examine(bench.store)).findings
        other = bench.new_node()
        await other.open()
        await treat(other, found)
        await other.close()
        before = {task.id: task for task in await living.tasks()}
        answers = await bench.store.repair(found)
        assert [answer for answer in answers if answer.mending is Mending.REPAIRED] == []
        assert {task.id: task for task in await living.tasks()} == before


async def test_a_repair_that_breaks_off_has_changed_nothing(tmp_path, monkeypatch):
    """One call is one transaction: a crash in its middle leaves all as it was, to be mended again."""
    async with PostgresBench(tmp_path) as bench:
        tasks = await bench.submit_many(10)
        await by_hand(bench, "state = 77", *[await bench.get(task) for task in tasks])
        found = (await examine(bench.store)).findings
        calls = []

        async def crash(tx, record):
            calls.append(record)
            if len(calls) == 7:
                raise StoreUnavailable("power is gone")
            return await mend(tx, record)

        monkeypatch.setattr(repairing, "mend", crash)
        with pytest.raises(StoreUnavailable):
            await bench.store.repair(found)
        assert (await examine(bench.store)).findings == found
        monkeypatch.undo()
        _, left = await treat(bench.store, found)
        assert left == []


@pytest.mark.limit(120)
async def test_mending_while_others_work(tmp_path):
    """Two doctors and a worker at once on one database: what is mended stays so, and nobody trips."""
    async with PostgresBench(tmp_path) as bench:
        await bench.submit_many(60)
        records = [await bench.get(task) for task in await bench.submit_many(60)]
        await by_hand(bench, "seq = NULL", *records)
        doctors = [bench.new_node(), bench.new_node()]
        for doctor in doctors:
            await doctor.open()
        healing = asyncio.gather(*[healed(doctor) for doctor in doctors])
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
