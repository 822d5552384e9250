"""A node's connections: few, used last in first out, none older than its lifetime.

take ─► the one used last, or a new one, up to `most` ─► give_back
             idle ones over `fewest` are closed after a while; one that is too old, when it is free;
             a new one is warmed up when it comes back first, while others are idle
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from mainspring.errors import StoreError, StoreUnavailable
from mainspring.ports import PostgresOptions

if TYPE_CHECKING:
    from asyncpg import Connection, Record

IDLE_S = 60.0
CLOSING_S = 5.0
WARMING_S = 10.0


class Pool:
    """`dial` makes a connection, or raises `StoreUnavailable`. `warm` may do with one, before it is used
    much, what would take its later users time; it raises nothing. `lost` is called when one has ended that
    was not let go: its server may be another by now."""

    def __init__(
        self,
        dial: "Callable[[], Awaitable[Connection[Record]]]",
        options: PostgresOptions,
        warm: "Callable[[Connection[Record]], Awaitable[None]] | None" = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._dial = dial
        self._lost = lost
        self._options = options
        self._warm = warm
        self._cold: set[Connection[Record]] = set()
        self._slots = asyncio.Semaphore(options.most)
        self._idle: list[Connection[Record]] = []
        self._all: dict[Connection[Record], asyncio.TimerHandle] = {}
        self._used_s: dict[Connection[Record], float] = {}
        self._too_old: set[Connection[Record]] = set()
        self._spare = 0
        self._tending: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._warming: set[asyncio.Task[None]] = set()
        self._is_open = True

    async def open(self) -> None:
        """Make the fewest connections. Raises `StoreUnavailable`."""
        try:
            await self._fill()
        except BaseException:
            await self.close()
            raise
        _start(self._tend(), self._tending)

    async def close(self) -> None:
        """Waits a little for connections in use; who still uses one then finds it closed."""
        self._is_open = False
        for task in self._tending:
            task.cancel()
        await asyncio.gather(*self._tending, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                for _ in range(self._options.most):
                    await self._slots.acquire()
        for task in list(self._warming):
            task.cancel()
        await asyncio.gather(*self._leaving, *[hang_up(connection) for connection in self._idle])
        for connection in list(self._all):
            connection.terminate()

    async def take(self) -> "Connection[Record]":
        """A connection for the caller alone, who gives it back. Waits while all are in use."""
        self._check_open()
        await self._slots.acquire()
        try:
            self._check_open()
            while self._idle:
                connection = self._idle.pop()
                self._spare = min(self._spare, len(self._idle))
                if not connection.is_closed():
                    return connection
            return await self._add()
        except BaseException:
            self._slots.release()
            raise

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable("the store is closed")

    def give_back(self, connection: "Connection[Record]") -> None:
        if self._is_open and self._idle and connection in self._cold and not connection.is_closed():
            self._cold.discard(connection)
            _start(self._warm_up(connection), self._warming)
        else:
            self._lay_down(connection)

    async def _warm_up(self, connection: "Connection[Record]") -> None:
        """In the place of whoever gave it back."""
        try:
            if self._warm is not None:
                async with asyncio.timeout(WARMING_S):
                    await self._warm(connection)
        except TimeoutError:
            connection.terminate()
        finally:
            self._lay_down(connection)

    def _lay_down(self, connection: "Connection[Record]") -> None:
        self._slots.release()
        if connection.is_closed():
            return
        if connection in self._too_old or not self._is_open:
            self._let_go(connection)
        else:
            self._used_s[connection] = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def is_warm(self, connection: "Connection[Record]", warm_s: float) -> bool:
        """Whether it was given back no longer than `warm_s` before."""
        used_s = self._used_s.get(connection)
        return used_s is not None and asyncio.get_running_loop().time() - used_s <= warm_s

    def distrust(self) -> None:
        """Let go of the idle ones: one of them was found dead, and what killed it may have killed all."""
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    # --- the life of one ------------------------------------------------------------------------

    async def _add(self) -> "Connection[Record]":
        connection = await self._dial()
        try:
            self._check_open()
        except StoreUnavailable:
            connection.terminate()
            raise
        loop = asyncio.get_running_loop()
        self._all[connection] = loop.call_later(self._options.lifetime_s, self._retire, connection)
        connection.add_termination_listener(self._ended)
        if self._warm is not None:
            self._cold.add(connection)
        return connection

    def _ended(self, connection: "Connection[Record] | PoolConnectionProxy[Record]") -> None:
        assert not isinstance(connection, PoolConnectionProxy)
        if connection in self._all:
            self._lost()
        self._forget(connection)

    def _forget(self, connection: "Connection[Record]") -> None:
        self._too_old.discard(connection)
        self._cold.discard(connection)
        self._used_s.pop(connection, None)
        if (timer := self._all.pop(connection, None)) is not None:
            timer.cancel()

    def _retire(self, connection: "Connection[Record]") -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self._let_go(connection)
        else:
            self._too_old.add(connection)

    def _let_go(self, connection: "Connection[Record]") -> None:
        """Counted out at once, so that another may take its place while it says goodbye."""
        self._forget(connection)
        _start(hang_up(connection), self._leaving)
        if self._is_open and len(self._all) < self._options.fewest:
            _start(self._fill_if_possible(), self._tending)

    # --- how many -------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Those that nobody needed for a while are closed, the least used first."""
        while True:
            self._spare = len(self._idle)
            await asyncio.sleep(IDLE_S)
            surplus = min(self._spare, len(self._idle), len(self._all) - self._options.fewest)
            for _ in range(max(0, surplus)):
                self._let_go(self._idle.pop(0))
            await self._fill_if_possible()

    async def _fill(self) -> None:
        while len(self._all) < self._options.fewest:
            async with self._slots:
                if len(self._all) < self._options.fewest:
                    self._idle.insert(0, await self._add())

    async def _fill_if_possible(self) -> None:
        with contextlib.suppress(StoreError):
            await self._fill()


def _start(work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def hang_up(connection: "Connection[Record]") -> None:
    """Say goodbye, so that the server does not note a broken connection."""
    try:
        await connection.close(timeout=CLOSING_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
