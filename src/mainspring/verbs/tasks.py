"""Lines and answers about tasks, and about the nodes and workers that move them."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec

from mainspring.core.lifecycle import Cause, Change
from mainspring.core.limits import LimitRule, LimitState
from mainspring.core.model import Lane, Lease, NewTask, State, Task
from mainspring.core.order import LaneHead, Quota, Share
from mainspring.verbs.workflows import NewWorkflow


class Answer(IntEnum):
    """A store's answer to one line about a lease."""

    OK = 1
    LOST = 2  # the token is not the row's any more; nothing was changed
    CANCEL = 3  # settle: written, as cancelled. renew: the lease stands, but cancellation is wanted
    ALREADY = 4  # this very report was accepted before; nothing was changed


class Refused(msgspec.Struct, frozen=True):
    """Why one line was not done. `row` is the offending task's place in its group.

    Codes: `not_found`, `version_mismatch`, `wrong_state`, `unknown_parent`, `backlog_full`,
    `idempotency_key_reused`, `id_taken`, `lease_lost`, `too_large`.
    """

    code: str
    detail: str
    row: int | None = None


def not_found(task: str) -> Refused:
    return Refused("not_found", f"no task {task}")


def no_workflow(workflow: str) -> Refused:
    return Refused("not_found", f"no workflow {workflow}")


def wrong_state(task: str, state: State, wish: str) -> Refused:
    return Refused("wrong_state", f"task {task} is {state.label}: {wish.replace('_', ' ')} is not possible")


def depended_on(task: str) -> Refused:
    return Refused("wrong_state", f"unfinished tasks depend on task {task}")


def version_mismatch(task: str, found: int, wanted: int) -> Refused:
    return Refused("version_mismatch", f"task {task} is at version {found}, not {wanted}")


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
    A group with `workflow` makes a workflow of those of its tasks that are stored anew.
    """

    tasks: Sequence[NewTask]
    idempotency: Idempotency | None = None
    workflow: NewWorkflow | None = None


class Accepted(msgspec.Struct):
    """All tasks of the group are stored, but for `existing`: rows whose unique rule found an earlier
    task, by their place in the group. `versions` are the tasks' first versions. Siblings that depend on
    such a row depend on the task that was found."""

    created_at_us: int
    states: Sequence[State]
    versions: Sequence[int]
    existing: Mapping[int, Task] = {}


class Existing(msgspec.Struct):
    """The idempotency key was used before with the same body: these are the tasks it made."""

    tasks: Sequence[Task]


# --- claim, settle, renew ---------------------------------------------------------------------------


# What the leases of one claim weigh at most, but for the last of them: a thousand payloads of a megabyte each
# in one answer would keep all others from the store for seconds, and their leases would run out on the way.
CLAIM_BYTES = 16 * 1024 * 1024


class Ask(msgspec.Struct):
    """One worker's claim: up to `limit` tasks from the heads of `lanes`, in that order; fewer, but at least
    one, once they weigh `CLAIM_BYTES` (`Lease.size_bytes`).

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
    """`empty` are asked lanes that have no ready task left. A lane at its limit is not empty, nor is one
    that was not reached, or not to its end, because the leases became too heavy."""

    leases: list[Lease]
    empty: list[int] = []


class Settlement(msgspec.Struct, gc=False):
    """The end of one lease. The store writes `change`, or `if_cancelled` when the row's cancellation
    was requested. A task that becomes ready again takes a new place in line (`LaneHead.seq`), unless
    the cause is one of `lifecycle.KEEPS_PLACE`. `lane_id` is the lease's; 0 says that the node found nobody
    to hold it: such a line is never written, only told from a repeat. `only_if_lapsed` is the reaper's:
    nothing is written if the lease was renewed, and the answer is `LOST`."""

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
    what limited names have in use now (empty when there are no limits), with those that this exchange
    freed."""

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
    REPLAY = 3  # failed or cancelled: waiting again, with fresh counters and without a deadline that has
    # passed; attempts, checkpoint, steps and log stay on record
    RUN_NOW = 4  # scheduled: ready
    DISCARD = 5  # as CANCEL, but refused while unfinished tasks depend on it


class Force(NamedTuple):
    """One task to move. A replay with `delay_us` makes the task scheduled, due that much later."""

    task: str
    action: Action
    version: int | None = None
    delay_us: int = 0


# --- services ---------------------------------------------------------------------------------------


class Moved(msgspec.Struct):
    """What a service's pass did. `count` equal to the pass's limit means: there may be more.
    `finished` are tasks that reached a final state; `next_due_us` is the time until the next one.
    `submissions`: there are some to take in."""

    count: int
    ready: Sequence[LaneHead] = ()
    finished: Sequence[str] = ()
    next_due_us: int | None = None
    submissions: bool = False


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

    @property
    def by_state(self) -> Mapping[State, int | None]:
        return {
            State.SUCCEEDED: self.succeeded_us,
            State.FAILED: self.failed_us,
            State.CANCELLED: self.cancelled_us,
        }


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
    workflow: str | None = None
    fingerprint: int | None = None


# What a page of tasks weighs at most, but for its last task: a thousand tasks of a megabyte each, asked for
# by one reader, would keep all others from the store for seconds and fill the memory of the node.
PAGE_BYTES = 16 * 1024 * 1024


class Page(msgspec.Struct):
    """Newest first. `cursor` is `None` only after the last match; a page may be shorter than asked
    for, even empty, when a filter matches little: a call reads a bounded number of rows, and about
    `PAGE_BYTES` of them."""

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


class ClaimRequest(msgspec.Struct):
    """What a worker asks of its source. The call returns at once if there is work, else after `wait_s`."""

    worker: str
    incarnation: str
    claim_seq: int
    kinds: tuple[str, ...]
    queues: tuple[str, ...] = ()
    slots: int = 1
    wait_s: float = 0.0
