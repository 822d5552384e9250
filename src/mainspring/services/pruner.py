"""Final tasks past their retention are forgotten, in small steps and without an index of their own.

Ids sort by creation time, so a rolling sweep from the oldest id on meets what is due first; it reads a
bounded number of rows a pass, and starts again from the oldest when it has met the newest.
"""

from mainspring.ports import Elector, Retention, Store

BATCH = 1_000
INTERVAL_S = 60.0


class Pruner:
    """The leader's work, so that several nodes do not sweep side by side; two at once do no harm."""

    name = "pruner"

    def __init__(self, store: Store, elector: Elector, retention: Retention) -> None:
        self._store = store
        self._elector = elector
        self._retention = retention
        self._cursor: str | None = None

    async def tick(self) -> float:
        if not self._elector.leads():
            return INTERVAL_S
        pruned = await self._store.prune(BATCH, self._retention, self._cursor)
        self._cursor = pruned.cursor
        if self._cursor is None:
            return INTERVAL_S
        # A short breath between the steps of a long sweep, so that it never holds up the hot path.
        return 0.05
