"""Moving house: what one store dumps another takes, and works on with it as the first would have."""

from collections import Counter

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, OnParentFailure, Policy, RetryPolicy, State, UniqueRule
from mainspring.core.progress import LogPiece
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.core.workflows import Callback
from mainspring.errors import InvalidInput
from mainspring.ports import Answer, Append, Charge, Existing, Force, Group, Idempotency, Refused
from mainspring.verbs import Action
from mainspring.verbs.moving import Kind, MovedDependencies, MovedTask
from tests.conformance.bench import LANE
from tests.conformance.test_schedules import Clerk
from tests.conformance.test_workflows import Flow

URGENT = Lane("mail", "send", "acme", 9)
KEYED = Lane("default", "resize", "globex", 5, "account-7")
ONCE = Policy(max_retries=0)
RETRIED = Policy(retry=RetryPolicy(strategy="fixed", delay_s=60.0), max_losses=5)
UNIQUE = UniqueRule(b"digest", frozenset({State.READY, State.SCHEDULED}))
DAY_S = 86_400


class House:
    """A store with a little of everything in it. Names of its tasks to their ids."""

    def __init__(self, bench):
        self.bench = bench
        self.clerk = Clerk(bench)
        self.ids: dict[str, str] = {}
        self.leases = {}
        self.flow = None
        self.key = None

    async def add(self, name, lane=LANE, **fields):
        task = self.bench.task(lane, name=name, **fields)
        await self.bench.submit(task)
        self.ids[name] = task.id
        return task.id

    async def claim(self, name, lane=LANE):
        (lease,) = await self.bench.claim(1, lanes=[lane])
        assert lease.task == self.ids[name]
        self.leases[name] = lease
        return lease

    async def furnish(self):
        await self._ends()
        await self._families()
        await self._running()
        await self._waiting()
        await self._controls()
        return self

    async def _ends(self):
        bench, quick = self.bench, Lane("ends", "echo", "default", 5)
        error = {"error": b'{"type":"E","message":"no"}', "error_type": "E"}
        for name, outcome, fields, report in (
            ("done", Outcome.SUCCEEDED, {"labels": b'{"team":"ops"}'}, {"result": b'{"n":2}'}),
            ("null", Outcome.SUCCEEDED, {}, {"result": b"null"}),
            ("dead", Outcome.FAILED, {"policy": ONCE}, error),
            ("again", Outcome.FAILED, {"policy": RETRIED}, error),
            ("lost", Outcome.LOST, {"policy": RETRIED}, {}),
        ):  # fmt: skip
            await self.add(name, quick, **fields)
            assert await bench.settle(await self.claim(name, quick), outcome, **report) is Answer.OK
        await self.add("cancelled")
        await bench.store.force([Force(self.ids["cancelled"], Action.CANCEL)])
        await self.add("forgotten", quick)
        await bench.settle(await self.claim("lost", quick), Outcome.RELEASED)

    async def _families(self):
        bench, kin = self.bench, Lane("kin", "echo", "default", 5)
        await self.add("parent", kin)
        await self.add("bad", kin, policy=ONCE)
        for name, rule in (("held", "BLOCK"), ("doomed", "CANCEL"), ("spare", "ONLY")):
            policy = Policy(on_parent_failure=OnParentFailure[rule])
            parents = (self.ids["parent"], self.ids["bad"])
            await self.add(name, kin, depends_on=parents, policy=policy)
        await bench.settle(await self.claim("parent", kin))
        await bench.settle(await self.claim("bad", kin), Outcome.FAILED, error=b"{}")
        self.flow = Flow(
            bench, {"a": "", "b": "a", "c": "a", "d": "bc"}, *Callback, name="flow", labels=b'{"x":"y"}'
        )
        await self.flow.submit()
        flow = await bench.claim(1, lanes=[LANE])
        await bench.settle(flow[0], result=b"1")

    async def _running(self):
        bench, busy = self.bench, Lane("busy", "echo", "default", 5)
        for name in ("runs", "stops"):
            await self.add(name, busy, timeout_us=bench.us(3600))
        for name in ("runs", "stops"):
            lease = await self.claim(name, busy)
            pieces = [LogPiece(0, "stdout", 1, "first\n"), LogPiece(6, "stderr", 2, "zweite \u00fc\n")]
            recorded = b'{"row":7}', b'{"fraction":0.5}', {"z": b"1", "a": b"2"}, pieces, 3
            await bench.store.append([Append(lease.task, lease.token, *recorded)])
        await bench.store.force([Force(self.ids["stops"], Action.CANCEL)])

    async def _waiting(self):
        for name, lane in (
            ("first", LANE),
            ("mail", URGENT),
            ("keyed", KEYED),
            ("second", LANE),
            ("third", LANE),
        ):
            await self.add(name, lane)
        await self.add("later", delay=DAY_S, deadline_us=(1 << 52), timeout_us=5_000_000, policy=RETRIED)
        await self.add("unique", unique=UNIQUE)
        self.key = Idempotency("anna", "k-1", b"body", self.bench.us(DAY_S))
        self.keyed = self.bench.task()
        await self.bench.put_one(self.keyed, idempotency=self.key)

    async def _controls(self):
        bench, store, clerk = self.bench, self.bench.store, self.clerk
        every = Schedule(Timing(every_us=bench.us(60)), misfire="skip", misfire_grace_us=0)
        await clerk.create(
            "ticks", every, Template(LANE, b'{"tick":1}', labels=b'{"by":"clock"}', name="tick")
        )
        await bench.advance(61)
        await clerk.fire(await clerk.decide("ticks"))
        await bench.advance(150)
        await clerk.fire(await clerk.decide("ticks"))
        await clerk.create("paused", Schedule(Timing(cron="*/5 * * * *", zone="Europe/Berlin"), paused=True))
        await store.set_limit("queue:mail", LimitRule(max_running=3, rate=10, per_s=2.0))
        await store.set_limit("tenant:*", LimitRule(max_running=50))
        await store.set_queue("busy", "anna")
        await store.set_weight("acme", 2.5)
        await bench.exchange(charges=[Charge("acme", 5_000_000, 0), Charge("default", 1_000, 0)])


async def dumped(bench, limit=7):
    """All records of the store by their kinds, each as bytes; in the order in which they came."""
    records, cursor = [], None
    while True:
        page = await bench._store.dump(cursor, limit)
        assert len(page.records) <= limit
        records += page.records
        if (cursor := page.cursor) is None:
            return records


def counted(records):
    return Counter((type(record).__name__, msgspec.msgpack.encode(record)) for record in records)


async def moved(records, target, copy="copy-1", at_once=5):
    target.clock.elapsed += 1  # else it would mint the ids again that are in the records
    await target.advance(300)  # as far as the first store's time has gone
    assert await target._store.begin_load(copy) is None
    for start in range(0, len(records), at_once):
        some = records[start : start + at_once]
        assert await target._store.load(copy, some) == [None] * len(some)
    await target._store.end_load(copy)
    await target.refresh_lanes()


async def test_a_dump_that_was_loaded_is_dumped_again(bench, new_bench):
    """Twice, so that what only the second hand would lose shows too."""
    await House(bench).furnish()
    first = await dumped(bench)
    assert {type(record).__name__ for record in first} >= {
        "MovedTask",
        "MovedWorkflow",
        "MovedFire",
        "MovedLog",
    }
    async with new_bench() as second, new_bench() as third:
        await moved(first, second)
        assert counted(await dumped(second, 3)) == counted(first)
        await moved(await dumped(second, 1000), third, at_once=1000)
        assert counted(await dumped(third)) == counted(first)
        assert (await third.store.stats()).counts == (await second.store.stats()).counts


async def test_every_kind_is_dumped_and_in_order(bench):
    await House(bench).furnish()
    kinds, cursor = [], None
    while True:
        page = await bench._store.dump(cursor, 4)
        kinds += [page.kind] * bool(page.records)
        if (cursor := page.cursor) is None:
            break
    assert kinds == sorted(kinds)
    assert set(kinds) >= set(Kind) - {Kind.HISTORY}


async def test_readers_find_what_they_found_before(bench, new_bench):
    house = await House(bench).furnish()
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        for name in house.ids:
            old, new = await bench.get(house.ids[name]), await other.get(house.ids[name])
            if name in ("runs", "stops"):
                continue
            assert new == old, name
        for task in (house.ids["runs"], house.ids["stops"]):
            assert await other.store.logs(task, 0, 1 << 20) == await bench.store.logs(task, 0, 1 << 20)
        old, new = (
            await bench.store.workflow_graph(house.flow.id),
            await other.store.workflow_graph(house.flow.id),
        )
        assert (new.record, new.tasks) == (old.record, old.tasks)
        assert await other.store.find_schedules(10, None) == await bench.store.find_schedules(10, None)
        assert await other.store.fires("ticks", 100, None) == await bench.store.fires("ticks", 100, None)
        one, two = await bench.store.board(), await other.store.board()
        assert (two.paused, two.rules, two.shares) == (one.paused, one.rules, one.shares)
        groups = (await bench.store.dead_groups(10, None)).groups
        assert (await other.store.dead_groups(10, None)).groups == groups


async def test_a_running_task_comes_over_as_handed_back_and_its_worker_is_fenced(bench, new_bench):
    """Uncounted, at its place in line, with what it recorded; asked to stop, it comes over as cancelled."""
    house = await House(bench).furnish()
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        runs, stops = await other.get(house.ids["runs"]), await other.get(house.ids["stops"])
        assert (runs.state, runs.attempt, runs.losses, runs.worker) == (State.READY, 0, 0, None)
        assert (stops.state, stops.worker is None) == (State.CANCELLED, False)
        await other.store.set_queue("busy", None)
        for name in ("runs", "stops"):
            lease = house.leases[name]
            assert await other.settle(lease) is Answer.LOST
            assert await other.renew(lease) == [Answer.LOST]
        (again,) = await other.claim(5, lanes=[Lane("busy", "echo", "default", 5)])
        assert (again.task, again.attempt, again.checkpoint) == (house.ids["runs"], 1, b'{"row":7}')
        assert again.token > house.leases["runs"].token
        assert await other.settle(house.leases["runs"]) is Answer.LOST
        assert await other.settle(again) is Answer.OK


async def test_a_report_that_was_accepted_before_is_known(bench, new_bench):
    house = await House(bench).furnish()
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        lease = house.leases["done"]
        assert await other.settle(lease, result=b'{"n":2}') is Answer.ALREADY
        assert await other.settle(lease, result=b'{"n":3}') is Answer.LOST


async def test_the_loaded_store_works_on(bench, new_bench):
    """Claims in the same order; keys and unique rules are known; children follow their parents."""
    house = await House(bench).furnish()
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        order = {}
        for at in (bench, other):
            await at.refresh_lanes()
            lanes = [lane for lane in at.lane_ids if lane.queue not in ("busy", "mail")]
            order[at] = sorted(lanes), [await at.claimed_ids(50, [lane]) for lane in sorted(lanes)]
        assert order[bench] == order[other]
        assert sum(map(len, order[other][1])) > 8
        answer = await other.put_one(other.task(), idempotency=house.key)
        assert isinstance(answer, Existing)
        assert [task.id for task in answer.tasks] == [house.keyed.id]
        await other.store.force([Force(house.ids["unique"], Action.CANCEL)])
        earlier = await other.put_one(other.task(id=house.ids["first"]))
        assert isinstance(earlier, Refused)
        assert earlier.code == "id_taken"
        await other.resolve_all()
        assert await other.states(house.ids["held"], house.ids["doomed"]) == [State.BLOCKED, State.CANCELLED]
        assert await other.states(house.ids["spare"]) == [State.RUNNING]


async def test_a_unique_rule_holds_on(bench, new_bench):
    house = await House(bench).furnish()
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        answer = await other.put_one(other.task(unique=UNIQUE))
        assert answer.existing[0].id == house.ids["unique"]


async def test_schedules_fire_next_when_they_would_have_and_no_fire_twice(bench, new_bench):
    house = await House(bench).furnish()
    line = await house.clerk.decide("ticks")
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        clerk = Clerk(other)
        assert (await clerk.record("ticks")).next_us == (await house.clerk.record("ticks")).next_us
        repeated = await clerk.fire(line)
        assert isinstance(repeated.answers[0], int)
        await other.advance(300)
        await clerk.fire(await clerk.decide("ticks"))
        fires = (await other.store.fires("ticks", 100, None)).fires
        assert fires[-1] == (await bench.store.fires("ticks", 100, None)).fires[-1]
        assert len(fires) > len((await bench.store.fires("ticks", 100, None)).fires)


# --- filling ----------------------------------------------------------------------------------------


async def test_what_is_not_empty_is_not_filled(bench, new_bench):
    """Whatever there is in it."""

    async def pause(at):
        await at.store.set_queue("q", "anna")

    async def limit(at):
        await at.store.set_limit("queue:q", LimitRule(max_running=1))

    async def weigh(at):
        await at.store.set_weight("acme", 2.0)

    async def key(at):
        await at.put_one(at.task(), idempotency=Idempotency("anna", "k", b"d", at.us(60)))

    async def schedule(at):
        await Clerk(at).create()

    async def task(at):
        await at.submit_many(1)

    for fill, what in (
        (pause, "pauses"),
        (limit, "limits"),
        (weigh, "weights"),
        (schedule, "schedules"),
        (key, "tasks"),
        (task, "tasks"),
    ):
        async with new_bench() as at:
            await fill(at)
            refused = await at.store.begin_load("copy-1")
            assert refused == Refused("not_empty", f"there are {what} in it already")
            assert await at.store.unfinished_load() is None
    assert await bench.store.load("copy-1", [MovedDependencies("t", ())]) == [
        Refused("not_loading", "the copy copy-1 does not fill this store (any more)")
    ]


async def test_a_store_whose_tasks_are_all_forgotten_is_empty(bench, new_bench):
    """Shares of tenants, and what else outlives tasks, neither hinders nor stays."""
    await House(bench).furnish()
    async with new_bench() as other:
        (task,) = await other.submit_many(1, Lane("old", "echo", "old", 5))
        await other.settle(await other.claim_one())
        await other.exchange(charges=[Charge("old", 1_000, 0)])
        await other.store.delete([task])
        await moved(await dumped(bench), other)
        assert counted(await dumped(other)) == counted(await dumped(bench))
        assert "old" not in (await other.store.board()).shares


async def test_a_key_counts_until_it_expires(bench, new_bench):
    """Its promise outlives its task, and not itself."""
    await House(bench).furnish()
    async with new_bench() as other:
        used = other.task()
        await other.put_one(used, idempotency=Idempotency("anna", "k", b"d", other.us(60)))
        await other.settle(await other.claim_one())
        await other.store.delete([used.id])
        refused = await other.store.begin_load("copy-1")
        assert refused == Refused("not_empty", "there are idempotency keys in it already")
        await other.advance(61)
        await moved(await dumped(bench), other)
        assert counted(await dumped(other)) == counted(await dumped(bench))


async def test_a_copy_that_broke_off_is_seen_and_the_next_begins_anew(bench, new_bench):
    """What it left behind is removed: nothing else can be in there, for nodes do not work on such a store."""
    await House(bench).furnish()
    records = await dumped(bench)
    async with new_bench() as other:
        store = other.store
        assert await store.begin_load("copy-1") is None
        half = records[: len(records) // 2]
        assert set(await store.load("copy-1", half)) == {None}
        assert await store.unfinished_load() == "copy-1"
        assert await store.begin_load("copy-2") is None
        assert await store.unfinished_load() == "copy-2"
        assert await dumped(other) == []
        assert (await store.stats()).counts == {}
        late = await store.load("copy-1", half[:1])
        assert [answer.code for answer in late] == ["not_loading"]
        await moved(records, other, "copy-2")
        assert await store.unfinished_load() is None
        assert counted(await dumped(other)) == counted(records)


async def test_each_call_may_be_repeated(bench, new_bench):
    """Its answer may have been lost."""
    await House(bench).furnish()
    records = await dumped(bench)
    async with new_bench() as other:
        store = other.store
        await other.advance(300)  # as far as the first store's time has gone
        for _ in range(2):
            assert await store.begin_load("copy-1") is None
        for start in range(0, len(records), 10):
            for _ in range(2):
                some = records[start : start + 10]
                assert await store.load("copy-1", some) == [None] * len(some)
        for _ in range(2):
            await store.end_load("copy-1")
        assert counted(await dumped(other)) == counted(records)
        assert (await store.stats()).counts == (await _stats_of(records))


async def _stats_of(records):
    tasks = [record.task for record in records if isinstance(record, MovedTask)]
    return Counter((task.lane.queue, task.state) for task in tasks)


async def test_an_end_of_another_copy_ends_nothing(bench):
    assert await bench.store.begin_load("copy-1") is None
    await bench.store.end_load("copy-2")
    assert await bench.store.unfinished_load() == "copy-1"
    await bench.store.end_load("copy-1")
    assert await bench.store.unfinished_load() is None


@pytest.mark.parametrize("cursor", ["", "tasks", "cars:1", "tasks;1"])
async def test_a_cursor_of_nobody_is_refused(bench, cursor):
    with pytest.raises(InvalidInput, match="cursor"):
        await bench.store.dump(cursor, 10)


async def test_new_numbers_come_after_those_that_were_loaded(bench, new_bench):
    await House(bench).furnish()
    async with new_bench() as other:
        await moved(await dumped(bench), other)
        before = [record.task for record in await dumped(other) if isinstance(record, MovedTask)]
        new = other.task()
        await other.put([Group([new])])
        record = await other.get(new.id)
        assert record.version > max(task.version for task in before)
        assert record.seq > max(task.seq or 0 for task in before)
