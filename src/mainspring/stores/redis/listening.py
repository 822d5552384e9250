"""Hints between nodes: one PUBLISH for all that a node has written in a while, and a number that rises with
each.

    write ─► hint ─► say: INCR + PUBLISH ──► SUBSCRIBE of other nodes ─► wake
                              └────────────► the number, asked for now and then ─► wake

Where nobody can subscribe, the number alone is looked at, and more often.
"""

import asyncio
import contextlib
from collections.abc import Coroutine

from mainspring.errors import StoreError
from mainspring.ports import Wakeups
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.failures import FAILURES

QUIET_S = 0.02
LOOK_SOON_S, LOOK_LATE_S = 0.05, 0.5
LOOK_WHILE_HEARING_S = 1.0
SUBSCRIBE_AGAIN_S = 1.0
NOT_REACHED = (*FAILURES, StoreError)


class Hints:
    """What a node tells others, and hears from them. Nothing here is promised: a hint may come late, twice,
    or not at all."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._listeners: list[Wakeups] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._name = b""
        self._said = 0
        self._is_saying = self._has_news = self._is_hearing = False

    def listen(self, wakeups: Wakeups) -> None:
        self._listeners.append(wakeups)
        if len(self._listeners) == 1:
            self._start(self._hear())
            self._start(self._look())

    def hint(self) -> None:
        """Something was written that other nodes may wait for."""
        self._has_news = True
        if not self._is_saying:
            self._is_saying = True
            self._start(self._say())

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._is_saying = self._has_news = self._is_hearing = False

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _wake(self) -> None:
        for listener in self._listeners:
            listener.anything()

    # --- telling --------------------------------------------------------------------------------

    async def _say(self) -> None:
        try:
            while self._has_news:
                self._has_news = False
                with contextlib.suppress(StoreError):
                    await self._db.do("HINCRBY", "meta", b"signals", 1)
                    self._said += 1
                    await self._db.publish(await self._own_name())
                await asyncio.sleep(QUIET_S)
        finally:
            self._is_saying = False

    async def _own_name(self) -> bytes:
        """What this node signs with, so that it does not wake itself."""
        if not self._name:
            self._name = b"%d" % await self._db.do("HINCRBY", "meta", b"names", 1)
        return self._name

    # --- hearing --------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Keep a connection that listens, for as long as the server gives one."""
        while True:
            with contextlib.suppress(*NOT_REACHED):
                name = await self._own_name()
                async for said in self._db.hear():
                    self._is_hearing = True
                    if said != name:
                        self._wake()
            self._is_hearing = False
            await asyncio.sleep(SUBSCRIBE_AGAIN_S)

    async def _look(self) -> None:
        """Ask for the number: seldom while hints are heard, else the more often the more it rises."""
        seen: int | None = None
        wait_s = LOOK_SOON_S
        while True:
            with contextlib.suppress(StoreError):
                number = int(await self._db.do("HGET", "meta", b"signals") or 0) - self._said
                if seen is not None and number != seen:
                    wait_s = LOOK_SOON_S
                    self._wake()
                seen = number
            wait_s = min(2 * wait_s, LOOK_LATE_S)
            await asyncio.sleep(LOOK_WHILE_HEARING_S if self._is_hearing else wait_s)
