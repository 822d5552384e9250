"""A thread that owns one connection. Calls reach it through a queue; answers go back to the event loop.

    await call(work) ──queue──► thread: work(owned) ──call_soon_threadsafe──► future

The work runs to its end even if its caller has gone: what was committed stands.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from mainspring.errors import StoreUnavailable


class Owned(Protocol):
    """What a thread holds: it is made, used and closed in that thread."""

    def close(self) -> None: ...


OwnedT = TypeVar("OwnedT", bound=Owned)
ResultT = TypeVar("ResultT")


class Job:
    """One call on its way."""

    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[Any], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def answer(self, result: Any, error: Exception | None = None) -> None:
        try:
            self.loop.call_soon_threadsafe(_resolve, self.future, result, error)
        except RuntimeError:
            # The loop is closed: nobody is left who could be waiting.
            return


class DatabaseThread(Generic[OwnedT]):
    """Runs jobs one after another. After `stop`, or when the thread has died, calls raise
    `StoreUnavailable`; so do those that were waiting when it died."""

    def __init__(self, name: str, make: Callable[[], OwnedT]) -> None:
        self._name = name
        self._make = make
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._is_open = False
        self._ended: Job | None = None
        self._idle_s = 0.0
        self._when_idle: Callable[[OwnedT], None] | None = None

    async def start(self) -> None:
        """Start the thread; returns when it has made what it owns, or raises what that raised."""
        loop = asyncio.get_running_loop()
        started, self._ended = Job(_nothing, loop), Job(_nothing, loop)
        self._is_open = True
        threading.Thread(target=self._run, args=(started, self._ended), name=self._name, daemon=True).start()
        await started.future

    async def call(self, work: Callable[[OwnedT], ResultT]) -> ResultT:
        job = Job(work, asyncio.get_running_loop())
        self._put(job)
        result: ResultT = await job.future
        return result

    def watch(self, idle_s: float, when_idle: Callable[[OwnedT], None]) -> None:
        """From now on call `when_idle` in the thread whenever no job has come for `idle_s`."""
        self._idle_s, self._when_idle = idle_s, when_idle
        self._put(Job(_nothing, asyncio.get_running_loop()))

    async def stop(self) -> None:
        """Let the jobs that were called finish, then close what the thread owns."""
        with self._gate:
            if self._is_open:
                self._is_open = False
                self._jobs.put(None)
        if self._ended is not None:
            await asyncio.shield(self._ended.future)

    def _put(self, job: Job) -> None:
        with self._gate:
            if not self._is_open:
                raise StoreUnavailable("the store is closed")
            self._jobs.put(job)

    # --- in the thread --------------------------------------------------------------------------

    def _run(self, started: Job, ended: Job) -> None:
        try:
            owned = self._make()
        except Exception as error:
            self._is_open = False
            started.answer(None, error)
            ended.answer(None)
            return
        started.answer(None)
        try:
            while (job := self._next(owned)) is not None:
                try:
                    job.answer(job.work(owned))
                except Exception as error:
                    job.answer(None, error)
        except BaseException as error:
            if job is not None:
                job.answer(None, StoreUnavailable(f"{self._name} has died: {error!r}"))
        finally:
            self._bury()
            owned.close()
            ended.answer(None)

    def _next(self, owned: OwnedT) -> Job | None:
        while self._when_idle is not None:
            try:
                return self._jobs.get(timeout=self._idle_s)
            except Empty:
                self._when_idle(owned)
        return self._jobs.get()

    def _bury(self) -> None:
        """Nobody may wait for a thread that works no more."""
        with self._gate:
            self._is_open = False
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is not None:
                job.answer(None, StoreUnavailable(f"{self._name} works no more"))


def _nothing(owned: object) -> None:
    """The work of a job that only carries a signal."""


def _resolve(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
