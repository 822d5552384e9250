"""Lapsed leases and overrun runs are settled, by the rules of a reported failure.

The worker of a lapsed lease is dead, cut off, or too slow: its task is lost to it, and its later word is
refused by the token. The worker of an overrun run should have ended it itself; when it did not within the
grace, the server does.
"""

from mainspring.ports import Store
from mainspring.scheduler import Scheduler

BATCH = 500
INTERVAL_S = 0.9
OVERDUE_EVERY = 2
GRACE_US = 2_000_000


class Reaper:
    """Looks for lapsed leases about once a second, for overruns every other time."""

    name = "reaper"

    def __init__(self, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        self._ticks = 0

    async def tick(self) -> float:
        lapsed = await self._store.expired(BATCH)
        if lapsed:
            await self._scheduler.lost(lapsed)
        full = len(lapsed) >= BATCH
        if self._ticks % OVERDUE_EVERY == 0:
            full = await self._end_overdue() or full
        self._ticks += 1
        return 0.0 if full else INTERVAL_S

    async def _end_overdue(self) -> bool:
        overdue = await self._store.overdue(BATCH, GRACE_US)
        if overdue.leases:
            await self._scheduler.overran(overdue.leases)
        if overdue.expired:
            self._scheduler.ended(overdue.expired)
        return max(len(overdue.leases), len(overdue.expired)) >= BATCH
