"""Processes on one file tell each other what they commit; what is not told is found by the look."""

import asyncio
import os
import socket
import stat
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import apsw
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Cause, Change
from mainspring.core.limits import LimitRule
from mainspring.core.model import NewTask, State
from mainspring.core.order import LaneHead, Quota
from mainspring.ports import ClaimRequest
from mainspring.scheduler import Scheduler, SchedulerSettings, claiming
from mainspring.stores.sqlite import SqliteStore
from mainspring.stores.sqlite.thread import DatabaseThread
from mainspring.stores.sqlite.transaction import Writer
from mainspring.stores.sqlite.wakes import LANES_TOLD, Ear, News, Teller
from mainspring.verbs import Answer, Ask, Exchange, Group, Settlement
from tests.stores.sqlite.process import LANE, MINUTE_US

DONE = Change(State.SUCCEEDED, Cause.SUCCEED, attempt=1)


class Told:
    """A listener that keeps what it was told, and waits for it."""

    def __init__(self):
        self.heads, self.calls = [], []
        self._changed = asyncio.Event()

    def gained(self, heads):
        self.heads += heads
        self._add("gained")

    def ended(self):
        self._add("ended")

    def anything(self):
        self._add("anything")

    def _add(self, call):
        self.calls.append(call)
        self._changed.set()

    async def until(self, call):
        async with asyncio.timeout(60):
            while call not in self.calls:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def pair(new_store):
    """Two stores on the file, as of two processes; on the first somebody listens."""
    async with AsyncExitStack() as stack:
        here, there = new_store(), new_store()
        for store in here, there:
            await store.open()
            stack.push_async_callback(store.close)
        told = Told()
        here.listen(told)
        yield here, there, told


def folder(path):
    return Path(f"{path}-wakes")


async def submit(store, name="task-1"):
    await store.exchange(Exchange(submits=[Group([NewTask(name, LANE, b"{}")])]))


async def claim(store, lane_id, seq=1):
    ask = Ask("w", "w-1", seq, [Quota(lane_id, 1)], 1, MINUTE_US)
    (lease,) = (await store.exchange(Exchange(claims=[ask]))).claims[0].leases
    return lease


async def settle(store, lease, change=DONE):
    line = Settlement(lease.task, lease.token, lease.lane_id, 1, change, change)
    assert (await store.exchange(Exchange(settles=[line]))).settles == [Answer.OK]


async def look(store):
    await store._writer.call(lambda writer: writer.look_for_others())


# --- what is told ------------------------------------------------------------------------------------


async def test_a_submit_is_told_by_its_lane(new_store):
    async with pair(new_store) as (here, there, told):
        await submit(there)
        await told.until("gained")
        assert told.heads == list((await here.board()).heads)


async def test_what_was_told_is_no_news_to_the_look(new_store, monkeypatch):
    """Else each task of another process made a node read its board and wake all of its services."""
    monkeypatch.setattr(DatabaseThread, "watch", lambda *_: None)  # looks when the test does
    async with pair(new_store) as (here, there, told):
        await submit(there)
        await told.until("gained")
        lease = await claim(there, told.heads[0].lane_id)
        await settle(there, lease)
        await look(here)
        await told.until("ended")
        await submit(here, "task-2")  # so it does when it writes itself
        await submit(there, "task-3")
        await look(here)
        told.calls.clear()
        await told.until("ended")
        assert "anything" not in told.calls


async def test_an_end_is_told(new_store):
    async with pair(new_store) as (_, there, told):
        await submit(there)
        await told.until("gained")
        lease = await claim(there, told.heads[0].lane_id)
        told.calls.clear()
        await settle(there, lease)
        await told.until("ended")


async def test_many_lanes_are_told_as_any(new_store):
    async with pair(new_store) as (_, there, told):
        lanes = [LANE._replace(queue=f"queue-{n}") for n in range(LANES_TOLD + 1)]
        tasks = [NewTask(f"task-{n}", lane, b"{}") for n, lane in enumerate(lanes)]
        await there.exchange(Exchange(submits=[Group(tasks)]))
        await told.until("anything")
        assert not told.heads


async def test_a_waiting_claim_needs_no_look(path, monkeypatch):
    """S4-14: neither the look at the file nor a reading of the board, only what is told."""
    monkeypatch.setattr(Writer, "look_for_others", lambda writer: None)
    monkeypatch.setattr(claiming, "REFRESH_S", 3_600.0)
    clock = SystemClock()
    stores = [SqliteStore(path, clock) for _ in range(2)]
    nodes = [Scheduler(store, clock, SchedulerSettings()) for store in stores]
    for store, node in zip(stores, nodes, strict=True):
        await store.open()
        await node.start()
    await nodes[1].submit([Group([NewTask("task-0", LANE, b"{}")])])
    first = ClaimRequest("w", "w-1", 1, kinds=("echo",), wait_s=3_600.0)
    assert [lease.task for lease in await nodes[0].claim(first)] == ["task-0"]
    waiting = asyncio.create_task(
        nodes[0].claim(ClaimRequest("w", "w-1", 2, kinds=("echo",), wait_s=3_600.0))
    )
    await nodes[1].submit([Group([NewTask("task-1", LANE, b"{}")])])
    async with asyncio.timeout(60):
        (lease,) = await waiting
    assert lease.task == "task-1"
    for store, node in zip(stores, nodes, strict=True):
        await node.close()
        await store.close()


# --- what is not told ---------------------------------------------------------------------------------


async def test_who_tells_nothing_is_found_by_the_look(monkeypatch, new_store):
    """As a process of an older version, or one that may not tell."""
    async with pair(new_store) as (_, there, told):
        monkeypatch.setattr(there._teller, "tell", lambda news: None)
        await submit(there)
        await told.until("anything")
        assert not told.heads


async def test_a_lost_word_is_found_by_the_look(monkeypatch, new_store):
    async with pair(new_store) as (_, there, told):
        await submit(there)
        await told.until("gained")
        with monkeypatch.context() as lost:
            lost.setattr(there._teller, "tell", lambda news: None)
            await submit(there, "task-2")
        await submit(there, "task-3")
        await told.until("anything")


@pytest.mark.parametrize("also", [False, True])
async def test_a_submission_by_plain_sql_is_found_by_the_look(path, also, new_store):
    """Even if another process tells what it does at the same time."""
    async with pair(new_store) as (_, there, told):
        db = apsw.Connection(path)
        db.execute("""INSERT INTO submissions (task) VALUES ('{"kind": "echo"}')""")
        db.close()
        if also:
            await submit(there)
        await told.until("anything")


async def test_what_comes_due_later_is_any_news(new_store):
    """The services of all nodes want to know when to wake."""
    async with pair(new_store) as (_, there, told):
        task = NewTask("task-1", LANE, b"{}", delay_us=MINUTE_US)
        await there.exchange(Exchange(submits=[Group([task])]))
        await told.until("anything")


async def test_ends_under_limits_are_any_news(new_store):
    """What is free again can be claimed by others."""
    async with pair(new_store) as (here, there, told):
        await there.set_limit("queue:default", LimitRule(max_running=1))
        await submit(there)
        await told.until("gained")
        lease = await claim(there, told.heads[0].lane_id)
        await look(here)
        await told.until("anything")
        told.calls.clear()
        await settle(there, lease)
        await told.until("anything")


async def test_a_word_that_makes_no_sense_is_any_news(path, new_store, monkeypatch):
    async with pair(new_store) as (_, _, told):
        (name,) = os.listdir(folder(path))
        monkeypatch.chdir(folder(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            for word in (b"", b"\xff", b'{"version": 9}', b'[[["a", 7]], false]'):
                told.calls.clear()
                stranger.sendto(word, name)
                await told.until("anything")


# --- the folder ---------------------------------------------------------------------------------------


def news(*names):
    return News([LaneHead(7, LANE._replace(queue=name), 1) for name in names], has_ended=False)


def queues(ear):
    return [head.lane.queue for told in ear.news() for head in told.heads]


@pytest.fixture
def ears(path):
    """Makes ears on the test's file, and closes them."""
    Path(path).touch(0o600)
    made = []
    clock = SystemClock()

    def make(at=path):
        made.append(Ear(at, clock))
        return made[-1]

    yield make
    for ear in made:
        if ear.socket.fileno() >= 0:
            ear.close()


@pytest.fixture
def teller(path):
    teller = Teller(path, own=())
    yield teller
    teller.close()


def test_newcomers_are_told_and_leavers_are_not(path, ears, teller):
    """However quickly they come: the time of a file system may stand still meanwhile."""
    teller.tell(news("nobody"))
    here = []
    for n in range(30):
        here.append(ears())
        teller.tell(news(f"queue-{n}"))
        assert [queues(ear) for ear in here] == [[f"queue-{n}"]] * len(here)
    here[0].close()
    teller.tell(news("last"))
    assert [queues(ear) for ear in here[1:]] == [["last"]] * 29
    for ear in here[1:]:
        ear.close()
    assert not folder(path).exists()
    ear = ears()
    teller.tell(news("again"))
    assert queues(ear) == ["again"]


def test_the_ears_of_the_dead_are_cleared_away(path, ears, teller):
    living, dead = ears(), ears()
    dead.socket.close()
    teller.tell(news("one"))
    assert os.listdir(folder(path)) == [living.name]
    assert queues(living) == ["one"]
    dead._leave()


def test_what_is_no_socket_is_left_alone(path, ears, teller):
    ear = ears()
    other = folder(path) / "notes"
    other.write_text("mine")
    teller.tell(news("one"))
    assert other.read_text() == "mine"
    assert queues(ear) == ["one"]


def test_a_full_ear_holds_nobody_up(ears, teller):
    ear = ears()
    sent = [f"queue-{n}" for n in range(2_000)]
    for name in sent:
        teller.tell(news(name))
    heard = queues(ear)
    assert 0 < len(heard) < len(sent)
    assert heard == sent[: len(heard)]
    while queues(ear):
        pass
    teller.tell(news("one more"))
    assert queues(ear) == ["one more"]


def test_who_could_not_be_told_so_much_is_told_the_next(ears, teller):
    """Lanes with long names, on a system that has little room for a datagram."""
    ear = ears()
    teller.tell(news("a name that is far too long " * 20_000))
    assert queues(ear) == []
    teller.tell(news("the next"))
    assert queues(ear) == ["the next"]


def test_own_ears_are_not_told(path, ears):
    own, other = ears(), ears()
    teller = Teller(path, own={own.name})
    teller.tell(news("one"))
    assert (queues(own), queues(other)) == ([], ["one"])
    teller.close()


@pytest.mark.parametrize(("mode", "expected"), [(0o644, 0o700), (0o660, 0o770), (0o666, 0o777)])
def test_whoever_may_write_the_file_may_come_in(path, ears, mode, expected):
    Path(path).touch()
    os.chmod(path, mode)
    ears()
    assert stat.S_IMODE(os.stat(folder(path)).st_mode) == expected


def test_the_way_to_the_folder_may_be_long(tmp_path, ears):
    """A socket's own path may have 107 bytes."""
    deep = tmp_path.joinpath(*["a" * 100] * 3)
    deep.mkdir(parents=True)
    path = str(deep / "mainspring.db")
    Path(path).touch()
    ear = ears(path)
    teller = Teller(path, own=())
    teller.tell(news("one"))
    teller.close()
    assert queues(ear) == ["one"]


def test_one_file_under_two_names_has_one_folder(path, tmp_path, ears):
    (tmp_path / "other.db").symlink_to(path)
    ear = ears()
    teller = Teller(str(tmp_path / "other.db"), own=())
    teller.tell(news("one"))
    teller.close()
    assert queues(ear) == ["one"]


async def test_without_a_folder_the_look_does(path, new_store):
    """As where the rights, the file system or the system do not allow one."""
    folder(path).write_text("in its place")
    stores = new_store(), new_store()
    for store in stores:
        await store.open()
    listener = Told()
    stores[0].listen(listener)
    await submit(stores[1])
    await listener.until("anything")
    for store in stores:
        await store.close()
    assert folder(path).read_text() == "in its place"


async def test_a_closed_store_leaves_nothing_behind(path, new_store):
    before = set(os.listdir("/proc/self/fd"))
    stores = new_store(), new_store()
    for store in stores:
        await store.open()
        store.listen(Told())
    for n in range(3):
        await submit(stores[n % 2], f"task-{n}")
    assert len(os.listdir(folder(path))) == 2
    for store in stores:
        await store.close()
    assert not folder(path).exists()
    assert set(os.listdir("/proc/self/fd")) <= before
