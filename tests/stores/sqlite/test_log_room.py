"""The log is filled with zeros ahead of the commits, and no commit comes to harm."""

import shutil
from pathlib import Path

import apsw

from mainspring.clock import SystemClock
from mainspring.core.model import NewTask, State
from mainspring.stores.sqlite import SqliteStore, log_room
from mainspring.stores.sqlite.log_room import BYTES_AT_ONCE, BYTES_IN_ALL
from mainspring.verbs import Exchange, Group
from tests.stores.sqlite.process import LANE


def log_bytes(path):
    return Path(f"{path}-wal").stat().st_size


async def submit(store, count=1):
    clock = SystemClock()
    tasks = [NewTask(clock.new_id(), LANE, b"{}") for _ in range(count)]
    await store.exchange(Exchange(submits=[Group([task]) for task in tasks]))


async def look(store):
    await store._writer.call(lambda writer: writer.look_around())


async def ready_after_a_crash(path, folder):
    """How many tasks are ready in what a crash at this moment would leave of the file."""
    folder.mkdir()
    copy = str(folder / "crashed.db")
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    store = SqliteStore(copy, SystemClock())
    await store.open()
    counts = (await store.stats()).counts
    await store.close()
    db = apsw.Connection(copy)
    assert db.execute("PRAGMA integrity_check").get == "ok"
    db.close()
    return counts[("default", State.READY)]


async def test_room_is_made_up_to_the_next_checkpoint(path, new_store, tmp_path):
    store = new_store()
    await store.open()
    await submit(store)
    steps = 0
    while (before := log_bytes(path)) < BYTES_IN_ALL:
        await look(store)
        assert before < log_bytes(path) <= before + BYTES_AT_ONCE
        steps += 1
    assert steps > 1
    for _ in range(50):
        await look(store)
        await submit(store)
    assert log_bytes(path) == before
    assert await ready_after_a_crash(path, tmp_path / "crash") == 51
    await store.close()


async def test_room_comes_behind_the_commits_of_others(path, new_store, tmp_path):
    here, there = new_store(), new_store()
    await here.open()
    await there.open()
    for n in range(1, 6):
        await submit(there, 400)
        await look(here)  # sees that others have written
        await look(here)
        assert await ready_after_a_crash(path, tmp_path / f"crash-{n}") == 400 * n
    await here.close()
    await there.close()


async def test_none_is_made_where_others_may_need_the_disk(path, new_store, monkeypatch):
    monkeypatch.setattr(log_room, "BYTES_LEFT_ON_DISK", 1 << 62)
    store = new_store()
    await store.open()
    await submit(store)
    before = log_bytes(path)
    await look(store)
    await look(store)
    assert log_bytes(path) == before
    await store.close()
