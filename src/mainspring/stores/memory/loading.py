"""Moving house: the records of another store become rows, with all that follows from rows."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from heapq import heappush
from typing import Any

import msgspec

from mainspring.core.model import WAITING, State, Task
from mainspring.core.moving import highest_number
from mainspring.core.order import Share
from mainspring.core.progress import Noted
from mainspring.core.schedule_rows import read_row
from mainspring.core.schedules import Standing
from mainspring.ports import Refused, ScheduleRecord
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Due, KeyUse, Row, ScheduleRow, StoreClock, Tables, WorkflowRow
from mainspring.verbs.moving import (
    MovedDependencies,
    MovedFire,
    MovedHistory,
    MovedKey,
    MovedLimit,
    MovedLog,
    MovedPause,
    MovedSchedule,
    MovedShare,
    MovedSteps,
    MovedTask,
    MovedWorkflow,
    Record,
    not_empty,
    not_loading,
)

_TASK = Task.__struct_fields__
_standing = msgspec.json.Decoder(Standing)


def what_is_there(call: Call) -> Refused | None:
    tables = call.tables
    there = {
        "tasks": tables.rows,
        "workflows": tables.workflows,
        "idempotency keys": [use for use in tables.keys.values() if use.expires_us > call.now_us],
        "schedules": tables.schedules,
        "limits": tables.rules,
        "pauses": tables.paused,
        "weights": [share for share in tables.shares.values() if share.weight != 1],
    }
    return next((not_empty(what) for what, rows in there.items() if rows), None)


def emptied(tables: Tables) -> Tables:
    """Nothing but who is there. Also of what a store is left with whose tasks are all forgotten."""
    fresh = Tables()
    fresh.workers, fresh.term = tables.workers, tables.term
    return fresh


def load(call: Call, clock: StoreClock, copy: str, records: Sequence[Record]) -> list[Refused | None]:
    if call.tables.loading != copy:
        return [not_loading(copy)] * len(records)
    for record in records:
        _LOADS[type(record)](call, clock, record)
    return [None] * len(records)


def _task(call: Call, clock: StoreClock, moved: MovedTask) -> None:
    task, tables = moved.task, call.tables
    if task.id in tables.rows:
        return
    clock.rise(highest_number(task))
    row = Row(
        **{name: getattr(task, name) for name in _TASK},
        ordinal=call.mint(),
        lane_id=call.lane_id(task.lane),
        settled_token=moved.settled_token,
        settled_digest=moved.settled_digest,
        unique=moved.unique,
        fingerprint=moved.fingerprint,
        noted=moved.noted or Noted(),
    )
    row.schedule_id = row.fire_at_us = None
    tables.add(row)
    tables.count(row, 1)
    if task.schedule_id is not None and task.fire_at_us is not None:
        tables.name_fire(row, task.schedule_id, task.fire_at_us)
    if row.state is State.READY:
        call.line_up(row)
    elif row.state is State.SCHEDULED:
        heappush(tables.scheduled, Due(row.run_at_us or 0, row.ordinal, row.id))
    if row.state in WAITING:
        call.watch_deadline(row)


def _workflow(call: Call, clock: StoreClock, moved: MovedWorkflow) -> None:
    tables = call.tables
    roles = {task: callback for callback, task in moved.callbacks.items()}
    for task in moved.tasks:
        tables.rows[task].workflow, tables.rows[task].callback = moved.id, roles.get(task)
    tables.tasks_of[moved.id] = dict.fromkeys(moved.tasks)
    tables.workflows[moved.id] = WorkflowRow(
        moved.id, moved.place, moved.created_at_us, moved.name, moved.labels, moved.callbacks, moved.forgotten
    )
    clock.rise(moved.place)


def _dependencies(call: Call, _: StoreClock, moved: MovedDependencies) -> None:
    tables = call.tables
    row = tables.rows[moved.task]
    row.depends_on, row.open_parents = moved.parents, len(moved.waits_for)
    for parent_id in moved.parents:
        parent = tables.rows.get(parent_id)
        if parent is None or row.state.is_final:
            continue
        is_open = parent_id in moved.waits_for
        tables.dependents.setdefault(parent_id, {})[row.id] = is_open
        if is_open and parent.state.is_final:
            tables.unresolved[parent_id] = None


def _steps(call: Call, _: StoreClock, moved: MovedSteps) -> None:
    call.tables.steps[moved.task] = dict(moved.steps)


def _log(call: Call, _: StoreClock, moved: MovedLog) -> None:
    call.tables.log_heads[moved.task] = moved.head
    call.tables.log_blocks[moved.task] = list(moved.blocks)


def _history(call: Call, _: StoreClock, moved: MovedHistory) -> None:
    call.tables.history[moved.task] = list(moved.transitions)


def _key(call: Call, _: StoreClock, moved: MovedKey) -> None:
    tables, name = call.tables, (moved.principal, moved.key)
    if name not in tables.keys:
        tables.keys[name] = KeyUse(moved.digest, moved.expires_us, moved.tasks)
        heappush(tables.keys_expiring, (moved.expires_us, *name))


def _schedule(call: Call, clock: StoreClock, moved: MovedSchedule) -> None:
    tables = call.tables
    rules, template, _ = read_row(moved.row)
    record = ScheduleRecord(
        moved.id, rules, template, moved.version,
        None if moved.standing is None else _standing.decode(moved.standing),
        None if moved.quarantine else moved.look_us, moved.quarantine, moved.created_us, moved.updated_us,
        moved.last_fire_us, moved.last_task,
    )  # fmt: skip
    clock.rise(moved.version)
    row = tables.schedules[moved.id] = ScheduleRow(record, call.mint(), moved.look_us, moved.mark)
    if row.look_us is not None:
        heappush(tables.looks, Due(row.look_us, row.ordinal, moved.id))


def _fire(call: Call, clock: StoreClock, moved: MovedFire) -> None:
    records = call.tables.fires.setdefault(moved.schedule, [])
    place = bisect_left(records, moved.place, key=lambda entry: entry[0])
    if place == len(records) or records[place][0] != moved.place:
        records.insert(place, (moved.place, moved.record))
    clock.rise(moved.place)


def _limit(call: Call, _: StoreClock, moved: MovedLimit) -> None:
    call.tables.rules[moved.name] = moved.rule


def _pause(call: Call, _: StoreClock, moved: MovedPause) -> None:
    call.tables.paused[moved.queue] = moved.by


def _share(call: Call, _: StoreClock, moved: MovedShare) -> None:
    call.tables.shares[moved.tenant] = Share(moved.weight, moved.virtual_us)


_LOADS: dict[type, Callable[[Call, StoreClock, Any], None]] = {
    MovedTask: _task,
    MovedWorkflow: _workflow,
    MovedDependencies: _dependencies,
    MovedSteps: _steps,
    MovedLog: _log,
    MovedHistory: _history,
    MovedKey: _key,
    MovedSchedule: _schedule,
    MovedFire: _fire,
    MovedLimit: _limit,
    MovedPause: _pause,
    MovedShare: _share,
}
