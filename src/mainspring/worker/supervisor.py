"""The engine of a worker process: user code runs in children, never here.

    supervisor ─┬─ shared runner    coroutines and threads, many at a time
                ├─ lone runners     one run at a time, kept warm: isolation="process", and every task that
                │                   has lost a worker before
                └─ warden           ends them all if the supervisor is killed

When the shared runner dies, every run that had begun in it is reported lost: who of them did it cannot be
told from outside. A task with a loss runs alone from then on, so a good neighbour succeeds in its second
run, and a poisonous task's next deaths are its own. When the supervisor itself ends a runner, because one
run does not stop in time, its neighbours go back uncounted. Runs that had not begun are simply given to the
next runner.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf

from mainspring.core.lifecycle import Report
from mainspring.core.model import SECOND_US
from mainspring.errors import MainspringError
from mainspring.ports import Append, Clock, Recall, Recalled
from mainspring.worker import outcomes
from mainspring.worker.allowed import NOTHING, Allowed
from mainspring.worker.fleet import Fleet, RunnerSpec
from mainspring.worker.frames import Asked, Noted, Recorded, Told, pack_error
from mainspring.worker.inprocess import CANCEL_GRACE_S
from mainspring.worker.runners import Placed, RunnerProcess
from mainspring.worker.runs import Hooks, Phase, Reason, Run, due_s, time_limit_s
from mainspring.worker.sweep import Sweep

KILL_MARGIN_S = 0.5  # for the report of a run that stops in the last moment of its grace
_log = logging.getLogger("mainspring.worker")


class ProcessEngine:
    """Runs the handlers of the application `app` (`module:name`, or "" for the built-in kinds alone)."""

    def __init__(
        self,
        app: str,
        clock: Clock,
        *,
        allowed: Allowed = NOTHING,
        grace_s: float = CANCEL_GRACE_S,
        log_level: str = "info",
    ) -> None:
        self.finished: list[Run] = []
        self.load = 0
        self._spec = RunnerSpec(app, allowed, log_level)
        self._grace_s = grace_s
        self._now_s = clock.monotonic
        self._fleet = Fleet(self, self._spec, clock)
        self._waiting: deque[Run] = deque()
        self._alone: deque[Run] = deque()
        self._placed: dict[Run, Placed] = {}
        self._sweep: Sweep[Placed] = Sweep(self._overdue, self._now_s)
        self._slots = 0
        self._hooks: Hooks

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self._fleet.kinds))

    @property
    def ready(self) -> bool:
        return self._fleet.shared is not None

    async def open(self, hooks: Hooks, slots: int) -> None:
        """Start the warden and the shared runner. Raises `InvalidInput` with the reason if the application
        cannot be loaded."""
        self._hooks, self._slots = hooks, slots
        await self._fleet.open(slots)

    async def close(self) -> None:
        self._sweep.close()
        await self._fleet.close()

    def look(self) -> None:
        for placed in self._placed.values():
            placed.look()

    # --- starting -------------------------------------------------------------------------------

    def start(self, runs: Sequence[Run]) -> None:
        self.load += len(runs)
        for run in runs:
            run.phase = Phase.QUEUED
        self._queue(runs)
        self.serve()

    def _queue(self, runs: Iterable[Run]) -> None:
        for run in runs:
            kind = self._fleet.kinds.get(run.lease.lane.kind)
            alone = run.lease.losses > 0 or (kind is not None and kind.isolated)
            (self._alone if alone else self._waiting).append(run)

    def serve(self) -> None:
        """Give waiting runs to runners, as far as there are any that can take them."""
        shared = self._fleet.shared
        if self._waiting and shared is not None:
            count = min(len(self._waiting), shared.room)
            self._give(shared, [self._waiting.popleft() for _ in range(count)])
        if self._alone or self._fleet.busy:
            self._serve_alone(shared)

    def _serve_alone(self, shared: RunnerProcess | None) -> None:
        """Lone runs take slots from the shared runner: half of them, if it can use the others."""
        fleet = self._fleet
        in_shared = list(shared.placed.values()) if shared is not None else []
        share = max(1, self._slots // 2) if in_shared else self._slots
        for placed in in_shared:
            placed.look()
        begun = sum(placed.run.phase is Phase.STARTED for placed in in_shared)
        while self._alone and fleet.busy < share and begun + fleet.busy < self._slots:
            runner = fleet.take_idle()
            if runner is None:
                break
            self._give(runner, [self._alone.popleft()])
        wanted = min(len(self._alone), share - fleet.busy)
        fleet.provide(wanted)
        if shared is not None:
            shared.limit(max(0, self._slots - fleet.busy - max(0, wanted)))

    def _give(self, runner: RunnerProcess, runs: Sequence[Run]) -> None:
        for placed in runner.give(runs):
            run = placed.run
            self._placed[run] = placed
            kind = self._fleet.kinds.get(run.lease.lane.kind)
            placed.limit_s = time_limit_s(run.lease, kind.timeout_s if kind is not None else None)
            placed.due_s = self._patience_ends_s(placed)
            if placed.due_s < inf:
                self._sweep.watch(placed)

    # --- ending ---------------------------------------------------------------------------------

    def stop(self, run: Run, reason: Reason) -> None:
        placed = self._placed.get(run)
        if run.phase in (Phase.CLAIMED, Phase.ENDED):
            return
        if run.reason is not None and reason is not Reason.LOST:
            return
        asked_before, run.reason = run.reason is not None, reason
        if placed is None:
            (self._waiting if run in self._waiting else self._alone).remove(run)
            self._finish(run, outcomes.interrupted(run.lease, reason, 0))
            return
        placed.runner.stop(placed, reason)
        if not asked_before:
            placed.due_s = self._now_s() + self._grace_s + KILL_MARGIN_S
            self._sweep.watch(placed)

    def kill(self) -> None:
        for run in [*self._waiting, *self._alone]:
            self.stop(run, Reason.DRAIN)
        for run, placed in self._placed.items():
            run.reason = run.reason or Reason.DRAIN
            placed.runner.kill()

    def _overdue(self, placed: Placed, now_s: float) -> None:
        """Its runner did not end it in time: end the runner. When it began is known only now."""
        run = placed.run
        placed.look()
        if run.reason is None:
            placed.due_s = self._patience_ends_s(placed)
            if placed.due_s > now_s:
                return
            late = placed.limit_s is not None and now_s >= run.started_s + placed.limit_s
            run.reason = Reason.TIMEOUT if late else Reason.DEADLINE
        placed.due_s = inf
        _log.warning("task %s (%s) does not stop; its runner is ended", run.lease.task, run.lease.lane.kind)
        placed.runner.kill()

    def _patience_ends_s(self, placed: Placed) -> float:
        """When its runner must have ended it, by what is known now."""
        run = placed.run
        began_s = run.started_s if run.phase is Phase.STARTED else self._now_s()
        limit_s = inf if placed.limit_s is None else placed.limit_s
        return min(began_s + limit_s, due_s(run)) + self._grace_s + KILL_MARGIN_S

    def _finish(self, run: Run, report: Report | None) -> None:
        run.phase, run.report = Phase.ENDED, report
        self.load -= 1
        if not self.finished:
            self._hooks.ended()
        self.finished.append(run)

    # --- what runners tell ----------------------------------------------------------------------

    def up(self) -> None:
        self.serve()
        # While it was down nothing was claimed, and nothing may be left that would end and start a turn.
        self._hooks.ready()

    def ended(self, placed: Placed, report: Report | None) -> None:
        del self._placed[placed.run]
        if placed.watched:
            self._sweep.forget(placed)
        self._finish(placed.run, report)

    def recorded(self, placed: Placed, message: Recorded) -> None:
        lease, runner, number = placed.run.lease, placed.runner, message.number
        line = Append(
            lease.task, lease.token, message.checkpoint, message.progress, message.steps, message.log
        )

        def noted(error: MainspringError | None) -> None:
            runner.answer(Noted(number, *pack_error(error)))

        self._hooks.append(line, noted if number else None)

    def asked(self, placed: Placed, message: Asked) -> None:
        lease, runner, number = placed.run.lease, placed.runner, message.number

        def heard(answer: Recalled | MainspringError) -> None:
            if isinstance(answer, MainspringError):
                runner.answer(Told(number, None, *pack_error(answer)))
            else:
                runner.answer(Told(number, answer, "", ""))

        self._hooks.recall(Recall(lease.task, lease.token, message.steps, message.parents), heard)

    def failed(self, error: BaseException) -> None:
        self._hooks.failed(error)

    def died(self, runner: RunnerProcess) -> None:
        """Its runs: those that were being ended have ended; of the others, those that had begun are lost, or
        handed back if it was the supervisor who ended the runner, and the rest goes to another one."""
        again = []
        for placed in list(runner.placed.values()):
            run, lease = placed.run, placed.run.lease
            if run.reason is None and run.phase is Phase.QUEUED:
                del self._placed[run]
                self._sweep.forget(placed)
                again.append(run)
            elif run.reason is not None:
                took_us = int((self._now_s() - run.started_s) * SECOND_US) if run.started_s else 0
                self.ended(placed, outcomes.interrupted(lease, run.reason, took_us, placed.limit_s))
            elif runner.killed:
                self.ended(placed, outcomes.interrupted(lease, Reason.DRAIN, 0))
            else:
                self.ended(placed, outcomes.lost(lease, runner.obituary()))
        runner.placed.clear()
        self._queue(again)
        self.serve()
