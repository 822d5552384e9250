"""The workloads, over any adapter. Runs in the peer's environment: only the standard library is imported.

    python -m benchmarks.peers.workloads PEER URL kept|dropped SERVER WORKLOAD '{"param": 1}' DIRECTORY

prints what it measured as JSON on its last line. SERVER is the id of the store's process, 0 if it has none.
"""

import asyncio
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers import tally
from benchmarks.peers.adapter import CALLERS, Adapter
from benchmarks.peers.processes import cpu_s, resident_mb
from benchmarks.peers.tally import Tally
from benchmarks.peers.wire import Redis

BULK = 1000
START_LIMIT_S, STALL_LIMIT_S = 30.0, 15.0
MODULES = {"taskiq-stream": "taskiq"}
CLASSES = {"taskiq-stream": "StreamPeer"}


def adapter_of(peer: str, url: str, kept: bool) -> Adapter:
    module = importlib.import_module(f"benchmarks.peers.apps.{MODULES.get(peer, peer)}")
    adapter: Adapter = getattr(module, CLASSES.get(peer, "Peer"))(url, kept)
    return adapter


class Bench:
    """One peer over one store, and its worker processes."""

    def __init__(self, peer: str, url: str, kept: bool, server: int) -> None:
        self.adapter = adapter_of(peer, url, kept)
        self.server = server
        self.tally = Tally(os.environ[tally.FILE])
        self._words = [peer, url, "kept" if kept else "dropped"]
        self.workers: list[subprocess.Popen[bytes]] = []
        self._spawned = 0

    async def spawn(self, count: int, defaults: bool = False) -> None:
        """Start worker processes; they wait at the gate."""
        standing = self.tally.ready()
        for _ in range(count):
            words = [sys.executable, "-m", "benchmarks.peers.work", *self._words]
            self.workers.append(
                subprocess.Popen(  # noqa: ASYNC220 - nothing else is to run meanwhile
                    [*words, "defaults" if defaults else "tuned"],
                    env={**os.environ, tally.PLACE: str(self._spawned)},
                    start_new_session=True,  # to be killed with the children it may have
                )
            )
            self._spawned += 1
        await self.until(lambda: self.tally.ready() >= standing + count, START_LIMIT_S, "no worker is ready")

    async def until(self, holds: Callable[[], bool], limit_s: float, complaint: str) -> None:
        deadline = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{complaint} after {limit_s:g} s")
            if any(worker.poll() is not None for worker in self.workers):
                raise RuntimeError(f"{complaint}: a worker process has ended")
            await asyncio.sleep(0.001)

    async def recorded(self) -> None:
        """Until the peer's own record holds all that was submitted as done."""
        deadline = time.monotonic() + STALL_LIMIT_S
        while (left := await self.adapter.left()) > 0:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{left} tasks are not recorded as done {STALL_LIMIT_S:g} s after the last"
                )
            await asyncio.sleep(0.002)

    async def fill(self, count: int, limit_s: float, slow_s: float) -> tuple[int, float]:
        """How many are waiting now, and how long that took. Who would not store `count` within `limit_s`
        stops after `slow_s`."""
        done, took_s, started = 0, 0.0, time.perf_counter()
        while done < count and (took_s < slow_s or took_s * count < limit_s * done):
            await self.adapter.submit_bulk(min(BULK, count - done))
            done += min(BULK, count - done)
            took_s = time.perf_counter() - started
        return done, took_s

    async def drained(self, count: int, deadline: float) -> None:
        """Until `count` handlers have run, or the time is over."""
        while self.tally.count() < count and time.perf_counter() < deadline:
            await asyncio.sleep(0.002)

    def used_s(self) -> dict[str, float]:
        """Processor time of the workers, and of the server if there is one."""
        used_s = {"worker_cpu_us": sum(cpu_s(worker.pid) for worker in self.workers)}
        if self.server:
            used_s["server_cpu_us"] = cpu_s(self.server)
        return used_s

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def store_bytes(self) -> int:
        """What the store holds in memory, where that is Redis."""
        if not self.adapter.url.startswith("unix"):
            return 0
        return int(Redis(self.adapter.url).info("memory")["used_memory"])


async def submits(bench: Bench, seconds: float, bulk: int) -> dict[str, float]:
    """Tasks a second: one caller, a hundred that each wait for their answer, and in bulk."""
    await bench.adapter.submit("noop") if _native(bench) else bench.adapter.submit("noop")
    one = await _called(bench, 1, seconds)
    many = await _called(bench, CALLERS, seconds)
    count, took_s = await bench.fill(bulk, 2 * seconds, 2 * seconds)
    return {"sequential": one, "concurrent": many, "bulk": count / took_s}


def _native(bench: Bench) -> bool:
    return inspect.iscoroutinefunction(bench.adapter.submit)


async def _called(bench: Bench, callers: int, seconds: float) -> float:
    submit, ends = bench.adapter.submit, time.perf_counter() + seconds
    counts = [0] * callers

    async def call(caller: int) -> None:
        while time.perf_counter() < ends:
            await submit("noop")
            counts[caller] += 1

    def call_blocking(caller: int) -> None:
        while time.perf_counter() < ends:
            submit("noop")
            counts[caller] += 1

    started = time.perf_counter()
    if _native(bench):
        await asyncio.gather(*(call(caller) for caller in range(callers)))
    elif callers == 1:
        call_blocking(0)
    else:
        threads = [threading.Thread(target=call_blocking, args=(caller,)) for caller in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(counts) / (time.perf_counter() - started)


async def drain(
    bench: Bench, waiting: int, count: int, seconds: float, workers: int, fill: tuple[float, float]
) -> dict[str, float]:
    """Tasks a second from the first handler to the last of `count`, by the peer's record if all are drained;
    at most `seconds` are watched, and then counted by the handlers that have run."""
    before = bench.store_bytes()
    filled, took_s = await bench.fill(waiting, *fill)
    found = {"filled": float(filled), "fill_rate": filled / took_s}
    if before:
        found["bytes_per_task"] = (bench.store_bytes() - before) / filled
    await bench.adapter.rest()
    await bench.spawn(workers)
    bench.tally.open_gate()
    await bench.until(lambda: bench.tally.count() > 0, START_LIMIT_S, "no task was begun")
    started, first, used_s = time.perf_counter(), bench.tally.count(), bench.used_s()
    await bench.drained(min(count, filled), started + seconds)
    done = bench.tally.count()
    if done >= filled:
        await bench.recorded()
    took_s, drained = time.perf_counter() - started, done - first
    for name, cpu in bench.used_s().items():
        found[name] = (cpu - used_s[name]) / drained * 1e6
    loaded_mb = resident_mb(bench.workers[0].pid, "VmHWM")
    return found | {"rate": drained / took_s, "done": float(done), "loaded_mb": loaded_mb}


async def latency(bench: Bench, rate: float, count: int) -> dict[str, float]:
    """Seconds from before a submit to the start of its handler, with one idle worker, at a fixed rate."""
    await bench.spawn(1)
    bench.tally.open_gate()
    native = _native(bench)
    for number in range(1, 4):  # whatever is made at a first use is made before
        sent = time.time()
        await bench.adapter.submit("stamp", sent) if native else bench.adapter.submit("stamp", sent)
        await bench.until(lambda at=number: bench.tally.count() >= at, START_LIMIT_S, "no task was begun")
    await asyncio.sleep(0.5)
    rest_mb = resident_mb(bench.workers[0].pid, "VmRSS")
    calls: list[asyncio.Task[None]] = []
    due = time.perf_counter()
    for _ in range(count):
        if native:
            calls.append(asyncio.ensure_future(bench.adapter.submit("stamp", time.time())))
        else:
            bench.adapter.submit("stamp", time.time())
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await asyncio.gather(*calls)
    await bench.until(lambda: bench.tally.count() >= count + 3, STALL_LIMIT_S, "not all have begun")
    waits = bench.tally.stamps(count + 3)
    return {"p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)], "rest_mb": rest_mb}


async def recovery(bench: Bench, watch_s: float) -> dict[str, float]:
    """Two workers with default settings, one task: the worker that has begun it is SIGKILLed and started
    again, as a process manager would. Seconds until the task begins anew; none within `watch_s` is -1, and -2
    if the peer's record does not hold the task any more either: it is lost."""
    await bench.spawn(1, defaults=True)
    bench.tally.open_gate()
    await bench.adapter.submit("hold") if _native(bench) else bench.adapter.submit("hold")
    await bench.until(lambda: bench.tally.held()[0] > 0, START_LIMIT_S, "the task was not begun")
    await bench.spawn(1, defaults=True)
    await asyncio.sleep(1.0)
    bench.kill(bench.workers[0])
    killed = time.time()
    del bench.workers[0]
    await bench.spawn(1, defaults=True)
    deadline = time.monotonic() + watch_s
    while not bench.tally.held()[1] and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    again = bench.tally.held()[1]
    if again:
        return {"seconds": again - killed}
    return {"seconds": -1.0 if await bench.adapter.left() > 0 else -2.0}


WORKLOADS = {"submits": submits, "drain": drain, "latency": latency, "recovery": recovery}


async def _run(
    peer: str, url: str, results: str, server: int, workload: str, params: dict[str, Any]
) -> dict[str, Any]:
    bench = Bench(peer, url, results == "kept", server)
    bench.tally.clear()
    await bench.adapter.prepare()
    await bench.adapter.open()
    try:
        return await WORKLOADS[workload](bench, **params) | {"about": bench.adapter.about()}
    finally:
        for worker in bench.workers:
            bench.kill(worker)
        await bench.adapter.close()


def main() -> None:
    peer, url, results, server, workload, params, directory = sys.argv[1:]
    os.chdir(directory)
    os.environ[tally.FILE] = os.path.abspath("tally")
    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(_run(peer, url, results, int(server), workload, json.loads(params)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
