"""Other processes' locks: waited for in steps, for a bounded time, and never a reader's trouble."""

import asyncio

import apsw
import pytest

from mainspring.core.model import NewTask
from mainspring.errors import StoreUnavailable
from mainspring.stores.sqlite import connection
from mainspring.verbs import Group
from tests.stores.sqlite.process import LANE


def locked(path: str) -> apsw.Connection:
    """Another connection that is in the middle of a transaction."""
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE")
    return other


async def test_a_lock_is_waited_for(path, new_store, monkeypatch):
    """`database is locked` is no answer: the call waits until the other has committed."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Event()
    step = connection.wait_a_step

    def told(steps_waited):
        loop.call_soon_threadsafe(waiting.set)
        return step(steps_waited)

    monkeypatch.setattr(connection, "wait_a_step", told)
    store = new_store()
    await store.open()
    other = locked(path)
    call = asyncio.create_task(store.submit([Group([NewTask("task-1", LANE, b"{}")])]))
    await waiting.wait()
    assert not call.done()
    other.execute("COMMIT")
    await call
    other.close()
    (task,) = await store.get(["task-1"])
    assert task is not None
    await store.close()


async def test_waiting_has_an_end(path, new_store, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_STEPS", 5)
    store = new_store()
    await store.open()
    other = locked(path)
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.submit([Group([NewTask("task-1", LANE, b"{}")])])
    other.execute("ROLLBACK")
    other.close()
    await store.submit([Group([NewTask("task-1", LANE, b"{}")])])
    assert (await store.stats()).counts == {("default", 3): 1}
    await store.close()


async def test_opening_waits_for_a_lock_too(path, new_store, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_STEPS", 5)
    other = locked(path)
    other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreUnavailable, match="locked"):
        await new_store().open()
    other.execute("ROLLBACK")
    other.close()
    store = new_store()
    await store.open()
    await store.close()


async def test_readers_do_not_wait_for_writers(path, new_store):
    store = new_store()
    await store.open()
    await store.submit([Group([NewTask("task-1", LANE, b"{}")])])
    other = locked(path)
    assert (await store.get(["task-1"]))[0] is not None
    assert len((await store.board()).heads) == 1
    other.execute("ROLLBACK")
    other.close()
    await store.close()


async def test_a_process_that_holds_the_lock_and_is_killed_leaves_no_lock(new_store, start):
    store = new_store()
    await store.open()
    holder = start("hold")
    assert holder.line() == "locked"
    call = asyncio.create_task(store.submit([Group([NewTask("task-1", LANE, b"{}")])]))
    holder.kill()
    await call
    assert (await store.stats()).counts == {("default", 3): 1}
    await store.close()
