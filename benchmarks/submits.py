"""Durable submits: many callers in process, one at a time over HTTP, and in batches over HTTP."""

import asyncio
import json
import subprocess
import sys
import time

from benchmarks import mainspring_node as ours
from benchmarks.harness import Bar, Figure, Probe, Row
from benchmarks.wrk import requests_per_s
from mainspring.ports import Group

BODY = json.dumps({"kind": "noop", "payload": json.loads(ours.PAYLOAD)})


async def concurrent_callers(count: int, callers: int) -> float:
    """Tasks per second from callers that each wait for their submit before the next."""
    async with ours.scheduler() as running:
        where = ours.lane()

        async def call() -> None:
            for _ in range(count // callers):
                await running.submit([Group([ours.new_task(running, where)])])

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return count / (time.perf_counter() - started)


def one_at_a_time_over_http(connections: int) -> dict[str, float]:
    with ours.server() as server:
        return requests_per_s(f"{server.url}/api/v1/tasks", BODY, connections)


def constant_over_http(connections: int) -> dict[str, float]:
    """A bare ASGI constant on the same server program: what one answer costs at the least."""
    arguments = ["uvicorn", "benchmarks.constant:app", "--port", "0", "--no-access-log"]
    popen = subprocess.Popen([sys.executable, "-m", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert popen.stderr is not None
        line = next(line for line in popen.stderr if "http://" in line)
        url = line[line.index("http://") :].split()[0]
        return requests_per_s(f"{url}/", BODY, connections)
    finally:
        popen.terminate()
        popen.wait(10)


def batches_over_http(count: int, batch: int) -> float:
    with ours.server() as server:
        return ours.fill_over_http(server.url, count, batch=batch)


FIGURES = [
    Figure(
        "submits",
        {
            "raw loop": Probe("raw_sqlite:submit", {"count": 20_000}),
            "huey": Probe("huey_sqlite:enqueue", {"count": 5000}),
            "100 callers": Probe("submits:concurrent_callers", {"count": 20_000, "callers": 100}),
            "batches of 100 over HTTP": Probe("submits:batches_over_http", {"count": 20_000, "batch": 100}),
            "ASGI constant": Probe("submits:constant_over_http", {"connections": 32}),
            "one at a time over HTTP": Probe("submits:one_at_a_time_over_http", {"connections": 32}),
        },
        [
            Row("100 concurrent callers in process", "100 callers", "tasks/s", "huey", Bar(at_least=5)),
            Row("100 concurrent callers in process", "100 callers", "tasks/s", "raw loop"),
            Row("batches of 100 over HTTP", "batches of 100 over HTTP", "tasks/s", "huey", Bar(at_least=4)),
            Row(
                "one at a time over HTTP, 32 connections",
                "one at a time over HTTP",
                "tasks/s",
                "ASGI constant",
                Bar(at_least=0.28),
            ),
            Row("  the generator's share of a core", "one at a time over HTTP", "", key="generator"),
            Row("  the same, for the constant", "ASGI constant", "", key="generator"),
            Row("  answers that were not 2xx", "one at a time over HTTP", "", key="refused"),
        ],
    )
]
