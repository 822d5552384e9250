"""Drain: no-op tasks that wait are claimed, run and recorded as completed."""

import random
import time

from benchmarks import mainspring_node as ours
from benchmarks.harness import Bar, Figure, Probe, Row

COUNT = 20_000


async def in_process(count: int = COUNT, variant: str = "plain") -> float:
    """Tasks per second through scheduler and worker in one process."""
    kind = "noop_sync" if variant == "threads" else "noop"
    priorities, tenants = random.Random(1), 1000 if variant == "lanes" else 1
    lanes = [
        ours.lane(
            kind, f"tenant-{place % tenants}", priorities.randint(1, 10) if variant == "priorities" else 5
        )
        for place in range(count)
    ]
    async with ours.scheduler() as running:
        await ours.fill(running, lanes)
        started = time.perf_counter()
        async with ours.worker(running):
            await ours.finished(running, count)
            return count / (time.perf_counter() - started)


def over_http(count: int = COUNT) -> float:
    """Tasks per second through a server process and a worker process: supervisor and runner, over HTTP."""
    with ours.server() as server:
        ours.fill_over_http(server.url, count)
        with ours.http_worker(server.url):
            ours.finished_over_http(server.url, 200)  # the worker is up: its start is no part of the drain
            started = time.perf_counter()
            ours.finished_over_http(server.url, count)
            return (count - 200) / (time.perf_counter() - started)


FIGURES = [
    Figure(
        "drain",
        {
            "raw loop": Probe("raw_sqlite:claim_complete", {"count": COUNT}),
            "huey": Probe("huey_sqlite:drain", {"count": 5000}),
            "in process": Probe("drain:in_process"),
            "over HTTP": Probe("drain:over_http"),
            "random priorities": Probe("drain:in_process", {"variant": "priorities"}),
            "sync handlers": Probe("drain:in_process", {"variant": "threads"}),
            "1,000 lanes": Probe("drain:in_process", {"variant": "lanes"}),
        },
        [
            Row("in process", "in process", "tasks/s", "raw loop", Bar(at_least=0.45)),
            Row("in process", "in process", "tasks/s", "huey", Bar(at_least=5)),
            Row("supervisor and runner over HTTP", "over HTTP", "tasks/s", "raw loop", Bar(at_least=0.15)),
            Row("supervisor and runner over HTTP", "over HTTP", "tasks/s", "huey", Bar(at_least=2)),
            Row("random priorities 1-10", "random priorities", "tasks/s", "in process", Bar(at_least=0.5)),
            Row("sync handlers on threads", "sync handlers", "tasks/s", "in process", Bar(at_least=0.5)),
            Row("1,000 lanes", "1,000 lanes", "tasks/s", "in process", Bar(at_least=0.5)),
        ],
    )
]
