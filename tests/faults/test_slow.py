"""Every call of the store takes half a second or more: work goes on, more at a time."""

import asyncio
import re

import httpx
import pytest

from mainspring.core.lifecycle import Cause
from mainspring.ports import Group
from tests.faults.history import look_up
from tests.faults.load import Diary, working
from tests.faults.proxy import Proxy

CALL_S = 0.5
CLIENTS = 60
# A third of it is what a heartbeat may take.
LEASE_S = 15.0
FINISHED = 300


@pytest.mark.limit(600)
async def test_every_call_takes_half_a_second(kind, server, measured):
    """The quickest does, and one that needs more round trips takes longer: no lease is lost though runs are
    longer than a lease, no call fails, commits grow instead of a queue, and the API answers."""
    diary = Diary()
    async with (
        Proxy(kind.socket(server)) as proxy,
        working(kind.url(proxy.port), diary, lease_s=LEASE_S, slots=200) as house,
        http_of(house) as client,
    ):
        async with house.under_load(CLIENTS):
            await diary.wait_for(FINISHED)
            fast = await rows_per_commit(client)
            proxy.delay_s = CALL_S / kind.fewest_round_trips
            long = [house.clients.task(LEASE_S * 1.1) for _ in range(5)]
            await house.clients.submit(Group(long))
            before = await totals(client)
            await diary.wait_for(FINISHED)
            await diary.wait_for_tasks({task.id for task in long})
            # Not `/health`: it asks the store, and gives it less time than a call may take here.
            paths = ("/livez", "/api/v1/cluster/stats", "/api/v1/tasks?page_size=5")
            answers = await asyncio.gather(*map(client.get, paths))
            slow = await rows_per_commit(client, before)
        assert [answer.status_code for answer in answers] == [200] * len(paths)
        proxy.delay_s = 0.0
        await house.settled()
        clients = house.clients
    store = kind.store(kind.direct_url(server))
    await store.open()
    found = await look_up(store, clients.offered, clients.told, diary.words)
    causes = {step.cause for task in long for step in await store.history(task.id)}
    await store.close()
    measured(tasks=found.tasks, rows_a_commit=fast, rows_when_slow=slow)
    assert (found.violations, found.lost) == ([], set())
    assert clients.errors.total() == 0
    assert causes == {Cause.SUBMIT, Cause.CLAIM, Cause.SUCCEED}
    # However fast the machine: each commit carries what most clients want, so nobody waits for a second one.
    assert slow > CLIENTS


def http_of(house) -> httpx.AsyncClient:
    host, port = house.nodes[0].address
    return httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60.0)


async def totals(client: httpx.AsyncClient) -> tuple[float, float]:
    """Rows that were committed, and commits, so far."""
    text = (await client.get("/metrics")).text
    rows, commits = (
        float(re.search(rf"^mainspring_commit_rows_{what} (\S+)$", text, re.M)[1])
        for what in ("sum", "count")
    )
    return rows, commits


async def rows_per_commit(client: httpx.AsyncClient, before: tuple[float, float] = (0.0, 0.0)) -> float:
    rows, commits = await totals(client)
    return (rows - before[0]) / (commits - before[1])
