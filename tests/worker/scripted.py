"""A task source that does what a test tells it, and virtual time to run a worker in."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from mainspring.clock import SystemClock, VirtualClock
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import SECOND_US, Lane, Lease
from mainspring.core.progress import LogPiece, size_of
from mainspring.errors import MainspringError
from mainspring.ports import (
    Answer,
    Append,
    ClaimRequest,
    Clock,
    Parent,
    Recall,
    Recalled,
    Refused,
    Renewal,
    WorkerInfo,
)
from mainspring.sdk.handlers import Handler, Registry
from mainspring.verbs import lease_lost
from mainspring.worker import Engine, InProcessEngine, Worker, WorkerSettings

LEASE_S = 15.0
FOREVER_S = 100_000.0


class ScriptedSource:
    """Hands out what was `put`, keeps what it was told, and answers as it is set up to.

    `failing` maps a verb to an error that it raises; `answers` overrides the answer for a task, per verb.
    """

    flights = 1

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self.failing: dict[str, MainspringError] = {}
        self.answers: dict[tuple[str, str], Answer] = {}
        self.delays_s: dict[str, float] = {}
        self.claims_late_s = 0.0  # between the grant and its answer
        self.requests: list[ClaimRequest] = []
        self.renewals: list[Renewal] = []
        self.reports: list[Report] = []
        self.offered: list[Report] = []
        self.lines: list[Append] = []
        self.recalls: list[Recall] = []
        self.parents: list[Parent] = []
        self.on_call: Callable[[str], None] = lambda verb: None
        self.on_settle: Callable[[Sequence[Report]], None] = lambda reports: None
        self.beats: list[WorkerInfo] = []
        self.left: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self._ready: list[Lease] = []
        self._granted: dict[tuple[str, int], list[Lease]] = {}
        self._tokens = 0
        self._changed = asyncio.Condition()

    async def put(self, kind: str, payload: object = None, *, task: str = "", **fields: Any) -> Lease:
        self._tokens += 1
        lane = fields.pop("lane", None) or Lane("default", kind, "", 5)
        fields.setdefault("attempt", 1)
        lease = Lease(
            task or f"task-{self._tokens}",
            self._tokens,
            1,
            lane,
            payload if isinstance(payload, bytes) else msgspec.json.encode(payload),
            started_at_us=SECOND_US,
            lease_until_us=SECOND_US + int(self.lease_s * SECOND_US),
            **fields,
        )
        async with self._changed:
            self._ready.append(lease)
            self._changed.notify_all()
        return lease

    async def claim(self, request: ClaimRequest) -> list[Lease]:
        await self._called("claim")
        self.requests.append(request)
        name = request.incarnation, request.claim_seq
        if name in self._granted:
            return self._granted[name]
        async with self._changed:
            try:
                async with asyncio.timeout(request.wait_s):
                    await self._changed.wait_for(lambda: self._ready)
            except TimeoutError:
                return []
            leases, self._ready = self._ready[: request.slots], self._ready[request.slots :]
        self._granted[name] = leases
        await asyncio.sleep(self.claims_late_s)
        return leases

    async def renew(self, renewal: Renewal) -> Sequence[Answer]:
        await self._called("renew")
        self.renewals.append(renewal)
        return [self.answers.get(("renew", line.task), Answer.OK) for line in renewal.held]

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]:
        self.offered.extend(reports)
        await self._called("settle")
        self.on_settle(reports)
        async with self._changed:
            self.reports.extend(reports)
            self._changed.notify_all()
        return [self.answers.get(("settle", report.task), Answer.OK) for report in reports]

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        await self._called("append")
        async with self._changed:
            self.lines.extend(lines)
            self._changed.notify_all()
        return [self.answers.get(("append", line.task), Answer.OK) for line in lines]

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        await self._called("recall")
        self.recalls.extend(lines)
        return [self._recalled(line) for line in lines]

    def _recalled(self, line: Recall) -> Recalled | Refused:
        if ("recall", line.task) in self.answers:
            return lease_lost(line.task)
        found = Recalled(parents=self.parents if line.parents else [])
        for append in self.lines if line.steps else ():
            if append.task == line.task:
                found.steps = {**append.steps, **found.steps}
        return found

    async def beat(self, worker: WorkerInfo) -> None:
        await self._called("beat")
        self.beats.append(worker)

    async def leave(self, worker: str, incarnation: str) -> None:
        await self._called("leave")
        self.left.append((worker, incarnation))

    async def _called(self, verb: str) -> None:
        self.calls.append(verb)
        self.on_call(verb)
        if verb in self.delays_s:
            await asyncio.sleep(self.delays_s[verb])
        if verb in self.failing:
            raise self.failing[verb]

    # --- what tests wait for --------------------------------------------------------------------

    async def settled(self, count: int = 1) -> list[Report]:
        """The reports, as soon as there are `count`."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.reports) >= count)
        return self.reports

    async def logged(self, least_bytes: int) -> list[LogPiece]:
        """All that was logged, as soon as it is so much."""
        async with self._changed:
            await self._changed.wait_for(lambda: sum(map(size_of, self.texts())) >= least_bytes)
        return self.log()

    def log(self) -> list[LogPiece]:
        return [piece for line in self.lines for piece in line.log]

    def texts(self) -> list[str]:
        return [piece.text for piece in self.log()]

    def report_on(self, lease: Lease) -> Report:
        (report,) = [r for r in self.reports if (r.task, r.token) == (lease.task, lease.token)]
        return report

    def outcome_of(self, lease: Lease) -> Outcome:
        return self.report_on(lease).outcome


def registry(**functions: Callable[..., Any]) -> Registry:
    return Registry(*(Handler(name, function) for name, function in functions.items()))


@asynccontextmanager
async def working(source: Any, engine: Engine, clock: Clock | None = None, **settings: Any):
    """A worker that runs while the block does, and is drained after it."""
    worker = Worker(source, engine, clock or SystemClock(), WorkerSettings(**{"worker": "w-1", **settings}))
    running = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def embedded(clock: Clock | None = None, grace_s: float = 5.0, **functions: Callable[..., Any]):
    return InProcessEngine(registry(**functions), clock or SystemClock(), grace_s)


def virtual(test: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run the test on an event loop whose time is the clock's that it gets: waiting takes no time at all."""

    def run() -> None:
        clock = VirtualClock(seed=1)
        with asyncio.Runner(loop_factory=lambda: _VirtualLoop(clock)) as runner:
            runner.run(test(clock))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.elapsed


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None):
        if timeout is None:
            raise RuntimeError("nothing will ever happen: the test waits for what cannot come")
        self._clock.elapsed += max(0.0, timeout)
        if self._clock.elapsed > FOREVER_S:
            raise RuntimeError("the test waits for what does not come")
        return super().select(0)
