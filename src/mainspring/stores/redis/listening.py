"""Hints between nodes by publish and subscribe."""

from collections.abc import Mapping

from mainspring import hints
from mainspring.core.order import LaneHead
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.failures import FAILURES


class Hints(hints.Hints):
    not_reached = (*hints.Hints.not_reached, *FAILURES)

    def __init__(self, db: Database) -> None:
        super().__init__()
        self._db = db
        db.told = self.told

    async def _publish(self, message: str) -> None:
        await self._db.run("say", message.encode(), self._db.channel)

    async def _number(self) -> int:
        return int(await self._db.do("HGET", "meta", b"signals") or 0)

    async def _new_name(self) -> str:
        return self._db.name.decode()

    def _heads_of(self, places: Mapping[int, int]) -> list[LaneHead] | None:
        return self._db.heads_of(places)

    async def _hear_once(self) -> None:
        await self._db.hear(self._hear_one)

    def _hear_one(self, message: bytes) -> None:
        if message:
            self._heard(message.decode(errors="replace"))
        else:
            self._begins_to_hear()
