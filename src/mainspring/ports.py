"""Every seam of Mainspring on one page.

`Store` is the system of record: atomic domain verbs over batches, never create/read/update/delete.
No verb raises because of one row: each line gets its own answer. A verb raises `StoreError` only when
the whole call failed, and then its outcome may be unknown: every verb is safe to repeat.

Time crosses this page as durations; the only absolute instants are those that users chose.
No verb takes `now`: a store judges leases, delays and ages by its own clock alone.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

import msgspec

from mainspring.core.lifecycle import Cause, Change, Report
from mainspring.core.limits import LimitRule, LimitState
from mainspring.core.model import Lane, Lease, NewTask, State, Task
from mainspring.core.order import LaneHead, Quota, Share


class Answer(IntEnum):
    """A store's answer to one line about a lease."""

    OK = 1
    LOST = 2  # the token is not the row's any more; nothing was changed
    CANCEL = 3  # settle: written, as cancelled. renew: the lease stands, but cancellation is wanted
    ALREADY = 4  # this very report was accepted before; nothing was changed


class Refused(msgspec.Struct, frozen=True):
    """Why one line was not done. `row` is the offending task's place in its group.

    Codes: `not_found`, `version_mismatch`, `wrong_state`, `unknown_parent`, `backlog_full`,
    `idempotency_key_reused`, `id_taken`.
    """

    code: str
    detail: str
    row: int | None = None


# --- submit -----------------------------------------------------------------------------------------


class Idempotency(msgspec.Struct, frozen=True):
    """A submit's key. The same key and digest within the TTL gives the first tasks again."""

    principal: str
    key: str
    digest: bytes
    ttl_us: int


class Group(msgspec.Struct):
    """Tasks stored together or not at all. Groups of one call are independent of each other.

    Dependencies may name any task of the group, or one that is stored; the group has no cycles.
    """

    tasks: Sequence[NewTask]
    idempotency: Idempotency | None = None


class Accepted(msgspec.Struct):
    """All tasks of the group are stored, but for `existing`: rows whose unique rule found an earlier
    task, by their place in the group. `versions` are the tasks' first versions."""

    created_at_us: int
    states: Sequence[State]
    versions: Sequence[int]
    existing: Mapping[int, Task] = {}


class Existing(msgspec.Struct):
    """The idempotency key was used before with the same body: these are the tasks it made."""

    tasks: Sequence[Task]


# --- claim, settle, renew ---------------------------------------------------------------------------


class Ask(msgspec.Struct):
    """One worker's claim: up to `limit` tasks from the heads of `lanes`, in that order.

    `(incarnation, claim_seq)` names the call: repeating one that granted something returns those of its
    leases that are still held. A call that granted nothing leaves no trace: the same name may ask again.
    `term`, if given, must be the current leader's, or nothing is granted.
    """

    worker: str
    incarnation: str
    claim_seq: int
    lanes: Sequence[Quota]
    limit: int
    lease_us: int
    term: int | None = None


class Claimed(msgspec.Struct):
    """`empty` are asked lanes that have no ready task left; a lane at its limit is not empty."""

    leases: list[Lease]
    empty: list[int] = []


class Settlement(msgspec.Struct, gc=False):
    """The end of one lease. The store writes `change`, or `if_cancelled` when the row's cancellation
    was requested. `only_if_lapsed` is the reaper's: nothing is written if the lease was renewed."""

    task: str
    token: int
    lane_id: int
    digest: int
    change: Change
    if_cancelled: Change
    only_if_lapsed: bool = False


class Charge(NamedTuple):
    """Worker time used by a tenant. The store keeps `max(virtual, floor) + cost / weight`."""

    tenant: str
    cost_us: float
    floor_us: float


class Exchange(msgspec.Struct):
    """The hot verbs as one transaction: settles first, then submits, then claims."""

    submits: Sequence[Group] = ()
    settles: Sequence[Settlement] = ()
    claims: Sequence[Ask] = ()
    charges: Sequence[Charge] = ()


class Exchanged(msgspec.Struct):
    """The answers, in the order of the lines. `ready` are lanes that gained ready tasks; `usage` is
    what limited names have in use now (empty when there are no limits)."""

    now_us: int
    submits: Sequence[Accepted | Existing | Refused] = ()
    settles: Sequence[Answer] = ()
    claims: Sequence[Claimed] = ()
    ready: Sequence[LaneHead] = ()
    usage: Mapping[str, LimitState] = {}


class Held(NamedTuple):
    """One lease that a worker says it holds. A task not `started` has its run time counted anew."""

    task: str
    token: int
    started: bool = True


class Renewal(msgspec.Struct):
    """A worker's heartbeat for its leases. Leases that it was granted by claims up to `claim_seq` and
    does not name go back to ready, uncounted: their answer was lost on the way."""

    incarnation: str
    claim_seq: int
    held: Sequence[Held]
    lease_us: int


class Append(msgspec.Struct):
    """What a running task records on the way. `None` leaves a field as it is."""

    task: str
    token: int
    checkpoint: bytes | None = None
    progress: bytes | None = None


# --- by hand ----------------------------------------------------------------------------------------


class Edit(msgspec.Struct):
    """The editable part of a waiting task, complete: what it shall be, not what changes."""

    lane: Lane
    payload: bytes
    run_at_us: int | None
    policy: bytes | None
    timeout_us: int | None
    deadline_us: int | None
    labels: bytes | None


class Action(IntEnum):
    CANCEL = 1  # waiting: cancelled now. running: the worker is asked to stop
    KILL = 2  # as CANCEL, but a running task is cancelled at once and its holder fenced
    REPLAY = 3  # failed or cancelled: ready again, with fresh counters; the attempts stay on record
    RUN_NOW = 4  # scheduled: ready


class Force(NamedTuple):
    task: str
    action: Action
    version: int | None = None


# --- services ---------------------------------------------------------------------------------------


class Moved(msgspec.Struct):
    """What a service's pass did. `count` equal to the pass's limit means: there may be more.
    `finished` are tasks that reached a final state; `next_due_us` is the time until the next one."""

    count: int
    ready: Sequence[LaneHead] = ()
    finished: Sequence[str] = ()
    next_due_us: int | None = None


class Overdue(msgspec.Struct):
    """`leases` ran past their timeout or deadline and are to be settled; `expired` waited past their
    deadline and are failed already."""

    leases: Sequence[Lease]
    expired: Sequence[str] = ()


class Retention(msgspec.Struct, frozen=True):
    """How long final tasks are kept, per state; `None` keeps them for ever."""

    succeeded_us: int | None
    failed_us: int | None
    cancelled_us: int | None


class Pruned(msgspec.Struct):
    """`cursor` is where the next pass goes on; `None` after the last row."""

    count: int
    cursor: str | None = None


# --- reading ----------------------------------------------------------------------------------------


class BoardView(msgspec.Struct):
    """What a node ranks claims by, as of one moment."""

    now_us: int
    heads: Sequence[LaneHead]
    paused: Mapping[str, str]
    rules: Mapping[str, LimitRule]
    usage: Mapping[str, LimitState]
    shares: Mapping[str, Share]


class Query(msgspec.Struct):
    """A filter over tasks, newest first. Empty `states` means every state."""

    states: frozenset[State] = frozenset()
    queue: str | None = None
    kind: str | None = None
    tenant: str | None = None
    label: tuple[str, str] | None = None
    limit: int = 100
    cursor: str | None = None


class Page(msgspec.Struct):
    """Newest first. `cursor` is `None` only after the last match; a page may be shorter than asked
    for, even empty, when a filter matches little: a call reads a bounded number of rows."""

    tasks: list[Task]
    cursor: str | None = None


class Stats(msgspec.Struct):
    """Exact counts by queue and state."""

    now_us: int
    counts: Mapping[tuple[str, State], int]


class Transition(NamedTuple):
    """One step of a task's life, kept when the store runs with full history."""

    task: str
    at_us: int
    old: State | None
    cause: Cause
    new: State
    attempt: int
    token: int


# --- membership and leadership ----------------------------------------------------------------------


class WorkerInfo(msgspec.Struct):
    """A worker as it last reported itself. `age_us` is how long ago, by the store's clock."""

    worker: str
    incarnation: str
    node: str
    kinds: tuple[str, ...]
    queues: tuple[str, ...]
    slots: int
    running: int = 0
    draining: bool = False
    version: str = ""
    age_us: int = 0


class Term(NamedTuple):
    """Who leads. `number` rises with every change of the holder and fences leader work."""

    holder: str
    number: int
    expires_in_us: int


class Features(msgspec.Struct, frozen=True):
    """What a store can do. `durability` is A, B or C as in the documentation."""

    name: str
    durability: str
    several_processes: bool
    full_history: bool = False


class Store(ABC):
    """The system of record. A driver exists only if it passes the whole conformance suite."""

    features: Features

    @abstractmethod
    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises `StoreTooNew`, `StoreCorrupt`, `StoreUnavailable`."""

    @abstractmethod
    async def close(self) -> None:
        """Let calls in flight finish, then let go. A closed store raises `StoreUnavailable`."""

    @abstractmethod
    async def exchange(self, batch: Exchange) -> Exchanged:
        """Settle, submit and claim in one transaction and one durable commit."""

    async def submit(self, groups: Sequence[Group]) -> Sequence[Accepted | Existing | Refused]:
        return (await self.exchange(Exchange(submits=groups))).submits

    async def claim(self, asks: Sequence[Ask]) -> Sequence[Claimed]:
        return (await self.exchange(Exchange(claims=asks))).claims

    async def settle(self, lines: Sequence[Settlement]) -> Sequence[Answer]:
        return (await self.exchange(Exchange(settles=lines))).settles

    @abstractmethod
    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        """Lengthen leases to `lease_us` from now; one answer per line held."""

    @abstractmethod
    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        """Record checkpoints and progress of running tasks."""

    @abstractmethod
    async def amend(self, task: str, version: int, edit: Edit) -> Task | Refused:
        """Edit a waiting task if its version is still `version`."""

    @abstractmethod
    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        """Cancel, replay or run now, by hand. Whoever held a lease on a row so moved is fenced."""

    @abstractmethod
    async def delete(self, tasks: Sequence[str]) -> Sequence[Refused | None]:
        """Forget final tasks that no unfinished task depends on."""

    @abstractmethod
    async def promote(self, limit: int) -> Moved:
        """Scheduled tasks that are due become ready."""

    @abstractmethod
    async def expired(self, limit: int) -> Sequence[Lease]:
        """Leases that have lapsed, oldest first. Changes nothing: the reaper settles them."""

    @abstractmethod
    async def overdue(self, limit: int, grace_us: int) -> Overdue:
        """Runs past their timeout or deadline by `grace_us`; waiting tasks past their deadline fail."""

    @abstractmethod
    async def resolve(self, limit: int) -> Moved:
        """Apply final parents to their children that settling left over; idempotent, one level a pass."""

    @abstractmethod
    async def prune(self, limit: int, retention: Retention, cursor: str | None) -> Pruned:
        """Look at up to `limit` tasks from `cursor` on, oldest first, and forget those past retention."""

    @abstractmethod
    async def board(self) -> BoardView: ...

    @abstractmethod
    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]: ...

    @abstractmethod
    async def leases(self, held: Sequence[Held]) -> Sequence[Lease | None]:
        """The leases behind `(task, token)`, for a node that did not grant them; `None` if not held."""

    @abstractmethod
    async def find(self, query: Query) -> Page: ...

    @abstractmethod
    async def stats(self) -> Stats: ...

    @abstractmethod
    async def history(self, task: str) -> Sequence[Transition]:
        """Every step of the task; empty unless the store runs with full history."""

    @abstractmethod
    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        """Pause the queue in somebody's name, or resume it (`None`). Holds until changed."""

    @abstractmethod
    async def set_limit(self, name: str, rule: LimitRule | None) -> None:
        """Set or remove (`None`) the limit on a name; running tasks are not touched."""

    @abstractmethod
    async def set_weight(self, tenant: str, weight: float) -> None: ...

    @abstractmethod
    async def beat(self, worker: WorkerInfo) -> None:
        """Register the worker, or say that it is alive."""

    @abstractmethod
    async def leave(self, worker: str, incarnation: str) -> None:
        """The worker is gone for good; forget it, unless another incarnation has taken the name."""

    @abstractmethod
    async def workers(self) -> Sequence[WorkerInfo]: ...

    @abstractmethod
    async def take_term(self, candidate: str, ttl_us: int) -> Term:
        """Become or stay leader for `ttl_us`, if nobody else is; the answer says who leads."""

    @abstractmethod
    async def resign(self, candidate: str, number: int) -> None:
        """Give up term `number`, if it is still the candidate's."""

    @abstractmethod
    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` in the event loop when another process may have made tasks ready or final.
        Only a hint: it may come late, twice, or not at all."""


# --- the other seams --------------------------------------------------------------------------------


class Clock(Protocol):
    """The only way to time and randomness, so that a simulation can own both."""

    random: random.Random

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, by this node's clock: for people, never for leases."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562): ids minted later by one process sort later."""


class ClaimRequest(msgspec.Struct):
    """What a worker asks of its source. The call returns at once if there is work, else after `wait_s`."""

    worker: str
    incarnation: str
    claim_seq: int
    kinds: tuple[str, ...]
    queues: tuple[str, ...] = ()
    slots: int = 1
    wait_s: float = 0.0


class TaskSource(Protocol):
    """Where a worker gets its work: the scheduler in the same process, or a server over HTTP.

    Every call may raise `MainspringError`; a worker then retries with jittered back-off, finishes
    what it runs, and reports it if its lease still stands.
    """

    async def claim(self, request: ClaimRequest) -> list[Lease]: ...

    async def renew(self, renewal: Renewal) -> Sequence[Answer]: ...

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]: ...

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]: ...

    async def beat(self, worker: WorkerInfo) -> None: ...

    async def leave(self, worker: str, incarnation: str) -> None: ...


class Elector(Protocol):
    """Decides who tries to lead. Who may is decided by the store's own term row."""

    async def campaign(self) -> Term: ...

    async def resign(self) -> None: ...
