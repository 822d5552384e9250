"""Nodes hear of each other's writes: by a notification, and without one by looking."""

import asyncio

import asyncpg
import pytest

from mainspring import hints
from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.verbs import Exchange, Group
from tests.wakeups import Woken

LANE = Lane("default", "echo", "default", 5)
LIMIT_S = 60


async def submit(store):
    await store.exchange(Exchange(submits=[Group([NewTask(SystemClock().new_id(), LANE, b"1")])]))


async def heard_of(store, writer):
    """Whether the node wakes when the other one writes."""
    woken = asyncio.Event()
    store.listen(Woken(woken.set))
    async with asyncio.timeout(LIMIT_S):
        # It wakes once when it begins to listen, so that nothing told before is missed.
        for _ in range(3):
            woken.clear()
            await submit(writer)
            await woken.wait()


async def test_a_node_wakes_when_another_writes(new_database, monkeypatch):
    """By the notification alone: it looks for itself only once a minute."""
    monkeypatch.setattr(hints, "LOOK_SOON_S", 60.0)
    monkeypatch.setattr(hints, "LOOK_LATE_S", 60.0)
    monkeypatch.setattr(hints, "LOOK_WHILE_HEARING_S", 60.0)
    async with new_database() as database, database.store() as one, database.store() as two:
        woken = asyncio.Event()
        one.listen(Woken(woken.set))
        async with asyncio.timeout(LIMIT_S):
            await woken.wait()  # it listens from now on
            for _ in range(3):
                woken.clear()
                await submit(two)
                await woken.wait()


async def test_a_schedule_that_was_written_by_hand_wakes_at_once(new_database, monkeypatch):
    """What the trigger of 0009_people.sql tells has no news in it: it is taken for any."""
    monkeypatch.setattr(hints, "LOOK_SOON_S", 60.0)
    monkeypatch.setattr(hints, "LOOK_LATE_S", 60.0)
    monkeypatch.setattr(hints, "LOOK_WHILE_HEARING_S", 60.0)
    async with new_database() as database, database.store() as store, database.connection() as admin:
        woken = asyncio.Event()
        store.listen(Woken(woken.set))
        async with asyncio.timeout(LIMIT_S):
            await woken.wait()  # it listens from now on
            woken.clear()
            await admin.execute("SELECT pg_notify('mainspring', 'sql')")
            await woken.wait()


async def test_a_node_that_cannot_listen_looks(new_database, monkeypatch):
    """As behind a pooler that gives no sessions."""

    async def refused(*_: object) -> None:
        raise asyncpg.InterfaceError("no session")

    async with new_database() as database, database.store() as one, database.store() as two:
        monkeypatch.setattr(one._db, "connect", refused)
        await heard_of(one, two)


async def test_a_node_listens_again_after_its_connection_was_cut(new_database, monkeypatch):
    monkeypatch.setattr(hints, "HEAR_AGAIN_S", 0.01)
    async with new_database() as database, database.store() as one, database.connection() as admin:
        woken = asyncio.Event()
        one.listen(Woken(woken.set))
        async with asyncio.timeout(LIMIT_S):
            for _ in range(3):
                await woken.wait()
                woken.clear()
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
                )


@pytest.mark.parametrize("listens", [True, False])
async def test_closing_ends_all_that_runs_beside_the_calls(new_database, listens):
    async with new_database() as database:
        before = asyncio.all_tasks()
        async with database.store() as store:
            if listens:
                store.listen(Woken())
            await submit(store)
        assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()
