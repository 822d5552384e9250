"""One claimed task on its way through a worker, and the seam between the pump and what runs tasks."""

from collections.abc import Callable, Sequence
from enum import IntEnum, StrEnum
from math import inf
from typing import Protocol

from mainspring.core.lifecycle import Report
from mainspring.core.model import SECOND_US, Lease
from mainspring.errors import MainspringError
from mainspring.ports import Append, Recall, Recalled

# Told once, on the event loop: that what was recorded is stored (`None`), or why it never will be.
Noted = Callable[[MainspringError | None], None]
# Told once, on the event loop: the answer, or why there is none.
Heard = Callable[[Recalled | MainspringError], None]


class Reason(StrEnum):
    """Why a run is ended early. It is named before anything is interrupted, so that whoever sees the
    interruption can tell whose it is."""

    SOFT_TIMEOUT = "soft_timeout"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    CANCEL = "cancel"
    DRAIN = "drain"
    LOST = "lost"


class Phase(IntEnum):
    CLAIMED = 0  # in the pump's hands
    QUEUED = 1  # in the engine's
    STARTED = 2
    ENDED = 3


class Run:
    """A lease in a worker's hands.

    `asked_s` and `renewed_s` are this process's monotonic clock when the claim, and the last renewal that was
    granted, were *asked* for; from `until_s` on, the lease must be assumed gone, and user code is not started
    any more. `report` is `None` for a run that ended without anything to say.
    """

    __slots__ = ("asked_s", "lease", "phase", "reason", "renewed_s", "report", "started_s", "until_s")

    def __init__(self, lease: Lease, asked_s: float) -> None:
        self.lease = lease
        self.asked_s = self.renewed_s = asked_s
        self.until_s = inf
        self.started_s = 0.0
        self.phase = Phase.CLAIMED
        self.reason: Reason | None = None
        self.report: Report | None = None


def time_limit_s(lease: Lease, default_s: float | None) -> float | None:
    """How long a run may take: what the task says, else what its handler says."""
    return default_s if lease.timeout_us is None else lease.timeout_us / SECOND_US


def due_s(run: Run) -> float:
    """When the task's deadline is, by this process's monotonic clock; endless without one.

    The deadline and the claim are instants of the server's clock, so their difference can be trusted, even
    where this machine's wall clock is hours off.
    """
    lease = run.lease
    if lease.deadline_us is None or lease.started_at_us is None:
        return inf
    return run.asked_s + (lease.deadline_us - lease.started_at_us) / SECOND_US


class Hooks(Protocol):
    """What an engine tells its pump. Called in the event loop only."""

    def ended(self) -> None:
        """`Engine.finished` is no longer empty."""
        ...

    def ready(self) -> None:
        """`Engine.ready` has become true."""
        ...

    def append(self, line: Append, noted: Noted | None = None) -> None:
        """A running task recorded something."""
        ...

    def recall(self, line: Recall, heard: Heard) -> None:
        """A running task asks for what earlier runs recorded, or for its parents."""
        ...

    def failed(self, error: BaseException) -> None:
        """The engine cannot go on."""
        ...


class Engine(Protocol):
    """What runs tasks. The pump takes ended runs off `finished`: a list, because a call or a future for each
    would cost more than an empty task."""

    finished: list[Run]

    @property
    def ready(self) -> bool:
        """Whether it makes sense to claim for it now."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds there is a handler for."""
        ...

    @property
    def load(self) -> int:
        """Runs taken on and not ended, those that are winding down included."""
        ...

    async def open(self, hooks: Hooks, slots: int) -> None: ...

    def start(self, runs: Sequence[Run]) -> None:
        """Take on runs; at most `slots` of them run at a time, the rest wait in order."""
        ...

    def stop(self, run: Run, reason: Reason) -> None:
        """End the run early: at once if it waits, else by asking it, and by force after the grace. Nothing
        happens to a run that was never given to the engine, or has ended."""
        ...

    def kill(self) -> None:
        """End every run now, by force, as drained."""
        ...

    def look(self) -> None:
        """Bring `phase` and `started_s` of the runs up to date, before a heartbeat names them."""
        ...

    async def close(self) -> None:
        """Let go of everything; runs that have not ended never will."""
        ...
