"""Hints between nodes by publish and subscribe of Redis, in place of NOTIFY, which needs a session.

The number that rises with each hint is kept in PostgreSQL all the same, and looked at now and then: so a node
that Redis does not reach is heard, and hears, a little later.
"""

import asyncio
from typing import TYPE_CHECKING

from mainspring.stores.postgres.listening import Hints
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.stores.redis.failures import FAILURES
from mainspring.stores.tandem.link import Link

if TYPE_CHECKING:
    from mainspring.stores.postgres.connecting import Database


class Wakeups(Hints):
    not_reached = (*Hints.not_reached, *FAILURES)

    def __init__(self, db: "Database", link: Link) -> None:
        super().__init__(db)
        self._link = link
        self._channel = f"{link.namespace}:wake"

    async def _publish(self, message: str) -> None:
        await self._link.ask(lambda client: client.execute_command("PUBLISH", self._channel, message))
        await self._db.ask(STATEMENTS["count_signal"])

    def _may_hear(self) -> bool:
        return True

    def _hear_again_s(self) -> float:
        return self._link.pause_s(super()._hear_again_s())

    async def _hear_once(self) -> None:
        async with self._link.listener() as client, client.pubsub(ignore_subscribe_messages=True) as channel:
            async with asyncio.timeout(self._link.connect_s):
                await channel.subscribe(self._channel)
            self._begins_to_hear()
            while True:
                message = await channel.get_message(timeout=None)
                if message is not None:
                    self._heard(message["data"].decode(errors="replace"))
