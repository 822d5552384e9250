"""A node at rest: store calls a second and CPU; and the memory of server and worker under a long queue."""

import asyncio
import resource
import time

from benchmarks import mainspring_node as ours
from benchmarks.harness import Bar, Figure, Probe, Row
from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.node import Node
from mainspring.ports import Store
from mainspring.worker import InProcessEngine

_LIFE = {"open", "close", "listen"}


async def at_rest(seconds: float, url: str = "") -> dict[str, float]:
    """A standalone node with an idle worker: what it asks its store, and what it burns."""
    settings = Settings(db=ours.FILE, store=url, listen="127.0.0.1:0")
    node = Node(settings, engine=InProcessEngine(ours.app.registry, SystemClock()))
    calls = 0

    def counted(verb):  # type: ignore[no-untyped-def]
        async def call(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            return await verb(*arguments)

        return call

    for name in Store.__abstractmethods__ - _LIFE:
        setattr(node.store, name, counted(getattr(node.store, name)))
    async with node:
        await asyncio.sleep(3)
        calls, before = 0, resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        took_s = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"calls": calls / took_s, "cpu": used_s / took_s}


def memory(count: int) -> dict[str, float]:
    """Resident megabytes of a server, and of an idle worker, before and with `count` tasks waiting."""
    with ours.server() as server, ours.command("worker", "--api-url", server.url) as worker:
        ours.fill_over_http(server.url, 1000, "nobody_runs_this")
        before = resident_mb(server.popen.pid), resident_mb(worker.popen.pid)
        ours.fill_over_http(server.url, count, "nobody_runs_this", batch=1000)
        time.sleep(2)
        after = resident_mb(server.popen.pid), resident_mb(worker.popen.pid)
    scale = 1_000_000 / count
    return {
        "server": before[0],
        "worker": before[1],
        "server_per_million": (after[0] - before[0]) * scale,
        "worker_per_million": (after[1] - before[1]) * scale,
    }


def resident_mb(pid: int) -> float:
    """The process' memory in MB, as the system counts it."""
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


FIGURES = [
    Figure(
        "rest",
        {"at rest": Probe("rest:at_rest", {"seconds": 20}), "five": Probe("rest:five")},
        [
            Row("store calls a second", "at rest", "", "five", Bar(at_most=1), "calls"),
            Row("CPU, share of a core", "at rest", "", key="cpu"),
        ],
        rounds=1,
    ),
    Figure(
        "memory",
        {"memory": Probe("rest:memory", {"count": 1_000_000})},
        [
            Row("server, idle", "memory", "MB", key="server"),
            Row("worker (supervisor), idle", "memory", "MB", key="worker"),
            Row("server, per million waiting", "memory", "MB", key="server_per_million"),
            Row("worker, per million waiting", "memory", "MB", key="worker_per_million"),
        ],
        rounds=1,
    ),
]


def five() -> float:
    """The promise: at rest, fewer than five store calls a second."""
    return 5.0
