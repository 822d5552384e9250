"""The rehearsal itself: the parts of a node, a clock that jumps, and workers that are only counted.

At each instant, in this order: runs that are over are reported; the firer decides; due tasks become
ready; free slots claim. So a task that ends at the very instant of a fire has ended before it.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from mainspring.clock import VirtualClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.lifecycle import Report as RunReport
from mainspring.core.model import SECOND_US, Lease, State
from mainspring.core.timing import count_fires, next_us
from mainspring.errors import InvalidInput
from mainspring.ports import ClaimRequest, Fired, FireLine, NewSchedule, Retention
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import Firer
from mainspring.stores.memory import MemoryStore
from mainspring.testing.loop import VirtualLoop
from mainspring.testing.rehearsal.report import Report, Tally

FIRES_MOST = 1_000_000
BATCH = 1_000
PRUNED_EVERY = 2_000
MANY_SLOTS = 1_000_000
LEASE_S = 1e9  # these workers neither die nor renew
_FORGOTTEN = Retention(0, 0, 0)
_OVERRAN = Outcome.FAILED
# The loop's own time only has to go on: what the scheduler does every second of it would take all of ours.
_A_MOMENT_S = 1e-6
_INSTANTS_A_MOMENT = 100


class Assumptions(msgspec.Struct, frozen=True):
    """What nobody can know beforehand. `durations_us` are by schedule, or else by kind. Without `slots`
    there is one for every task."""

    duration_us: int = SECOND_US
    durations_us: Mapping[str, int] = {}
    slots: int | None = None


class SpanClock(VirtualClock):
    """Stands where it is put, exactly: a fraction of a microsecond early is not due."""

    def __init__(self, start_us: int) -> None:
        super().__init__(0, start_us)
        self.at_us = self._first_us = start_us

    def now_us(self) -> int:
        return self.at_us

    def monotonic(self) -> float:
        return (self.at_us - self._first_us) / SECOND_US


class WitnessStore(MemoryStore):
    """A memory store that tells what the firer has decided."""

    def __init__(self, clock: SpanClock) -> None:
        super().__init__(clock)
        self.decided: list[FireLine] = []
        self.cancelled: list[str] = []

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        fired = await super().fire(lines, term)
        self.decided += [
            line for line, answer in zip(lines, fired.answers, strict=True) if isinstance(answer, int)
        ]
        self.cancelled += fired.finished
        return fired


class _Run(NamedTuple):
    """A run that is going on, in the order in which runs end."""

    end_us: int
    number: int
    lease: Lease
    is_overrun: bool


class _Due(NamedTuple):
    """A task that a fire made and that has not started yet."""

    schedule: str
    run_us: int


def rehearse(
    schedules: Mapping[str, NewSchedule],
    from_us: int,
    to_us: int,
    assumptions: Assumptions,
    *,
    with_events: bool = False,
) -> Report:
    """Everything that these schedules do from `from_us` on until before `to_us`, as if they began there: what
    was to be made up for, or ran already, is left out.

    Raises `InvalidInput` for a span that is empty or has more than `FIRES_MOST` fires.
    """
    if to_us <= from_us:
        raise InvalidInput("to", "does not lie after from")
    fires = sum(count_fires(new.rules.timing, from_us - 1, to_us - 1) for new in schedules.values())
    if fires > FIRES_MOST:
        raise InvalidInput("to", f"there are {fires} fires until then", f"at most {FIRES_MOST}")
    loop = VirtualLoop()
    rehearsal = _Rehearsal(schedules, from_us, to_us, assumptions, with_events)
    try:
        loop.run_until_complete(rehearsal.run())
    finally:
        loop.end()
    return rehearsal.tally.report(from_us, to_us, assumptions.slots)


class _Rehearsal:
    def __init__(
        self,
        schedules: Mapping[str, NewSchedule],
        from_us: int,
        to_us: int,
        assumptions: Assumptions,
        with_events: bool,
    ) -> None:
        self.tally = Tally(sorted(schedules), with_events=with_events)
        self._schedules = schedules
        self._from_us, self._to_us = from_us, to_us
        self._assumptions = assumptions
        self._clock = SpanClock(from_us - 1)
        self._store = WitnessStore(self._clock)
        settings = SchedulerSettings(node_id="rehearsal", lease_s=LEASE_S)
        self._scheduler = Scheduler(self._store, self._clock, settings)
        self._firer = Firer(self._store, self._scheduler, None, self._clock)
        self._kinds = tuple(sorted({new.template.lane.kind for new in schedules.values()}))
        self._slots = MANY_SLOTS if assumptions.slots is None else assumptions.slots
        self._tasks: dict[str, _Due] = {}
        self._runs: list[_Run] = []
        self._running: dict[str, _Run] = {}
        self._fire_us: int | None = None
        self._promote_us: int | None = None
        self._instants = 0
        self._numbers = 0
        self._ended = 0

    async def run(self) -> None:
        await self._store.open()
        await self._scheduler.start()
        for id, new in sorted(self._schedules.items()):
            if next_us(new.rules.timing, self._clock.at_us) is not None:
                await self._scheduler.schedules.create(new, id)
        self._fire_us = await self._next_fire_us()
        while (at_us := self._next_us()) is not None and at_us < self._to_us:
            self._clock.at_us = at_us
            await self._instant()
        await self._scheduler.close()

    def _next_us(self) -> int | None:
        """The next instant at which anything happens."""
        ends_us = self._runs[0].end_us if self._runs else None
        instants = (self._fire_us, self._promote_us, ends_us)
        return min((instant for instant in instants if instant is not None), default=None)

    async def _next_fire_us(self) -> int | None:
        wait_us = (await self._store.due_schedules(0)).next_due_us
        return None if wait_us is None else self._clock.at_us + wait_us

    async def _instant(self) -> None:
        now_us = self._clock.at_us
        self._instants += 1
        if self._instants % _INSTANTS_A_MOMENT == 0:
            await asyncio.sleep(_A_MOMENT_S)
        await self._end_runs()
        if self._fire_us is not None and self._fire_us <= now_us:
            await self._decide()
        await self._tend()
        counts = await self._counts()
        ready = await self._claim(counts[State.READY])
        self.tally.look(now_us, len(self._running), ready + counts[State.BLOCKED])
        if self._ended >= PRUNED_EVERY:
            self._ended = 0
            await self._forget()

    async def _tend(self) -> None:
        """What promoter and resolver do."""
        while (moved := await self._store.resolve(BATCH)).count:
            self._scheduler.moved(moved)
        while (moved := await self._store.promote(BATCH)).count:
            self._scheduler.moved(moved)
        wait_us = moved.next_due_us
        self._promote_us = None if wait_us is None else self._clock.at_us + wait_us

    async def _counts(self) -> Counter[State]:
        found = Counter[State]()
        for (_, state), count in (await self._store.stats()).counts.items():
            found[state] += count
        return found

    # --- runs -----------------------------------------------------------------------------------

    async def _claim(self, ready: int) -> int:
        """Fill the free slots; how many of the `ready` tasks are left."""
        while ready and (free := self._slots - len(self._running)) > 0:
            self._numbers += 1
            leases = await self._scheduler.claim(
                ClaimRequest("rehearsal", "rehearsal", self._numbers, self._kinds, slots=min(free, BATCH))
            )
            if not leases:
                raise RuntimeError("ready tasks, free slots, and nothing is claimed")
            for lease in leases:
                self._start(lease)
            ready -= len(leases)
        return ready

    def _start(self, lease: Lease) -> None:
        task, now_us = self._tasks[lease.task], self._clock.at_us
        takes_us = self._duration_us(task.schedule, lease.lane.kind)
        limit_us = takes_us if lease.timeout_us is None else lease.timeout_us
        self._numbers += 1
        run = _Run(now_us + min(takes_us, limit_us), self._numbers, lease, takes_us > limit_us)
        heappush(self._runs, run)
        self._running[lease.task] = run
        self.tally.started(task.schedule, 0 if lease.attempt > 1 else now_us - task.run_us)

    def _duration_us(self, schedule: str, kind: str) -> int:
        found, default_us = self._assumptions.durations_us, self._assumptions.duration_us
        return found.get(schedule, found.get(kind, default_us))

    async def _end_runs(self) -> None:
        over: list[_Run] = []
        while self._runs and self._runs[0].end_us <= self._clock.at_us:
            run = heappop(self._runs)
            # One that was cancelled meanwhile has been reported.
            if self._running.get(run.lease.task) is run:
                over.append(run)
        await self._report(over, [_OVERRAN if run.is_overrun else Outcome.SUCCEEDED for run in over])

    async def _report(self, runs: Sequence[_Run], outcomes: Sequence[Outcome]) -> None:
        if not runs:
            return
        await self._scheduler.settle(
            [_report(run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]
        )
        for run, outcome in zip(runs, outcomes, strict=True):
            id = run.lease.task
            del self._running[id]
            self.tally.stopped(self._tasks[id].schedule)
            if outcome is not _OVERRAN or await self._has_failed(id):
                self._end(id, failed=outcome is _OVERRAN)

    async def _has_failed(self, task: str) -> bool:
        """For good: it may be retried."""
        return (await self._scheduler.get(task)).state.is_final

    def _end(self, task: str, *, failed: bool) -> None:
        self.tally.ended(self._tasks.pop(task).schedule, failed=failed)
        self._ended += 1

    # --- decisions ------------------------------------------------------------------------------

    async def _decide(self) -> None:
        """Let the firer decide all that is due, a batch at a time."""
        store = self._store
        more = True
        while more:
            more = await self._firer.tick() == 0.0
            decided, store.decided = store.decided, []
            cancelled, store.cancelled = store.cancelled, []
            for line in decided:
                self._note(line)
            for task in cancelled:
                self._end(task, failed=False)
            asked = [task for line in decided for made in line.made for task in made.cancels]
            # Asked to stop, a task of a rehearsal stops at once.
            stopping = [self._running[task] for task in dict.fromkeys(asked) if task in self._running]
            await self._report(stopping, [Outcome.CANCELLED] * len(stopping))
        self._fire_us = await self._next_fire_us()

    def _note(self, line: FireLine) -> None:
        for made in line.made:
            run_us = made.fire_us if made.task.run_at_us is None else made.task.run_at_us
            self._tasks[made.task.id] = _Due(line.schedule, run_us)
            self.tally.fired(line.schedule, made.fire_us, run_us)
        for skip in line.skips:
            self.tally.skipped(line.schedule, skip)

    # --- the store ------------------------------------------------------------------------------

    async def _forget(self) -> None:
        cursor: str | None = None
        while True:
            cursor = (await self._store.prune(BATCH, _FORGOTTEN, cursor)).cursor
            if cursor is None:
                return


def _report(run: _Run, outcome: Outcome) -> RunReport:
    lease = run.lease
    if outcome is Outcome.SUCCEEDED:
        return RunReport(lease.task, lease.token, outcome, result=b"null")
    kind = "Timeout" if outcome is _OVERRAN else "Cancelled"
    error = msgspec.json.encode({"type": kind, "message": "in a rehearsal"})
    return RunReport(lease.task, lease.token, outcome, error=error, error_type=kind)
