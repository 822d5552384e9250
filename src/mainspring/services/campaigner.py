"""Keeps this node in the race for leadership."""

from mainspring.core.model import SECOND_US
from mainspring.ports import Elector

INTERVAL_S = 2.0
AFTER_EXPIRY_S = 0.05


class Campaigner:
    """Campaigns every two seconds: three tries fit into the life of a term. Whoever does not lead comes as
    soon as the present term may have run out, so that a dead leader is replaced within a second of that."""

    name = "campaigner"

    def __init__(self, elector: Elector) -> None:
        self._elector = elector

    async def tick(self) -> float:
        term = await self._elector.campaign()
        if self._elector.leads():
            return INTERVAL_S
        return min(INTERVAL_S, term.expires_in_us / SECOND_US + AFTER_EXPIRY_S)
