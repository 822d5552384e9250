"""Who gets the slots: the real scheduler and worker over the memory store, hours of virtual time."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mainspring.app import Mainspring
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import AGEING_AFTER_US, AGEING_PERIOD
from mainspring.ports import Group
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.stores.memory import MemoryStore
from mainspring.testing.loop import Host, VirtualLoop
from mainspring.worker import InProcessEngine, Worker, WorkerSettings

SLOTS = 8
WINDOW_S = 120
SHORT_S, LONG_S = 1.0, 34.0
TENANTS = [f"tenant-{n}" for n in range(8)]


@dataclass
class Run:
    tenant: str
    started_s: float
    ended_s: float


@dataclass
class Shop:
    """One node and its worker; `runs` in the order in which they were started."""

    loop: VirtualLoop
    scheduler: Scheduler
    clock: Any
    runs: list[Run] = field(default_factory=list)
    working: list[asyncio.Future[None]] = field(default_factory=list)

    async def submit(self, tenant: str, durations_s: list[float], priority: int = 5) -> None:
        lane = Lane("default", "work", tenant, priority)
        for start in range(0, len(durations_s), 1000):
            tasks = [
                NewTask(
                    self.clock.new_id(), lane, b'{"tenant":"%s","seconds":%r}' % (tenant.encode(), seconds)
                )
                for seconds in durations_s[start : start + 1000]
            ]
            await self.scheduler.submit([Group(tasks)])

    async def started(self, tenant: str) -> Run:
        """The tenant's first run; the loop's clock jumps from event to event meanwhile."""
        while True:
            for run in self.runs:
                if run.tenant == tenant:
                    return run
            await asyncio.sleep(0.25)


def virtually(main: Callable[[Shop], Coroutine[Any, Any, None]]) -> Shop:
    """Run `main` with a shop whose worker starts when `main` first waits for time to pass."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_with_shop(loop, main))
    finally:
        loop.end()


async def _with_shop(loop: VirtualLoop, main: Callable[[Shop], Coroutine[Any, Any, None]]) -> Shop:
    clock = Host(loop, "node", 1).clock
    store = MemoryStore(clock)
    await store.open()
    scheduler = Scheduler(store, clock, SchedulerSettings())
    await scheduler.start()
    shop = Shop(loop, scheduler, clock)
    app = Mainspring()

    @app.task(name="work")
    async def work(tenant: str, seconds: float) -> None:
        run = Run(tenant, loop.time(), float("inf"))
        shop.runs.append(run)
        await asyncio.sleep(seconds)
        run.ended_s = loop.time()

    engine = InProcessEngine(app.registry, clock)
    worker = Worker(scheduler, engine, clock, WorkerSettings(worker="w", slots=SLOTS))
    loop.call_later(0.001, lambda: shop.working.append(asyncio.ensure_future(worker.run())))
    await main(shop)
    worker.halt()
    await asyncio.gather(*shop.working)
    await scheduler.close()
    return shop


def jain(shares: list[float]) -> float:
    """Jain, Chiu and Hawe's index: 1 when all get the same, 1/n when one gets everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def indices(runs: list[Run], from_s: float, to_s: float) -> Iterator[float]:
    """The index of every window of `WINDOW_S`, sliding by a second."""
    edges: dict[str, list[float]] = {tenant: [0.0] * (int(to_s) + 1) for tenant in TENANTS}
    for run in runs:
        for second in range(int(run.started_s), min(int(min(run.ended_s, to_s)) + 1, int(to_s))):
            used_s = min(run.ended_s, second + 1) - max(run.started_s, second)
            edges[run.tenant][second] += max(0.0, used_s)
    for start in range(int(from_s), int(to_s) - WINDOW_S):
        yield jain([sum(edges[tenant][start : start + WINDOW_S]) for tenant in TENANTS])


def mixed(tenant: int, dice: random.Random) -> list[float]:
    return [dice.choice((SHORT_S, LONG_S)) for _ in range(400)]


def mostly_short(tenant: int, dice: random.Random) -> list[float]:
    return [LONG_S if dice.random() < 1 / 35 else SHORT_S for _ in range(4000)]


def split(tenant: int, dice: random.Random) -> list[float]:
    """Half of the tenants have only short tasks, the others only long ones."""
    return [SHORT_S] * 3000 if tenant % 2 else [LONG_S] * 100


@pytest.mark.parametrize("durations", [mixed, mostly_short, split])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tenants_of_equal_weight_get_equal_worker_time(durations, seed):
    """S3-35. Tasks of 1 s and 34 s in one queue: what counts is the time they use, not their number."""

    async def main(shop: Shop) -> None:
        dice = random.Random(seed)
        for number, tenant in enumerate(TENANTS):
            await shop.submit(tenant, durations(number, dice))
        await asyncio.sleep(1200)

    worst = min(indices(virtually(main).runs, WINDOW_S, 1200))
    assert worst >= 0.95


def test_a_new_tenant_does_not_wait_behind_another_ones_backlog():
    """S3-35: one task behind 100,000 starts within twice the slots."""

    async def main(shop: Shop) -> None:
        await shop.submit("crowd", [1.0] * 100_000)
        await asyncio.sleep(60)
        before = len(shop.runs)
        await shop.submit("newcomer", [1.0])
        run = await shop.started("newcomer")
        assert shop.runs.index(run) - before < 2 * SLOTS

    virtually(main)


def test_a_low_priority_starts_within_its_bound_under_a_stream_of_high_ones():
    """S3-35: once its head has waited a minute, it gets one claim in 16."""

    async def main(shop: Shop) -> None:
        await shop.submit("high", [1.0] * 2_000, priority=10)
        await shop.submit("low", [1.0], priority=1)
        submitted_s = shop.loop.time()
        run = await shop.started("low")
        aged_s = submitted_s + AGEING_AFTER_US / 1e6
        claims = sum(1 for other in shop.runs if aged_s <= other.started_s <= run.started_s)
        assert run.started_s >= aged_s, "else the stream did not hold it up, and nothing is shown"
        assert claims <= AGEING_PERIOD + SLOTS
        assert len([other for other in shop.runs if other.tenant == "high"]) < 2_000

    virtually(main)
