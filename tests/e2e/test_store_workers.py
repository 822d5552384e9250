"""Worker processes straight on the store, with nothing beside them (S1-50)."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import SECOND_US, Lane, NewTask, State, Task
from mainspring.ports import Accepted, Group, Store
from mainspring.stores import open_store
from tests.e2e.processes import Process, running
from tests.servers import PostgresServer, RedisServer
from tests.stores import addresses

pytestmark = pytest.mark.limit(300)  # many processes of one small machine start at a time
CLOCK = SystemClock()
APP = """
from mainspring import Mainspring

app = Mainspring({url!r})

@app.task
def double(number: int) -> int:
    return 2 * number
"""


@pytest.fixture(params=addresses.SHARED)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with addresses.address(request.param, tmp_path) as found:
        yield found


class Bare:
    """The store without a node: the test's process has no services, so whatever is done the workers do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def submit(self, kind: str, payload: Any, **fields: Any) -> str:
        lane = Lane(fields.pop("queue", "default"), kind, "default", 5)
        task = NewTask(CLOCK.new_id(), lane, msgspec.json.encode(payload), **fields)
        (answer,) = await self.store.submit([Group([task])])
        assert isinstance(answer, Accepted), answer
        return task.id

    async def get(self, task: str) -> Task:
        (record,) = await self.store.get([task])
        assert record is not None
        return record

    async def until(self, task: str, condition: Callable[[Task], bool]) -> Task:
        while not condition(record := await self.get(task)):
            await asyncio.sleep(0.01)
        return record

    async def succeeded(self, task: str) -> Task:
        return await self.until(task, lambda record: record.state is State.SUCCEEDED)


@asynccontextmanager
async def bare(address: str) -> AsyncIterator[Bare]:
    store = open_store(address, CLOCK)
    await store.open()
    try:
        yield Bare(store)
    finally:
        await store.close()


def waits_for(file: str) -> dict[str, str]:
    """A command that runs for as long as the test wants it to."""
    return {"command": f"until [ -e {file} ]; do sleep 0.02; done"}


def worker(folder: Path, name: str, address: str, *arguments: str) -> Process:
    where = ("worker", "--store", address, "--worker-id", name)
    return Process(folder, name, *where, *arguments, env={"MAINSPRING_LEASE": "3s"})


async def test_a_worker_takes_over_from_one_that_was_killed(tmp_path, address):
    """S1-56: its lease lapses and the other sees to it, with no server there; so it is with delayed tasks."""
    async with bare(address) as at:
        task = await at.submit("command", waits_for("go-on"))
        later = await at.submit("echo", 7, delay_us=2 * SECOND_US)
        first = worker(tmp_path, "first", address, "--allow-commands")
        await at.until(task, lambda record: record.state is State.RUNNING)
        first.kill()
        second = worker(tmp_path, "second", address, "--allow-commands")
        try:
            await at.until(task, lambda record: record.attempt == 2)
            (tmp_path / "go-on").touch()
            record = await at.succeeded(task)
            assert (await at.succeeded(later)).result == b"7"
        finally:
            assert second.stop() == 0
    assert (record.attempt, record.losses, record.worker) == (2, 1, "second")
    (lost,) = msgspec.json.decode(record.attempts or b"")
    assert (lost["outcome"], lost["worker"]) == ("lost", "first")


async def test_two_workers_share_the_tasks_of_one_store(tmp_path, address):
    """S3-41: each task waits for the other three, so fewer than two workers of two slots would never end
    them."""
    async with bare(address) as at:
        both = [worker(tmp_path, name, address, "--concurrency", "2", "--allow-commands") for name in "ab"]
        try:
            script = "touch {0}; while [ $(ls meet-* | wc -l) -lt 4 ]; do sleep 0.02; done"
            commands = [{"command": script.format(f"meet-{n}")} for n in range(4)]
            tasks = [await at.submit("command", command) for command in commands]
            records = [await at.succeeded(task) for task in tasks]
            assert {info.worker for info in await at.store.workers()} == {"a", "b"}
        finally:
            assert [process.stop() for process in both] == [0, 0]
        assert sorted(record.worker or "" for record in records) == ["a", "a", "b", "b"]
        assert list(await at.store.workers()) == []


async def test_a_signal_drains_and_hands_back_uncounted(tmp_path, address):
    async with bare(address) as at:
        task = await at.submit("sleep", {"duration": 600})
        process = worker(tmp_path, "only", address, "--grace", "100ms")
        await at.until(task, lambda record: record.state is State.RUNNING)
        assert process.stop() == 0
        record = await at.get(task)
    assert (record.state, record.attempt, record.losses) == (State.READY, 0, 0)


async def test_it_works_for_its_queues_only_and_knows_its_applications_functions(tmp_path, address):
    """The application's own address is enough."""
    (tmp_path / "jobs.py").write_text(APP.format(url=address))
    arguments = ("worker", "-A", "jobs:app", "--queues", "mail")
    async with bare(address) as at:
        other = await at.submit("double", {"args": [1]}, queue="other")
        with running(tmp_path, "worker", *arguments) as process:
            mail = await at.submit("double", {"args": [21]}, queue="mail")
            assert (await at.succeeded(mail)).result == b"42"
            assert "works on " in process.printed()
        assert (await at.get(other)).state is State.READY


@pytest.mark.parametrize("kind", [PostgresServer, RedisServer])
async def test_the_server_of_the_store_dies_and_comes_back(tmp_path, kind):
    """The worker goes on by itself; what ran meanwhile is reported under its lease."""
    if reason := kind.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    server = kind()
    try:
        address = server.dsn() if isinstance(server, PostgresServer) else server.url
        where = ("worker", "--store", address, "--allow-commands")
        with running(tmp_path, "worker", *where, env={"MAINSPRING_LEASE": "60s"}) as process:
            async with bare(address) as at:
                task = await at.submit("command", waits_for("go-on"))
                await at.until(task, lambda record: record.state is State.RUNNING)
            server.kill()
            (tmp_path / "go-on").touch()
            while "reporting 1 runs failed" not in process.printed():
                await asyncio.sleep(0.01)
            server.start()
            async with bare(address) as at:
                record = await at.succeeded(task)
                await at.succeeded(await at.submit("echo", 1))
            assert process.popen.poll() is None
    finally:
        server.stop()
    assert (record.attempt, record.losses) == (1, 0)


# --- what is refused --------------------------------------------------------------------------------


def ended(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    process = Process(folder, "refused", "worker", *arguments, env=env)
    return process.popen.wait(180), process.printed()


def test_a_store_and_a_server_at_once_are_refused(tmp_path):
    code, printed = ended(tmp_path, "--store", "sqlite:///a.db", "--api-url", "http://127.0.0.1:1")
    assert (code, printed.count("\n")) == (2, 1)
    assert "give --api-url or --store, not both" in printed
    assert not (tmp_path / "a.db").exists()


def test_a_queue_without_a_store_is_refused(tmp_path):
    code, printed = ended(tmp_path, "--queue", "redis://127.0.0.1:1")
    assert (code, printed.count("\n")) == (2, 1)
    assert "--queue is for a worker straight on a store" in printed


def test_a_store_that_nobody_shares_is_refused(tmp_path):
    code, printed = ended(tmp_path, "--store", "memory:")
    assert (code, printed.count("\n")) == (2, 1)
    assert "--store: such a store ends with its process" in printed


def test_the_stores_password_is_in_no_log(tmp_path):
    """Neither when it cannot be reached nor when it can."""
    for arguments, env in (
        (("--store", "postgresql://me:hush@127.0.0.1:9/tasks"), {}),
        ((), {"MAINSPRING_STORE": "postgresql://me:hush@127.0.0.1:9/tasks"}),
    ):
        code, printed = ended(tmp_path, *arguments, "--log-level", "debug", **env)
        assert code == 1
        assert "hush" not in printed


def test_a_password_of_a_store_that_is_reached_is_in_no_log(tmp_path):
    with addresses.address("postgres", tmp_path) as address:
        secret = address.replace("postgres@", "postgres:hush@")
        with running(tmp_path, "worker", "worker", "--store", secret, "--log-level", "debug") as process:
            while "works on postgresql://postgres:***@" not in process.printed():
                assert process.popen.poll() is None, process.printed()
    assert "hush" not in process.printed()
