"""Claims that do not wait: what is ready is handed out by the first call, whoever else is asking."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.errors import StoreUnavailable
from mainspring.ports import ClaimRequest, Group
from mainspring.scheduler import Scheduler, SchedulerSettings, claiming
from mainspring.stores.memory import MemoryStore

CLOCK = SystemClock()
LANE = Lane("default", "echo", "default", 5)


class DeafStore(MemoryStore):
    """Nobody tells nodes what others do."""

    is_down = False
    gate: asyncio.Event | None = None

    async def exchange(self, batch):
        answers = await super().exchange(batch)
        if self.gate is not None and batch.claims:
            await self.gate.wait()
        return answers

    def listen(self, listener):
        pass

    async def board(self):
        if self.is_down:
            raise StoreUnavailable("no server there")
        return await super().board()


@asynccontextmanager
async def nodes(count):
    store = DeafStore(CLOCK)
    await store.open()
    schedulers = [Scheduler(store, CLOCK, SchedulerSettings()) for _ in range(count)]
    for scheduler in schedulers:
        await scheduler.start()
    try:
        yield store, schedulers
    finally:
        for scheduler in schedulers:
            await scheduler.close()
        await store.close()


async def submit(scheduler, count=1):
    await scheduler.submit([Group([NewTask(CLOCK.new_id(), LANE, b"null") for _ in range(count)])])


def asks(name, seq=1, slots=1):
    return ClaimRequest(name, f"{name}-1", seq, ("echo",), slots=slots, wait_s=0.0)


async def test_what_another_node_was_given(monkeypatch):
    monkeypatch.setattr(claiming, "REFRESH_S", 3600)
    async with nodes(2) as (_, (near, far)):
        assert await far.claim(asks("w")) == []
        for seq in range(2, 12):
            await submit(near)
            assert len(await far.claim(asks("w", seq))) == 1
            assert await far.claim(asks("w", seq + 100)) == []


async def test_what_is_learned_while_the_claim_is_in_the_air():
    async with nodes(2) as (store, (near, far)):
        await far.claim(asks("w"))
        store.gate = asyncio.Event()
        asked = asyncio.create_task(
            far.claim(asks("w", 7))
        )  # may be a repeat: it asks, though no lane is known
        while not far._claiming._sent:
            await asyncio.sleep(0)
        await submit(near)
        await far._claiming.read_board()
        store.gate.set()
        assert len(await asked) == 1


async def test_many_at_once_at_several_nodes():
    """While one claim is under way, the others are not told that there is nothing."""
    async with nodes(3) as (_, schedulers):
        await submit(schedulers[0], 90)
        claims = [schedulers[n % 3].claim(asks(f"w{n}")) for n in range(90)]
        assert [len(leases) for leases in await asyncio.gather(*claims)] == [1] * 90


async def test_a_repeat_at_another_node():
    async with nodes(2) as (_, (near, far)):
        await submit(near)
        first = await near.claim(asks("w"))
        assert len(first) == 1
        assert await far.claim(asks("w")) == first
        assert await near.claim(asks("w")) == first


async def test_nothing_is_not_the_answer_of_a_store_that_is_away():
    async with nodes(1) as (store, (node,)):
        assert await node.claim(asks("w")) == []
        store.is_down = True
        with pytest.raises(StoreUnavailable):
            await node.claim(asks("w", 2))


async def test_a_node_remembers_a_bounded_number_of_workers(monkeypatch):
    monkeypatch.setattr(claiming, "INCARNATIONS_KNOWN_AT_ONCE", 3)
    async with nodes(1) as (_, (node,)):
        for n in range(10):
            await node.claim(asks(f"w{n}"))
        assert len(node._claiming._claim_seqs) == 3
