"""Scheduled tasks that are due become ready; so does what users submit in transactions of their own."""

from mainspring.core.model import SECOND_US
from mainspring.ports import Store
from mainspring.scheduler import Scheduler

BATCH = 1_000
LONGEST_S = 1.0
SHORTEST_S = 0.005
# Whoever submits in transactions is likely to do so again, and nothing tells of it: looks are this close
# then, and each that finds nothing doubles the time to the next.
SUBMISSIONS_S = 0.05


class Promoter:
    """Sleeps until the next task is due, but at most a second: another node may submit a sooner one."""

    name = "promoter"

    def __init__(self, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        self._rest_s = LONGEST_S

    async def tick(self) -> float:
        moved = await self._store.promote(BATCH)
        self._scheduler.moved(moved)
        taken = await self._scheduler.intake.take_in(BATCH) if moved.submissions else 0
        if moved.count >= BATCH or taken >= BATCH:
            return 0.0
        self._rest_s = SUBMISSIONS_S if moved.submissions else min(LONGEST_S, 2 * self._rest_s)
        if moved.next_due_us is None:
            return self._rest_s
        return min(self._rest_s, max(SHORTEST_S, moved.next_due_us / SECOND_US))
