"""By hand: cancel, kill, replay, run now, edit, delete. Every line is guarded and answered by itself."""

from collections.abc import Callable
from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import WAITING, State, Task
from mainspring.ports import Action, Edit, Force, Refused
from mainspring.stores.sqlite import progress
from mainspring.stores.sqlite.moves import due_state, move, wait_again, write
from mainspring.stores.sqlite.rows import RESERVED, Row, rows_by_id, tasks_by_id
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.stores.sqlite.workflows import ended_as, left
from mainspring.verbs import depended_on, not_found, version_mismatch, wrong_state

HAS_UNFINISHED_CHILDREN = (
    "SELECT EXISTS (SELECT 1 FROM edges e JOIN tasks t ON t.n = e.child WHERE e.parent = ? AND t.state <= 4)"
)
ENDED_PARENTS = (
    "INSERT OR IGNORE INTO unresolved (parent) SELECT t.n FROM edges e INDEXED BY edges_open"
    " JOIN tasks t ON t.n = e.parent WHERE e.child = ? AND e.open = 1 AND t.state >= 5"
)
FORGET = (
    "DELETE FROM tasks WHERE n = ?1",
    "DELETE FROM edges WHERE parent = ?1",
    "DELETE FROM edges WHERE child = ?1",
    "DELETE FROM dependencies WHERE task = ?1",
    "DELETE FROM unresolved WHERE parent = ?1",
)
WORKFLOW_OF = "SELECT workflow FROM tasks WHERE n = ?"
FORGET_HISTORY = "DELETE FROM history WHERE task = ?"


def force(tx: Transaction, line: Force) -> Task | Refused:
    row = _guarded(tx, line.task, line.version)
    if isinstance(row, Refused):
        return row
    if line.action is Action.DISCARD and has_unfinished_children(tx, row.n):
        return depended_on(row.id)
    if not _act(tx, row, line):
        return wrong_state(row.id, row.state, line.action.name.lower())
    return tasks_by_id(tx.db, tx.lanes, (row.id,))[row.id]


def cancel(tx: Transaction, row: Row) -> bool:
    """Waiting: cancelled now. Running: asked to stop. Says whether the row was unfinished."""
    if row.state is State.RUNNING:
        if row.cancel_requested_at_us is None:
            write(tx, row, cancel_requested_at_us=tx.now_us, version=tx.mint())
        return True
    return _kill(tx, row)


def _kill(tx: Transaction, row: Row) -> bool:
    if row.state.is_final:
        return False
    requested_at_us = row.cancel_requested_at_us or tx.now_us
    move(
        tx, row, Cause.CANCEL, State.CANCELLED, token=_fence(tx, row), cancel_requested_at_us=requested_at_us
    )
    return True


def _act(tx: Transaction, row: Row, line: Force) -> bool:
    if line.action is Action.REPLAY:
        return _replay(tx, row, line.delay_us)
    return _ACTIONS[line.action](tx, row)


def _replay(tx: Transaction, row: Row, delay_us: int) -> bool:
    if row.state not in (State.FAILED, State.CANCELLED):
        return False
    run_at_us = tx.now_us + delay_us if delay_us > 0 else None
    move(tx, row, Cause.REPLAY, due_state(tx, run_at_us), run_at_us=run_at_us, **fresh(tx, row))
    wait_again(tx, (row.n,))
    return True


def fresh(tx: Transaction, row: Row) -> dict[str, Any]:
    """What makes a final row as if it had never run, but for the record of its attempts."""
    is_late = row.deadline_us is not None and row.deadline_us < tx.now_us
    return {
        "token": _fence(tx, row), "attempt": 0, "retries": 0, "losses": 0, "snoozes": 0,
        "cancel_requested_at_us": None, "started_at_us": RESERVED, "result": None, "error": None,
        "deadline_us": None if is_late else row.deadline_us,
    }  # fmt: skip


def _run_now(tx: Transaction, row: Row) -> bool:
    if row.state is not State.SCHEDULED:
        return False
    move(tx, row, Cause.RESCHEDULE, State.READY, token=_fence(tx, row), run_at_us=None)
    return True


_ACTIONS: dict[Action, Callable[[Transaction, Row], bool]] = {
    Action.CANCEL: cancel,
    Action.KILL: _kill,
    Action.RUN_NOW: _run_now,
    Action.DISCARD: cancel,
}


def _fence(tx: Transaction, row: Row) -> int:
    return max(row.token + 1, tx.mint())


def amend(tx: Transaction, task: str, version: int, edit: Edit) -> Task | Refused:
    row = _guarded(tx, task, version)
    if isinstance(row, Refused):
        return row
    if row.state not in WAITING:
        return wrong_state(row.id, row.state, "edit")
    _change_lane(tx, row, edit)
    write(
        tx, row, payload=edit.payload, labels=edit.labels, timeout_us=edit.timeout_us,
        deadline_us=edit.deadline_us, policy=edit.policy, run_at_us=edit.run_at_us, version=tx.mint(),
    )  # fmt: skip
    if row.state is State.BLOCKED:
        # The rule for failed parents may have changed: those that ended are applied anew.
        tx.db.execute(ENDED_PARENTS, (row.n,))
    else:
        state = due_state(tx, edit.run_at_us)
        if state is State.SCHEDULED or row.state is State.SCHEDULED:
            move(tx, row, Cause.RESCHEDULE, state)
    return tasks_by_id(tx.db, tx.lanes, (task,))[task]


def _change_lane(tx: Transaction, row: Row, edit: Edit) -> None:
    """A ready task keeps its place in line: it has waited as long as before."""
    lane_id = tx.lanes.id_of(edit.lane, tx.mint)
    if lane_id == row.lane_id:
        return
    tx.count(tx.lanes.by_id(row.lane_id).queue, row.state, -1)
    tx.count(edit.lane.queue, row.state, 1)
    write(tx, row, lane=lane_id)
    row.lane_id = lane_id
    if row.state is State.READY:
        tx.gained[lane_id] = None


def delete(tx: Transaction, task: str) -> Refused | None:
    row = _guarded(tx, task, None)
    if isinstance(row, Refused):
        return row
    if not row.state.is_final:
        return wrong_state(row.id, row.state, "delete")
    if has_unfinished_children(tx, row.n):
        return depended_on(task)
    forget(tx, row.n, row.id, row.state, row.lane_id, tx.db.execute(WORKFLOW_OF, (row.n,)).get)
    return None


def has_unfinished_children(tx: Transaction, n: int) -> bool:
    return bool(tx.db.execute(HAS_UNFINISHED_CHILDREN, (n,)).get)


def forget(tx: Transaction, n: int, task: str, state: int, lane_id: int, workflow: int | None) -> None:
    """Remove a final row and every trace of it but its idempotency key, whose promise outlives it."""
    tx.count(tx.lanes.by_id(lane_id).queue, state, -1)
    end = None if workflow is None else ended_as(tx, n)
    for sql in FORGET:
        tx.db.execute(sql, (n,))
    if workflow is not None:
        left(tx, workflow, end)
    progress.forget(tx, n)
    if tx.steps is not None:
        tx.db.execute(FORGET_HISTORY, (task,))


def _guarded(tx: Transaction, task: str, version: int | None) -> Row | Refused:
    row = rows_by_id(tx.db, (task,)).get(task)
    if row is None:
        return not_found(task)
    if version is not None and row.version != version:
        return version_mismatch(task, row.version, version)
    return row
