"""Moving house: a whole store is copied into another, verified, and refused where it could go wrong."""

import asyncio
import os
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from msgspec.structs import replace

from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.model import Lane, NewTask
from mainspring.errors import StoreError, StoreUnavailable, StoreUnfinished, WrongState
from mainspring.node import Node
from mainspring.ports import Answer, Group
from mainspring.services import moving
from mainspring.services.moving import Progress, copy
from mainspring.stores import open_store
from mainspring.stores.memory import MemoryStore
from mainspring.verbs import NewWorkflow, WorkerInfo, WorkflowQuery
from mainspring.verbs.moving import Kind, MovedTask
from tests.conformance.conftest import BENCHES
from tests.conformance.test_moving import House

CLOCK = SystemClock()


class Street:
    """Stores of every kind, each empty, with its own clock ahead of the first one's."""

    def __init__(self, folder):
        self._folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    async def bench(self, kind):
        reason = BENCHES[kind].missing()
        if reason:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        folder = self._folder / f"{kind}-{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        bench = await self._stack.enter_async_context(BENCHES[kind](folder))
        return bench


@pytest.fixture
def street(tmp_path):
    return Street(tmp_path)


@pytest.mark.parametrize(
    "way",
    [
        "memory sqlite postgres sqlite memory",
        "redis postgres redis sqlite valkey",
        "postgres tandem redis memory tandem",
    ],
)
async def test_every_store_holds_what_the_first_held(street, way):
    """From house to house, and back: the same counts and digests all the way."""
    async with street:
        benches = [await street.bench(kind) for kind in way.split()]
        await House(benches[0]).furnish()
        told = []
        for source, target in pairwise(benches):
            await target.advance(300)
            told.append(await copy(source._store, target._store, CLOCK))
    assert all(other == told[0] for other in told)
    counts = {one.kind: one.count for one in told[0]}
    assert all(counts[kind] for kind in Kind)


@pytest.mark.parametrize("old", ["postgres", "redis"])
@pytest.mark.parametrize("new", ["memory", "sqlite", "postgres", "redis"])
async def test_a_workflows_tasks_are_in_line_whatever_their_ids_say(street, old, new):
    """Parents before children, though these stores tell their tasks by ids, which sort the other way."""
    async with street:
        first, file = await street.bench(old), await street.bench(new)
        await file.advance(300)
        ids = [first.clock.new_id() for _ in range(3)]
        parent, child = first.task(id=ids[2]), first.task(id=ids[0], depends_on=(ids[2],))
        other = first.task(id=ids[1], depends_on=(ids[0],))
        await first.put([Group([parent, child, other], workflow=NewWorkflow(first.clock.new_id()))])
        (workflow,) = (await first._store.find_workflows(WorkflowQuery())).workflows
        await copy(first._store, file._store, CLOCK)
        graph = await file._store.workflow_graph(workflow.id)
        assert [task.id for task in graph.tasks] == [ids[2], ids[0], ids[1]]


# --- a small store, and what is refused -------------------------------------------------------------


def task():
    return NewTask(CLOCK.new_id(), Lane("default", "echo", "default", 5), b"1")


async def opened(store=None, tasks=0):
    store = store or MemoryStore(CLOCK)
    await store.open()
    await store.submit([Group([task()]) for _ in range(tasks)])
    return store


async def test_progress_is_told_and_pages_are_bounded():
    source, target, told = await opened(tasks=500), await opened(), list[Progress]()
    copied = await copy(source, target, CLOCK, told.append)
    assert {one.kind: one.count for one in copied}[Kind.TASKS] == 500
    assert {progress.step for progress in told} == {"copy", "verify the target", "verify the source"}
    assert max(progress.count for progress in told) == 500
    first = [progress.count for progress in told if progress == Progress("copy", Kind.TASKS, progress.count)]
    assert first[0] == moving.PAGE_FIRST


async def test_large_records_make_small_pages(monkeypatch):
    """And each kind is met with a small one: its records may be a thousand times as large."""
    monkeypatch.setattr(moving, "PAGE_BYTES", 2_000)
    source, target = await opened(tasks=300), await opened()
    sizes: dict[Kind, list[int]] = {kind: [] for kind in Kind}
    dump = source.dump

    async def measured(cursor, limit):
        page = await dump(cursor, limit)
        sizes[page.kind].append(len(page.records))
        return page

    source.dump = measured
    await copy(source, target, CLOCK)
    assert sum(sizes[Kind.TASKS]) == 600, "read twice"
    assert sizes[Kind.TASKS][0] == moving.PAGE_FIRST
    assert max(sizes[Kind.TASKS]) == moving.PAGE_FIRST, "a page of those has 2 kB"
    assert sizes[Kind.HISTORY][0] == moving.PAGE_FIRST
    assert max(sizes[Kind.HISTORY]) > moving.PAGE_FIRST


async def test_a_target_with_anything_in_it_is_refused():
    source, target = await opened(tasks=1), await opened(tasks=1)
    with pytest.raises(WrongState, match="the target is not empty: there are tasks in it already"):
        await copy(source, target, CLOCK)
    assert await target.unfinished_load() is None


@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_leader_and_a_worker_must_be_gone(which):
    stores = {"source": await opened(tasks=1), "target": await opened()}
    store = stores[which]
    term = await store.take_term("node-7", 60_000_000)
    with pytest.raises(WrongState, match=f"the node node-7 is at work on the {which}: stop it first"):
        await copy(stores["source"], stores["target"], CLOCK)
    await store.resign("node-7", term.number)
    await store.beat(WorkerInfo("w-1", "i-1", "node-7", (), (), 1))
    with pytest.raises(WrongState, match=f"the worker w-1 is at work on the {which}: stop it first"):
        await copy(stores["source"], stores["target"], CLOCK)
    assert (await store.take_term("node-8", 1)).holder == "node-8", "the copy's own term was given back"
    await asyncio.sleep(0.01)
    await store.leave("w-1", "i-1")
    await copy(stores["source"], stores["target"], CLOCK)


class Busy(MemoryStore):
    """Somebody submits to it once it has been read."""

    async def dump(self, cursor, limit):
        page = await super().dump(cursor, limit)
        if page.cursor is None and not self._tables.counts:
            return page
        if page.cursor is None:
            await self.submit([Group([task()])])
        return page


async def test_a_source_that_is_written_to_meanwhile_gives_the_copy_up():
    source, target = await opened(Busy(CLOCK), tasks=1), await opened()
    with pytest.raises(WrongState, match="the source was written to during the copy"):
        await copy(source, target, CLOCK)
    assert await target.unfinished_load() is not None


class Forgetful(MemoryStore):
    """Loses the last record of each page that it takes."""

    async def load(self, name, records):
        await super().load(name, records[:-1])
        return [None] * len(records)


async def test_a_target_that_does_not_hold_all_of_it_is_found_out():
    source, target = await opened(tasks=3), await opened(Forgetful(CLOCK))
    with pytest.raises(StoreError, match="the stores differ after the copy: the target has tasks: 2 "):
        await copy(source, target, CLOCK)
    assert await target.unfinished_load() is not None


class Careless(MemoryStore):
    """Of each page it stores two tasks with another payload, one not at all, and one that nobody gave it."""

    async def load(self, name, records):
        if records and type(records[0]) is MovedTask:
            changed = [
                replace(one, task=replace(one.task, payload=b"2", labels=None)) for one in records[1:3]
            ]
            stray = replace(records[0], task=replace(records[0].task, id=CLOCK.new_id()))
            await super().load(name, [*changed, stray, *records[3:]])
            return [None] * len(records)
        return await super().load(name, records)


async def test_a_target_that_differs_is_told_by_record_and_field(monkeypatch):
    monkeypatch.setattr(moving, "ROWS_TOLD", 9)
    source, target = await opened(tasks=40), await opened(Careless(CLOCK))
    first, second, third = [record.task.id for record in (await source.dump(None, 3)).records]
    with pytest.raises(StoreError) as caught:
        await copy(source, target, CLOCK)
    assert f"in tasks {first!r} is missing" in caught.value.detail
    assert f"in tasks {second!r} has payload b'2', not b'1';" in caught.value.detail
    assert f"in tasks {third!r} has payload b'2', not b'1'" in caught.value.detail
    assert caught.value.detail.count("is not in the source") == 2
    assert "copy again" in caught.value.detail


async def test_only_the_first_few_records_that_differ_are_told():
    source, target = await opened(tasks=40), await opened(Careless(CLOCK))
    with pytest.raises(StoreError) as caught:
        await copy(source, target, CLOCK)
    assert caught.value.detail.count("in tasks ") == moving.ROWS_TOLD


ODD = {
    "NaN": ("postgres", "'odd', 'NaN', 5", "in schedules 'odd' has every_s none, not nan"),
    "an infinity": ("sqlite", "'odd', 9e999, 5", "in schedules 'odd' has every_s none, not inf"),
    "a large number": ("sqlite", "'odd', 60, 5000000000", "the schedules, 'odd': a value cannot be stored"),
}


@pytest.mark.parametrize(
    ("odd", "new"), [("NaN", "sqlite"), ("an infinity", "redis"), ("a large number", "postgres")]
)
async def test_a_schedule_that_only_its_store_can_hold_is_named(street, odd, new):
    """People write schedules by SQL, where nothing stands between them and the table."""
    old, values, told = ODD[odd]
    async with street:
        source, target = await street.bench(old), await street.bench(new)
        await target.advance(300)
        user = await source.user()
        table = "mainspring.schedules" if old == "postgres" else "schedules"
        await user.run(f"INSERT INTO {table} (id, every_s, priority) VALUES ('fine', 60, 5), ({values})")
        await user.close()
        with pytest.raises(StoreError) as caught:
            await copy(source._store, target._store, CLOCK)
    assert told in caught.value.detail
    assert "fine" not in caught.value.detail


class Breaking(MemoryStore):
    async def load(self, name, records):
        await super().load(name, records)
        raise StoreUnavailable("the line is cut")


async def test_a_copy_that_broke_off_is_refused_by_nodes_and_begun_anew(tmp_path):
    source, broken = await opened(tasks=3), await opened(Breaking(CLOCK))
    with pytest.raises(StoreUnavailable):
        await copy(source, broken, CLOCK)
    with pytest.raises(WrongState, match="the source is itself a copy that was not finished"):
        await copy(broken, await opened(), CLOCK)
    url = f"sqlite:///{tmp_path}/target.db"
    target = await opened(open_store(url, CLOCK))
    await target.begin_load("an earlier copy")
    await target.close()
    with pytest.raises(StoreUnfinished, match="a copy from another store fills it"):
        async with Node(Settings(store=url), serve=False):
            pass
    await target.open()
    assert (await copy(source, target, CLOCK))[0].count == 3
    await target.close()
    async with Node(Settings(store=url), serve=False) as node:
        assert (await node.store.stats()).counts == (await source.stats()).counts


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_target_whose_clock_is_behind_is_refused(street, kind):
    """Its numbers come from its clock, and would be lower than those that are there."""
    async with street:
        source, target = await opened(tasks=1), await street.bench(kind)
        await target.advance(-3600)
        with pytest.raises(StoreError, match=r"a number that this store's clock reaches in 3\d\d\d\.\d+ s"):
            await copy(source, target._store, CLOCK)
        await target.advance(3600)
        assert len(await copy(source, target._store, CLOCK)) == len(Kind)


@pytest.mark.parametrize("way", ["postgres redis sqlite", "sqlite valkey memory"])
async def test_a_run_that_was_completed_in_a_transaction_moves_along(street, way):
    """And is known for what it is: what its worker reports later was accepted with it."""
    async with street:
        benches = [await street.bench(kind) for kind in way.split()]
        first = benches[0]
        await first.submit_many(1)
        lease = await first.claim_one()
        user = await first.user()
        await user.complete(lease, "7")
        await user.close()
        for source, target in pairwise(benches):
            await target.advance(300)
            await copy(source._store, target._store, CLOCK)
            assert await target.settle(lease, result=b"8") is Answer.ALREADY
            assert (await target.get(lease.task)).result == b"7"
