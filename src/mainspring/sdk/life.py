"""From the first call of a client to its close, through threads, forks, garbage collection and exits."""

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol

from mainspring.clock import SystemClock
from mainspring.errors import StoreUnavailable
from mainspring.ports import Backend, Clock
from mainspring.sdk.blocking import Home
from mainspring.sdk.home import CLOSED, LoopHome, ThreadHome

AT_EXIT_S = 10.0
Connect = Callable[[Clock], AbstractAsyncContextManager[Backend]]


class Opening(Protocol):
    """An open client: where its coroutines run, what mints its ids, and what answers it."""

    @property
    def home(self) -> Home: ...

    @property
    def clock(self) -> Clock: ...

    async def backend(self) -> Backend:
        """To be called in the home."""
        ...


class Connection:
    """The opening of a client that talks to a real scheduler. The backend is opened by the first who asks."""

    def __init__(self, home: LoopHome, connect: Connect) -> None:
        self.home = home
        # Made anew in a forked child, too: it must not mint the ids that its parent mints.
        self.clock: Clock = SystemClock()
        self.is_lost = False
        self._connect = connect
        self._opening = asyncio.Lock()
        self._backend: Backend | None = None
        self._exit = AsyncExitStack()
        self._before_close: dict[object, Callable[[], Awaitable[None]]] = {}

    async def backend(self) -> Backend:
        if self._backend is not None:
            return self._backend
        async with self._opening:
            if self._backend is None:
                self._backend = await self._exit.enter_async_context(self._connect(self.clock))
            return self._backend

    def before_close(self, key: object, call: Callable[[], Awaitable[None]] | None) -> None:
        if call is None:
            self._before_close.pop(key, None)
        else:
            self._before_close[key] = call

    async def close(self) -> None:
        """In the home: let go of everything. What comes after it raises `StoreUnavailable`."""
        try:
            for call in list(self._before_close.values()):
                await call()
            async with self._opening:
                await self._exit.aclose()
        finally:
            with _gate:
                _connections.discard(self)
            self.home.end()

    def let_go(self) -> None:
        """Close in the background: nobody is left who could wait for it."""
        if not self.is_lost:
            self.home.send_last(self.close)

    def close_at_exit(self) -> None:
        future = self.home.send_last(self.close)
        if future is not None:
            concurrent.futures.wait((future,), AT_EXIT_S)


class Life:
    """What a client has open. `owner` is the client: when it is garbage, what it has open is closed."""

    def __init__(self, owner: object, connect: Connect) -> None:
        self._owner = weakref.ref(owner)
        self._connect = connect
        self._opening: Opening | None = None
        self._entered = 0

    def opening(self, home: Callable[[], LoopHome] = ThreadHome) -> Opening:
        """The present opening; else a new one, in a new `home`."""
        opening = self._opening
        if opening is not None and not _is_lost(opening):
            return opening
        with _gate:
            if self._opening is None or _is_lost(self._opening):
                connection = self._opening = Connection(home(), self._connect)
                weakref.finalize(self._owner(), connection.let_go).atexit = False
                _connections.add(connection)
            return self._opening

    @property
    def is_open(self) -> bool:
        return self._opening is not None and not _is_lost(self._opening)

    def present(self) -> Opening:
        """The opening in which the calling coroutine runs. Raises `StoreUnavailable` after its close."""
        if self._opening is None:
            raise StoreUnavailable(CLOSED)
        return self._opening

    def before_close(self, key: object, call: Callable[[], Awaitable[None]] | None) -> None:
        """Await `call()` before the present connection is closed, unless it is taken back (`None`)."""
        opening = self._opening
        if isinstance(opening, Connection):
            opening.before_close(key, call)

    def replace(self, opening: Opening | None) -> Opening | None:
        """Use another opening from now on; the one before it."""
        with _gate:
            former, self._opening = self._opening, opening
        return former

    def enter(self) -> None:
        with _gate:
            self._entered += 1

    def leave(self) -> bool:
        """Whether whoever came in first is out again."""
        with _gate:
            self._entered -= 1
            return not self._entered

    def taken(self) -> Connection | None:
        """The connection to close, for one caller; what a test has put in its place is the test's."""
        with _gate:
            opening = self._opening
            if not isinstance(opening, Connection):
                return None
            self._opening = None
            return None if opening.is_lost else opening


def _is_lost(opening: Opening) -> bool:
    return isinstance(opening, Connection) and opening.is_lost


_gate = threading.RLock()  # reentrant: garbage may be collected while it is held
_connections: set[Connection] = set()
_lost: list[Connection] = []


def _after_fork() -> None:
    """The child has neither the threads nor the right to the parent's database connections: they are left
    where they are, not even closed, for that would work on the parent's files."""
    global _gate
    _gate = threading.RLock()
    for connection in _connections:
        connection.is_lost = True
        _lost.append(connection)
    _connections.clear()


def _at_exit() -> None:
    for connection in list(_connections):
        connection.close_at_exit()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
