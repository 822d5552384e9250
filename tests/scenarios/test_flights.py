"""A store that gains by several exchanges at a time gets them, and what is in the air stays apart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from mainspring.batching import Batcher
from mainspring.clock import SystemClock
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, Lease, NewTask
from mainspring.core.order import LaneHead
from mainspring.errors import StoreError, StoreUnavailable
from mainspring.ports import ClaimRequest, Exchange, Exchanged, Group
from mainspring.scheduler import Scheduler, SchedulerSettings, claiming, fairness
from mainspring.stores.memory import MemoryStore

CLOCK = SystemClock()
LANE = Lane("default", "echo", "default", 5)


class HeldStore(MemoryStore):
    """Each flight waits in the air until it is let go: `None` lands it, an error fails it."""

    def __init__(self, flights: int) -> None:
        super().__init__(CLOCK)
        self.features = msgspec.structs.replace(self.features, flights=flights)
        self.in_air: list[tuple[Exchange, asyncio.Future[None]]] = []
        self.holds = False

    async def exchange(self, batch: Exchange) -> Exchanged:
        if self.holds:
            landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.in_air.append((batch, landing))
            await landing
        return await super().exchange(batch)

    async def leaves(self, count: int) -> list[Exchange]:
        """As soon as so many are in the air, or were."""
        async with asyncio.timeout(60):
            while len(self.in_air) < count:
                await asyncio.sleep(0)
        return [batch for batch, _ in self.in_air]

    def land(self, place: int, error: Exception | None = None) -> None:
        _, landing = self.in_air[place]
        landing.set_exception(error) if error else landing.set_result(None)


@asynccontextmanager
async def running(
    flights: int = 2, kind: type["HeldStore"] = HeldStore
) -> AsyncIterator[tuple[Scheduler, HeldStore]]:
    store = kind(flights)
    await store.open()
    scheduler = Scheduler(store, CLOCK, SchedulerSettings())
    await scheduler.start()
    try:
        yield scheduler, store
    finally:
        store.holds = False
        for _, landing in store.in_air:
            if not landing.done():
                landing.set_result(None)
        await scheduler.close()
        await store.close()


def submit(scheduler: Scheduler) -> asyncio.Task[object]:
    return asyncio.create_task(scheduler.submit([Group([NewTask(CLOCK.new_id(), LANE, b"{}")])]))


def claim(scheduler: Scheduler, seq: int) -> asyncio.Task[list[Lease]]:
    return asyncio.create_task(scheduler.claim(ClaimRequest("w", "w-1", seq, ("echo",), slots=1, wait_s=30)))


async def nothing_moves() -> None:
    """Every callback that is due has run, many turns of the loop over."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_second_exchange_leaves_while_the_first_is_in_the_air():
    async with running() as (scheduler, store):
        store.holds = True
        first = submit(scheduler)
        await store.leaves(1)
        second = submit(scheduler)
        await store.leaves(2)
        third = submit(scheduler)
        await nothing_moves()
        assert len(store.in_air) == 2, "no more than the store gains by"
        store.land(1)
        await second
        await store.leaves(3)
        assert not first.done()
        store.land(0)
        store.land(2)
        await asyncio.gather(first, third)


async def test_a_store_that_gains_nothing_gets_one_at_a_time():
    async with running(flights=1) as (scheduler, store):
        store.holds = True
        first = submit(scheduler)
        await store.leaves(1)
        second = submit(scheduler)
        await nothing_moves()
        assert len(store.in_air) == 1
        store.land(0)
        await store.leaves(2)
        store.land(1)
        await asyncio.gather(first, second)


async def test_many_callers_are_shared_out_to_two_flights():
    """In one they would all call again when it lands, and the store would have nothing to do until then."""
    async with running() as (scheduler, store):
        store.holds = True
        calls = [submit(scheduler) for _ in range(100)]
        flights = await store.leaves(2)
        assert [len(flight.submits) for flight in flights] == [50, 50]
        store.land(0)
        store.land(1)
        await asyncio.gather(*calls)


async def test_what_one_flight_leaves_behind_leaves_on_another_at_once(monkeypatch):
    monkeypatch.setattr("mainspring.batching.ROWS_A_FLIGHT", 4)
    async with running() as (scheduler, store):
        store.holds = True
        calls = [submit(scheduler) for _ in range(10)]
        flights = await store.leaves(2)
        assert [len(flight.submits) for flight in flights] == [4, 4]
        store.land(0)
        flights = await store.leaves(3)
        assert len(flights[2].submits) == 2
        store.land(1)
        store.land(2)
        await asyncio.gather(*calls)


async def test_one_call_turns_to_one_flight(monkeypatch):
    """The other pilots have nothing to look for, and would hold up what the first has to send."""
    looked = []
    flight = Batcher._flight

    async def counted(self: Batcher) -> bool:
        looked.append(asyncio.current_task())
        return await flight(self)

    monkeypatch.setattr(Batcher, "_flight", counted)
    async with running() as (scheduler, store):
        await submit(scheduler)
        await nothing_moves()
        looked.clear()
        store.holds = True
        call = submit(scheduler)
        await store.leaves(1)
        await nothing_moves()
        assert len(looked) == 1
        store.land(0)
        await call


async def test_closing_ends_all_that_flies():
    """Also what rests, and what a call has woken that another flight has answered since."""
    for calls in range(4):
        async with running() as (scheduler, _):
            tasks = [submit(scheduler) for _ in range(calls)]
            async with asyncio.timeout(10):
                await asyncio.gather(*tasks)
                await scheduler.close()
            with pytest.raises(StoreUnavailable, match="shutting down"):
                await submit(scheduler)


async def test_few_callers_share_one_flight():
    async with running() as (scheduler, store):
        store.holds = True
        calls = [submit(scheduler) for _ in range(10)]
        await store.leaves(1)
        await nothing_moves()
        assert [len(flight.submits) for flight, _ in store.in_air] == [10]
        store.land(0)
        await asyncio.gather(*calls)


async def two_in_the_air(scheduler: Scheduler, store: HeldStore) -> tuple[asyncio.Task, asyncio.Task]:
    """A claim on its way, and a submit that left after it."""
    for _ in range(2):
        await submit(scheduler)
    store.holds = True
    claimed = claim(scheduler, 1)
    await store.leaves(1)
    submitted = submit(scheduler)
    with_claim, without = await store.leaves(2)
    assert with_claim.claims
    assert without.submits
    assert not without.claims
    return claimed, submitted


async def test_one_flight_with_claims_at_a_time():
    """Two would rank the same heads, and one of them find the lane empty that the other has taken."""
    async with running() as (scheduler, store):
        claimed, submitted = await two_in_the_air(scheduler, store)
        store.land(1)
        await submitted
        assert not claimed.done()
        store.land(0)
        assert len(await claimed) == 1


async def test_a_flight_that_fails_takes_no_other_with_it():
    async with running() as (scheduler, store):
        claimed, submitted = await two_in_the_air(scheduler, store)
        store.land(1, StoreUnavailable("gone"))
        with pytest.raises(StoreUnavailable):
            await submitted
        assert not claimed.done()
        store.land(0)
        assert len(await claimed) == 1


async def test_a_claim_that_fails_leaves_the_submit_alone():
    async with running() as (scheduler, store):
        claimed, submitted = await two_in_the_air(scheduler, store)
        store.land(0, StoreUnavailable("gone"))
        with pytest.raises(StoreUnavailable):
            await claimed
        store.land(1)
        await submitted


async def test_under_limits_flights_follow_each_other():
    """Each tells what limits have in use: one that lands late would bring back what has passed."""
    async with running() as (scheduler, store):
        await scheduler.set_limit("queue:default", LimitRule(max_running=5))
        await submit(scheduler)
        assert await claim(scheduler, 1)  # the board knows of the limit
        store.holds = True
        first = submit(scheduler)
        await store.leaves(1)
        second = submit(scheduler)
        await nothing_moves()
        assert len(store.in_air) == 1
        store.land(0)
        await store.leaves(2)
        store.land(1)
        await asyncio.gather(first, second)


async def test_closing_under_limits_waits_for_no_flight_that_never_comes():
    """What pends while another is in the air goes with that one: whoever left it there must end, too."""
    async with running() as (scheduler, store):
        await scheduler.set_limit("queue:default", LimitRule(max_running=5))
        await submit(scheduler)
        assert await claim(scheduler, 1)
        store.holds = True
        first = submit(scheduler)
        await store.leaves(1)
        second = submit(scheduler)
        closing = asyncio.create_task(scheduler.close())
        await nothing_moves()
        store.land(0)
        await store.leaves(2)
        store.land(1)
        async with asyncio.timeout(60):
            await asyncio.gather(first, second, closing)


class SnapshotStore(HeldStore):
    """What a claim finds is decided when it leaves, and told when it lands."""

    async def exchange(self, batch: Exchange) -> Exchanged:
        holds, self.holds = self.holds, False
        try:
            answers = await super().exchange(batch)
        finally:
            self.holds = holds
        if holds:
            landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.in_air.append((batch, landing))
            await landing
        return answers


async def test_a_lane_that_fills_up_while_a_claim_finds_it_empty_stays_on_the_board(monkeypatch):
    """The claim lands last, with the older news. Nobody looks at the whole board for a while."""
    monkeypatch.setattr(claiming, "REFRESH_S", 3600.0)
    async with running(kind=SnapshotStore) as (scheduler, store):
        await submit(scheduler)
        (lease,) = await claim(scheduler, 1)
        scheduler._claiming.board.add([LaneHead(lease.lane_id, LANE, 1)])  # nobody knows yet that it is empty
        store.holds = True
        claimed = claim(scheduler, 2)
        await store.leaves(1)
        submitted = submit(scheduler)
        await store.leaves(2)
        store.holds = False
        store.land(1)
        await submitted
        store.land(0)
        async with asyncio.timeout(60):
            assert len(await claimed) == 1


@pytest.mark.parametrize("place", ["board_claims", "landed"])
async def test_a_bug_on_the_way_leaves_nobody_waiting(place, monkeypatch):
    """One exchange is lost, and is told of. Pilots go on."""
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: told.append(failure))
    async with running() as (scheduler, _):
        sound = getattr(claiming.Claiming, place)
        faults = iter([ZeroDivisionError("a bug")])

        def faulty(self, *arguments):
            nonlocal faults
            if (fault := next(faults, None)) is not None:
                raise fault
            return sound(self, *arguments)

        monkeypatch.setattr(claiming.Claiming, place, faulty)
        async with asyncio.timeout(60):
            await asyncio.gather(submit(scheduler), submit(scheduler), return_exceptions=True)
            for _ in range(2):
                await submit(scheduler)
            faults = iter([ZeroDivisionError("a bug")])
            with pytest.raises(StoreError) if place == "landed" else contextlib.nullcontext():
                # The same claim again brings what the first has granted.
                await claim(scheduler, 1)
            assert len(await claim(scheduler, 1)) == 1
    assert told


async def test_a_claim_that_a_bug_keeps_on_the_ground_comes_back_in_time(monkeypatch):
    def faulty(self):
        raise ZeroDivisionError("a bug")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with running() as (scheduler, _):
        await submit(scheduler)
        monkeypatch.setattr(fairness.Accounts, "take_charges", faulty)
        request = ClaimRequest("w", "w-1", 1, ("echo",), slots=1, wait_s=0.0)
        async with asyncio.timeout(60):
            assert await scheduler.claim(request) == []


async def test_a_node_remembers_a_bounded_number_of_lanes(monkeypatch):
    """There may be one for each key that was ever used."""
    monkeypatch.setattr(claiming, "LANES_KNOWN_AT_ONCE", 10)
    async with running() as (scheduler, _):
        for n in range(30):
            task = NewTask(CLOCK.new_id(), LANE._replace(key=str(n)), b"{}")
            await scheduler.submit([Group([task])])
        assert len(scheduler._claiming._lane_ids) <= 10
        assert len(await claim(scheduler, 1)) == 1
