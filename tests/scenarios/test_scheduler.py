"""The Scheduler over the memory store: what one node promises to its callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, Lease, NewTask, State
from mainspring.errors import NotFound, Overloaded, StoreUnavailable, VersionMismatch, WrongState
from mainspring.ports import Accepted, Answer, ClaimRequest, Exchange, Exchanged, Group, Query, Refused
from mainspring.scheduler import Patch, Scheduler, SchedulerSettings
from mainspring.stores.memory import MemoryStore

LANE = Lane("default", "echo", "default", 5)
CLOCK = SystemClock()


class CountingStore(MemoryStore):
    """Counts flights, and can hold one in the air or fail it."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.flights: list[Exchange] = []
        self.gate: asyncio.Event | None = None
        self.fault: Exception | None = None
        self.poison: bytes | None = None

    async def exchange(self, batch: Exchange) -> Exchanged:
        self.flights.append(batch)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if any(task.payload == self.poison for group in batch.submits for task in group.tasks):
            raise TypeError("cannot bind this value")
        return await super().exchange(batch)


@asynccontextmanager
async def running(**settings: float) -> AsyncIterator[tuple[Scheduler, CountingStore]]:
    store = CountingStore()
    await store.open()
    scheduler = Scheduler(store, CLOCK, SchedulerSettings(**settings))
    await scheduler.start()
    try:
        yield scheduler, store
    finally:
        await scheduler.close()
        await store.close()


def task(payload: bytes = b"{}", lane: Lane = LANE, **fields: object) -> NewTask:
    return NewTask(CLOCK.new_id(), lane, payload, **fields)


def request(seq: int = 1, slots: int = 10, wait_s: float = 0.0, worker: str = "w") -> ClaimRequest:
    return ClaimRequest(worker, f"{worker}-1", seq, ("echo",), slots=slots, wait_s=wait_s)


def success(lease: Lease) -> Report:
    return Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1")


async def submitted(scheduler: Scheduler, *tasks: NewTask) -> None:
    (answer,) = await scheduler.submit([Group(tasks)])
    assert isinstance(answer, Accepted)


async def test_a_submit_wakes_a_waiting_claim_in_the_same_flight():
    """Once the lane is known, a submit and its claim share one durable commit."""
    async with running() as (scheduler, store):
        await submitted(scheduler, task())
        assert len(await scheduler.claim(request(1, wait_s=5))) == 1
        waiting = asyncio.create_task(scheduler.claim(request(2, wait_s=30)))
        await asyncio.sleep(0)
        before = len(store.flights)
        await submitted(scheduler, task())
        assert len(await waiting) == 1
        assert len(store.flights) == before + 1


async def test_calls_made_while_a_flight_is_in_the_air_share_the_next_one():
    async with running() as (scheduler, store):
        store.gate = asyncio.Event()
        calls = [asyncio.create_task(submitted(scheduler, task())) for _ in range(2)]
        while not store.flights:
            await asyncio.sleep(0)
        calls += [asyncio.create_task(submitted(scheduler, task())) for _ in range(50)]
        while scheduler._batcher._rows < 50:
            await asyncio.sleep(0)
        store.gate.set()
        await asyncio.gather(*calls)
        assert [len(flight.submits) for flight in store.flights] == [2, 50]


async def test_an_empty_claim_answers_after_its_wait():
    async with running() as (scheduler, _):
        assert await scheduler.claim(request(wait_s=0.01)) == []


async def test_leases_of_a_claimer_that_left_go_back_uncounted():
    async with running() as (scheduler, store):
        await submitted(scheduler, task())
        store.gate = asyncio.Event()
        before = len(store.flights)
        call = asyncio.create_task(scheduler.claim(request(wait_s=30)))
        while len(store.flights) == before:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        store.gate.set()
        (lease,) = await scheduler.claim(request(worker="other", wait_s=5))
        assert lease.attempt == 1


async def test_a_submit_stands_when_its_caller_vanishes():
    async with running() as (scheduler, store):
        store.gate = asyncio.Event()
        new = task()
        call = asyncio.create_task(scheduler.submit([Group([new])]))
        while not store.flights:
            await asyncio.sleep(0)
        call.cancel()
        store.gate.set()
        record = await scheduler.wait(new.id, 0) if await landed(store) else None
        assert record is not None
        assert record.state is State.READY


async def landed(store: CountingStore) -> bool:
    for _ in range(1000):
        if sum((await store.stats()).counts.values()):
            return True
        await asyncio.sleep(0)
    return False


async def test_a_line_that_cannot_be_stored_fails_alone():
    async with running() as (scheduler, store):
        store.poison = b'"poison"'
        good, bad = task(), task(b'"poison"')
        answers = await scheduler.submit([Group([good]), Group([bad])])
        assert isinstance(answers[0], Accepted)
        assert isinstance(answers[1], Refused)
        assert answers[1].code == "invalid_input"
        assert (await scheduler.get(good.id)).state is State.READY
        with pytest.raises(NotFound):
            await scheduler.get(bad.id)


async def test_a_failing_store_fails_every_caller_of_the_flight_and_recovers():
    async with running() as (scheduler, store):
        store.fault = StoreUnavailable("gone")
        with pytest.raises(StoreUnavailable):
            await scheduler.submit([Group([task()]), Group([task()])])
        store.fault = None
        await submitted(scheduler, task())


async def test_too_much_pending_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mainspring.batching.ROWS_PENDING", 10)
    async with running() as (scheduler, store):
        store.gate = asyncio.Event()
        calls = [asyncio.create_task(submitted(scheduler, *(task() for _ in range(10))))]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await scheduler.submit([Group([task()])])
        store.gate.set()
        await asyncio.gather(*calls)


async def test_the_same_report_again_is_already_known_and_another_is_lost():
    async with running() as (scheduler, _):
        await submitted(scheduler, task())
        (lease,) = await scheduler.claim(request(wait_s=5))
        assert list(await scheduler.settle([success(lease)])) == [Answer.OK]
        assert list(await scheduler.settle([success(lease)])) == [Answer.ALREADY]
        other = Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"2")
        assert list(await scheduler.settle([other])) == [Answer.LOST]


async def test_a_report_on_another_nodes_lease_is_judged_all_the_same():
    async with running() as (scheduler, store):
        other = Scheduler(store, CLOCK, SchedulerSettings(node_id="node-2"))
        await other.start()
        await submitted(scheduler, task())
        (lease,) = await scheduler.claim(request(wait_s=5))
        failure = Report(lease.task, lease.token, Outcome.FAILED, error=b'{"type":"E","message":"m"}')
        assert list(await other.settle([failure])) == [Answer.OK]
        record = await other.get(lease.task)
        assert (record.state, record.retries) == (State.SCHEDULED, 1)
        await other.close()


async def test_a_result_over_the_cap_fails_the_task_for_good():
    async with running(result_bytes=10) as (scheduler, _):
        await submitted(scheduler, task())
        (lease,) = await scheduler.claim(request(wait_s=5))
        await scheduler.settle([Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1" * 11)])
        record = await scheduler.get(lease.task)
        assert record.state is State.FAILED
        assert b"ResultTooLarge" in (record.error or b"")


async def test_waiting_for_a_task_ends_with_it():
    async with running() as (scheduler, _):
        new = task()
        await submitted(scheduler, new)
        waits = [asyncio.create_task(scheduler.wait(new.id, 30)) for _ in range(3)]
        (lease,) = await scheduler.claim(request(wait_s=5))
        await scheduler.settle([success(lease)])
        assert [(await wait).state for wait in waits] == [State.SUCCEEDED] * 3
        assert not scheduler._finals.anybody_waits


async def test_waiting_has_a_timeout_and_knows_missing_tasks():
    async with running() as (scheduler, _):
        new = task()
        await submitted(scheduler, new)
        assert (await scheduler.wait(new.id, 0.01)).state is State.READY
        with pytest.raises(NotFound):
            await scheduler.wait(CLOCK.new_id(), 0)


async def test_editing_moves_a_waiting_task_and_refuses_a_stale_version():
    """S3-18, S3-28: updates with optimistic concurrency."""
    async with running() as (scheduler, _):
        new = task()
        await submitted(scheduler, new)
        first = await scheduler.get(new.id)
        edited = await scheduler.edit(new.id, Patch(priority=9, payload=b"[1]"), first.version)
        assert (edited.lane.priority, edited.payload) == (9, b"[1]")
        with pytest.raises(VersionMismatch):
            await scheduler.edit(new.id, Patch(priority=1), first.version)
        (lease,) = await scheduler.claim(request(wait_s=5))
        assert lease.lane.priority == 9
        with pytest.raises(WrongState):
            await scheduler.edit(new.id, Patch(priority=1))


async def test_a_paused_queue_is_not_claimed_until_it_is_resumed():
    async with running() as (scheduler, _):
        await scheduler.pause("default", "ops")
        await submitted(scheduler, task())
        assert await scheduler.claim(request(wait_s=0.05)) == []
        waiting = asyncio.create_task(scheduler.claim(request(wait_s=30)))
        await scheduler.resume("default")
        assert len(await waiting) == 1


async def test_a_concurrency_limit_frees_its_slot_for_a_waiting_claim():
    async with running() as (scheduler, _):
        await scheduler.set_limit("queue:default", LimitRule(max_running=1))
        await submitted(scheduler, task(), task())
        (first,) = await scheduler.claim(request(1, wait_s=5))
        waiting = asyncio.create_task(scheduler.claim(request(2, wait_s=30)))
        await scheduler.settle([success(first)])
        assert len(await waiting) == 1


async def test_bulk_verbs_count_what_they_moved():
    async with running() as (scheduler, _):
        await submitted(scheduler, *(task() for _ in range(3)))
        await submitted(scheduler, task(lane=LANE._replace(queue="other")))
        assert await scheduler.bulk.cancel(Query(queue="default")) == 3
        assert await scheduler.bulk.purge(Query(queue="default")) == 3
        assert (await scheduler.stats()).counts[("other", State.READY)] == 1


async def test_deleting_cancels_a_waiting_task_first():
    async with running() as (scheduler, _):
        new = task()
        await submitted(scheduler, new)
        assert (await scheduler.delete(new.id)).state is State.CANCELLED
        with pytest.raises(NotFound):
            await scheduler.get(new.id)


async def test_services_are_woken_for_what_is_due_later_and_for_children_of_failures():
    """Else the promoter and the resolver would find out by chance, when they next look."""
    async with running() as (scheduler, _):
        woken = []
        scheduler.on_hint = lambda: woken.append(True)
        await submitted(scheduler, task(), task())
        assert not woken
        first, second = await scheduler.claim(request(1))
        await scheduler.settle([success(first)])
        assert not woken
        await scheduler.settle([Report(second.task, second.token, Outcome.FAILED, error=b"{}")])
        assert len(woken) == 1
        await submitted(scheduler, task(delay_us=1_000))
        assert len(woken) == 2


async def test_a_child_of_a_task_that_has_ended_badly_wakes_the_resolver():
    """It would stay blocked until the resolver's next look: nothing else happens to its parent any more."""
    async with running() as (scheduler, _):
        woken = []
        scheduler.on_hint = lambda: woken.append(True)
        parent, child = task(), task()
        await submitted(scheduler, parent, task(depends_on=(parent.id,)))
        assert not woken
        await submitted(scheduler, task(), msgspec.structs.replace(child, depends_on=(parent.id,)))
        assert woken
