"""Tells when nobody leads a store at which this node works without standing for leadership itself.

Else workers alone would run whatever is submitted, and nobody would know why no schedule fires.
"""

import logging

from mainspring.ports import Store

# Longer than a term lasts: who leads next has taken it between two looks.
INTERVAL_S = 10.0

_log = logging.getLogger(__name__)


class Lookout:
    """Warns at the second look in a row that finds no term, and then only of what is new."""

    name = "lookout"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looks = 0
        self._told = ""

    async def tick(self) -> float:
        if await self._store.term() is None:
            self._looks += 1
            if self._looks > 1:
                await self._warn()
        else:
            if self._told:
                _log.info("this store has a leader again")
            self._looks, self._told = 0, ""
        return INTERVAL_S

    async def _warn(self) -> None:
        undone = await what_nobody_does(self._store)
        if undone != self._told:
            _log.warning("%s; workers do not stand for leadership", undone)
            self._told = undone


async def what_nobody_does(store: Store) -> str:
    """What a store without a leader goes without, and who would do it. Raises `StoreError`."""
    page = await store.find_schedules(1, None)
    fires = "schedules do not fire, " if page.schedules else ""
    return (
        f"nobody leads this store: {fires}finished tasks are not forgotten and no audits are made,"
        " until there is a `mainspring server` on it"
    )
