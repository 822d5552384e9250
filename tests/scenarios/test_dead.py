"""Replays at a rate outlive whoever asked: crashes, lost answers, two at once, a clock that steps."""

import asyncio
from itertools import pairwise

import pytest

from mainspring.clock import VirtualClock
from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import SECOND_US, Lane, NewTask, Policy, State, Task, encode_policy
from mainspring.errors import StoreUnavailable
from mainspring.ports import ClaimRequest, Force, Group, Query, Refused
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.scheduler.bulk import PAGE
from mainspring.stores.memory import MemoryStore

LANE = Lane("default", "charge", "default", 5)
ERROR = b'{"type":"ValueError","message":"no","place":"bank.py:pay:44"}'
GROUP = Query(fingerprint=fingerprint("charge", ERROR))
LETTERS = PAGE + 20


class Store(MemoryStore):
    """Loses the answer to the force of a page, or the page itself, when told to."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.lose_answer = self.lose_call = -1
        self.forces = 0

    async def force(self, lines: list[Force]) -> list[Task | Refused]:
        self.forces += 1
        if self.forces == self.lose_call:
            raise StoreUnavailable("the connection broke on the way there")
        answers = list(await super().force(lines))
        if self.forces == self.lose_answer:
            raise StoreUnavailable("the connection broke on the way back")
        await asyncio.sleep(0)  # another caller's page may come between
        return answers


async def graveyard(letters: int = LETTERS) -> tuple[VirtualClock, Store, Scheduler]:
    """A node with so many dead letters of one group."""
    clock = VirtualClock(seed=3)
    store = Store(clock)
    await store.open()
    scheduler = Scheduler(store, clock, SchedulerSettings())
    await scheduler.start()
    policy = encode_policy(Policy(max_retries=0))
    tasks = [NewTask(clock.new_id(), LANE, b"{}", policy=policy) for _ in range(letters)]
    await scheduler.submit([Group(tasks)])
    leases = await scheduler.claim(ClaimRequest("w", "i", 1, ("charge",), slots=letters))
    await scheduler.settle([Report(lease.task, lease.token, Outcome.FAILED, error=ERROR) for lease in leases])
    return clock, store, scheduler


async def due_s(store: Store, clock: VirtualClock) -> list[float]:
    """When the tasks that wait for their time are due, from now."""
    records = [task for task in (await _all(store)) if task.state is State.SCHEDULED]
    return sorted((task.run_at_us - clock.now_us()) / SECOND_US for task in records)


async def states(store: Store) -> dict[State, int]:
    found = {}
    for (_, state), count in (await store.stats()).counts.items():
        found[state] = count
    return found


async def _all(store: Store) -> list[Task]:
    return (await store.find(Query(limit=10 * PAGE))).tasks


async def close(store: Store, scheduler: Scheduler) -> None:
    await scheduler.close()
    await store.close()


async def test_the_rate_goes_on_over_pages():
    """The n-th is due n intervals from now, however many pages that takes."""
    clock, store, scheduler = await graveyard()
    assert await scheduler.bulk.replay(GROUP, 0.5 * SECOND_US) == LETTERS
    due = await due_s(store, clock)
    assert await states(store) == {State.READY: 1, State.SCHEDULED: LETTERS - 1}
    assert due[0] == 0.5
    assert {round(later - sooner, 6) for sooner, later in pairwise(due)} == {0.5}
    await close(store, scheduler)


@pytest.mark.parametrize("fault", ["lose_call", "lose_answer"])
async def test_a_replay_that_breaks_off_is_repeated(fault):
    """What was replayed stays so, the rest is still dead, and asking again replays just that."""
    _, store, scheduler = await graveyard()
    setattr(store, fault, 2)
    with pytest.raises(StoreUnavailable):
        await scheduler.bulk.replay(GROUP, SECOND_US)
    left = 0 if fault == "lose_answer" else LETTERS - PAGE
    assert (await states(store)).get(State.FAILED, 0) == left
    assert await scheduler.bulk.replay(GROUP, SECOND_US) == left
    assert await states(store) == {State.READY: 1 + bool(left), State.SCHEDULED: LETTERS - 1 - bool(left)}
    await close(store, scheduler)


async def test_two_replays_at_once():
    """Each letter is replayed by one of them."""
    _, store, scheduler = await graveyard()
    counts = await asyncio.gather(*(scheduler.bulk.replay(GROUP, SECOND_US) for _ in range(2)))
    assert sum(counts) == LETTERS
    assert State.FAILED not in await states(store)
    await close(store, scheduler)


async def test_tasks_run_though_the_server_that_replayed_them_is_gone():
    """Their times are in the store, judged by its clock: a step of the clock moves them by the step."""
    clock, store, scheduler = await graveyard(3)
    assert await scheduler.bulk.replay(GROUP, 10 * SECOND_US) == 3
    await scheduler.close()
    clock.elapsed += 10
    assert (await store.promote(10)).count == 1
    clock.offset_us -= 5 * SECOND_US
    clock.elapsed += 5
    assert (await store.promote(10)).count == 0
    clock.offset_us += 10 * SECOND_US
    assert (await store.promote(10)).count == 1
    assert await states(store) == {State.READY: 3}
    await store.close()


async def test_a_letter_that_dies_again_is_not_replayed_again():
    """A replay is of what was dead when it looked: it does not chase its own tail."""
    _, store, scheduler = await graveyard(3)
    assert await scheduler.bulk.replay(GROUP) == 3
    leases = await scheduler.claim(ClaimRequest("w", "i", 2, ("charge",), slots=2))
    await scheduler.settle([Report(lease.task, lease.token, Outcome.FAILED, error=ERROR) for lease in leases])
    (group,) = (await scheduler.dead_groups(10, None)).groups
    assert group.count == 2
    assert await scheduler.bulk.purge(GROUP) == 2
    assert await states(store) == {State.READY: 1}
    await close(store, scheduler)
