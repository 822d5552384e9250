"""A node's doors in process: the real app over the real Scheduler, and over each store that there is."""

import functools
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from mainspring.api import ApiOptions, create_app
from mainspring.clock import SystemClock
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.stores import open_store
from mainspring.telemetry import Metrics

BASE = "http://127.0.0.1:8080"


class Node:
    """A scheduler with its doors, and a client that knocks."""

    def __init__(self, scheduler: Scheduler, app: object, client: httpx.AsyncClient) -> None:
        self.scheduler = scheduler
        self.app = app
        self.http = client
        self._claims = itertools.count(1)

    async def submit(self, **fields: object) -> dict:
        answer = await self.http.post("/api/v1/tasks", json=fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def claim(self, *kinds: str, slots: int = 1, worker: str = "w1") -> list[dict]:
        body = {"worker": worker, "incarnation": f"{worker}-i", "claim_seq": next(self._claims)}
        body |= {"kinds": kinds or ["echo"], "slots": slots}
        answer = await self.http.post("/api/v1/leases/claim", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["leases"]

    async def settle(self, lease: dict, outcome: str, **fields: object) -> str:
        report = {"task": lease["task"], "token": lease["token"], "outcome": outcome, **fields}
        answer = await self.http.post("/api/v1/leases/settle", json={"reports": [report]})
        assert answer.status_code == 200, answer.text
        return answer.json()["answers"][0]

    async def dead_letter(self, **fields: object) -> dict:
        """A task that failed for good."""
        task = await self.submit(max_retries=0, **fields)
        (lease,) = await self.claim(task["kind"])
        assert await self.settle(lease, "failed", error={"type": "ValueError", "message": "no"}) == "ok"
        return task


@asynccontextmanager
async def running_node(url: str, **options: object) -> AsyncIterator[Node]:
    clock = SystemClock()
    store = open_store(url, clock)
    await store.open()
    metrics = Metrics()
    scheduler = Scheduler(store, clock, SchedulerSettings(), sink=metrics)
    await scheduler.start()
    app = create_app(scheduler, clock, ApiOptions(**options), metrics)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
            yield Node(scheduler, app, client)
    finally:
        await scheduler.close()
        await store.close()


@pytest.fixture(params=["memory", "sqlite"])
def node(request, tmp_path):
    """`async with node() as n`: a running node; options of `ApiOptions` may be given."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/scheduler.db"
    return functools.partial(running_node, url)
