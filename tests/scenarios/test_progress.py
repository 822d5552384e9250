"""Watching tasks: states, progress and logs as they come, from whichever node writes them."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import Lane, NewTask, Policy, RetryPolicy, State, encode_policy
from mainspring.core.progress import LogPiece, end_of
from mainspring.errors import NotFound, StoreUnavailable
from mainspring.ports import Accepted, Answer, Append, ClaimRequest, Group
from mainspring.scheduler import Scheduler, SchedulerSettings, finals
from mainspring.stores import open_store
from mainspring.stores.memory import MemoryStore

CLOCK = SystemClock()
LANE = Lane("default", "echo", "default", 5)
AT_ONCE = encode_policy(Policy(retry=RetryPolicy(strategy="fixed", delay_s=0.0)))


class CountingStore(MemoryStore):
    """Counts what it is asked, and can hold an append or fail it."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.asked: Counter[str] = Counter()
        self.appended: list[int] = []
        self.gate: asyncio.Event | None = None
        self.fault: Exception | None = None

    async def glance(self, tasks):
        self.asked["glance"] += 1
        return await super().glance(tasks)

    async def append(self, lines):
        self.appended.append(len(lines))
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return await super().append(lines)


class Node:
    """A scheduler, and short words for what a worker does."""

    def __init__(self, scheduler, name="w"):
        self.scheduler = scheduler
        self.progress = scheduler.progress
        self._name = name
        self._claims = 0

    async def submit(self, **fields):
        task = NewTask(CLOCK.new_id(), LANE, b"null", policy=AT_ONCE, **fields)
        (answer,) = await self.scheduler.submit([Group([task])])
        assert isinstance(answer, Accepted)
        return task.id

    async def claim(self):
        self._claims += 1
        request = ClaimRequest(self._name, f"{self._name}-1", self._claims, ("echo",), wait_s=10)
        (lease,) = await self.scheduler.claim(request)
        return lease

    async def append(self, lease, **fields):
        return (await self.scheduler.append([Append(lease.task, lease.token, **fields)]))[0]

    async def log(self, lease, offset, text):
        return await self.append(lease, log=[LogPiece(offset, "stdout", 0, text)])

    async def settle(self, lease, outcome=Outcome.SUCCEEDED):
        report = Report(lease.task, lease.token, outcome, error_type="E", error=b'{"type":"E"}')
        assert await self.scheduler.settle([report]) == [Answer.OK]

    async def watched(self, watchers=1):
        """Returns when somebody waits for news of a task."""
        while sum(map(len, self.progress._watchers.values())) < watchers:
            await asyncio.sleep(0)
        await asyncio.sleep(0)


@asynccontextmanager
async def node(store=None, name="w"):
    store = store or CountingStore()
    await store.open()
    scheduler = Scheduler(store, CLOCK, SchedulerSettings(node_id=name))
    await scheduler.start()
    try:
        yield Node(scheduler, name), store
    finally:
        await scheduler.close()
        await store.close()


@pytest.fixture
def no_recheck(monkeypatch):
    """Nothing is found by looking again: whatever is seen, somebody was woken for."""
    monkeypatch.setattr(finals, "RECHECK_S", 3600)


async def seen(events, into):
    async for record in events:
        into.append((record.state, record.attempt, record.progress and msgspec.json.decode(record.progress)))


def texts(pages):
    return "".join(piece.text for page in pages for piece in page.pieces)


async def collected(logs, into):
    async for page in logs:
        into.append(page)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_whole_life_is_told_as_it_happens(no_recheck):
    """S1-05: from waiting over progress and a retry to the end; then the stream ends by itself."""
    told = []
    async with node() as (n, _):
        task = await n.submit()
        watching = asyncio.create_task(seen(n.progress.events(task), told))
        await until(lambda: told)
        lease = await n.claim()
        await until(lambda: len(told) == 2)
        await n.append(lease, progress=b"0.5")
        await until(lambda: len(told) == 3)
        await n.settle(lease, Outcome.FAILED)
        await until(lambda: len(told) == 4)
        lease = await n.claim()
        await until(lambda: len(told) == 5)
        await n.settle(lease)
        await watching
    assert told == [
        (State.READY, 0, None),
        (State.RUNNING, 1, None),
        (State.RUNNING, 1, 0.5),
        (State.READY, 1, 0.5),
        (State.RUNNING, 2, 0.5),
        (State.SUCCEEDED, 2, 0.5),
    ]


@pytest.mark.parametrize("action", ["cancel", "run_now"])
async def test_what_is_done_by_hand_is_told(no_recheck, action):
    told = []
    async with node() as (n, _):
        task = await n.submit(delay_us=3_600_000_000)
        watching = asyncio.create_task(seen(n.progress.events(task), told))
        await until(lambda: told)
        await getattr(n.scheduler, action)(task)
        await until(lambda: len(told) == 2)
        watching.cancel()
        await asyncio.wait([watching])
    assert [state for state, _, _ in told] == [
        State.SCHEDULED,
        State.CANCELLED if action == "cancel" else State.READY,
    ]


async def test_a_final_task_is_told_once():
    told = []
    async with node() as (n, _):
        task = await n.submit()
        await n.settle(await n.claim())
        await seen(n.progress.events(task), told)
    assert told == [(State.SUCCEEDED, 1, None)]


async def test_a_log_is_followed_over_every_run_to_its_last_word(no_recheck):
    """S1-43: the words of a retry follow those of the run before; what was said last is there."""
    pages = []
    async with node() as (n, _):
        task = await n.submit()
        following = asyncio.create_task(collected(n.progress.logs(task, follow=True), pages))
        await n.watched()
        first = await n.claim()
        await n.log(first, 0, "one\n")
        await until(lambda: texts(pages) == "one\n")
        await n.settle(first, Outcome.FAILED)
        second = await n.claim()
        await n.log(second, 0, "two\n")
        await until(lambda: texts(pages) == "one\ntwo\n")
        await n.log(second, 4, "last")
        await n.settle(second)
        await following
    assert texts(pages) == "one\ntwo\nlast"


async def test_a_log_is_read_from_where_its_reader_was():
    async with node() as (n, _):
        task = await n.submit()
        lease = await n.claim()
        for offset in range(0, 50, 5):
            await n.log(lease, offset, f"{offset:4}\n")
        for after in (0, 5, 45, 50, 99):
            pages = [page async for page in n.progress.logs(task, after)]
            assert texts(pages) == "".join(f"{offset:4}\n" for offset in range(0, 50, 5) if offset >= after)


async def test_a_long_log_comes_in_pages():
    async with node() as (n, _):
        task = await n.submit()
        lease = await n.claim()
        for number in range(60):
            await n.log(lease, number * 10_000, "x" * 10_000)
        pages = [page async for page in n.progress.logs(task)]
    assert len(pages) > 1
    assert len(texts(pages)) == 600_000


async def test_a_slow_reader_finds_the_latest_and_sees_what_it_missed():
    """Nothing is kept for it: what the store has dropped is a gap."""
    async with node() as (n, _):
        task = await n.submit()
        lease = await n.claim()
        await n.log(lease, 0, "first\n")
        logs = n.progress.logs(task, follow=True)
        page = await anext(logs)
        assert texts([page]) == "first\n"
        for number in range(300):
            await n.log(lease, 6 + number * 10_000, "x" * 10_000)
        page = await anext(logs)
        assert page.pieces[0].offset > 6
        while end_of(page.pieces[-1]) < page.ends:
            page = await anext(logs)
        assert page.ends == 6 + 3_000_000
        await logs.aclose()
        assert not n.progress.watched


async def test_what_is_not_there_is_not_found():
    async with node() as (n, _):
        for watching in (n.progress.events("no-such"), n.progress.logs("no-such", follow=True)):
            with pytest.raises(NotFound):
                await anext(watching)
        assert not n.progress.watched


async def test_a_task_that_is_deleted_ends_its_streams(no_recheck):
    async with node() as (n, _):
        task = await n.submit(delay_us=3_600_000_000)
        watching = [
            asyncio.create_task(seen(n.progress.events(task), [])),
            asyncio.create_task(collected(n.progress.logs(task, follow=True), [])),
        ]
        await n.watched(2)
        await n.scheduler.delete(task)
        await asyncio.gather(*watching)


async def test_a_node_that_closes_sends_its_watchers_home(no_recheck):
    async with node() as (n, _):
        task = await n.submit()
        watching = [
            asyncio.create_task(seen(n.progress.events(task), [])),
            asyncio.create_task(collected(n.progress.logs(task, follow=True), [])),
        ]
        await n.watched(2)
    await asyncio.gather(*watching)


async def test_the_store_is_asked_nothing_while_nobody_watches(monkeypatch):
    monkeypatch.setattr(finals, "RECHECK_S", 0.001)
    async with node() as (n, store):
        task = await n.submit()
        await asyncio.sleep(0.05)
        assert store.asked["glance"] == 0
        logs = n.progress.logs(task, follow=True)
        waiting = asyncio.create_task(anext(logs))
        await until(lambda: store.asked["glance"] >= 3)
        waiting.cancel()
        await asyncio.wait([waiting])
        await logs.aclose()
        await until(lambda: not n.progress._stale.is_set())
        asked = store.asked["glance"]
        await asyncio.sleep(0.05)
        assert store.asked["glance"] <= asked + 1


async def test_changes_of_another_process_are_seen_at_once(no_recheck, tmp_path):
    """Two nodes on one file: one runs the task, the other is watched."""
    url, told, pages = f"sqlite:///{tmp_path}/m.db", [], []
    async with (
        node(open_store(url, CLOCK), "one") as (one, _),
        node(open_store(url, CLOCK), "two") as (two, _),
    ):
        task = await one.submit()
        watching = asyncio.create_task(seen(two.progress.events(task), told))
        following = asyncio.create_task(collected(two.progress.logs(task, follow=True), pages))
        await until(lambda: told)
        lease = await one.claim()
        await until(lambda: told[-1][0] is State.RUNNING)
        await one.append(lease, progress=b"0.5", log=[LogPiece(0, "stdout", 0, "half\n")])
        await until(lambda: told[-1][2] == 0.5)
        await until(lambda: pages)
        await one.log(lease, 5, "whole\n")
        await one.settle(lease)
        await asyncio.gather(watching, following)
    assert told[-1] == (State.SUCCEEDED, 1, 0.5)
    assert texts(pages) == "half\nwhole\n"


async def test_a_lost_hint_is_made_up_for(monkeypatch):
    """A change that this node is never told of is found by looking again."""
    monkeypatch.setattr(finals, "RECHECK_S", 0.01)
    told = []
    async with node() as (n, store):
        task = await n.submit()
        watching = asyncio.create_task(seen(n.progress.events(task), told))
        await until(lambda: told)
        lease = await n.claim()
        await until(lambda: len(told) == 2)
        await store.append([Append(lease.task, lease.token, progress=b"0.9")])
        await until(lambda: len(told) == 3)
        watching.cancel()
        await asyncio.wait([watching])
    assert told[-1] == (State.RUNNING, 1, 0.9)


# --- appends share commits --------------------------------------------------------------------------


async def test_appends_made_while_one_is_on_its_way_share_the_next_commit():
    async with node() as (n, store):
        for _ in range(51):
            await n.submit()
        leases = [await n.claim() for _ in range(51)]
        store.gate = asyncio.Event()
        calls = [asyncio.create_task(n.append(leases[0], progress=b"1"))]
        await until(lambda: store.appended)
        calls += [asyncio.create_task(n.append(lease, progress=b"2")) for lease in leases[1:]]
        late = asyncio.create_task(n.scheduler.append([Append(leases[0].task, 1, progress=b"3")]))
        await asyncio.sleep(0)
        store.gate.set()
        assert await asyncio.gather(*calls) == [Answer.OK] * 51
        assert await late == [Answer.LOST]
        assert store.appended == [1, 51]


async def test_a_store_that_fails_fails_those_who_wait_and_nobody_later():
    async with node() as (n, store):
        await n.submit()
        lease = await n.claim()
        store.fault = StoreUnavailable("away")
        failed = await asyncio.gather(
            *(n.append(lease, progress=b"1") for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in failed] == [StoreUnavailable] * 3
        store.fault = None
        assert await n.append(lease, progress=b"1") is Answer.OK


async def test_what_a_caller_that_left_has_sent_is_stored():
    async with node() as (n, store):
        task = await n.submit()
        lease = await n.claim()
        store.gate = asyncio.Event()
        call = asyncio.create_task(n.append(lease, progress=b"0.7"))
        await until(lambda: store.appended)
        call.cancel()
        await asyncio.wait([call])
        store.gate.set()
        store.gate = None
        assert await n.append(lease, checkpoint=b"1") is Answer.OK
        assert (await n.scheduler.get(task)).progress == b"0.7"
