"""Final parents release or doom the children that settling left over, one level a pass."""

from mainspring.ports import Store
from mainspring.scheduler import Scheduler

BATCH = 1_000
INTERVAL_S = 5.0


class Resolver:
    """Idempotent: an edge is closed once, whoever comes first."""

    name = "resolver"

    def __init__(self, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler

    async def tick(self) -> float:
        moved = await self._store.resolve(BATCH)
        self._scheduler.moved(moved)
        return 0.0 if moved.count else INTERVAL_S
