"""Leader election over the store's term row."""

from mainspring.core.model import SECOND_US
from mainspring.ports import Clock, Store, Term

TTL_S = 6.0


class StoreElector:
    """Campaigns in the name of one node.

    `leads()` is judged on the node's monotonic clock from the start of the last successful attempt: a
    slow renewal shortens the time it trusts itself, never lengthens it.
    """

    def __init__(self, store: Store, clock: Clock, node: str) -> None:
        self._store = store
        self._clock = clock
        self._node = node
        self._trusted_until_s = 0.0
        self.term: Term | None = None

    async def campaign(self) -> Term:
        """Become or stay leader, if nobody else is. Raises `StoreError`."""
        started_s = self._clock.monotonic()
        term = await self._store.take_term(self._node, int(TTL_S * SECOND_US))
        self.term = term
        self._trusted_until_s = started_s + TTL_S if term.holder == self._node else 0.0
        return term

    def leads(self) -> bool:
        return self._clock.monotonic() < self._trusted_until_s

    async def resign(self) -> None:
        """Let another node lead at once."""
        if self.term is not None and self.leads():
            self._trusted_until_s = 0.0
            await self._store.resign(self._node, self.term.number)
