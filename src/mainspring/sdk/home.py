"""Where an application lives: one event loop, in which all of its coroutines run.

    on its own thread     the usual case: started by the first call, ended by `close`
    in the caller's loop  inside `async with app`

Whoever calls from another thread or loop waits for a future; so a hundred threads that submit at the same
time meet in one loop, and share one commit.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from mainspring.errors import StoreUnavailable

T = TypeVar("T")
LISTEN_EVERY_S = 0.5
CLOSED = "this application was closed"
LEFT_BEHIND_S = 2.0


class LoopHome:
    """A running event loop, reached from any thread and from any other loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._gate = threading.RLock()  # reentrant: garbage may be collected while it is held
        self._ended = False

    def block(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        future = self._send(start())
        try:
            return result_of(future)
        except concurrent.futures.CancelledError:
            raise StoreUnavailable(CLOSED) from None
        finally:
            future.cancel()  # an interrupt came before the end

    async def follow(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if asyncio.get_running_loop() is self.loop:
            return await start()
        future = self._send(start())
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                raise
            raise StoreUnavailable(CLOSED) from None

    def end(self) -> None:
        """From now on calls raise `StoreUnavailable`. The loop belongs to somebody else and goes on."""
        with self._gate:
            self._ended = True

    async def ended(self) -> None:
        """Return when the end is over."""

    def join(self) -> None:
        """As `ended`, for a thread."""

    def send_last(
        self, start: Callable[[], Coroutine[Any, Any, None]]
    ) -> concurrent.futures.Future[None] | None:
        """Start a coroutine that nobody needs to wait for; `None` if the loop turns no more."""
        with self._gate:
            if self._ended or not self.loop.is_running():
                return None
            return asyncio.run_coroutine_threadsafe(start(), self.loop)

    def _send(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._gate:
            if not self._ended:
                with contextlib.suppress(RuntimeError):  # somebody has closed the loop
                    return asyncio.run_coroutine_threadsafe(work, self.loop)
        work.close()
        raise StoreUnavailable(CLOSED)


class ThreadHome(LoopHome):
    """An event loop on a thread of its own: a daemon, for an application that was not closed must not keep
    its process from ending. One whose loop comes to no end, because a handler there does not stop, is left
    behind when the application is closed."""

    def __init__(self) -> None:
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._over: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._end = asyncio.Event()
        self.thread = threading.Thread(
            target=self._live, args=(started,), name="mainspring-home", daemon=True
        )
        self.thread.start()
        super().__init__(started.result())

    def end(self) -> None:
        """Cancel what still runs, and let the thread end. Calls that wait raise `StoreUnavailable`."""
        with self._gate:
            if not self._ended:
                self._ended = True
                # Behind every call that was let in: none can be left in a loop that turns no more.
                self.loop.call_soon_threadsafe(self._end.set)

    async def ended(self) -> None:
        await asyncio.wait((asyncio.wrap_future(self._over),), timeout=LEFT_BEHIND_S)

    def join(self) -> None:
        self.thread.join(LEFT_BEHIND_S)

    def _live(self, started: "concurrent.futures.Future[asyncio.AbstractEventLoop]") -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                started.set_result(runner.get_loop())
                runner.run(self._until_ended())
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
        finally:
            self._over.set_result(None)

    async def _until_ended(self) -> None:
        await self._end.wait()


def result_of(future: concurrent.futures.Future[T]) -> T:
    """In steps: the system may hand a Ctrl-C to any thread, which wakes no main thread that waits."""
    while True:
        try:
            return future.result(LISTEN_EVERY_S)
        except TimeoutError:
            if not future.done():
                continue
        return future.result()  # a timeout of its own, or what came in the meantime


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
