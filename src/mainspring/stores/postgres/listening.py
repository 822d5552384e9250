"""Hints between nodes by NOTIFY.

It is told in a transaction of its own: inside of the one that writes it would make all commits of the
database wait for each other. Behind a pooler that gives no session nobody hears it; then the number alone is
looked at.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import asyncpg

from mainspring import hints
from mainspring.core.order import LaneHead
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.stores.postgres.transaction import Replay

if TYPE_CHECKING:
    from mainspring.stores.postgres.connecting import Database

CHANNEL = "mainspring"


class Hints(hints.Hints):
    """Another way to tell and to hear overrides `_publish`, `_may_hear` and `_hear_once`."""

    not_reached = (*hints.Hints.not_reached, Replay, asyncpg.PostgresError, asyncpg.InterfaceError)

    def __init__(self, db: "Database") -> None:
        super().__init__()
        self._db = db

    async def _publish(self, message: str) -> None:
        await self._db.ask(STATEMENTS["say"], message)

    async def _number(self) -> int:
        return int(str(await self._db.ask(STATEMENTS["signals"])))

    async def _new_name(self) -> str:
        return str(await self._db.ask(STATEMENTS["new_name"]))

    def _heads_of(self, places: Mapping[int, int]) -> list[LaneHead] | None:
        return self._db.heads_of(places)

    def _may_hear(self) -> bool:
        """A pooler would give the connection to others, who would hear what they did not ask for."""
        return not self._db.is_pooled

    async def _hear_once(self) -> None:
        connection = await self._db.connect()
        try:
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANNEL, lambda _, __, ___, message: self._heard(str(message)))
            self._begins_to_hear()
            await ended.wait()
        finally:
            connection.terminate()

    def _wake(self) -> None:
        self._db.doubt_lines()
        super()._wake()
