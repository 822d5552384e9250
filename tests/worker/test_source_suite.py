"""One text for every source: the same worker over the scheduler in its process, over HTTP, and straight on
the store, as a node of its own (S1-50, contract 1.6-H)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from msgspec.structs import replace

from mainspring.config import Settings
from mainspring.core.model import Lane, NewTask, Policy, RetryPolicy, State, Task, encode_policy
from mainspring.errors import InvalidInput, Unauthenticated
from mainspring.node import Node
from mainspring.ports import Group, TaskSource
from mainspring.sdk import Cancel, Context, Fatal, Retry, Snooze
from mainspring.worker import Worker, WorkerSettings
from mainspring.worker.sources import HttpSource
from tests.stores import addresses
from tests.worker.scripted import embedded, working

AT_ONCE = RetryPolicy(strategy="fixed", delay_s=0.0)


class Bench:
    """A node, and a worker's way to it."""

    def __init__(self, node: Node, source: TaskSource) -> None:
        self.node = node
        self.source = source
        self.scheduler = node.scheduler

    def task(self, kind: str, payload: object = None, **fields) -> NewTask:
        lane = Lane("default", kind, "default", 5)
        return NewTask(self.node.clock.new_id(), lane, msgspec.json.encode(payload), **fields)

    async def submit(self, kind: str, payload: object = None, **policy) -> str:
        timeout_us = policy.pop("timeout_us", None)
        stored = encode_policy(Policy(**{"retry": AT_ONCE, **policy}))
        task = self.task(kind, payload, policy=stored, timeout_us=timeout_us)
        await self.scheduler.submit([Group([task])])
        return task.id

    async def final(self, task: str) -> Task:
        record = await self.scheduler.wait(task, 30)
        assert record.state.is_final
        return record

    async def run(self, function, payload: object = None, **policy) -> Task:
        """The record of one task after a worker has run it to its end."""
        async with self.working(kind=function):
            return await self.final(await self.submit("kind", payload, **policy))

    def worker(self, name: str) -> Worker:
        return Worker(self.source, embedded(kind=print), self.node.clock, WorkerSettings(worker=name))

    def working(self, *, settings=None, grace_s: float = 5.0, **functions):
        return working(self.source, embedded(grace_s=grace_s, **functions), **(settings or {}))

    async def seen(self, task: str, condition) -> Task:
        """The record, as soon as it is as wanted. Nothing announces what is not final."""
        while not condition(record := await self.scheduler.get(task)):
            await asyncio.sleep(0.01)
        return record


@asynccontextmanager
async def bench(place: str, **settings) -> AsyncIterator[Bench]:
    """`place` is `scheduler`, `http`, or the address of a store: then the worker's node shares nothing but
    that store with the one that is asked to submit and to wait."""
    on_store = ":" in place
    store = place if on_store else "memory:"
    chosen = Settings(store=store, listen="127.0.0.1:0", **{"lease_s": 5.0, **settings})
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(Node(chosen, serve=place == "http"))
        source: TaskSource = node.scheduler
        if place == "http":
            source = HttpSource("http://{}:{}".format(*node.address), chosen.token)
            stack.push_async_callback(source.close)
        elif on_store:
            workers = Node(replace(chosen, node_id="workers"), serve=False, campaigns=False)
            source = (await stack.enter_async_context(workers)).scheduler
        yield Bench(node, source)


@pytest.fixture(params=["scheduler", "http", *addresses.SHARED])
def place(request, tmp_path):
    if request.param not in addresses.SHARED:
        yield request.param
        return
    with addresses.address(request.param, tmp_path) as address:
        yield address


async def test_a_task_runs_and_its_result_is_kept(place):
    async def add(a, b=0):
        return {"sum": a + b}

    async with bench(place) as at:
        record = await at.run(add, {"args": [2**60], "kwargs": {"b": 1}})
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    assert record.result == b'{"sum":%d}' % (2**60 + 1)


async def test_many_large_tasks_are_claimed_in_parts_and_all_run(place):
    """More at once than an answer to a claim may weigh."""

    async def length(data):
        return len(data)

    async with bench(place, lease_s=60.0) as at:
        tasks = [await at.submit("kind", {"args": ["x" * 1_000_000]}) for _ in range(20)]
        async with at.working(kind=length, settings={"slots": 200}):
            records = [await at.final(task) for task in tasks]
    assert {record.result for record in records} == {b"1000000"}
    assert {(record.attempt, record.losses) for record in records} == {(1, 0)}


async def test_a_failure_is_retried_and_then_a_dead_letter(place):
    attempts = []

    def handler(ctx: Context):
        attempts.append((ctx.attempt, ctx.fence))
        raise ValueError(f"attempt {ctx.attempt}")

    async with bench(place) as at:
        record = await at.run(handler, max_retries=2)
    assert (record.state, record.attempt, record.retries) == (State.FAILED, 3, 2)
    assert [attempt for attempt, _ in attempts] == [1, 2, 3]
    assert attempts == sorted(attempts, key=lambda run: run[1]), "a later run has a higher fence"
    assert msgspec.json.decode(record.error)["message"] == "attempt 3"
    errors = [entry["error"]["message"] for entry in msgspec.json.decode(record.attempts)]
    assert errors == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize(
    ("signal", "state", "attempt", "retries", "snoozes"),
    [
        (Retry(0.01), State.SUCCEEDED, 2, 1, 0),
        (Snooze(0.01), State.SUCCEEDED, 1, 0, 1),
        (Cancel("not needed"), State.CANCELLED, 1, 0, 0),
        (Fatal("no use"), State.FAILED, 1, 0, 0),
    ],
)
async def test_signals_arrive(place, signal, state, attempt, retries, snoozes):
    runs = 0

    async def handler():
        nonlocal runs
        runs += 1
        if runs == 1:
            raise signal

    async with bench(place) as at:
        record = await at.run(handler)
    assert (record.state, record.attempt) == (state, attempt)
    assert (record.retries, record.snoozes) == (retries, snoozes)


async def test_a_later_run_finds_the_checkpoint_of_an_earlier_one(place):
    async def handler(ctx: Context):
        if ctx.saved is None:
            ctx.checkpoint({"row": 7})
            raise ValueError
        return ctx.saved

    async with bench(place) as at:
        record = await at.run(handler)
    assert record.result == b'{"row":7}'


async def test_progress_is_seen_while_the_task_runs(place):
    go_on = asyncio.Event()

    async def handler(ctx: Context):
        ctx.progress(0.25, "a quarter")
        await go_on.wait()

    async with bench(place) as at, at.working(kind=handler):
        task = await at.submit("kind")
        record = await at.seen(task, lambda record: record.progress is not None)
        assert msgspec.json.decode(record.progress) == {"fraction": 0.25, "message": "a quarter"}
        go_on.set()
        await at.final(task)


async def test_a_running_task_is_cancelled_within_a_heartbeat(place):
    started = asyncio.Event()

    async def handler():
        started.set()
        await asyncio.Event().wait()

    async with bench(place) as at, at.working(kind=handler):
        task = await at.submit("kind")
        await started.wait()
        await at.scheduler.cancel(task)
        assert (await at.final(task)).state is State.CANCELLED


async def test_a_task_over_its_time_fails_and_says_so(place):
    async def handler():
        await asyncio.Event().wait()

    async with bench(place) as at:
        record = await at.run(handler, timeout_us=50_000, max_retries=0)
    assert record.state is State.FAILED
    assert msgspec.json.decode(record.error)["message"] == "timed out after 0.05 s"


async def test_leases_outlast_their_length_while_they_are_renewed(place):
    async def handler():
        await asyncio.sleep(3.6)
        return "done"

    async with bench(place, lease_s=3.0) as at:
        record = await at.run(handler)
    assert (record.state, record.attempt, record.losses) == (State.SUCCEEDED, 1, 0)


async def test_a_drained_worker_hands_back_uncounted(place):
    started = asyncio.Event()

    async def handler():
        started.set()
        await asyncio.Event().wait()

    async with bench(place) as at:
        async with at.working(kind=handler, settings={"drain_grace_s": 0.0}):
            task = await at.submit("kind")
            await started.wait()
        record = await at.scheduler.get(task)
        assert (record.state, record.attempt, record.losses) == (State.READY, 0, 0)
        assert await at.scheduler.workers() == []


async def test_a_worker_is_listed_while_it_works(place):
    """S3-22: workers register, and say that they are alive."""

    async def handler():
        pass

    async with bench(place) as at, at.working(kind=handler, settings={"worker": "w.1", "slots": 3}):
        while not (workers := await at.scheduler.workers()):
            await asyncio.sleep(0.01)
    (worker,) = workers
    assert (worker.worker, worker.kinds, worker.slots) == ("w.1", ("kind",), 3)


async def test_a_worker_that_is_never_accepted_ends_with_the_reason():
    """A wrong token, or a name that the server refuses: a person has to see to it."""
    async with bench("http", token="right") as at:
        at.source = HttpSource("http://{}:{}".format(*at.node.address), "wrong")
        with pytest.raises(Unauthenticated):
            await at.worker("w").run()
        await at.source.close()
    async with bench("http") as at:
        with pytest.raises(InvalidInput, match="worker"):
            await at.worker("no such name!").run()


async def test_an_idle_worker_is_woken_by_a_submit(place):
    """S4-29: well below its poll interval, for the claim waits at the source."""

    async def handler():
        pass

    async with bench(place, lease_s=60.0) as at, at.working(kind=handler):
        await at.final(await at.submit("kind"))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await at.final(await at.submit("kind"))
        assert loop.time() - began_s < 10


async def test_many_tasks_each_end_once(place):
    ran: list[int] = []

    async def handler(number):
        ran.append(number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        return number

    async with bench(place) as at, at.working(kind=handler, settings={"slots": 20}):
        tasks = [await at.submit("kind", number) for number in range(400)]
        records = [await at.final(task) for task in tasks]
    assert sorted(ran) == list(range(400))
    assert [record.result for record in records] == [str(number).encode() for number in range(400)]
