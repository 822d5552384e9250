"""One run in the engine of one process: its handler, its limits, and what its context needs."""

import asyncio
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import Any, Protocol

from mainspring.core.lifecycle import Report
from mainspring.core.model import SECOND_US, decode_policy
from mainspring.core.progress import LogPiece
from mainspring.errors import MainspringError
from mainspring.ports import Append, Recall, Recalled
from mainspring.sdk.context import Cancellation, Context
from mainspring.sdk.handlers import Handler
from mainspring.sdk.signals import SoftTimeout
from mainspring.worker import outcomes
from mainspring.worker.recording import lease_lost
from mainspring.worker.runlog import RunLog
from mainspring.worker.runs import Heard, Noted, Reason, Run, due_s, time_limit_s


class Surroundings(Protocol):
    """What an execution needs of its engine."""

    def now_s(self) -> float: ...

    def now_us(self) -> int: ...

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the event loop's thread."""
        ...

    def append(self, line: Append, noted: Noted | None = None) -> None:
        """May be called from any thread."""
        ...

    def recall(self, line: Recall, heard: Heard) -> None:
        """May be called from any thread."""
        ...

    def soon(self, call: Callable[[], None]) -> None:
        """Call it on the event loop. May be called from any thread."""
        ...

    def later(self, delay_s: float, call: Callable[[], None]) -> None: ...


class Execution:
    """A run and its handler. Bears the run's `Context`, made when first asked for."""

    # Defaults on the class: an empty task pays only for the attributes it uses.
    slot: "asyncio.Task[None] | None" = None
    soft_s = hard_s = due_s = inf
    limit_s: float | None = None
    hard_reason = Reason.TIMEOUT
    soft_pending = False
    abandoned = False
    watched = False
    _cancelled: Cancellation | None = None
    _context: Context | None = None
    recorded = False  # steps, questions or a log: there is something to finish
    _log: RunLog | None = None
    _waiting: "Sequence[Future[Any]]" = ()
    # For what runs on threads: one for all runs, held for a moment each time.
    _lock = threading.Lock()

    def __init__(self, run: Run, handler: Handler, around: Surroundings) -> None:
        self.run = run
        self.handler = handler
        self._around = around

    # --- limits ---------------------------------------------------------------------------------

    def start(self, now_s: float) -> bool:
        """The run begins. Whether it has a limit in time."""
        run, lease = self.run, self.run.lease
        run.started_s = now_s
        timeout_s = time_limit_s(lease, self.handler.timeout_s)
        if timeout_s is None and lease.policy is None and lease.deadline_us is None:
            return False
        if timeout_s is not None:
            self.limit_s, self.hard_s = timeout_s, now_s + timeout_s
        soft_s = decode_policy(lease.policy).soft_timeout_s
        if soft_s is not None:
            self.soft_s = now_s + soft_s
        deadline_s = due_s(run)
        if deadline_s < self.hard_s:
            self.hard_s, self.hard_reason = deadline_s, Reason.DEADLINE
        self.due_s = min(self.soft_s, self.hard_s)
        return self.due_s < inf

    def remaining_s(self) -> float | None:
        return None if self.hard_s == inf else max(0.0, self.hard_s - self._around.now_s())

    # --- what the handler sees ------------------------------------------------------------------

    @property
    def cancelled(self) -> Cancellation:
        if self._cancelled is None:
            self._cancelled = Cancellation()
        return self._cancelled

    def context(self) -> Context:
        if self._context is None:
            self._context = Context(self.run.lease, self.cancelled, self)
        return self._context

    def record(self, *, checkpoint: bytes | None = None, progress: bytes | None = None) -> None:
        if not self.abandoned:
            lease = self.run.lease
            self._around.append(Append(lease.task, lease.token, checkpoint, progress))

    @property
    def on_loop(self) -> bool:
        return self._around.on_loop

    def keep_step(self, name: str, result: bytes) -> "Future[None]":
        done: Future[None] = Future()
        if self._opened(done):
            lease = self.run.lease
            line = Append(lease.task, lease.token, steps={name: result})
            self._around.append(line, partial(_resolve, done))
        return done

    def recall(self, *, steps: bool, parents: bool) -> "Future[Recalled]":
        done: Future[Recalled] = Future()
        if self._opened(done):
            lease = self.run.lease
            self._around.recall(Recall(lease.task, lease.token, steps, parents), partial(_resolve, done))
        return done

    def log(self, stream: str, text: str) -> None:
        if self._log is None:
            with self._lock:
                self._log = self._log or RunLog(self._around, self._send_log)
                self.recorded = True
        if not self.abandoned:
            self._log.write(stream, text)

    def _send_log(self, pieces: list[LogPiece], noted: Noted | None) -> None:
        lease = self.run.lease
        self._around.append(Append(lease.task, lease.token, log=pieces), noted)

    def _opened(self, done: "Future[Any]") -> bool:
        """Remember somebody who waits; a run that was given up has nothing to wait for."""
        with self._lock:
            if self.abandoned:
                done.set_exception(lease_lost(self.run.lease.task))
                return False
            self._waiting = [*(waits for waits in self._waiting if not waits.done()), done]
            self.recorded = True
        return True

    def finish(self) -> None:
        """The run is over, by itself or given up: its log is handed over, and nobody waits any more."""
        if self._log is not None:
            self._log.finish()
        with self._lock:
            waiting, self._waiting = self._waiting, ()
        for done in waiting:
            _resolve(done, lease_lost(self.run.lease.task))

    def interrupt(self, reason: Reason) -> None:
        """Name the reason, then tell the handler."""
        if reason is Reason.SOFT_TIMEOUT:
            self.soft_pending = self.slot is not None
        else:
            self.run.reason = reason
        self.cancelled.set(reason)
        if self.slot is not None:
            self.slot.cancel()

    def soft_timeout(self) -> SoftTimeout | None:
        """What to raise instead of the cancel that just came in, if it announces the soft timeout."""
        if not self.soft_pending or self.slot is None:
            return None
        self.soft_pending = False
        self.slot.uncancel()
        return SoftTimeout(self.soft_s - self.run.started_s)

    # --- how it ended ---------------------------------------------------------------------------

    def returned(self, value: Any, now_s: float) -> Report | None:
        """A handler that returns well in spite of a cancel or a drain has succeeded; one that ran over its
        time has not."""
        run = self.run
        if run.reason is not None and run.reason not in (Reason.CANCEL, Reason.DRAIN):
            return self.stopped(now_s)
        return outcomes.succeeded(run.lease, value, int((now_s - run.started_s) * SECOND_US))

    def raised(self, error: BaseException, now_s: float) -> Report | None:
        """What a handler raises after it was interrupted is the interruption's fault."""
        if self.run.reason is not None:
            return self.stopped(now_s)
        took_us = int((now_s - self.run.started_s) * SECOND_US)
        return outcomes.raised(self.run.lease, error, took_us, self.handler.max_retries)

    def stopped(self, now_s: float) -> Report | None:
        run = self.run
        assert run.reason is not None
        took_us = int((now_s - run.started_s) * SECOND_US)
        return outcomes.interrupted(run.lease, run.reason, took_us, self.limit_s)


def _resolve(done: "Future[Any]", answer: object) -> None:
    """On the event loop, where alone futures are resolved. Whoever waited may have been cancelled."""
    if not done.done():
        if isinstance(answer, MainspringError):
            done.set_exception(answer)
        else:
            done.set_result(answer)


@types.coroutine
def softly(handler: Coroutine[Any, Any, Any], execution: Execution) -> Generator[Any, Any, Any]:
    """Await a handler that has a soft timeout: the cancel that announces it is turned into `SoftTimeout`
    on its way in, so that the handler can tell it from being cancelled."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waits_for = handler.send(value) if error is None else handler.throw(error)
        except StopIteration as done:
            return done.value
        value = error = None
        try:
            value = yield waits_for
        except GeneratorExit:
            handler.close()
            raise
        except asyncio.CancelledError as arrived:
            error = execution.soft_timeout() or arrived
        except BaseException as arrived:
            error = arrived
