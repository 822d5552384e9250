"""By hand: cancel, kill, replay, run now, edit, delete. The rows are locked, changed in memory as the lines
say, and written back. Every line is guarded and answered by itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mainspring.core.lifecycle import Cause
from mainspring.core.model import WAITING, State, Task, decode_policy
from mainspring.ports import Action, Edit, Force, Refused
from mainspring.stores.postgres.moves import (
    change,
    due_state,
    flush,
    lock,
    move,
    release_children,
    wait_again,
)
from mainspring.stores.postgres.rows import Row, can_be_stored, task_of
from mainspring.stores.postgres.transaction import Transaction
from mainspring.stores.postgres.workflows import leave_workflows
from mainspring.verbs import depended_on, not_found, version_mismatch, wrong_state

FORGET = (
    "forget_tasks", "forget_parents", "forget_children", "forget_unresolved", "forget_steps",
    "forget_logged", "forget_logs",
)  # fmt: skip


async def force(tx: Transaction, lines: Sequence[Force]) -> list[Task | Refused]:
    """One line per row goes in a pass; a second one for the same row waits for the next."""
    answers: dict[int, Task | Refused] = {}
    left = list(range(len(lines)))
    while left:
        firsts: dict[str, int] = {}
        later = []
        for place in left:
            if firsts.setdefault(lines[place].task, place) != place:
                later.append(place)
        places = list(firsts.values())
        forced = await _force_once(tx, [lines[place] for place in places])
        answers.update(zip(places, forced, strict=True))
        left = later
    await release_children(tx)
    return [answers[place] for place in range(len(lines))]


async def _force_once(tx: Transaction, lines: Sequence[Force]) -> list[Task | Refused]:
    rows = await lock(tx, (line.task for line in lines))
    discarded = [line.task for line in lines if line.action is Action.DISCARD]
    needed = {row["parent"] for row in await tx.rows("needed", discarded)} if discarded else ()
    refused: dict[str, Refused] = {}
    replayed = []
    for line in lines:
        row = _guarded(rows, line.task, line.version)
        if isinstance(row, Refused):
            refused[line.task] = row
        elif row.id in needed:
            refused[line.task] = depended_on(row.id)
        elif not _act(tx, row, line):
            refused[line.task] = wrong_state(row.id, row.state, line.action.name.lower())
        elif line.action is Action.REPLAY:
            replayed.append(row.id)
    await flush(tx)
    await wait_again(tx, replayed)
    found = await tasks_by_id(tx, [line.task for line in lines if line.task not in refused])
    return [refused.get(line.task) or found[line.task] for line in lines]


def cancel(tx: Transaction, row: Row) -> bool:
    """Waiting: cancelled now. Running: asked to stop. Says whether the row was unfinished."""
    if row.state is State.RUNNING:
        if row.cancel_requested_at_us is None:
            change(tx, row, cancel_requested_at_us=tx.now_us)
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
    return True


def fresh(tx: Transaction, row: Row) -> dict[str, Any]:
    """What makes a final row as if it had never run, but for the record of its attempts."""
    is_late = row.deadline_us is not None and row.deadline_us < tx.now_us
    return {
        "token": _fence(tx, row), "attempt": 0, "retries": 0, "losses": 0, "snoozes": 0,
        "cancel_requested_at_us": None, "started_at_us": None, "drops_result": True, "error": None,
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


async def amend(tx: Transaction, task: str, version: int, edit: Edit) -> Task | Refused:
    if tx.is_careful and not all(can_be_stored(text) for text in (*edit.lane[:3], edit.lane.key)):
        return Refused("invalid_input", "a value cannot be stored: a name of its lane")
    await tx.need_lanes([edit.lane])
    row = _guarded(await lock(tx, (task,)), task, version)
    if isinstance(row, Refused):
        return row
    if row.state not in WAITING:
        return wrong_state(row.id, row.state, "edit")
    _change_lane(tx, row, edit)
    rule = decode_policy(edit.policy).on_parent_failure
    await tx.do(
        "edit", task, edit.payload, edit.labels, edit.timeout_us, edit.deadline_us, edit.policy, rule,
        edit.run_at_us,
    )  # fmt: skip
    change(tx, row, run_at_us=edit.run_at_us, deadline_us=edit.deadline_us)
    if row.state is State.READY:
        # One whose deadline had passed stands before those that were claimed since, and may be claimed again.
        tx.gained.add(row.lane_id)
        tx.regained.add(row.lane_id)
    if row.state is State.BLOCKED:
        await tx.do("edit_rule", task, rule)
        await tx.do("note_ended_parents", task)
    else:
        state = due_state(tx, edit.run_at_us)
        if state is State.SCHEDULED or row.state is State.SCHEDULED:
            move(tx, row, Cause.RESCHEDULE, state)
    await flush(tx)
    return (await tasks_by_id(tx, (task,)))[task]


def _change_lane(tx: Transaction, row: Row, edit: Edit) -> None:
    """A ready task keeps its place in line: it has waited as long as before."""
    lane_id = tx.lane_id(edit.lane)
    if lane_id == row.lane_id:
        return
    tx.count(row.lane_id, row.state, -1)
    tx.count(lane_id, row.state, 1)
    row.lane_id = lane_id


async def delete(tx: Transaction, tasks: Sequence[str]) -> list[Refused | None]:
    rows = await lock(tx, tasks)
    return [await _delete(tx, rows, task) for task in tasks]


async def _delete(tx: Transaction, rows: dict[str, Row], task: str) -> Refused | None:
    row = _guarded(rows, task, None)
    if isinstance(row, Refused):
        return row
    if not row.state.is_final:
        return wrong_state(row.id, row.state, "delete")
    if await tx.rows("needed", [task]):
        return depended_on(task)
    await forget(tx, [row])
    del rows[task]
    return None


async def forget(tx: Transaction, rows: Sequence[Row]) -> None:
    """Remove final rows and every trace of them but their idempotency keys, whose promise outlives them."""
    if not rows:
        return
    ids = [row.id for row in rows]
    for row in rows:
        tx.count(row.lane_id, row.state, -1)
    for statement in FORGET:
        await tx.do(statement, ids)
    if tx.steps is not None:
        await tx.do("forget_history", ids)
    await leave_workflows(tx, rows)


def _guarded(rows: Mapping[str, Row], task: str, version: int | None) -> Row | Refused:
    row = rows.get(task)
    if row is None:
        return not_found(task)
    if version is not None and row.version != version:
        return version_mismatch(task, row.version, version)
    return row


async def tasks_by_id(tx: Transaction, tasks: Sequence[str]) -> dict[str, Task]:
    return {row["id"]: task_of(row) for row in await tx.rows("get", list(tasks))} if tasks else {}
