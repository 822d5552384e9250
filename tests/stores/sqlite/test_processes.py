"""S4-14: several processes on one file. They share its tasks, wake each other, and may die at any moment."""

import asyncio
from collections import Counter

import apsw
import pytest

from mainspring.clock import SystemClock
from mainspring.core.limits import LimitRule
from mainspring.core.model import NewTask, State
from mainspring.core.order import Quota
from mainspring.stores.sqlite import SqliteStore
from mainspring.verbs import Ask, Group
from tests.stores.sqlite.process import LANE, MINUTE_US
from tests.wakeups import Woken


@pytest.fixture
def store(path):
    return SqliteStore(path, SystemClock())


def rows_by_state(path):
    db = apsw.Connection(path)
    rows = dict(db.execute("SELECT state, count(*) FROM tasks GROUP BY state"))
    db.close()
    return rows


async def test_every_task_is_claimed_once(path, store, start):
    """S4-14"""
    await store.open()
    ids = [f"task-{n}" for n in range(600)]
    await store.submit([Group([NewTask(id_, LANE, b"{}") for id_ in ids])])
    workers = [start("drain", f"worker-{n}") for n in range(3)]
    claimed = [await asyncio.to_thread(worker.lines) for worker in workers]
    assert [worker.end() for worker in workers] == [0, 0, 0]
    assert Counter(task for lines in claimed for task in lines) == Counter(ids)
    assert (await store.stats()).counts == {("default", State.SUCCEEDED): 600}
    assert rows_by_state(path) == {State.SUCCEEDED: 600}
    await store.close()


async def test_submits_of_several_processes_are_all_there(path, store, start):
    """S4-14"""
    await store.open()
    clients = [start("submit", 100) for _ in range(3)]
    printed = [await asyncio.to_thread(client.lines) for client in clients]
    ids = [task for lines in printed for task in lines]
    assert len(set(ids)) == 300
    assert all(await store.get(ids))
    assert (await store.stats()).counts == {("default", State.READY): 300}
    places = [task.seq for task in await store.get(ids)]
    assert len(set(places)) == 300
    await store.close()


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
async def test_what_was_acknowledged_survives_a_kill(path, store, start, acknowledged):
    client = start("submit", 100_000)
    ids = [await asyncio.to_thread(client.line) for _ in range(acknowledged)]
    client.kill()
    ids += [line for line in await asyncio.to_thread(client.lines) if len(line) == 36]
    await store.open()
    assert all(await store.get(ids))
    stored = (await store.stats()).counts[("default", State.READY)]
    assert len(ids) <= stored <= len(ids) + 1
    assert rows_by_state(path) == {State.READY: stored}
    await store.close()


async def test_a_listener_hears_of_another_process(store, start):
    """S4-14"""
    await store.open()
    heard = asyncio.Event()
    store.listen(Woken(heard.set))
    client = start("submit", 1)
    await heard.wait()
    assert await asyncio.to_thread(client.line)
    assert len((await store.board()).heads) == 1
    await store.close()


async def test_a_listener_hears_while_its_own_store_is_busy(store, start):
    """A writer that never rests long enough to ask still sees the others' numbers."""
    await store.open()
    heard = asyncio.Event()
    store.listen(Woken(heard.set))
    client = start("submit", 1)
    while not heard.is_set():
        await store.submit([Group([NewTask(SystemClock().new_id(), LANE, b"{}")])])
    client.end()
    await store.close()


async def test_a_listener_sleeps_through_its_own_writes(store):
    await store.open()
    heard = asyncio.Event()
    store.listen(Woken(heard.set))
    for n in range(3):
        await store.submit([Group([NewTask(f"task-{n}", LANE, b"{}")])])
        await store._writer.call(lambda writer: writer.look_for_others())
    assert not heard.is_set()
    await store.close()


async def test_controls_of_another_process_hold_at_once(store, new_store):
    other = new_store()
    await store.open()
    await other.open()
    await store.submit([Group([NewTask(f"task-{n}", LANE, b"{}") for n in range(5)])])
    lane_id = (await store.board()).heads[0].lane_id

    async def claim(seq):
        answer = await store.claim([Ask("w", "w-1", seq, [Quota(lane_id, 5)], 5, MINUTE_US)])
        return len(answer[0].leases)

    await other.set_limit("queue:default", LimitRule(max_running=2))
    assert await claim(1) == 2
    await other.set_limit("queue:default", None)
    await other.set_queue("default", "somebody")
    assert await claim(2) == 0
    await other.set_queue("default", None)
    assert await claim(3) == 3
    await other.close()
    await store.close()
