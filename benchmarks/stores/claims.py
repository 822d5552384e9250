"""A claim costs about the same in a short queue and in a long one."""

import asyncio
from collections.abc import Mapping, Sequence

from benchmarks import mainspring_node as ours
from benchmarks.flat import timed_claims
from benchmarks.peers.wire import Redis
from mainspring.core.model import Lane
from mainspring.scheduler import Scheduler

FLIGHTS, GROUP = 4, 1000


async def by_length(url: str, other: str, lengths: tuple[int, int], tenants: int) -> dict[str, float]:
    """Seconds for a claim of each size where so many wait, the two stores in turn: `short of 100`, `long of
    100`."""
    short, long = lengths
    async with (
        ours.scheduler(lease_s=3600, url=url) as one,
        ours.scheduler(lease_s=3600, url=other) as two,
    ):
        await fill(one, [_lane(place, tenants) for place in range(short)])
        await fill(two, [_lane(place, tenants) for place in range(long)])
        return named({"short": one, "long": two}, await timed_claims(one, two))


def named(stores: Mapping[str, object], found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        f"{name} {size}": took_s
        for name, times in zip(stores, found, strict=True)
        for size, took_s in times.items()
    }


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
