"""Running an application's tasks in the process that submits them."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

import msgspec

from mainspring import __version__
from mainspring.app.embedding import Embedded
from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput
from mainspring.ports import TaskSource
from mainspring.sdk.blocking import Home, blocking, refuse_in_loop
from mainspring.sdk.http import HttpBackend
from mainspring.worker import InProcessEngine, Worker, WorkerSettings
from mainspring.worker.kinds import handlers_of
from mainspring.worker.sources import HttpSource

if TYPE_CHECKING:
    from mainspring.app import Mainspring

SLOTS_MOST = 1_000
LISTEN_EVERY_S = 0.2


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedded worker does: how many tasks at a time, of which queues (all, if none is named), and
    how long running ones may go on when it is told to stop."""

    concurrency: int
    queues: tuple[str, ...]
    grace_s: float


class AppWorker:
    """A worker in this process, as a context: `with app.worker():` or `async with app.worker():`.

    It runs in the application's home: coroutine handlers share its event loop, others get threads. Left,
    it claims nothing more and waits for what is running, up to the grace. A worker that had to give up, for
    example because the server does not know its token, raises why when it is left.
    """

    def __init__(self, app: "Mainspring", work: Work) -> None:
        if not 1 <= work.concurrency <= SLOTS_MOST:
            raise InvalidInput("concurrency", f"out of range: {work.concurrency}", f"1 to {SLOTS_MOST}")
        self._app = app
        self._work = work
        self._exit = contextlib.AsyncExitStack()
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None
        self.on_end: Callable[[], None] = lambda: None

    @property
    def home(self) -> Home:
        return self._app.home

    @blocking
    async def start(self) -> None:
        """Begin to work. Raises what keeps it from that."""
        async with contextlib.AsyncExitStack() as starting:
            source = await starting.enter_async_context(_source(self._app))
            self._worker = worker = self._made(source)
            self._exit = starting.pop_all()
        self._running = running = asyncio.get_running_loop().create_task(worker.run(), name="worker")
        running.add_done_callback(lambda _: self.on_end())
        self._app.life.before_close(self, self._stop)

    @blocking
    async def stop(self) -> None:
        """Let what is running finish within the grace, hand the rest back, and end."""
        self._app.life.before_close(self, None)
        await self._stop()

    async def _stop(self) -> None:
        running, self._running = self._running, None
        async with self._exit:
            if self._worker is not None and running is not None:
                self._worker.drain()
                await running

    @blocking
    async def halt(self) -> None:
        """Stop at once: what is running is given up and handed back."""
        if self._worker is not None:
            self._worker.halt()

    def __enter__(self) -> Self:
        self._app.__enter__()
        try:
            self.start()
        except BaseException:
            self._app.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._running is not None:  # else the application was closed, and it with it
                self.stop()
        finally:
            self._app.__exit__()

    async def __aenter__(self) -> Self:
        await self._app.__aenter__()
        try:
            await self.start.aio()
        except BaseException:
            await self._app.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._running is not None:
                await self.stop.aio()
        finally:
            await self._app.__aexit__()

    def _made(self, source: TaskSource) -> Worker:
        clock, work = SystemClock(), self._work
        node = f"{socket.gethostname()}-{os.getpid()}"
        settings = WorkerSettings(
            worker=f"{node}-app-{clock.new_id()[-6:]}",
            node=node,
            queues=work.queues,
            slots=work.concurrency,
            drain_grace_s=work.grace_s,
            version=__version__,
        )
        return Worker(source, InProcessEngine(handlers_of(self._app.registry), clock), clock, settings)


class Told:
    """How often the process was told to end. Only counts: a handler that took a lock could find it taken by
    the very thread that it interrupts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, number: int, frame: Any) -> None:
        self.times += 1


def work_until_told(worker: AppWorker) -> None:
    """Work until SIGTERM or SIGINT, or the worker's own end. A second signal stops it at once."""
    refuse_in_loop("async with app.worker()")
    ended = threading.Event()
    worker.on_end = ended.set
    with _counted_signals() as told, ThreadPoolExecutor(1) as pool:
        worker.__enter__()
        # In steps: the system may hand a signal to any thread, which wakes no main thread that waits.
        while not told.times and not ended.wait(LISTEN_EVERY_S):
            continue
        leaving = pool.submit(worker.__exit__)
        while told.times < 2 and not wait((leaving,), LISTEN_EVERY_S).done:
            continue
        if not leaving.done():
            worker.halt()
        leaving.result()


@contextmanager
def _counted_signals() -> Iterator[Told]:
    """Only the main thread may ask to be told of signals."""
    told = Told()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    former = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@asynccontextmanager
async def _source(app: "Mainspring") -> AsyncIterator[TaskSource]:
    """What a worker of this application claims from."""
    backend = await app.backend()
    if isinstance(backend, Embedded):
        yield backend.scheduler
    elif isinstance(backend, HttpBackend):
        source = HttpSource(backend.api_url, backend.token)
        try:
            yield source
        finally:
            await source.close()
    else:
        raise RuntimeError("tasks run by themselves here: a worker has nothing to do")
