"""Full disks, dead threads, vanished callers, values that cannot be stored: nobody waits for ever, nothing is
half stored, and no line spoils another's."""

import asyncio

import pytest

from mainspring.core.model import NewTask, State
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.verbs import Accepted, Answer, Append, Exchange, Group, Held, Refused, Renewal
from tests.conformance.bench import SqliteBench
from tests.stores.sqlite.process import LANE

BAD_NAMES = ["lone \ud800 surrogate", "a \x00 in it"]


@pytest.fixture
def bench(tmp_path):
    return SqliteBench(tmp_path)


def task(name: str, **fields) -> NewTask:
    return NewTask(name, LANE, b"{}", **fields)


async def test_a_full_disk_refuses_and_stores_nothing(bench):
    async with bench:
        await bench.submit(bench.task(id="before"))
        store = bench.store

        async def pages(limit):
            await store._writer.call(lambda writer: writer.db.execute(f"PRAGMA max_page_count = {limit}").get)

        await pages(1)  # no more than there are already
        group = Group([NewTask(f"big-{n}", LANE, b"x" * 4000) for n in range(500)])
        with pytest.raises(StoreFull, match="no space left"):
            await store.submit([group])
        assert [found and found.id for found in await store.get(["before", "big-0"])] == ["before", None]
        assert (await store.stats()).counts == {("default", State.READY): 1}
        await pages(1_000_000)
        (answer,) = await store.submit([group])
        assert isinstance(answer, Accepted)
        assert (await store.stats()).counts == {("default", State.READY): 501}


async def test_a_dead_thread_fails_all_who_wait(new_store):
    store = new_store()
    await store.open()
    entered, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def die(writer):
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(leave.wait(), loop).result(30)
        raise SystemExit("the thread was told to go")

    dying = asyncio.create_task(store._writer.call(die))
    await entered.wait()
    waiting = [asyncio.create_task(store.submit([Group([task(f"task-{n}")])])) for n in range(3)]
    await asyncio.sleep(0)
    leave.set()
    for call in (dying, *waiting):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        await store.submit([Group([task("late")])])
    await store.close()


async def test_what_a_vanished_caller_submitted_stands(new_store):
    store = new_store()
    await store.open()
    call = asyncio.create_task(store.submit([Group([task("task-1")])]))
    await asyncio.sleep(0)  # the call is on its way now
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await store.submit([Group([task("task-2")])])
    assert all(await store.get(["task-1", "task-2"]))
    await store.close()


async def test_calls_on_their_way_are_finished_before_the_store_closes(new_store):
    store = new_store()
    await store.open()
    calls = [asyncio.create_task(store.submit([Group([task(f"task-{n}")])])) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*calls)
    with pytest.raises(StoreUnavailable):
        await store.stats()
    await store.open()
    assert (await store.stats()).counts == {("default", State.READY): 20}
    await store.close()


async def test_a_failed_call_leaves_no_trace(bench):
    """A call that raises in the middle rolls back its rows, its counts and the lanes it made up."""
    async with bench:
        store = bench.store

        def fail(tx):
            tx.lanes.id_of(LANE._replace(queue="never"), tx.mint)
            tx.count("never", State.READY, 1)
            raise RuntimeError("in the middle")

        with pytest.raises(RuntimeError):
            await store._write(fail)
        await bench.submit(bench.task(LANE._replace(queue="never"), id="task-1"))
        assert await bench.claimed_ids(1) == ["task-1"]
        assert (await store.stats()).counts == {("never", State.RUNNING): 1}


# --- values that cannot be stored ---------------------------------------------------------------------


async def test_a_bad_value_refuses_its_own_group_only(bench):
    async with bench:
        groups = [
            Group([task("good-1")]),
            Group([task("lone \ud800 surrogate")]),
            Group([task("too-late", deadline_us=1 << 80)]),
            Group([task("good-2"), task("queue", unique=None)]),
            Group([NewTask("no-payload", LANE, None)]),
            Group([NewTask("bad-lane", LANE._replace(tenant="\ud800"), b"{}")]),
            Group([task("good-3")]),
        ]
        answers = await bench.put(groups)
        assert [isinstance(answer, Accepted) for answer in answers] == [
            True,
            False,
            False,
            True,
            False,
            False,
            True,
        ]
        assert {answer.code for answer in answers if isinstance(answer, Refused)} == {"invalid_input"}
        assert (await bench.store.stats()).counts == {("default", State.READY): 4}
        assert await bench.claimed_ids(10) == ["good-1", "good-2", "queue", "good-3"]


async def test_a_taken_id_refuses_its_own_group_only(bench):
    async with bench:
        await bench.submit(task("task-1"))
        answers = await bench.put([Group([task(f"task-{n}"), task(f"twin-{n}")]) for n in range(3)])
        assert [isinstance(answer, Accepted) for answer in answers] == [True, False, True]
        assert answers[1].code == "id_taken"
        assert await bench.store.get(["twin-1"]) == [None]
        assert (await bench.store.stats()).counts == {("default", State.READY): 5}


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_in_a_settlement_is_lost_alone(bench, name):
    async with bench:
        await bench.submit_many(3)
        one, two, three = await bench.claim(3)
        lines = [bench.line(lease) for lease in (one, two, three)]
        lines[1].task = name
        assert await bench.settle_lines(*lines) == [Answer.OK, Answer.LOST, Answer.OK]
        lines[1].task, lines[1].token = two.task, 1 << 80
        assert await bench.settle_lines(lines[1]) == [Answer.LOST]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_in_any_other_line_spoils_nothing(bench, name):
    async with bench:
        await bench.submit_many(2)
        lease = await bench.claim_one()
        store = bench.store
        assert await store.get([name, lease.task]) != [None, None]
        assert await store.append([Append(name, 1), Append(lease.task, lease.token, b"{}")]) == [
            Answer.LOST,
            Answer.OK,
        ]
        bad = Renewal(name, 0, [Held(name, 1)], 1000)
        good = bench.renewal(lease, seq=1)
        assert await store.renew([bad, good]) == [[Answer.LOST], [Answer.OK]]
        asks = [bench.ask(1, worker="w2"), bench.ask(1)]
        asks[0].worker = asks[0].incarnation = "\ud800"
        answers = await store.exchange(Exchange(claims=asks))
        assert [len(claimed.leases) for claimed in answers.claims] == [0, 1]
