"""The seams around the store: time, leadership, where workers and applications get served."""

import random
from collections.abc import Sequence
from typing import Protocol

from mainspring.core.lifecycle import Report
from mainspring.core.model import Lease, Task
from mainspring.core.order import LaneHead
from mainspring.verbs import (
    Answer,
    Append,
    ClaimRequest,
    Group,
    NewSchedule,
    Recall,
    Recalled,
    Refused,
    Renewal,
    ScheduleRecord,
    Term,
    WorkerInfo,
)


class Clock(Protocol):
    """The only way to time and randomness, so that a simulation can own both."""

    random: random.Random

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, by this node's clock: for people, never for leases."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562): ids minted later by one process sort later."""


class Wakeups(Protocol):
    """What a store tells of other processes' writes, as far as it knows."""

    def gained(self, heads: Sequence[LaneHead]) -> None:
        """These lanes have ready tasks; nothing else is said."""

    def ended(self) -> None:
        """Tasks have come to their end."""

    def anything(self) -> None:
        """Whatever is known may be outdated."""


class TaskSource(Protocol):
    """Where a worker gets its work: the scheduler in the same process, or a server over HTTP.

    Every call may raise `MainspringError`; a worker then retries with jittered back-off, finishes
    what it runs, and reports it if its lease still stands.
    """

    @property
    def flights(self) -> int:
        """How many calls of one worker the source gains by at a time."""
        ...

    async def claim(self, request: ClaimRequest) -> list[Lease]: ...

    async def renew(self, renewal: Renewal) -> Sequence[Answer]: ...

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]: ...

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]: ...

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]: ...

    async def beat(self, worker: WorkerInfo) -> None: ...

    async def leave(self, worker: str, incarnation: str) -> None: ...


class Backend(Protocol):
    """What a program that submits tasks talks to: the scheduler in its process, or a server.

    Raises what a door would answer: `NotFound`, `WrongState` and their kin. A call that got no answer raises
    `StoreUnavailable`; what came of it is unknown, and it may be repeated.
    """

    async def submit(self, group: Group) -> Sequence[str]:
        """Store the group whole or not at all; durable on return. The ids of its tasks, in its order: its
        own, but for those in whose place an idempotency key or a unique rule found earlier ones.

        Raises why it is refused: `InvalidInput`, `BacklogFull`, `KeyReused` and others."""
        ...

    async def get(self, task: str) -> Task: ...

    async def wait(self, task: str, timeout_s: float) -> Task:
        """The record as soon as it is final, else as it is after about `timeout_s`."""
        ...

    async def cancel(self, task: str, *, kill: bool = False) -> Task:
        """Waiting: cancelled now. Running: the worker is asked to stop, or fenced at once with `kill`."""
        ...

    async def put_schedule(self, id: str, new: NewSchedule) -> None:
        """A new schedule, or the present one with these rules and this template."""
        ...

    async def get_schedule(self, id: str) -> ScheduleRecord: ...

    async def pause_schedule(self, id: str, paused: bool) -> None: ...

    async def trigger_schedule(self, id: str) -> Task:
        """Make a task now. Called again it makes another one: the one call that a caller may not repeat."""
        ...

    async def delete_schedule(self, id: str) -> None: ...


class Elector(Protocol):
    """Decides who tries to lead. Who may is decided by the store's own term row."""

    term: Term | None

    async def campaign(self) -> Term:
        """Become or stay leader, if nobody else is; says who leads. Raises `StoreError`."""
        ...

    def leads(self) -> bool:
        """Whether this node may still trust that it leads, by its own monotonic clock."""
        ...

    async def resign(self) -> None:
        """Let another node lead at once."""
        ...
