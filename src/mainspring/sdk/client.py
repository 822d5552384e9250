"""The client: submits tasks, hands out handles, and looks after the connection behind them.

Client ──home──► LoopHome, ThreadHome     where its coroutines run
   └──life──► Backend                     opened by the first call that needs it
"""

import asyncio
import contextlib
from typing import Self

from mainspring.errors import StoreUnavailable
from mainspring.sdk.blocking import refuse_in_loop
from mainspring.sdk.functions import TaskDecorator
from mainspring.sdk.home import LoopHome
from mainspring.sdk.life import Connect, Life
from mainspring.sdk.submitting import Submitter


class Client(Submitter):
    """A submitter whose tasks can be functions, and that is opened and closed.

    `with app` and `async with app` close it at their end; so does the end of the process. Inside
    `async with`, everything runs in the event loop that is running; else in one of the client's own. A
    client that was closed opens again when it is used again. Safe to use from any thread; a child process
    made by `fork` gets a connection of its own.
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect)
        self.task = TaskDecorator(self)

    @property
    def life(self) -> Life:
        """For tests, that put something else in the place of a connection."""
        return self._life

    def close(self) -> None:
        """Let go of everything: running tasks of an embedded worker may finish, calls that still wait raise
        `StoreUnavailable`. Closing again does nothing."""
        refuse_in_loop("await aclose()")
        connection = self._life.taken()
        if connection is not None:
            with contextlib.suppress(StoreUnavailable):  # its loop is gone already
                connection.home.block(connection.close)
            connection.home.join()

    async def aclose(self) -> None:
        """As `close`, for `await`."""
        connection = self._life.taken()
        if connection is not None:
            with contextlib.suppress(StoreUnavailable):
                await connection.home.follow(connection.close)
            await connection.home.ended()

    def __enter__(self) -> Self:
        """Open now, so that what is wrong with the address shows here."""
        refuse_in_loop("async with")
        self._life.enter()
        try:
            self._life.opening().home.block(self.backend)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._life.leave():
            self.close()

    async def __aenter__(self) -> Self:
        self._life.enter()
        try:
            opening = self._life.opening(lambda: LoopHome(asyncio.get_running_loop()))
            await opening.home.follow(self.backend)
        except BaseException:
            await self._aleave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._aleave()

    async def _aleave(self) -> None:
        if self._life.leave():
            await self.aclose()
