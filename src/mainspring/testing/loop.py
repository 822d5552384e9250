"""An event loop in virtual time, and the hosts that live on it.

When nothing is ready, time jumps to the next timer. Each callback belongs to the host in whose context it was
made, as a thread belongs to its process; so a host can be frozen (its callbacks wait, as under SIGSTOP) or
killed (they never run again, nor does any `finally`, as under SIGKILL).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

from mainspring.clock import VirtualClock

TURNS_AT_ONE_INSTANT = 200_000
Args = TypeVarTuple("Args")
T = TypeVar("T")


class Stuck(Exception):
    """Time does not go on: something runs in a circle, or nothing is left to wait for."""


class HostClock(VirtualClock):
    """A host's clocks on the loop's time. `offset_us` makes its wall clock wrong."""

    def __init__(self, loop: "VirtualLoop", seed: int) -> None:
        super().__init__(seed)
        self._loop = loop

    def now_us(self) -> int:
        self.elapsed = self._loop.now_s
        return super().now_us()

    def monotonic(self) -> float:
        return self._loop.now_s


class Host:
    """A process of the simulation."""

    def __init__(self, loop: "VirtualLoop", name: str, seed: int) -> None:
        self.name = name
        self.clock = HostClock(loop, seed)
        self.alive = True
        self.frozen = False
        self.on_kill: list[Callable[[], None]] = []
        self._loop = loop
        self._waiting: list[asyncio.Handle] = []
        self._context = Context()
        self._context.run(_host.set, self)

    def context(self) -> Context:
        return self._context.copy()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this host."""
        return self._loop.create_task(work, context=self.context())

    def run(self, work: Callable[[], T]) -> T:
        """Call `work` as this host: what it starts is this host's."""
        return self.context().run(work)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """Everything that came due meanwhile runs now, in the order in which it came due."""
        self.frozen = False
        if not self.alive:
            return
        waiting, self._waiting = self._waiting, []
        self._loop.resume(waiting)

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            for call in self.on_kill:
                call()

    def holds_up(self, handle: asyncio.Handle) -> bool:
        """Whether the callback must not run now. A dead host keeps it too: what was let go of would be
        closed by the interpreter, and its `finally` would run after all."""
        if self.alive and not self.frozen:
            return False
        self._waiting.append(handle)
        return True


_host: ContextVar[Host | None] = ContextVar("mainspring_host", default=None)


# The context of what belongs to no host, as a message on its way.
OUTSIDE = Context()


def host_here() -> Host | None:
    """The host that the calling code belongs to."""
    return _host.get()


def host_of(handle: asyncio.Handle) -> Host | None:
    """The host that a callback belongs to."""
    found: Any = handle
    host: Host | None = found._context.get(_host)
    return host


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` starts at 0 and moves only when nothing is ready. No sockets, no threads, no signals."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.crashes: list[str] = []
        self.turns = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._turns_now = 0
        self._stopping = False
        self._ended = False

    def time(self) -> float:
        return self.now_s

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._ended:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread; the interpreter calls this for asynchronous generators it lets go of."""
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._ended:
            self._timers_made += 1
            heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Callbacks of a host that was frozen are ready again."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        ready = self._ready
        while ready:
            handle: Any = ready.popleft()
            if handle._cancelled:
                continue
            host: Host | None = handle._context.get(_host)
            if host is not None and host.holds_up(handle):
                continue
            self._turns_now += 1
            if self._turns_now > TURNS_AT_ONE_INSTANT:
                raise Stuck(f"time stands still at {self.now_s:.6f} s: {handle!r}")
            handle._run()
            if self._stopping:
                return
        self._jump()

    def _jump(self) -> None:
        """Nothing is ready: go to the next instant at which something is."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            raise Stuck("everybody waits, and nothing will ever happen")
        when = timers[0][0]
        if when > self.now_s:
            self.turns += self._turns_now
            self._turns_now = 0
            self.now_s = when
        while timers and timers[0][0] <= self.now_s:
            self._ready.append(heappop(timers)[2])

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody caught is kept for the checks. What dead hosts leave undone is no error."""
        error = context.get("exception")
        if error is not None and not self._ended:
            task = context.get("future") or context.get("task")
            where = getattr(task, "get_coro", lambda: None)()
            self.crashes.append(f"{context['message']}: {error!r} in {getattr(where, '__qualname__', '?')}")

    def end(self) -> None:
        """Nothing runs any more. Coroutines still on their way are closed, their last words unheard."""
        self._ended = True
        self._ready.clear()
        self._timers.clear()
        for task in asyncio.all_tasks(self):
            # Both halves of a task that will never end would complain when they are collected.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            try:
                coroutine: Any = task.get_coro()
                coroutine.close()
            except BaseException:
                continue  # a `finally` that awaits, in a process that is gone
        self.close()
