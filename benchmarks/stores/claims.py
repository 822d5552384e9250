"""A claim costs about the same in a short queue and in a long one."""

import asyncio

from benchmarks import mainspring_node as ours
from benchmarks.flat import timed_claims
from benchmarks.peers.wire import Redis
from mainspring.core.model import Lane
from mainspring.scheduler import Scheduler

FLIGHTS, GROUP = 4, 1000


async def by_length(url: str, lengths: list[int], tenants: int) -> dict[str, float]:
    """Seconds for a claim of each size at each length, as `10000 of 100`; on Redis bytes per waiting task."""
    found: dict[str, float] = {}
    before, filled = used_bytes(url), 0
    async with ours.scheduler(lease_s=3600, url=url) as running:
        for length in lengths:
            await fill(running, [_lane(place, tenants) for place in range(filled, length)])
            if before:
                found[f"{length} bytes"] = (used_bytes(url) - before) / length
            filled = length
            times = await timed_claims(running, f"bench-{length}")
            found |= {f"{length} {size}": took_s for size, took_s in times.items()}
    return found


async def redis_memory(url: str, tasks: int) -> dict[str, float]:
    """Bytes per task that waits, and per task that has been finished."""
    async with ours.scheduler(lease_s=3600, url=url) as running:
        before = used_bytes(url)
        await fill(running, [ours.lane()] * tasks)
        waiting = used_bytes(url)
        async with ours.worker(running):
            await ours.finished(running, tasks)
        finished = used_bytes(url)
    return {"waiting": (waiting - before) / tasks, "finished": (finished - before) / tasks}


def _lane(place: int, tenants: int) -> Lane:
    return ours.lane(tenant=f"tenant-{place % tenants}")


async def fill(running: Scheduler, lanes: list[Lane]) -> None:
    """One task per element, some groups at a time."""
    groups = [lanes[start : start + GROUP] for start in range(0, len(lanes), GROUP)]
    groups.reverse()

    async def send() -> None:
        while groups:
            await ours.fill(running, groups.pop())

    async with asyncio.TaskGroup() as sending:
        for _ in range(FLIGHTS):
            sending.create_task(send())


def used_bytes(url: str) -> int:
    """What Redis holds in memory; 0 for another store."""
    return int(Redis(url).info("memory")["used_memory"]) if url.startswith("unix") else 0
