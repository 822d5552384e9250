"""Submit to start: how long a task waits for an idle worker, at 200 tasks a second."""

import asyncio
import contextlib
import os
import time

from benchmarks import mainspring_node as ours
from benchmarks.harness import Bar, Figure, Probe, Row
from mainspring.core.model import NewTask
from mainspring.ports import Group
from mainspring.sdk.connections import Connections

app = ours.app
RATE, COUNT = 200, 1000
STAMPS = "MAINSPRING_BENCHMARK_STAMPS"


@ours.app.task(name="stamp")
async def stamp(sent: float) -> None:
    """Writes how long ago it was submitted; both clocks are this machine's."""
    waited = time.time() - sent
    _write(waited)


def _write(waited: float) -> None:
    with open(os.environ[STAMPS], "a") as file:
        file.write(f"{waited}\n")


def _stamps() -> str:
    """A file for the waits, in the probe's directory; worker processes inherit its name."""
    os.environ[STAMPS] = path = os.path.abspath("stamps")
    return path


def _percentiles(path: str) -> dict[str, float]:
    with open(path) as file:
        waits = sorted(float(line) for line in file)
    return {"p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)]}


async def _paced(submit, count: int, rate: float) -> None:  # type: ignore[no-untyped-def]
    """Start a submit every 1/rate seconds, whether or not the last has been answered."""
    loop = asyncio.get_running_loop()
    due, calls = loop.time(), []
    for _ in range(count):
        calls.append(loop.create_task(submit()))
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
    await asyncio.gather(*calls)


async def in_process(rate: float, count: int) -> dict[str, float]:
    path = _stamps()
    async with ours.scheduler() as running, ours.worker(running, slots=10):

        async def submit() -> None:
            payload = b'{"kwargs":{"sent":%r}}' % time.time()
            task = NewTask(running.clock.new_id(), ours.lane("stamp"), payload)
            await running.submit([Group([task])])

        await submit()  # the lane is known and the worker waits
        await ours.finished(running, 1)
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        await _paced(submit, count, rate)
        await ours.finished(running, count + 1)
    return _percentiles(path)


async def over_http(rate: float, count: int) -> dict[str, float]:
    """Through a server process and a worker process (supervisor and runner)."""
    path = _stamps()
    with (
        ours.server() as server,
        ours.command("worker", "--api-url", server.url, "-A", "benchmarks.latency:app"),
    ):
        # Not httpx, whose 800 us of Python before the request leaves would be measured as the server's.
        client = Connections(server.url, {})

        async def submit() -> None:
            body = b'{"kind":"stamp","payload":{"kwargs":{"sent":%r}}}' % time.time()
            reply = await client.call("POST", "/api/v1/tasks", body, timeout_s=10.0)
            assert reply.status == 201, reply.body

        try:
            await submit()
            await asyncio.to_thread(ours.finished_over_http, server.url, 1)
            os.remove(path)
            await _paced(submit, count, rate)
            await asyncio.to_thread(ours.finished_over_http, server.url, count + 1)
        finally:
            await client.close()
    return _percentiles(path)


FIGURES = [
    Figure(
        "latency",
        {
            "raw commit": Probe("raw_sqlite:commit_latency", {"count": COUNT}),
            "huey": Probe("huey_sqlite:latency", {"rate": RATE, "count": COUNT}),
            "in process": Probe("latency:in_process", {"rate": RATE, "count": COUNT}),
            "over HTTP": Probe("latency:over_http", {"rate": RATE, "count": COUNT}),
        },
        [
            Row("in process p50", "in process", "s", "raw commit", Bar(at_most=4), "p50", "p50"),
            Row("in process p99", "in process", "s", "raw commit", Bar(at_most=10), "p99", "p99"),
            Row("over HTTP, worker process p50", "over HTTP", "s", "huey", Bar(at_most=1), "p50", "p50"),
            Row("over HTTP, worker process p99", "over HTTP", "s", "huey", Bar(at_most=1), "p99", "p99"),
        ],
    )
]
