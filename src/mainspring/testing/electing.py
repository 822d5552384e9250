"""Who leads in a simulation: the real elector, writing down what it believes; or everybody at once."""

from mainspring.election.store import StoreElector
from mainspring.ports import Store, Term
from mainspring.testing.loop import HostClock
from mainspring.testing.record import Led, Record


class WatchedElector(StoreElector):
    """Notes each time its node is told that it leads."""

    def __init__(self, store: Store, clock: HostClock, node: str, record: Record) -> None:
        super().__init__(store, clock, node)
        self._record = record

    def leads(self) -> bool:
        leads = super().leads()
        if leads and self.term is not None:
            self._record.add(Led(self._clock.monotonic(), self._node, self.term.number))
        return leads


class Everybody:
    """Election taken away: each node believes that it leads, at all times, and has no term to show for it."""

    term: Term | None = None

    def __init__(self, node: str) -> None:
        self._node = node

    async def campaign(self) -> Term:
        return Term(self._node, 0, 0)

    def leads(self) -> bool:
        return True

    async def resign(self) -> None:
        """There is nothing to hand over."""
