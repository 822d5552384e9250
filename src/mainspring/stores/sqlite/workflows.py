"""Workflows: founding one, reading how it stands, and what is left of one whose tasks are forgotten."""

from collections.abc import Iterable
from typing import Any

import msgspec

from mainspring.core.model import State
from mainspring.core.workflows import Callback, Tally, may_be_forgotten, tally, was_spared
from mainspring.ports import Retention
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.reading import Reader, has_label, parse_cursor
from mainspring.stores.sqlite.rows import RESERVED, parents_of, state_of
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs import (
    MEMBERS_COUNTED,
    CallbackRecord,
    Member,
    NewWorkflow,
    WorkflowGraph,
    WorkflowPage,
    WorkflowQuery,
    WorkflowRecord,
)

ADD = "INSERT INTO workflows (id, created_at_us, name, labels, callbacks) VALUES (?, ?, ?, ?, ?) RETURNING n"
SET_CALLBACK = "UPDATE tasks INDEXED BY tasks_id SET callback = ? WHERE id = ?"
IS_TAKEN = "SELECT EXISTS (SELECT 1 FROM workflows WHERE id = ?)"

WORKFLOW = "SELECT n, id, created_at_us, name, labels, callbacks, forgotten FROM workflows"
BY_ID = f"{WORKFLOW} WHERE id = ?"
BEFORE = f"{WORKFLOW} WHERE n < ? ORDER BY n DESC LIMIT ?"
COUNT_MEMBERS = (
    "SELECT state, count(*) FROM tasks INDEXED BY tasks_workflow"
    " WHERE workflow = ? AND callback IS NULL GROUP BY state"
)
CALLBACKS = (
    "SELECT callback, state, error FROM tasks INDEXED BY tasks_workflow WHERE workflow = ? AND callback > 0"
)
GRAPH = (
    "SELECT t.id, t.name, t.lane, t.state, t.callback, t.attempt, t.retries,"
    " t.run_at_us, t.started_at_us, t.end_us, c.worker, d.parents"
    " FROM tasks t INDEXED BY tasks_workflow LEFT JOIN claimants c ON c.n = t.claimant"
    " LEFT JOIN dependencies d ON d.task = t.n WHERE t.workflow = ? ORDER BY ifnull(t.callback, 0), t.n"
)

LEAVING = "SELECT callback, state FROM tasks WHERE n = ?"
IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_workflow WHERE workflow = ?)"
READ_FORGOTTEN = "SELECT forgotten FROM workflows WHERE n = ?"
PUT_FORGOTTEN = "UPDATE workflows SET forgotten = ? WHERE n = ?"
DROP = "DELETE FROM workflows WHERE n = ?"
LAST_ENDS = "SELECT state, max(end_us) FROM tasks INDEXED BY tasks_workflow WHERE workflow = ? GROUP BY state"

_callbacks = msgspec.json.Decoder(dict[Callback, str])
_tally = msgspec.json.Decoder(Tally)


def is_taken(tx: Transaction, workflow: str) -> bool:
    return bool(tx.db.execute(IS_TAKEN, (workflow,)).get)


def add_workflow(tx: Transaction, new: NewWorkflow) -> int:
    """Store the workflow, and say under which number its tasks have to be stored."""
    callbacks = msgspec.json.encode(new.callbacks)
    return int(tx.db.execute(ADD, (new.id, tx.now_us, new.name, new.labels, callbacks)).get)


def mark_callbacks(tx: Transaction, new: NewWorkflow) -> None:
    tx.db.executemany(SET_CALLBACK, [(callback, task) for callback, task in new.callbacks.items()])


# --- reading ----------------------------------------------------------------------------------------


def get(reader: Reader, workflow: str) -> WorkflowRecord | None:
    found = reader.db.execute(BY_ID, (workflow,)).fetchone()
    return None if found is None else _record(reader.db, found)


def graph(reader: Reader, workflow: str) -> WorkflowGraph | None:
    found = reader.db.execute(BY_ID, (workflow,)).fetchone()
    if found is None:
        return None
    tasks = [_member(reader, values) for values in reader.db.execute(GRAPH, (found[0],))]
    return WorkflowGraph(reader.now_us, _record(reader.db, found), tasks)


def find(reader: Reader, query: WorkflowQuery) -> WorkflowPage:
    """Newest first. Counts a bounded number of tasks, and says where it stopped."""
    before = parse_cursor(query.cursor) if query.cursor else 1 << 62
    records: list[WorkflowRecord] = []
    counted, last, more = 0, before, False
    rows = reader.db.execute(BEFORE, (before, MEMBERS_COUNTED))
    for values in rows:
        if len(records) == query.limit or counted >= MEMBERS_COUNTED:
            more = True
            break
        counted, last = counted + 1, values[0]
        name, labels = values[3], values[4]
        if query.name not in (None, name) or (query.label and not has_label(labels, query.label)):
            continue
        record = _record(reader.db, values)
        counted += record.members.total
        if not query.states or record.state in query.states:
            records.append(record)
    rows.close()
    return WorkflowPage(records, str(last) if more else None)


def _record(db: Database, values: Any) -> WorkflowRecord:
    n, id_, created_at_us, name, labels, callbacks, forgotten = values
    counts = [(state_of(state), count) for state, count in db.execute(COUNT_MEMBERS, (n,))]
    states = {role: (state_of(state), error) for role, state, error in db.execute(CALLBACKS, (n,))}
    shown = {
        callback: CallbackRecord(task, None)
        if callback not in states
        else CallbackRecord(task, states[callback][0], was_spared(*states[callback]))
        for callback, task in _callbacks.decode(callbacks).items()
    }
    return WorkflowRecord(id_, created_at_us, _plus(forgotten, counts), name, labels, shown)


def _plus(forgotten: bytes | None, counts: Iterable[tuple[State, int]]) -> Tally:
    return tally(counts, _tally.decode(forgotten)) if forgotten else tally(counts)


def _member(reader: Reader, values: Any) -> Member:
    (
        id_, name, lane, number, callback, attempt, retries, run_at, started, end, worker, parents,
    ) = values  # fmt: skip
    state = state_of(number)
    return Member(
        id_, name, reader.lanes.by_id(lane).kind, state, None if callback is None else Callback(callback),
        attempt, retries, run_at, None if started == RESERVED else started,
        end if state.is_final else None, worker, parents_of(parents),
    )  # fmt: skip


# --- retention --------------------------------------------------------------------------------------


def is_past(tx: Transaction, workflow: int, retention: Retention) -> bool:
    ends: dict[State, int] = {state_of(state): end for state, end in tx.db.execute(LAST_ENDS, (workflow,))}
    return may_be_forgotten(ends, retention.by_state, tx.now_us)


def ended_as(tx: Transaction, n: int) -> State | None:
    """How a task that is about to be forgotten counts in its workflow; `None` for a callback."""
    callback, state = tx.db.execute(LEAVING, (n,)).fetchone()
    return None if callback is not None else state_of(state)


def left(tx: Transaction, workflow: int, end: State | None) -> None:
    """A task of the workflow is gone. The last one takes it along; until then its end goes on counting."""
    if tx.db.execute(IS_EMPTY, (workflow,)).get:
        tx.db.execute(DROP, (workflow,))
    elif end is not None:
        sums = _plus(tx.db.execute(READ_FORGOTTEN, (workflow,)).get, [(end, 1)])
        tx.db.execute(PUT_FORGOTTEN, (msgspec.json.encode(sums), workflow))
