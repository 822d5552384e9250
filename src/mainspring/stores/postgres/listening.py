"""Hints between nodes: a NOTIFY for what a node has written, and a number that rises with each.

    write ─► tell ─► say: nextval + NOTIFY ──► LISTEN of other nodes ─► wake-ups
                              └──────────────► the number, asked for now and then ─► wake-ups

NOTIFY is told in a transaction of its own: inside of the one that writes it would make all commits of the
database wait for each other. It names the lanes that have ready tasks, so that others can claim at once; that
tasks have ended is told a little later, with all that ends meanwhile. Behind a pooler that gives no session
nobody hears it; then the number alone is looked at, and more often.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING

import asyncpg

from mainspring.core.order import LaneHead
from mainspring.errors import StoreError
from mainspring.ports import Wakeups
from mainspring.stores.postgres.news import News
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.stores.postgres.transaction import Replay

if TYPE_CHECKING:
    from mainspring.stores.postgres.connecting import Database

CHANNEL = "mainspring"
QUIET_S = 0.02
LOOK_SOON_S, LOOK_LATE_S = 0.05, 0.5
LOOK_WHILE_HEARING_S = 1.0
CONNECT_AGAIN_S = 1.0
NOT_REACHED = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreError)


class Hints:
    """What a node tells others, and hears from them. Nothing here is promised: a hint may come late, twice,
    or not at all. Another way for them overrides `_tell` and `_hear_once`."""

    not_reached: tuple[type[Exception], ...] = NOT_REACHED

    def __init__(self, db: "Database") -> None:
        self._db = db
        self._listeners: list[Wakeups] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._name = ""
        self._known = 0
        self._news = News()
        self._urgent = asyncio.Event()
        self._is_saying = self._is_hearing = False

    def listen(self, wakeups: Wakeups) -> None:
        self._listeners.append(wakeups)
        if len(self._listeners) == 1:
            self._start(self._hear())
            self._start(self._look())

    def tell(self, heads: Sequence[LaneHead] | None, *, has_ended: bool) -> None:
        """Lanes have ready tasks (`None`: nobody asked which), or tasks have ended."""
        self._news.add(heads, has_ended=has_ended)
        if self._news.is_urgent:
            self._urgent.set()
        if self._news and not self._is_saying:
            self._is_saying = True
            self._start(self._say())

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._is_saying = False

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _wake(self) -> None:
        """Something was told, nobody knows what."""
        for listener in self._listeners:
            listener.anything()

    def _heard(self, sender_and_news: str) -> None:
        self._known += 1
        sender, _, text = sender_and_news.partition(" ")
        if sender == self._name:
            return
        news = News.read(text)
        heads = self._db.heads_of(news.places)
        if heads is None or news.is_vague:
            self._db.forget_lines()
            self._wake()
            return
        for listener in self._listeners:
            if heads:
                listener.gained(heads)
            if news.has_ended:
                listener.ended()

    # --- telling --------------------------------------------------------------------------------

    async def _say(self) -> None:
        try:
            while self._news:
                if not self._urgent.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(QUIET_S):
                            await self._urgent.wait()
                news, self._news = self._news, News()
                self._urgent.clear()
                with contextlib.suppress(StoreError, Replay):
                    await self._tell(f"{await self._own_name()} {news.text()}")
                    if not self._is_hearing:
                        self._known += 1  # else it hears itself
        finally:
            self._is_saying = False

    async def _tell(self, message: str) -> None:
        """Must let the number rise by one."""
        await self._db.ask(STATEMENTS["say"], message)

    async def _own_name(self) -> str:
        """What this node signs with, so that it does not wake itself."""
        if not self._name:
            self._name = str(await self._db.ask(STATEMENTS["new_name"]))
        return self._name

    # --- hearing --------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Keep a connection that listens, for as long as the server gives one."""
        while self._may_hear():
            with contextlib.suppress(*self.not_reached):
                await self._hear_once()
            self._is_hearing = False
            await asyncio.sleep(self._connect_again_s())

    def _may_hear(self) -> bool:
        """A pooler would give the connection to others, who would hear what they did not ask for."""
        return not self._db.is_pooled

    def _connect_again_s(self) -> float:
        return CONNECT_AGAIN_S

    async def _hear_once(self) -> None:
        """Listen until the connection ends."""
        connection = await self._db.connect()
        try:
            await self._own_name()
            ended = asyncio.Event()

            def heard(_: object, __: int, ___: str, message: object) -> None:
                self._is_hearing = True
                self._heard(str(message))

            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANNEL, heard)
            # What was told while nobody listened.
            self._wake()
            await ended.wait()
        finally:
            connection.terminate()

    async def _look(self) -> None:
        """Ask for the number: seldom while notifications are heard, else the more often the more it rises. A
        rise of which this node does not know is news."""
        seen: int | None = None
        wait_s = LOOK_SOON_S
        while True:
            with contextlib.suppress(StoreError, Replay):
                number = int(str(await self._db.ask(STATEMENTS["signals"]))) - self._known
                if seen is not None and number != seen:
                    wait_s = LOOK_SOON_S
                    self._wake()
                seen = number
            wait_s = min(2 * wait_s, LOOK_LATE_S)
            await asyncio.sleep(LOOK_WHILE_HEARING_S if self._is_hearing else wait_s)
