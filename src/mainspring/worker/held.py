"""The leases a worker holds, and its heartbeat for them."""

import asyncio
import contextlib
import logging
from math import inf

from mainspring.core.lease import LEASE_DEFAULT_S, is_lapsed, renew_interval_s
from mainspring.core.model import SECOND_US, Lease
from mainspring.errors import MainspringError
from mainspring.ports import Answer, Clock, Held, Renewal, TaskSource
from mainspring.worker.backoff import Backoff
from mainspring.worker.runs import Engine, Phase, Reason, Run

_log = logging.getLogger("mainspring.worker")


class HeldLeases:
    """Every lease from the claim's answer until the settle's answer.

    A run that has ended stays on the list until the server took its report: a heartbeat that left it out
    would hand it back, to be run again.
    """

    def __init__(self, source: TaskSource, engine: Engine, clock: Clock, incarnation: str) -> None:
        self.lease_s = LEASE_DEFAULT_S
        self.claim_seq = 0
        self._source = source
        self._engine = engine
        self._clock = clock
        self._incarnation = incarnation
        self._runs: dict[str, Run] = {}
        self._learned = asyncio.Event()
        self._shortest_s = inf

    def __len__(self) -> int:
        return len(self._runs)

    def runs(self) -> list[Run]:
        return list(self._runs.values())

    def holds(self, run: Run) -> bool:
        return self._runs.get(run.lease.task) is run

    def take(self, leases: list[Lease], asked_s: float) -> list[Run]:
        """New leases. One on a task that is held already says that the older lease is lost."""
        if leases:
            self._learn(leases[0])
        held, runs = self._runs, []
        for lease in leases:
            earlier = held.get(lease.task)
            if earlier is not None:
                if earlier.lease.token >= lease.token:
                    continue  # a repeated answer
                self.lose(earlier)
            run = held[lease.task] = Run(lease, asked_s)
            run.until_s = asked_s + self.lease_s
            runs.append(run)
        return runs

    def drop(self, run: Run) -> None:
        """The server has the run's end, or nobody wants it."""
        if self._runs.get(run.lease.task) is run:
            del self._runs[run.lease.task]

    def lose(self, run: Run) -> None:
        """The lease is somebody else's now: stop the run; how it ends is not reported."""
        self.drop(run)
        self._engine.stop(run, Reason.LOST)

    def find(self, task: str) -> Run | None:
        return self._runs.get(task)

    def stands(self, task: str, token: int) -> bool:
        """Whether this very lease is held, and has not lapsed."""
        run = self._runs.get(task)
        return run is not None and run.lease.token == token and not self.lapsed(run)

    def lapsed(self, run: Run) -> bool:
        return is_lapsed(run.renewed_s, self._clock.monotonic(), self.lease_s)

    def _learn(self, lease: Lease) -> None:
        """The server says how long its leases last; both instants are its own, so they can be compared. Of
        several servers that say different things the shortest word counts."""
        if lease.started_at_us is not None and lease.lease_until_us > lease.started_at_us:
            lease_s = (lease.lease_until_us - lease.started_at_us) / SECOND_US
            if lease_s < self._shortest_s:
                self._shortest_s = self.lease_s = lease_s
                self._learned.set()

    # --- the heartbeat --------------------------------------------------------------------------

    async def keep(self) -> None:
        """Renew at a third of the lease; runs until cancelled.

        A process that was stopped, or whose event loop was held up, finds on waking that its leases have
        lapsed by its own clock: it stops those runs before anything else, for somebody else may have them.
        """
        backoff, wait_s = Backoff(self._clock), renew_interval_s(self.lease_s)
        while True:
            if await self._learns_within(wait_s):
                # A rhythm for longer leases would let the first short ones lapse.
                wait_s = renew_interval_s(self.lease_s)
                continue
            self._lose_lapsed()
            asked_s = self._clock.monotonic()
            try:
                await self.renew()
            except (MainspringError, TimeoutError) as error:
                _log.warning("heartbeat failed: %s", error or "no answer")
                # Never longer than the rhythm: a claim may be granted meanwhile.
                await backoff.wait(min(self._until_lapse_s(), renew_interval_s(self.lease_s)))
                wait_s = 0.0
            else:
                self._lose_lapsed()  # the answer itself may have been heard too late
                backoff.reset()
                # A rhythm of asking: what an answer took comes off the wait, or the lease might lapse in it.
                wait_s = max(0.0, asked_s + renew_interval_s(self.lease_s) - self._clock.monotonic())

    async def _learns_within(self, wait_s: float) -> bool:
        """Sleep; whether the server's leases turned out to have another length meanwhile."""
        self._learned.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._learned.wait()
        return self._learned.is_set()

    async def renew(self) -> None:
        """Name every lease held, and act on the answers. Raises `MainspringError` or `TimeoutError`."""
        if not self._runs:
            return
        self._engine.look()
        runs, asked_s = self.runs(), self._clock.monotonic()
        held = [Held(run.lease.task, run.lease.token, run.phase >= Phase.STARTED) for run in runs]
        renewal = Renewal(self._incarnation, self.claim_seq, held, int(self.lease_s * SECOND_US))
        async with asyncio.timeout(min(renew_interval_s(self.lease_s), self._until_lapse_s())):
            answers = await self._source.renew(renewal)
        for run, answer in zip(runs, answers, strict=True):
            self.hear(run, answer, asked_s)

    async def say_goodbye(self) -> None:
        """Name no lease any more: what the server still counts as this worker's goes back to ready."""
        await self._source.renew(
            Renewal(self._incarnation, self.claim_seq, [], int(self.lease_s * SECOND_US))
        )

    def hear(self, run: Run, answer: Answer, asked_s: float) -> None:
        """Act on what the server says about a lease."""
        if not self.holds(run):
            return
        if answer is Answer.LOST:
            # A run that has ended is reported all the same: the answer to its report may have been lost.
            if run.phase is not Phase.ENDED:
                self.lose(run)
            return
        run.renewed_s = max(run.renewed_s, asked_s)
        run.until_s = run.renewed_s + self.lease_s
        if answer is Answer.CANCEL:
            if run.phase is Phase.CLAIMED:
                run.reason = Reason.CANCEL  # the engine does not know it yet, and never will
            self._engine.stop(run, Reason.CANCEL)

    def _lose_lapsed(self) -> None:
        for run in self.runs():
            # One that is not started yet is being renewed first, and is somebody's only if that fails.
            if run.phase in (Phase.QUEUED, Phase.STARTED) and self.lapsed(run):
                _log.warning("the lease on task %s has lapsed; its run is stopped", run.lease.task)
                self.lose(run)

    def _until_lapse_s(self) -> float:
        """How long until the first run would have to be stopped. One that has ended does not count: its
        report may wait longer than its lease, and must not hurry the heartbeat of all others."""
        standing = (run.renewed_s for run in self._runs.values() if run.phase is not Phase.ENDED)
        return max(0.01, min(standing, default=inf) + self.lease_s - self._clock.monotonic())
