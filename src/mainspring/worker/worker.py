"""The pump: claims what there is room for, starts it, and hands over how it ended.

Everything goes in bursts. While one settle is on its way, outcomes collect for the next; a settle and the
claim for the places it frees leave in the same turn of the loop, so that a source that groups its calls makes
one commit of both.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any

import msgspec

from mainspring.core.lease import needs_renewal_before_start
from mainspring.core.model import SECOND_US
from mainspring.errors import InvalidInput, MainspringError, NotAllowed
from mainspring.ports import Append, ClaimRequest, Clock, Recall, TaskSource, WorkerInfo
from mainspring.worker.backoff import Backoff
from mainspring.worker.held import HeldLeases
from mainspring.worker.outbox import Outbox
from mainspring.worker.outcomes import interrupted
from mainspring.worker.recording import Recalls
from mainspring.worker.runs import Engine, Heard, Noted, Phase, Reason, Run

AHEAD_US = 50_000
AHEAD_MOST = 200
CLAIM_MOST = 1_000
WAITS_TOO_LONG_S = 1.0
HALT_S = 2.0
_log = logging.getLogger("mainspring.worker")


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`worker` names the worker for people. `slots` tasks run at a time. A claim waits up to `wait_s` at the
    server. Drained, runs may go on for `drain_grace_s`."""

    worker: str
    node: str = ""
    queues: tuple[str, ...] = ()
    slots: int = 10
    wait_s: float = 20.0
    drain_grace_s: float = 25.0
    version: str = ""


class Worker:
    """Runs the tasks of one source in one engine."""

    def __init__(self, source: TaskSource, engine: Engine, clock: Clock, settings: WorkerSettings) -> None:
        self.incarnation = clock.new_id()
        self._source = source
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self.held = HeldLeases(source, engine, clock, self.incarnation)
        self._outbox = Outbox(source, self.held, clock)
        self._recalls = Recalls(source, self.held, clock)
        self._backoff = Backoff(clock)
        self._tasks: dict[asyncio.Task[None], None] = {}  # in their order, so that a run replays
        self._timers: list[asyncio.TimerHandle] = []
        self._claiming: asyncio.Task[None] | None = None
        self._holds_nothing = True
        self._asked_seq = 0
        self._handing_over = self._recalling = False
        self._turning = False
        self._draining = False
        self._mean_us: float | None = None
        self._over: asyncio.Future[None] | None = None
        self._context = copy_context()

    # --- life -----------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        return self._draining

    async def run(self) -> None:
        """Work until drained. Cancelled, it stops like a crash: nothing more is reported.

        Raises what the engine raises when it cannot start, for example `InvalidInput`, and `NotAllowed` or
        `InvalidInput` if the source never accepts the worker: its token, its name, its kinds.
        """
        self._over = asyncio.get_running_loop().create_future()
        try:
            await self._engine.open(self, self._settings.slots)
            self._spawn(self.held.keep())
            self._spawn(self._announce())
            self._spawn(self._return_waiting())
            self._turn()
            await self._over
            await self._leave()
        finally:
            self._over = None
            for timer in self._timers:
                timer.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._engine.close()

    def drain(self) -> None:
        """Claim nothing more, hand back what has not started, let the rest finish within the grace, hand
        back what is left. `run` returns when the source has it all."""
        if self._draining:
            return
        self._draining = True
        if self._over is None:
            return  # it has not begun: `run` will find nothing to do
        if self._claiming is not None and self._holds_nothing:
            self._claiming.cancel()
        self._stop_all(Phase.QUEUED)
        self._later(self._settings.drain_grace_s, self._stop_all, Phase.STARTED)
        self._turn_soon()

    def halt(self) -> None:
        """Stop at once: every run is ended by force and handed back, if the source answers in time."""
        self.drain()
        if self._over is not None:
            self._engine.kill()
            self._later(HALT_S, self._finish)

    def _stop_all(self, phase: Phase) -> None:
        self._engine.look()
        for run in self.held.runs():
            if run.phase is phase:
                self._engine.stop(run, Reason.DRAIN)

    def _later(self, delay_s: float, call: Callable[..., None], *arguments: object) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, call, *arguments))

    def _finish(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _leave(self) -> None:
        """Say goodbye. Naming no lease hands back one whose claim was answered too late to be seen."""
        self.held.claim_seq = self._asked_seq
        try:
            async with asyncio.timeout(HALT_S):
                await self.held.say_goodbye()
                await self._source.leave(self._settings.worker, self.incarnation)
        except (MainspringError, TimeoutError) as error:
            _log.warning("left without a goodbye: %s", error or "no answer")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._gone)
        return task

    def _gone(self, task: asyncio.Task[None]) -> None:
        """A worker whose parts fail must not look alive: its `run` raises what they raised."""
        del self._tasks[task]
        if task is self._claiming:
            self._claiming = None  # cancelled before it had begun
            self._turn_soon()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    # --- the turn -------------------------------------------------------------------------------

    def ended(self) -> None:
        self._turn_soon()

    def ready(self) -> None:
        self._turn_soon()

    def append(self, line: Append, noted: Noted | None = None) -> None:
        self._outbox.append(line, noted)
        self._turn_soon()

    def recall(self, line: Recall, heard: Heard) -> None:
        self._recalls.add(line, heard)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            # Not in the context of the handler that ended: what the pump starts would carry it on.
            asyncio.get_running_loop().call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._turning = False
        if self._over is None:
            return  # `run` is at its end
        if self._engine.finished:
            runs, self._engine.finished = self._engine.finished, []
            self._outbox.add(runs)
            self._measure(runs)
        if self._outbox.waiting and not self._handing_over:
            self._handing_over = True
            self._spawn(self._hand_over())
        if self._recalls and not self._recalling:
            self._recalling = True
            self._spawn(self._recall())
        if self._claiming is None:
            if not self._draining:
                self._claim()
            elif not len(self.held) and not self._handing_over:
                self._finish()

    async def _hand_over(self) -> None:
        await self._outbox.hand_over()
        self._handing_over = False
        self._turn_soon()

    async def _recall(self) -> None:
        await self._recalls.hand_over()
        self._recalling = False
        self._turn_soon()

    # --- claiming -------------------------------------------------------------------------------

    def _claim(self) -> None:
        settings = self._settings
        places = settings.slots + self._ahead()
        room = places - self._engine.load
        if room > 0 and self._engine.ready and self._engine.kinds:
            # What one claim leaves for the next runs while that one is on its way.
            most = -(-places // self._source.flights)
            self._claiming = self._spawn(self._ask(min(room, most, CLAIM_MOST)))

    def _ahead(self) -> int:
        """Tasks to hold beyond the free slots: what drains while the next claim is on its way."""
        if self._mean_us is None:
            return 0
        return min(AHEAD_MOST, int(self._settings.slots * AHEAD_US / max(1.0, self._mean_us)))

    def _measure(self, runs: Sequence[Run]) -> None:
        took_us = sum(run.report.duration_us for run in runs if run.report is not None) / len(runs)
        self._mean_us = took_us if self._mean_us is None else 0.75 * self._mean_us + 0.25 * took_us

    async def _ask(self, room: int) -> None:
        settings, seq = self._settings, self._asked_seq
        if seq == self.held.claim_seq:
            seq += 1  # else the last claim's answer never came: repeating it gives the same leases
        self._asked_seq = seq
        request = ClaimRequest(
            settings.worker,
            self.incarnation,
            seq,
            self._engine.kinds,
            settings.queues,
            room,
            # Longer, and what it brings would be too old to start on without a renewal.
            min(settings.wait_s, self.held.lease_s / 4.0),
        )
        asked_s = self._clock.monotonic()
        self._holds_nothing = True
        try:
            leases = await self._source.claim(request)
            self._holds_nothing = False
            self.held.claim_seq = seq
            self._backoff.reset()
            runs = self.held.take(leases, asked_s)
            if runs and needs_renewal_before_start(asked_s, self._clock.monotonic(), self.held.lease_s):
                runs = await self._confirm(runs)
            self._start([run for run in runs if run.reason is None])
            self._refuse([run for run in runs if run.reason is not None])
        except MainspringError as error:
            if isinstance(error, NotAllowed | InvalidInput) and not self.held.claim_seq:
                raise  # never accepted: a person has to see to it
            _log.warning("claiming failed: %s", error)
            await self._backoff.wait()
        finally:
            self._claiming = None
            self._turn_soon()

    async def _confirm(self, runs: list[Run]) -> list[Run]:
        """Leases whose answer took so long that they may have lapsed on the way: start none before the server
        says that it still stands."""
        while runs := [run for run in runs if self.held.holds(run)]:
            try:
                await self.held.renew()
                if not any(self.held.lapsed(run) for run in runs):
                    break
            except (MainspringError, TimeoutError):
                await self._backoff.wait()
                for run in runs:
                    if self.held.lapsed(run):
                        self.held.lose(run)
        return [run for run in runs if self.held.holds(run)]

    def _start(self, runs: Sequence[Run]) -> None:
        if not runs:
            return
        self._engine.start(runs)
        if self._draining:
            self._stop_all(Phase.QUEUED)

    def _refuse(self, runs: Sequence[Run]) -> None:
        """Tasks that were cancelled before their run could begin."""
        for run in runs:
            assert run.reason is not None
            run.phase, run.report = Phase.ENDED, interrupted(run.lease, run.reason, 0)
        self._outbox.add(runs)

    async def _return_waiting(self) -> None:
        """Hand back what was claimed ahead but does not get its turn: tasks turned out longer than those
        before them, and another worker may have a free slot."""
        while True:
            await asyncio.sleep(WAITS_TOO_LONG_S)
            self._engine.look()
            early_s = self._clock.monotonic() - WAITS_TOO_LONG_S
            for run in self.held.runs():
                if (
                    run.phase is Phase.QUEUED
                    and run.asked_s < early_s
                    and self._engine.load > self._settings.slots
                ):
                    self._engine.stop(run, Reason.DRAIN)
                    self._mean_us = WAITS_TOO_LONG_S * SECOND_US

    # --- being seen -----------------------------------------------------------------------------

    async def _announce(self) -> None:
        """Register with the source, and say again and again that the worker is alive."""
        while True:
            try:
                async with asyncio.timeout(self.held.lease_s):
                    await self._source.beat(self.info())
            except (MainspringError, TimeoutError) as error:
                _log.warning("not registered: %s", error or "no answer")
            await asyncio.sleep(self.held.lease_s / 3.0)

    def info(self) -> WorkerInfo:
        settings, engine = self._settings, self._engine
        return WorkerInfo(
            worker=settings.worker,
            incarnation=self.incarnation,
            node=settings.node,
            kinds=engine.kinds,
            queues=settings.queues,
            slots=settings.slots,
            running=min(engine.load, settings.slots),
            draining=self._draining,
            version=settings.version,
        )
