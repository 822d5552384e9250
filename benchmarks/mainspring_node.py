"""What the probes of Mainspring share: an application of no-op tasks, schedulers, processes."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import httpx

from mainspring.app import Mainspring
from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask, State
from mainspring.ports import Group
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.stores import open_store
from mainspring.worker import InProcessEngine, Worker, WorkerSettings

FILE = "mainspring.db"
# 200 bytes, as in the raw loops; the handlers take one keyword argument.
PAYLOAD = json.dumps({"kwargs": {"note": "x" * 175}}, separators=(",", ":")).encode()
SLOTS = 200

app = Mainspring()


@app.task(name="noop")
async def noop(note: str = "") -> None:
    pass


@app.task(name="noop_sync")
def noop_sync(note: str = "") -> None:
    pass


def lane(kind: str = "noop", tenant: str = "default", priority: int = 5) -> Lane:
    return Lane("default", kind, tenant, priority)


@contextlib.asynccontextmanager
async def scheduler(lease_s: float = 60.0, url: str = f"sqlite:///{FILE}") -> AsyncIterator[Scheduler]:
    """A scheduler over the store, by default on a new file in the working directory."""
    clock = SystemClock()
    store = open_store(url, clock)
    await store.open()
    running = Scheduler(store, clock, SchedulerSettings(lease_s=lease_s))
    await running.start()
    try:
        yield running
    finally:
        await running.close()
        await store.close()


def new_task(running: Scheduler, where: Lane) -> NewTask:
    return NewTask(running.clock.new_id(), where, PAYLOAD)


async def fill(running: Scheduler, lanes: Sequence[Lane]) -> None:
    """One task per element, in groups of 1,000."""
    for start in range(0, len(lanes), 1000):
        await running.submit([Group([new_task(running, where) for where in lanes[start : start + 1000]])])


@contextlib.asynccontextmanager
async def worker(running: Scheduler, slots: int = SLOTS) -> AsyncIterator[Worker]:
    engine = InProcessEngine(app.registry, running.clock)
    working = Worker(running, engine, running.clock, WorkerSettings(worker="bench", slots=slots))
    task = asyncio.create_task(working.run())
    try:
        yield working
    finally:
        working.drain()
        await task


async def finished(running: Scheduler, count: int) -> None:
    """Until `count` tasks have succeeded."""
    while True:
        counts = (await running.stats()).counts
        if sum(number for (_, state), number in counts.items() if state is State.SUCCEEDED) >= count:
            return
        await asyncio.sleep(0.005)


# --- real processes -------------------------------------------------------------------------------


@dataclass
class Process:
    """A `mainspring` process and the URL that it printed."""

    popen: subprocess.Popen[str]
    url: str = ""


@contextlib.contextmanager
def command(*arguments: str) -> Iterator[Process]:
    """`mainspring ARGUMENTS`, ended when the block is left. Waits for its address if it serves."""
    popen = subprocess.Popen(
        [sys.executable, "-m", "mainspring", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    process = Process(popen)
    try:
        if arguments[0] in ("server", "standalone"):
            process.url = _address(popen)
        drain = threading.Thread(target=_swallow, args=(popen,), daemon=True)
        drain.start()
        yield process
    finally:
        popen.terminate()
        popen.wait(30)


def _address(popen: subprocess.Popen[str]) -> str:
    assert popen.stderr is not None
    for line in popen.stderr:
        found = re.search(r"http://[\w.:\[\]]+", line)
        if found:
            return found[0]
    raise RuntimeError("the server ended before it listened")


def _swallow(popen: subprocess.Popen[str]) -> None:
    assert popen.stderr is not None
    for _ in popen.stderr:
        pass


def server() -> contextlib.AbstractContextManager[Process]:
    return command("server", "--listen", "127.0.0.1:0", "--db", FILE)


def http_worker(url: str, slots: int = SLOTS) -> contextlib.AbstractContextManager[Process]:
    return command(
        "worker", "--api-url", url, "-A", "benchmarks.mainspring_node:app", "--concurrency", str(slots)
    )


def fill_over_http(url: str, count: int, kind: str = "noop", batch: int = 100, connections: int = 4) -> float:
    """Submit `count` tasks in batches from several connections; tasks per second."""
    task = {"kind": kind, "payload": json.loads(PAYLOAD)}
    body = json.dumps({"tasks": [task] * batch}).encode()
    batches = [count // batch // connections] * connections

    def submit(times: int) -> None:
        with httpx.Client(base_url=url, headers={"content-type": "application/json"}) as client:
            for _ in range(times):
                client.post("/api/v1/tasks/batch", content=body, timeout=60).raise_for_status()

    threads = [threading.Thread(target=submit, args=(times,)) for times in batches]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(batches) * batch / (time.perf_counter() - started)


def finished_over_http(url: str, count: int) -> None:
    """Until `count` tasks have succeeded."""
    with httpx.Client(base_url=url) as client:
        while True:
            if client.get("/api/v1/cluster/stats").json()["tasks"]["succeeded"] >= count:
                return
            time.sleep(0.01)
