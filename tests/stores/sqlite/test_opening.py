"""What an opened file must be: ours, healthy, not from the future. What is not is refused and left alone."""

import asyncio
from pathlib import Path

import apsw
import pytest

from mainspring.clock import VirtualClock
from mainspring.core.model import NewTask
from mainspring.errors import StoreCorrupt, StoreTooNew, StoreUnavailable
from mainspring.stores.sqlite import SqliteStore, schema
from mainspring.verbs import Group
from tests.stores.sqlite.process import LANE

NEWEST = schema.steps()[-1].number


def content_of(path):
    return Path(path).read_bytes()


def write(path, content):
    Path(path).write_bytes(content)


async def test_a_new_file_is_made(path, new_store):
    store = new_store()
    await store.open()
    await store.close()
    db = apsw.Connection(path)
    assert db.execute("PRAGMA application_id").get == schema.APPLICATION_ID
    assert db.execute("PRAGMA user_version").get == NEWEST
    assert db.execute("PRAGMA journal_mode").get == "wal"
    db.close()


def test_migrations_are_numbered_without_holes():
    assert [step.number for step in schema.steps()] == list(range(1, NEWEST + 1))


async def test_a_file_is_found_as_it_was_left(new_store):
    store = new_store()
    for turn in range(3):
        await store.open()
        await store.submit([Group([NewTask(f"task-{turn}", LANE, b"{}")])])
        await store.close()
    await store.open()
    found = await store.get(["task-0", "task-1", "task-2"])
    assert [task and task.id for task in found] == ["task-0", "task-1", "task-2"]
    await store.close()


async def test_many_may_open_a_new_file_at_once(new_store):
    """S4-14: schedulers on one file are started at the same moment."""
    stores = [new_store() for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    for place, store in enumerate(stores):
        await store.submit([Group([NewTask(f"task-{place}", LANE, b"{}")])])
    assert all(await stores[0].get([f"task-{place}" for place in range(8)]))
    for store in stores:
        await store.close()


async def test_a_newer_schema_is_refused_and_left_alone(path, new_store):
    store = new_store()
    await store.open()
    await store.close()
    db = apsw.Connection(path)
    db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    db.close()
    before = content_of(path)
    with pytest.raises(StoreTooNew, match=f"mainspring.db: .*newer Mainspring.*schema {NEWEST + 1}"):
        await store.open()
    assert content_of(path) == before


async def test_a_database_of_another_program_is_refused_and_left_alone(path, new_store):
    db = apsw.Connection(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = content_of(path)
    with pytest.raises(StoreCorrupt, match="another program"):
        await new_store().open()
    assert content_of(path) == before


@pytest.mark.parametrize("content", [b"Dear diary, " * 1000, b"SQLite format 3\x00" + bytes(4080)])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(path, new_store, content):
    write(path, content)
    with pytest.raises(StoreCorrupt, match=r"mainspring\.db"):
        await new_store().open()
    assert content_of(path) == content


async def test_an_empty_file_becomes_a_database(path, new_store):
    write(path, b"")
    store = new_store()
    await store.open()
    assert (await store.stats()).counts == {}
    await store.close()


async def damaged(path, new_store, change):
    store = new_store()
    await store.open()
    await store.submit([Group([NewTask(f"task-{n}", LANE, b"x" * 500) for n in range(1_000)])])
    await store.close()
    content = bytearray(content_of(path))
    change(content)
    write(path, content)
    return store


def overwrite_the_middle(content):
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xa5" * 8192


def cut_in_half(content):
    del content[len(content) // 2 :]


@pytest.mark.parametrize("change", [overwrite_the_middle, cut_in_half])
async def test_a_damaged_file_is_refused(path, new_store, change):
    store = await damaged(path, new_store, change)
    with pytest.raises(StoreCorrupt, match=r"mainspring\.db: .*(damaged|not a healthy)"):
        await store.open()


async def test_a_large_damaged_file_is_refused_when_the_damage_is_met(path, new_store, monkeypatch):
    """A large file is not read whole at every start."""
    monkeypatch.setattr(schema, "PAGES_CHECKED_AT_OPEN", 0)
    store = await damaged(path, new_store, overwrite_the_middle)
    await store.open()
    with pytest.raises(StoreCorrupt, match=r"mainspring\.db"):
        await store.get([f"task-{n}" for n in range(1_000)])
    await store.close()


async def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StoreUnavailable, match="folder does not exist"):
        await SqliteStore(str(tmp_path / "no" / "such" / "m.db"), VirtualClock(1)).open()


async def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await SqliteStore(str(tmp_path), VirtualClock(1)).open()


async def test_an_old_library_is_refused(path, new_store, monkeypatch):
    """Before 3.51.3 two processes on one file could damage it."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreUnavailable, match=r"SQLite 3\.51\.2; needed is SQLite 3\.51\.3"):
        await new_store().open()
    assert not Path(path).exists()  # noqa: ASYNC240
