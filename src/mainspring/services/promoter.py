"""Scheduled tasks that are due become ready."""

from mainspring.core.model import SECOND_US
from mainspring.ports import Store
from mainspring.scheduler import Scheduler

BATCH = 1_000
LONGEST_S = 1.0
SHORTEST_S = 0.005


class Promoter:
    """Sleeps until the next task is due, but at most a second: another node may submit a sooner one."""

    name = "promoter"

    def __init__(self, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler

    async def tick(self) -> float:
        moved = await self._store.promote(BATCH)
        self._scheduler.moved(moved)
        if moved.count >= BATCH:
            return 0.0
        if moved.next_due_us is None:
            return LONGEST_S
        return min(LONGEST_S, max(SHORTEST_S, moved.next_due_us / SECOND_US))
