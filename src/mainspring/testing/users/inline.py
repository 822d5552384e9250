"""For users' tests: tasks run where they are submitted, before `submit` returns.

    submit ─► memory store ─► claim ─► handler, in this thread ─► settle ─┐
                  ▲                                                       │
                  └─── retries, children, what handlers submit ◄──────────┘

The store and the rules are the real ones, so results, retries, failures, dependencies and keys are what they
would be. Only time is not: a delay or a back-off is jumped over, and no limit in time is kept.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from mainspring.clock import SystemClock, VirtualClock
from mainspring.core.lifecycle import Report, digest, settle
from mainspring.core.model import SECOND_US, Lease, State, Task
from mainspring.core.order import Quota
from mainspring.core.progress import LogPiece, size_of
from mainspring.errors import MainspringError, NotFound, TooLarge
from mainspring.ports import (
    Action,
    Append,
    Ask,
    Backend,
    Clock,
    Force,
    Group,
    NewSchedule,
    Query,
    Recall,
    Recalled,
    Refused,
    ScheduleRecord,
    Settlement,
)
from mainspring.scheduler.schedules import Schedules
from mainspring.sdk.blocking import Home
from mainspring.sdk.client import Client
from mainspring.sdk.context import Cancellation, Context, running
from mainspring.sdk.handles import TaskRecord, record_of
from mainspring.sdk.stored import stored_ids
from mainspring.stores.memory import MemoryStore
from mainspring.testing.instant import finish, no_loop
from mainspring.wire.problems import refusal
from mainspring.wire.schedules import checked_id
from mainspring.worker import outcomes
from mainspring.worker.kinds import handlers_of

T = TypeVar("T")
BATCH = 1_000
RUNS_MOST = 10_000
LEASE_US = 10**15
OTHERS_S = 0.001
# The runs that are going on around the present one, from the outermost.
_around: ContextVar[tuple[str, ...]] = ContextVar("mainspring_inline", default=())


@contextmanager
def inline(app: Client) -> Iterator["Inline"]:
    """Inside, tasks of `app` run at once where they are submitted: functions in this thread, coroutines in
    the event loop that runs, or in one of their own. Nothing is stored for longer, no thread is started, and
    the application's address is not used.

    A delay is jumped over. What depends on a task that nobody here has a function for, stays where it is.
    Raises `RuntimeError` if a submit leads to 10,000 runs without coming to an end.
    """
    opening = Inline(app)
    former = app.life.replace(opening)
    try:
        yield opening
    finally:
        app.life.replace(former)


class Inline:
    """What `inline` gives: the tasks that were submitted in it."""

    def __init__(self, app: Client) -> None:
        self._clock = VirtualClock(0, SystemClock().now_us())
        self.store = MemoryStore(self._clock)
        self._turn = threading.Lock()
        self._handlers = handlers_of(app.registry)
        self._home = InlineHome()
        self._schedules = Schedules(self.store, self._clock, lambda moved: None, self._clock.now_us)
        self._claims = 0
        self.verb(self.store.open())

    def tasks(self) -> list[TaskRecord]:
        """Every task that was submitted, in that order, as it is now."""
        found: list[Task] = []
        cursor: str | None = None
        while True:
            page = self.verb(self.store.find(Query(limit=BATCH, cursor=cursor)))
            found += page.tasks
            cursor = page.cursor
            if cursor is None:
                return [record_of(task) for task in reversed(found)]

    def verb(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Ask the store. The program under test may have threads; the store knows one at a time."""
        with self._turn:
            return finish(work)

    # --- the application's opening --------------------------------------------------------------

    @property
    def home(self) -> Home:
        return self._home

    @property
    def clock(self) -> Clock:
        return self._clock

    async def backend(self) -> Backend:
        return self

    # --- its backend ----------------------------------------------------------------------------

    async def submit(self, group: Group) -> Sequence[str]:
        (answer,) = self.verb(self.store.submit([group]))
        tasks = stored_ids(group, answer)
        await self._run_all()
        return tasks

    async def get(self, task: str) -> Task:
        (record,) = self.verb(self.store.get([task]))
        if record is None:
            raise NotFound(f"no task {task}")
        found: Task = record
        return found

    async def wait(self, task: str, timeout_s: float) -> Task:
        """Somebody else in this event loop may be running it; else it will not end by waiting."""
        while not (record := await self.get(task)).state.is_final:
            if record.state is not State.RUNNING or task in _around.get() or timeout_s <= 0.0:
                raise TimeoutError(f"task {task} is {record.state.label}, and nothing here will end it")
            await asyncio.sleep(OTHERS_S)
        return record

    async def cancel(self, task: str, *, kill: bool = False) -> Task:
        (answer,) = self.verb(self.store.force([Force(task, Action.KILL if kill else Action.CANCEL)]))
        if isinstance(answer, Refused):
            raise refusal(answer)
        forced: Task = answer
        return forced

    async def put_schedule(self, id: str, new: NewSchedule) -> None:
        """It can be looked at and triggered; by itself it does not fire."""
        await self._schedules.put(checked_id(id), new)

    async def get_schedule(self, id: str) -> ScheduleRecord:
        return await self._schedules.get(id)

    async def pause_schedule(self, id: str, paused: bool) -> None:
        await (self._schedules.pause if paused else self._schedules.resume)(id)

    async def trigger_schedule(self, id: str) -> Task:
        task = await self._schedules.trigger(id)
        await self._run_all()
        return task

    async def delete_schedule(self, id: str) -> None:
        await self._schedules.delete(id)

    # --- running --------------------------------------------------------------------------------

    async def _run_all(self) -> None:
        """Run what can run, until nothing can, however far time has to jump for it."""
        for _ in range(RUNS_MOST):
            lease = self._claimed()
            if lease is not None:
                await self._run(lease)
            elif not self._jump():
                return
        raise RuntimeError(f"after {RUNS_MOST} runs there is still something to run")

    def _claimed(self) -> Lease | None:
        heads = self.verb(self.store.board()).heads
        known = [head for head in heads if head.lane.kind in self._handlers]
        if not known:
            return None
        first = min(known, key=lambda head: (-head.lane.priority, head.seq))
        self._claims += 1
        ask = Ask("inline", "inline", self._claims, [Quota(first.lane_id, 1)], 1, LEASE_US)
        (claimed,) = self.verb(self.store.claim([ask]))
        return claimed.leases[0] if claimed.leases else None

    def _jump(self) -> bool:
        """Let time pass until a task is due; whether there was any to wait for."""
        store = self.store
        while self.verb(store.resolve(BATCH)).count:
            continue
        moved = self.verb(store.promote(BATCH))
        if not moved.count and moved.next_due_us is not None:
            self._clock.elapsed += (moved.next_due_us + 1) / SECOND_US
            self.verb(store.overdue(BATCH, 0))
            moved = self.verb(store.promote(BATCH))
        return bool(moved.count)

    async def _run(self, lease: Lease) -> None:
        handler = self._handlers.get(lease.lane.kind)
        assert handler is not None
        run = InlineRun(lease, self, on_loop=handler.is_coroutine)
        token, outer = running.set(run), _around.set((*_around.get(), lease.task))
        try:
            if handler.is_coroutine:
                value = await handler.call(lease.payload, run)
            else:
                with no_loop():
                    value = handler.call(lease.payload, run)
            report = outcomes.succeeded(lease, value, 0)
        except (Exception, SystemExit) as error:
            report = outcomes.raised(lease, error, 0, handler.max_retries)
        finally:
            running.reset(token)
            _around.reset(outer)
        self._settle(report, lease)

    def _settle(self, report: Report, lease: Lease) -> None:
        change, if_cancelled = settle(report, lease, self._clock.random.random())
        line = Settlement(lease.task, lease.token, lease.lane_id, digest(report), change, if_cancelled)
        self.verb(self.store.settle([line]))


class InlineRun:
    """A run, and what its context writes to: the store, at once."""

    def __init__(self, lease: Lease, inline: Inline, *, on_loop: bool) -> None:
        self.on_loop = on_loop
        self._lease = lease
        self._inline = inline
        self._written = 0
        self._context: Context | None = None

    def context(self) -> Context:
        if self._context is None:
            self._context = Context(self._lease, Cancellation(), self)
        return self._context

    def record(self, *, checkpoint: bytes | None = None, progress: bytes | None = None) -> None:
        self._append(checkpoint=checkpoint, progress=progress)

    def log(self, stream: str, text: str) -> None:
        self._append(log=[LogPiece(self._written, stream, self._inline.clock.now_us(), text)])
        self._written += size_of(text)

    def keep_step(self, name: str, result: bytes) -> "Future[None]":
        self._append(steps={name: result})
        return _done(None)

    def recall(self, *, steps: bool, parents: bool) -> "Future[Recalled]":
        lease = self._lease
        (answer,) = self._inline.verb(
            self._inline.store.recall([Recall(lease.task, lease.token, steps, parents)])
        )
        return _done(TooLarge("parents", answer.detail) if isinstance(answer, Refused) else answer)

    def remaining_s(self) -> float | None:
        """There is no hurry: time stands still while a task runs."""
        return None

    def _append(self, **recorded: Any) -> None:
        line = Append(self._lease.task, self._lease.token, **recorded)
        self._inline.verb(self._inline.store.append([line]))


def _done(answer: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    if isinstance(answer, MainspringError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
    return future


class InlineHome:
    """The caller's own thread: the event loop that runs there, or one for this call alone."""

    def block(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with asyncio.Runner() as runner:
            return runner.run(start())

    async def follow(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await start()
