"""Functions in virtual time: each has a thread, and all threads take turns with the event loop.

    loop ──turn──► thread runs the function
         ◄─turn─── it has ended, or waits: for a step to be recorded, for a task's result, to be cancelled
    loop ──turn──► what it waits for has come

There is never more than one that goes on, so the order of all that happens is the loop's. A function takes no
virtual time but what it waits for in this way.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any

from mainspring.ports import Recalled
from mainspring.sdk.context import Cancellation
from mainspring.worker import InProcessEngine
from mainspring.worker.execution import Execution
from mainspring.worker.threads import Threads

_here = threading.local()


class Dismissed(BaseException):
    """The cluster is gone, and with it whatever a function was waiting for."""


class Turn:
    """One function's thread. `resume` gives it the turn, and returns when it gives it back."""

    def __init__(self, work: Callable[[], None], loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self.is_over = False
        self._work = work
        self._loop = loop
        self._context = context
        self._dismissed = False
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    def resume(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._context.copy().run, args=(self._run,), daemon=True)
            self._thread.start()
        self._go.release()
        self._back.acquire()

    def dismiss(self) -> None:
        """End a function that will not get its turn any more; what it does at its end counts for nothing."""
        if self._thread is not None and not self.is_over:
            self._dismissed = True
            self.resume()

    def wait(self, event: "Future[Any]") -> None:
        """In the thread: give the turn away until the future is done."""
        event.add_done_callback(lambda _: self._loop.call_soon(self.resume, context=self._context.copy()))
        self._back.release()
        self._go.acquire()
        if self._dismissed:
            raise Dismissed

    def _run(self) -> None:
        self._go.acquire()
        _here.turn = self
        try:
            self._work()
        except Dismissed:
            pass
        finally:
            self.is_over = True
            self._back.release()


def turn_here() -> Turn | None:
    """The turn that the calling thread has, if it is a function's."""
    return getattr(_here, "turn", None)


def wait_for(future: "Future[Any]") -> Any:
    """The future's result; a function waits for it in virtual time."""
    turn = turn_here()
    if turn is not None and not future.done():
        turn.wait(future)
    return future.result()


class TurnThreads(Threads):
    """A thread for each run, as long as it goes on."""

    def __init__(self, ended: Callable[[list[Execution]], None], monotonic: Callable[[], float]) -> None:
        super().__init__(ended, monotonic)
        self._context = copy_context()
        self._turns: dict[Turn, None] = {}

    def submit(self, execution: Execution) -> None:
        turn = Turn(lambda: self._work(execution), self._loop, self._context)
        self._turns[turn] = None
        self._loop.call_soon(turn.resume, context=self._context.copy())

    def _work(self, execution: Execution) -> None:
        self._run(execution)
        turn = turn_here()
        assert turn is not None
        self._loop.call_soon(self._over, turn, execution, context=self._context.copy())

    def _over(self, turn: Turn, execution: Execution) -> None:
        del self._turns[turn]
        if not execution.abandoned:
            self._ended([execution])

    def close(self) -> None:
        """What still runs is left where it is, as a thread of a process that ends."""

    def dismiss(self) -> None:
        for turn in self._turns:
            turn.dismiss()


class TurnFuture(Future[Any]):
    """As another future, but a function waits for it in virtual time."""

    def __init__(self, inner: "Future[Any]") -> None:
        super().__init__()
        inner.add_done_callback(self._copy)

    def _copy(self, inner: "Future[Any]") -> None:
        error = inner.exception()
        if error is None:
            self.set_result(inner.result())
        else:
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        turn = turn_here()
        if turn is not None and not self.done():
            turn.wait(self)
        return super().result(timeout)


class TurnCancellation(Cancellation):
    """Waits in virtual time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        super().__init__()
        self._loop = loop
        self._context = context

    def wait(self, timeout_s: float | None = None) -> bool:
        if not self.is_set():
            told: Future[None] = Future()

            def tell(*_: object) -> None:
                if not told.done():
                    told.set_result(None)

            self.on_set(tell)
            if timeout_s is not None:
                self._loop.call_later(timeout_s, tell, context=self._context.copy())
            wait_for(told)
        return self.is_set()


class TurnExecution(Execution):
    """A run whose context lets a function wait in virtual time."""

    @property
    def cancelled(self) -> Cancellation:
        if self._cancelled is None:
            engine = self._around
            assert isinstance(engine, TurnEngine)
            self._cancelled = engine.cancellation()
        return self._cancelled

    def keep_step(self, name: str, result: bytes) -> "Future[None]":
        return TurnFuture(super().keep_step(name, result))

    def recall(self, *, steps: bool, parents: bool) -> "Future[Recalled]":
        return TurnFuture(super().recall(steps=steps, parents=parents))


class TurnEngine(InProcessEngine):
    """An engine whose functions take turns with the loop."""

    threads_class = TurnThreads
    execution_class = TurnExecution

    def cancellation(self) -> Cancellation:
        return TurnCancellation(self._loop, self._context)

    def dismiss(self) -> None:
        """End the threads of functions that are in the middle of something."""
        if isinstance(self._threads, TurnThreads):
            self._threads.dismiss()
