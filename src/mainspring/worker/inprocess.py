"""The engine of one process: coroutines in slots, functions on threads, limits kept cooperatively.

The embedded worker uses it directly; a runner child uses it too, with a supervisor outside that ends
the process when asking does not help. Here a handler that ignores being asked is given up after the
grace: its outcome is reported for it, another slot or thread stands in, and what it still does counts for
nothing.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial

from mainspring.core.lifecycle import Report
from mainspring.ports import Append, Clock, Recall
from mainspring.sdk.handlers import Registry
from mainspring.worker import outcomes
from mainspring.worker.execution import Execution
from mainspring.worker.runs import Heard, Hooks, Noted, Phase, Reason, Run
from mainspring.worker.slots import Slots
from mainspring.worker.sweep import Sweep
from mainspring.worker.threads import Threads

CANCEL_GRACE_S = 5.0
_log = logging.getLogger("mainspring.worker")


class InProcessEngine:
    """Runs the handlers of `registry`. `grace_s` is how long an interrupted handler may clean up."""

    # What is not as usual where time is virtual: there, threads take turns.
    threads_class: type[Threads] = Threads
    execution_class: type[Execution] = Execution

    def __init__(self, registry: Registry, clock: Clock, grace_s: float = CANCEL_GRACE_S) -> None:
        self.finished: list[Run] = []
        self.load = 0
        self._registry = registry
        self._grace_s = grace_s
        self.now_s = clock.monotonic
        self.now_us = clock.now_us
        self._queue: deque[Run] = deque()
        self._slots_most = 0
        self.ready = True
        self._running: dict[Run, Execution] = {}
        self._dispatching = False
        self._hooks: Hooks

    @property
    def kinds(self) -> tuple[str, ...]:
        return self._registry.kinds

    async def open(self, hooks: Hooks, slots: int) -> None:
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._loop_thread = threading.get_ident()
        self._slots_most = slots
        self._sweep: Sweep[Execution] = Sweep(self._overdue, self.now_s)
        self._slots = Slots(self._take, self._sweep.watch, self._end, self._dispatch_soon, self.now_s)
        self._threads = self.threads_class(self._collect, self.now_s)

    async def close(self) -> None:
        self._queue.clear()
        self._sweep.close()
        for execution in self._running.values():
            execution.abandoned = execution.slot is None
            execution.cancelled.set(Reason.DRAIN)
            execution.finish()
        self._threads.close()
        await self._slots.close()

    def look(self) -> None:
        """Runs are up to date here: they are this process's own."""

    def limit(self, slots: int) -> None:
        """From now on, let at most `slots` runs go on at a time."""
        self._slots_most = slots
        self._dispatch_soon()

    # --- starting -------------------------------------------------------------------------------

    def start(self, runs: Sequence[Run]) -> None:
        self.load += len(runs)
        for run in runs:
            run.phase = Phase.QUEUED
        self._queue.extend(runs)
        self._dispatch_soon()

    def _dispatch_soon(self) -> None:
        if self._queue and not self._dispatching:
            self._dispatching = True
            self._loop.call_soon(self._dispatch, context=self._context)

    def _dispatch(self) -> None:
        """Give waiting runs to threads and slots, one slot at a time: it may well run many in one go, and
        only if it is held up is another needed."""
        self._dispatching = False
        if self._slots.yielding:
            return
        run = self._head()
        if run is not None and len(self._running) < self._slots_most:
            self._slots.wake()

    def _take(self) -> Execution | None:
        """The next run for a slot. Runs for threads ahead of it are started on the way."""
        while len(self._running) < self._slots_most and (run := self._head()) is not None:
            self._queue.popleft()
            if run.until_s <= self.now_s():
                # This process was held up, and somebody else may have the task by now.
                self.stop(run, Reason.LOST)
                continue
            handler = self._registry.get(run.lease.lane.kind)
            if handler is None:
                self._finish(run, outcomes.no_handler(run.lease))
                continue
            run.phase = Phase.STARTED
            execution = self._running[run] = self.execution_class(run, handler, self)
            if handler.is_coroutine:
                return execution
            now_s = self.now_s()
            if execution.start(now_s):
                self._sweep.watch(execution)
            self._threads.submit(execution)
        return None

    def _head(self) -> Run | None:
        """The next waiting run; those that were stopped while they waited are passed over."""
        queue = self._queue
        while queue:
            if queue[0].phase is Phase.QUEUED:
                return queue[0]
            queue.popleft()
        return None

    # --- ending ---------------------------------------------------------------------------------

    def stop(self, run: Run, reason: Reason) -> None:
        if run.phase is Phase.QUEUED:
            run.reason = reason
            self._finish(run, outcomes.interrupted(run.lease, reason, 0))
        elif (execution := self._running.get(run)) is None:
            return
        elif run.reason is None:
            self._interrupt(execution, reason)
        elif reason is Reason.LOST:
            run.reason = reason  # it winds down already, but nobody wants to hear how it ended

    def kill(self) -> None:
        for run in list(self._queue):
            self.stop(run, Reason.DRAIN)
        for run, execution in list(self._running.items()):
            self.stop(run, Reason.DRAIN)
            self._abandon(execution)

    @property
    def on_loop(self) -> bool:
        return threading.get_ident() == self._loop_thread

    def append(self, line: Append, noted: Noted | None = None) -> None:
        if self.on_loop:
            self._hooks.append(line, noted)
        else:
            self._loop.call_soon_threadsafe(self._hooks.append, line, noted)

    def recall(self, line: Recall, heard: Heard) -> None:
        self.soon(partial(self._hooks.recall, line, heard))

    def soon(self, call: Callable[[], None]) -> None:
        if self.on_loop:
            self._loop.call_soon(call, context=self._context)
        else:
            self._loop.call_soon_threadsafe(call)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, call, context=self._context)

    def _interrupt(self, execution: Execution, reason: Reason) -> None:
        execution.interrupt(reason)
        execution.due_s = self.now_s() + self._grace_s
        self._sweep.watch(execution)

    def _overdue(self, execution: Execution, now_s: float) -> None:
        if execution.run.reason is not None:
            self._abandon(execution)
        elif now_s >= execution.hard_s:
            self._interrupt(execution, execution.hard_reason)
        else:
            execution.due_s = execution.hard_s
            execution.interrupt(Reason.SOFT_TIMEOUT)

    def _abandon(self, execution: Execution) -> None:
        """Its grace is over: report for it, and let another slot or thread stand in."""
        run = execution.run
        execution.abandoned = True
        _log.warning("task %s (%s) does not stop; given up", run.lease.task, run.lease.lane.kind)
        del self._running[run]
        self._sweep.forget(execution)
        execution.finish()
        self._finish(run, execution.stopped(self.now_s()))
        self._dispatch_soon()

    def _end(self, execution: Execution) -> None:
        """A handler is through, by itself or interrupted."""
        del self._running[execution.run]
        if execution.watched:
            self._sweep.forget(execution)
        if execution.recorded:
            execution.finish()
        self._finish(execution.run, execution.run.report)

    def _collect(self, executions: list[Execution]) -> None:
        for execution in executions:
            self._end(execution)
        self._dispatch_soon()

    def _finish(self, run: Run, report: Report | None) -> None:
        run.phase, run.report = Phase.ENDED, report
        self.load -= 1
        if not self.finished:
            self._hooks.ended()
        self.finished.append(run)
