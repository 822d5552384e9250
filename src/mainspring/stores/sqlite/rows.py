"""Rows of `tasks` as statements bring them, and as readers see them."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from mainspring.core.model import Lease, State, Task
from mainspring.errors import StoreCorrupt
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.lanes import Lanes

# An 8-byte number that means "none yet". A claim and a settlement fill columns that a new task does not
# have; were they stored short, each such update would lengthen the row and push it off its page.
RESERVED = -(1 << 50)
RESERVED_DIGEST = -(1 << 40)
NOBODY = -0x7FFF

# The usual result is `null`. No JSON text is empty, so an empty blob can stand for it, and the row keeps its
# length.
NULL, STORED_NULL = b"null", b""

STATES = {int(state): state for state in State}

ROW = (
    "t.n, t.id, t.state, t.lane, t.seq, t.end_us, t.token, t.version, t.started_at_us, t.settled_token,"
    " t.settled_digest, t.claim_seq, t.attempt, t.run_at_us, t.timeout_us, t.deadline_us,"
    " t.cancel_requested_at_us, t.policy"
)
ROWS_BY_ID = f"SELECT {ROW} FROM tasks t INDEXED BY tasks_id WHERE t.id IN carray(?)"
ROWS_BY_N = f"SELECT {ROW} FROM tasks t WHERE t.n IN carray(?) ORDER BY t.n"

TASK = (
    "t.id, t.lane, t.state, t.payload, t.created_at_us, t.version, t.run_at_us, t.policy, t.timeout_us,"
    " t.deadline_us, t.labels, t.name, t.token, t.attempt, t.retries, t.losses, t.snoozes, c.worker,"
    " t.end_us, t.timeout_at_us, t.started_at_us, t.cancel_requested_at_us, t.result, t.error,"
    " t.attempts, t.checkpoint, t.progress, t.seq,"
    " CASE t.state WHEN 1 THEN"
    " (SELECT count(*) FROM edges e INDEXED BY edges_open WHERE e.child = t.n AND e.open = 1) ELSE 0 END,"
    " d.parents, t.schedule_id, t.fire_at_us, w.id, t.n"
)
TASK_JOINS = (
    " LEFT JOIN claimants c ON c.n = t.claimant LEFT JOIN dependencies d ON d.task = t.n"
    " LEFT JOIN workflows w ON w.n = t.workflow"
)
TASKS_BY_ID = f"SELECT {TASK} FROM tasks t INDEXED BY tasks_id{TASK_JOINS} WHERE t.id IN carray(?)"

LEASE = (
    "t.id, t.token, t.lane, NULL, t.payload, t.attempt, t.retries, t.losses, t.snoozes, t.policy,"
    " t.timeout_us, t.deadline_us, t.checkpoint, t.attempts, t.labels, t.started_at_us, t.end_us, c.worker,"
    " t.fire_at_us"
)

_parents = msgspec.json.Decoder(tuple[str, ...])


class Row(msgspec.Struct):
    """What deciding about a task takes; neither its payload nor what its runs left behind."""

    n: int
    id: str
    state: State
    lane_id: int
    seq: int
    end_us: int
    token: int
    version: int
    started_at_us: int
    settled_token: int
    settled_digest: int
    claim_seq: int
    attempt: int
    run_at_us: int | None
    timeout_us: int | None
    deadline_us: int | None
    cancel_requested_at_us: int | None
    policy: bytes | None


def text_of(value: bytes) -> str | None:
    """What another program has written as text; `None` if it is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def texts(values: Iterable[str]) -> object:
    """One parameter for many texts. Must not be empty. What cannot be a stored text is left out."""
    wanted = tuple(values)
    try:
        return apsw.carray(wanted)
    except ValueError:
        # A lone surrogate or a NUL: nothing is stored under such a name, and the others are not its victims.
        return apsw.carray(tuple(text for text in wanted if _can_be_stored(text)) or ("",))


def _can_be_stored(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def numbers(values: Iterable[int]) -> object:
    """One parameter for many integers. Must not be empty."""
    return apsw.carray(array("q", values))


def state_of(number: int) -> State:
    """Raises `StoreCorrupt` for a number that is no state."""
    try:
        return STATES[number]
    except KeyError:
        raise StoreCorrupt(f"a task is in no known state ({number}): run mainspring doctor") from None


def fetch_rows(db: Database, sql: str, bindings: Sequence[object]) -> list[Row]:
    """The rows of a statement that selects `ROW`."""
    rows = [Row(*values) for values in db.execute(sql, bindings)]
    for row in rows:
        row.state = state_of(row.state)
    return rows


def rows_by_id(db: Database, ids: Iterable[str]) -> dict[str, Row]:
    wanted = tuple(ids)
    return {row.id: row for row in fetch_rows(db, ROWS_BY_ID, (texts(wanted),))} if wanted else {}


def tasks_by_id(db: Database, lanes: Lanes, ids: Iterable[str]) -> dict[str, Task]:
    wanted = tuple(ids)
    if not wanted:
        return {}
    found = db.execute(TASKS_BY_ID, (texts(wanted),)).fetchall()
    return {values[0]: task_of(values, lanes) for values in found}


def task_of(values: Sequence[Any], lanes: Lanes) -> Task:
    """The record as readers see it: columns mean what the task's state makes them mean."""
    (
        id_, lane, number, payload, created, version, run_at, policy, timeout, deadline, labels, name, token,
        attempt, retries, losses, snoozes, worker, end, timeout_at, started, cancel_requested, result,
        error, attempts, checkpoint, progress, seq, open_parents, parents, schedule_id, fire_at,
        workflow, _,
    ) = values  # fmt: skip
    state = state_of(number)
    return Task(
        id_, lanes.by_id(lane), state, payload, created, version, run_at, policy, timeout, deadline,
        labels, name, max(token, 0), attempt, retries, losses, snoozes, worker,
        end if state is State.RUNNING else None, timeout_at,
        None if started == RESERVED else started,
        end if state.is_final else None,
        cancel_requested, NULL if result == STORED_NULL else result, error, attempts, checkpoint, progress,
        None if seq == RESERVED else seq,
        open_parents, parents_of(parents), schedule_id, fire_at,
        workflow,
    )  # fmt: skip


def parents_of(stored: bytes | None) -> tuple[str, ...]:
    return _parents.decode(stored) if stored is not None else ()


def fetch_leases(db: Database, lanes: Lanes, sql: str, bindings: Sequence[object]) -> list[Lease]:
    """The leases of a statement that selects `LEASE`."""
    leases = [Lease(*values) for values in db.execute(sql, bindings)]
    for lease in leases:
        lease.lane = lanes.by_id(lease.lane_id)
    return leases
