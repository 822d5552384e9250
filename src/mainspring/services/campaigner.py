"""Keeps this node in the race for leadership."""

from mainspring.ports import Elector

INTERVAL_S = 2.0


class Campaigner:
    """Campaigns every two seconds: three tries fit into the life of a term."""

    name = "campaigner"

    def __init__(self, elector: Elector) -> None:
        self._elector = elector

    async def tick(self) -> float:
        await self._elector.campaign()
        return INTERVAL_S
