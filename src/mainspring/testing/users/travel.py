"""Virtual time that somebody else's test moves, and in which nothing happens that nobody waits for.

The loop has a thread of its own and turns only while it is asked to: while a test submits, waits for a
result, or lets time pass. So a test may be a plain function or a coroutine, in any event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from heapq import heapify
from typing import Any, TypeVar

from mainspring.sdk.home import result_of
from mainspring.testing.loop import Host, VirtualLoop, host_here, host_of
from mainspring.testing.users.turns import turn_here, wait_for

T = TypeVar("T")


class GivenUp(Exception):
    """Whoever waited has been interrupted: time stands still again."""


class TravelLoop(VirtualLoop):
    """A loop that can leap over a time in which nobody has anything to do."""

    def __init__(self) -> None:
        super().__init__()
        self.is_given_up = False
        self._unfinished: dict[asyncio.Task[Any], None] = {}
        self.set_task_factory(self._made)

    def leap(self, to_s: float, but: Host) -> None:
        """Stand still until `to_s`: every timer comes later by as much, as if nothing had been. Only those of
        one host are left where they are; to leap beyond them is the caller's mistake."""
        by_s = to_s - self.now_s
        self.now_s = to_s
        moved = []
        for when, number, timer in self._timers:
            if host_of(timer) is not but:
                when += by_s
            moved.append((when, number, timer))
        heapify(moved)
        self._timers[:] = moved

    def next_timer_s(self, host: Host) -> float | None:
        """When the host's next timer is due."""
        times = [when for when, _, timer in self._timers if not timer.cancelled() and host_of(timer) is host]
        return min(times, default=None)

    def _made(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        """A task that is kept until it is done. What a host leaves behind when it dies must not be collected:
        its `finally` would run after all, whenever memory happens to be short."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        self._unfinished[task] = None
        task.add_done_callback(self._unfinished.pop)
        return task

    def _run_once(self) -> None:
        if self.is_given_up:
            raise GivenUp
        super()._run_once()

    def run_in_executor(  # type: ignore[override] # whatever it is called with
        self, executor: Any, func: Any, *args: Any
    ) -> "asyncio.Future[Any]":
        raise RuntimeError(
            "in virtual time there are no threads and no sockets: a handler that needs them is for real time"
        )


class TravelHome:
    """A test's way into the loop."""

    def __init__(self, loop: TravelLoop, host: Host) -> None:
        self._loop = loop
        self._host = host
        self._driver = ThreadPoolExecutor(1, thread_name_prefix="mainspring-cluster")

    def block(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if turn_here() is not None:
            result: T = wait_for(self._spawned(start))
            return result
        driven = self._driver.submit(self._drive, start)
        try:
            return result_of(driven)
        except BaseException:
            self._give_up(driven)
            raise

    async def follow(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return await start()
        driven = self._driver.submit(self._drive, start)
        try:
            return await asyncio.wrap_future(driven)
        except BaseException:
            self._give_up(driven)
            raise

    def close(self) -> None:
        self._driver.shutdown()

    def _drive(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Let the loop turn until the coroutine is done."""
        task = self._host.spawn(start())
        try:
            result: T = Context().run(self._loop.run_until_complete, task)
        except GivenUp:
            self._loop.is_given_up = False
            task.cancel()
            raise
        return result

    def _give_up(self, driven: "Future[Any]") -> None:
        """The test was interrupted while it waited: the loop must not go on for ever."""
        if not driven.done():
            self._loop.is_given_up = True

    def _spawned(self, start: Callable[[], Coroutine[Any, Any, T]]) -> "Future[T]":
        """A function of a simulated worker calls: what it starts is its host's."""
        future: Future[T] = Future()
        host = host_here() or self._host

        async def run() -> None:
            try:
                future.set_result(await start())
            except BaseException as error:
                future.set_exception(error)

        host.spawn(run())
        return future
