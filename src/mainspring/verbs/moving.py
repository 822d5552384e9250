"""All that a store holds, record by record, as it crosses to another store: `dump` gives it, `load` takes it.

    tasks ─► workflows ─► dependencies ─► steps, logs, history ─► keys ─► schedules ─► fires ─► controls

In this order a store can write what it gets: whoever is named by a record has come before it. Records hold
what the stores agree on. Numbers of a store's own (rows, lanes, claimants) do not cross, and neither do
leases, workers, the leader's term, or how far a rate limit's bucket is used.

Two stores with the same content dump equal records, each in an order of its own.
"""

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Task
from mainspring.core.moving import at_rest, highest_number, step_to_rest
from mainspring.core.progress import LogBlock, LogHead, Noted
from mainspring.core.schedule_rows import Row
from mainspring.core.workflows import Callback, Tally
from mainspring.errors import InvalidInput
from mainspring.verbs.schedules import FireRecord
from mainspring.verbs.tasks import Refused, Transition


class Kind(IntEnum):
    """The kinds of records, in the order in which they cross."""

    TASKS = 1
    WORKFLOWS = 2
    DEPENDENCIES = 3
    STEPS = 4
    LOGS = 5
    HISTORY = 6
    KEYS = 7
    SCHEDULES = 8
    FIRES = 9
    LIMITS = 10
    PAUSES = 11
    SHARES = 12

    @property
    def label(self) -> str:
        return self.name.lower()


class MovedTask(msgspec.Struct, frozen=True):
    """A task, at rest (`core.moving.at_rest`), with what readers do not see of it."""

    task: Task
    settled_token: int = 0
    settled_digest: int = 0
    unique: bytes | None = None
    fingerprint: int | None = None
    noted: Noted | None = None


class MovedWorkflow(msgspec.Struct, frozen=True):
    """`place` is its order of arrival; `tasks` are those that are left, parents before children."""

    id: str
    place: int
    created_at_us: int
    name: str | None
    labels: bytes | None
    callbacks: dict[Callback, str]
    forgotten: Tally
    tasks: tuple[str, ...]


class MovedDependencies(msgspec.Struct, frozen=True):
    """What a task depends on, forgotten tasks included, and for which of them it still waits."""

    task: str
    parents: tuple[str, ...]
    waits_for: tuple[str, ...] = ()


class MovedSteps(msgspec.Struct, frozen=True):
    """The steps that a task has recorded, in their order."""

    task: str
    steps: tuple[tuple[str, bytes], ...]


class MovedLog(msgspec.Struct, frozen=True):
    task: str
    head: LogHead
    blocks: tuple[LogBlock, ...]


class MovedHistory(msgspec.Struct, frozen=True):
    task: str
    transitions: tuple[Transition, ...]


class MovedKey(msgspec.Struct, frozen=True):
    """An idempotency key and the tasks that it made, which may be forgotten by now."""

    principal: str
    key: str
    digest: bytes
    expires_us: int
    tasks: tuple[str, ...]


class MovedSchedule(msgspec.Struct, frozen=True):
    """A schedule as a row of text (`core.schedule_rows`), so that one which cannot be obeyed crosses, too.
    `standing` is JSON, `fires` how many records of fires follow."""

    id: str
    row: Row
    version: int
    mark: str
    standing: str | None
    look_us: int | None
    quarantine: str | None
    created_us: int | None
    updated_us: int | None
    last_fire_us: int | None
    last_task: str | None
    fires: int


class MovedFire(msgspec.Struct, frozen=True):
    """`place` is its order among the records of its schedule."""

    schedule: str
    place: int
    record: FireRecord


class MovedLimit(msgspec.Struct, frozen=True):
    name: str
    rule: LimitRule


class MovedPause(msgspec.Struct, frozen=True):
    queue: str
    by: str


class MovedShare(msgspec.Struct, frozen=True):
    """A tenant's weight, and the time that it is charged with."""

    tenant: str
    weight: float
    virtual_us: float


Record = (
    MovedTask
    | MovedWorkflow
    | MovedDependencies
    | MovedSteps
    | MovedLog
    | MovedHistory
    | MovedKey
    | MovedSchedule
    | MovedFire
    | MovedLimit
    | MovedPause
    | MovedShare
)
KINDS: dict[type, Kind] = dict(
    zip(
        (
            MovedTask, MovedWorkflow, MovedDependencies, MovedSteps, MovedLog, MovedHistory, MovedKey,
            MovedSchedule, MovedFire, MovedLimit, MovedPause, MovedShare,
        ),
        Kind,
        strict=True,
    )
)  # fmt: skip


class Dumped(msgspec.Struct):
    """Some records, all of kind `kind`. `cursor` is where the next page goes on; `None` after the last one. A
    page may be empty before that."""

    kind: Kind
    records: Sequence[Record]
    cursor: str | None


def page(kind: Kind, records: Sequence[Record], after: str | None) -> Dumped:
    """A page that ends at `after` in its kind, or at the kind's end (`None`)."""
    if after is not None:
        return Dumped(kind, records, f"{kind.label}:{after}")
    return Dumped(kind, records, None if kind is Kind.SHARES else kind_cursor(Kind(kind + 1)))


def name_of(record: Record) -> str:
    """What tells the record from the others of its kind."""
    match record:
        case MovedTask():
            return record.task.id
        case MovedWorkflow() | MovedSchedule():
            return record.id
        case MovedDependencies() | MovedSteps() | MovedLog() | MovedHistory():
            return record.task
        case MovedKey():
            return f"{record.key} of {record.principal}"
        case MovedFire():
            return f"{record.schedule}, record {record.place}"
        case MovedLimit():
            return record.name
        case MovedPause():
            return record.queue
        case MovedShare():
            return record.tenant


def fields_of(record: Record) -> dict[str, object]:
    """All that the record says, by the names that people know: with a task's, a rule's and a row's own."""
    fields: dict[str, object] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, Task | Row | FireRecord | LimitRule):
            fields |= {inner: getattr(value, inner) for inner in value.__struct_fields__}
        else:
            fields[name] = value
    return fields


def kind_cursor(kind: Kind) -> str:
    """Where the dump of a kind begins."""
    return f"{kind.label}:"


def parse_dump_cursor(cursor: str | None) -> tuple[Kind, str]:
    """The kind to go on with, and the place in it: empty for its beginning. Raises `InvalidInput`."""
    if cursor is None:
        return Kind.TASKS, ""
    label, colon, after = cursor.partition(":")
    kind = next((kind for kind in Kind if kind.label == label), None)
    if kind is None or not colon:
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return kind, after


def moved_task(
    task: Task,
    settled_token: int,
    settled_digest: int,
    unique: bytes | None,
    fingerprint: int | None,
    noted: Noted,
) -> MovedTask:
    """The record of a stored task. What says nothing is told in one way, however a store keeps it."""
    settled = (settled_token, settled_digest) if settled_token > 0 else (0, 0)
    return MovedTask(at_rest(task), *settled, unique, fingerprint, noted if noted.token else None)


def moved_history(task: Task, steps: Sequence[Transition]) -> MovedHistory:
    """The history of a stored task, with the step that its moving is."""
    last = step_to_rest(task)
    if last is None:
        return MovedHistory(task.id, tuple(steps))
    cause, new = last
    rest = at_rest(task)
    step = Transition(task.id, steps[-1].at_us, task.state, cause, new, rest.attempt, rest.token)
    return MovedHistory(task.id, (*steps, step))


def clock_behind(record: Record, now_us: int) -> Refused | None:
    """Why a store whose numbers come from its clock does not take the record: it would mint lower ones."""
    if not isinstance(record, MovedTask):
        return None
    ahead_us = highest_number(record.task) - now_us
    if ahead_us <= 0:
        return None
    detail = f"task {record.task.id} bears a number that this store's clock reaches in"
    return Refused("clock_behind", f"{detail} {ahead_us / SECOND_US:.3f} s")


def not_loading(copy: str) -> Refused:
    return Refused("not_loading", f"the copy {copy} does not fill this store (any more)")


def not_empty(what: str) -> Refused:
    return Refused("not_empty", f"there are {what} in it already")
