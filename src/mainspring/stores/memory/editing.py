"""By hand: cancel, kill, replay, run now, edit, delete. Every line is guarded and answered by itself."""

from mainspring.core.lifecycle import Cause
from mainspring.core.model import WAITING, State, Task
from mainspring.ports import Action, Edit, Force, Refused
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import view
from mainspring.stores.memory.tables import Row
from mainspring.verbs import depended_on, not_found, version_mismatch, wrong_state


def force(call: Call, line: Force) -> Task | Refused:
    row = _guarded(call, line.task, line.version)
    if isinstance(row, Refused):
        return row
    if line.action is Action.DISCARD and row.id in call.tables.dependents:
        return depended_on(row.id)
    done = _act(call, row, line)
    return view(row) if done else wrong_state(row.id, row.state, line.action.name.lower())


def cancel(call: Call, row: Row) -> bool:
    """Waiting: cancelled now. Running: asked to stop. Says whether the row was unfinished."""
    if row.state is State.RUNNING:
        if row.cancel_requested_at_us is None:
            row.cancel_requested_at_us = call.now_us
            row.version = call.mint()
        return True
    return _kill(call, row)


def _kill(call: Call, row: Row) -> bool:
    if row.state.is_final:
        return False
    row.cancel_requested_at_us = row.cancel_requested_at_us or call.now_us
    _fence(call, row)
    call.move(row, Cause.CANCEL, State.CANCELLED)
    return True


def _act(call: Call, row: Row, line: Force) -> bool:
    if line.action is Action.REPLAY:
        return _replay(call, row, line.delay_us)
    return _ACTIONS[line.action](call, row)


def _replay(call: Call, row: Row, delay_us: int) -> bool:
    if row.state not in (State.FAILED, State.CANCELLED):
        return False
    start_over(call, row)
    row.run_at_us = call.now_us + delay_us if delay_us > 0 else None
    call.move(row, Cause.REPLAY, call.due_state(row.run_at_us))
    call.wait_again(row)
    return True


def start_over(call: Call, row: Row) -> None:
    """Make a final row as if it had never run, but for the record of its attempts. It is moved after this."""
    row.attempt = row.retries = row.losses = row.snoozes = 0
    row.cancel_requested_at_us = row.started_at_us = row.finished_at_us = None
    row.result = row.error = None
    if row.deadline_us is not None and row.deadline_us < call.now_us:
        row.deadline_us = None
    for parent in row.depends_on:
        # Unfinished again: its parents must not be forgotten before it ends.
        if parent in call.tables.rows:
            call.tables.dependents.setdefault(parent, {})[row.id] = False
    _fence(call, row)


def _run_now(call: Call, row: Row) -> bool:
    if row.state is not State.SCHEDULED:
        return False
    row.run_at_us = None
    _fence(call, row)
    call.move(row, Cause.RESCHEDULE, State.READY)
    return True


_ACTIONS = {
    Action.CANCEL: cancel,
    Action.KILL: _kill,
    Action.RUN_NOW: _run_now,
    Action.DISCARD: cancel,
}


def _fence(call: Call, row: Row) -> None:
    row.token = max(row.token + 1, call.mint())


def amend(call: Call, task: str, version: int, edit: Edit) -> Task | Refused:
    row = _guarded(call, task, version)
    if isinstance(row, Refused):
        return row
    if row.state not in WAITING:
        return wrong_state(row.id, row.state, "edit")
    _change_lane(call, row, edit)
    row.payload, row.labels = edit.payload, edit.labels
    row.timeout_us, row.deadline_us = edit.timeout_us, edit.deadline_us
    call.watch_deadline(row)
    row.policy, row.run_at_us = edit.policy, edit.run_at_us
    row.version = call.mint()
    if row.state is State.BLOCKED:
        # The rule for failed parents may have changed: those that ended are applied anew.
        ended = [p for p in row.depends_on if p in call.tables.rows and call.tables.rows[p].state.is_final]
        call.tables.unresolved.update(dict.fromkeys(ended))
    else:
        state = call.due_state(row.run_at_us)
        if state is State.SCHEDULED or row.state is State.SCHEDULED:
            call.move(row, Cause.RESCHEDULE, state)
    return view(row)


def _change_lane(call: Call, row: Row, edit: Edit) -> None:
    """A ready task keeps its place in line: it has waited as long as before."""
    if edit.lane == row.lane:
        return
    call.tables.count(row, -1)
    if row.state is State.READY:
        call.tables.leave_line(row.lane_id)
    row.lane, row.lane_id = edit.lane, call.lane_id(edit.lane)
    call.tables.count(row, 1)
    if row.state is State.READY:
        call.line_up(row)


def delete(call: Call, task: str) -> Refused | None:
    row = _guarded(call, task, None)
    if isinstance(row, Refused):
        return row
    if not row.state.is_final:
        return wrong_state(row.id, row.state, "delete")
    if task in call.tables.dependents:
        return depended_on(task)
    call.tables.forget(row)
    return None


def _guarded(call: Call, task: str, version: int | None) -> Row | Refused:
    row = call.tables.rows.get(task)
    if row is None:
        return not_found(task)
    if version is not None and row.version != version:
        return version_mismatch(task, row.version, version)
    return row
