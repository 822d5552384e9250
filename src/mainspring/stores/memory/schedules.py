"""Schedules: what is due, and decisions written whole or not at all."""

from bisect import bisect_left
from collections.abc import Sequence
from heapq import heappop, heappush

import msgspec

from mainspring.errors import InvalidInput
from mainspring.ports import (
    Action,
    DueSchedules,
    Existing,
    Fired,
    FireLine,
    FirePage,
    Force,
    Group,
    Refused,
    SchedulePage,
    ScheduleRecord,
    SeenSchedule,
    SeenSchedules,
)
from mainspring.stores.memory import editing, submitting
from mainspring.stores.memory.claiming import leads
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Due, ScheduleRow, Tables
from mainspring.verbs import (
    FIRES_KEPT,
    UNFINISHED_NAMED,
    deposed,
    fire_guard,
    fire_records,
    no_schedule,
    schedule_moved,
    with_parents_among,
)

# --- reading ----------------------------------------------------------------------------------------


def look(call: Call, ids: Sequence[str]) -> SeenSchedules:
    rows = call.tables.schedules
    return SeenSchedules(call.now_us, [_seen(call.tables, rows[id_]) if id_ in rows else None for id_ in ids])


def due(call: Call, limit: int) -> DueSchedules:
    tables, found = call.tables, dict[str, ScheduleRow]()
    while (next_look := _next_look(tables)) is not None:
        if next_look.at_us > call.now_us or len(found) == limit:
            break
        heappop(tables.looks)
        found[next_look.task] = tables.schedules[next_look.task]
    for row in found.values():
        # They stay due until a decision about them is written.
        _watch(tables, row)
    next_due_us = None if next_look is None else max(0, next_look.at_us - call.now_us)
    return DueSchedules(call.now_us, [_seen(tables, row) for row in found.values()], next_due_us)


def _seen(tables: Tables, row: ScheduleRow) -> SeenSchedule:
    standing = row.record.standing
    if standing is None or standing.rules.overlap == "allow":
        return SeenSchedule(msgspec.structs.replace(row.record))
    tasks = sorted(tables.fired_open.get(row.record.id, {}).items())
    return SeenSchedule(msgspec.structs.replace(row.record), [task for _, task in tasks[:UNFINISHED_NAMED]])


def find(call: Call, limit: int, cursor: str | None) -> SchedulePage:
    rows = call.tables.schedules
    ids = sorted(id_ for id_ in rows if cursor is None or id_ > cursor)
    found = [msgspec.structs.replace(rows[id_].record) for id_ in ids[:limit]]
    return SchedulePage(found, ids[limit - 1] if len(ids) > limit else None)


def fires(call: Call, schedule: str, limit: int, cursor: str | None) -> FirePage:
    records = call.tables.fires.get(schedule, [])
    if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    end = len(records) if cursor is None else bisect_left(records, int(cursor), key=lambda entry: entry[0])
    start = max(0, end - limit)
    found = [record for _, record in reversed(records[start:end])]
    return FirePage(found, str(records[start][0]) if start else None)


def _next_look(tables: Tables) -> Due | None:
    heap = tables.looks
    while heap:
        row = tables.schedules.get(heap[0].task)
        if row is not None and row.look_us == heap[0].at_us and row.ordinal == heap[0].ordinal:
            return heap[0]
        heappop(heap)
    return None


def _watch(tables: Tables, row: ScheduleRow) -> None:
    if row.look_us is not None:
        heappush(tables.looks, Due(row.look_us, row.ordinal, row.record.id))


# --- writing ----------------------------------------------------------------------------------------


def fire(call: Call, lines: Sequence[FireLine], term: int | None) -> Fired:
    if term is not None and not leads(call, term):
        return Fired([deposed(term)] * len(lines))
    answers = [_fire(call, line) for line in lines]
    return Fired(answers, call.gained(), call.finished)


def _fire(call: Call, line: FireLine) -> int | Refused | Existing:
    row = call.tables.schedules.get(line.schedule)
    guard = fire_guard(line, None if row is None else (row.record.version, row.mark))
    if guard is not None:
        return guard
    fired = call.tables.fired.get(line.schedule, {})
    tasks = {made.fire_us: fired.get(made.fire_us, made.task.id) for made in line.made}
    new = [made for made in line.made if made.fire_us not in fired]
    tasks_to_make = with_parents_among(call.tables.rows, [made.task for made in new])
    answer = submitting.submit(call, Group(tasks_to_make, line.key))
    if isinstance(answer, Refused | Existing):
        return answer
    for made in new:
        call.tables.name_fire(call.tables.rows[made.task.id], line.schedule, made.fire_us)
        for task in made.cancels:
            editing.force(call, Force(task, Action.CANCEL))
    return _write(call, row, line, tasks)


def _write(call: Call, row: ScheduleRow | None, line: FireLine, tasks: dict[int, str]) -> int:
    tables, now_us = call.tables, call.now_us
    change = line.change
    if row is None:
        assert change is not None
        record = ScheduleRecord(line.schedule, change.rules, change.template, 0, created_at_us=now_us)
        row = tables.schedules[line.schedule] = ScheduleRow(record, call.mint())
    record = row.record = msgspec.structs.replace(row.record, version=call.mint(), standing=line.standing)
    if change is not None:
        record.rules, record.template, record.updated_at_us = change.rules, change.template, now_us
    record.updated_at_us = record.updated_at_us or now_us
    record.quarantine = line.quarantine
    record.next_us = None if line.quarantine else line.look_us
    last_us = max(tasks, default=-1)
    if last_us > (record.last_fire_us or 0):
        record.last_fire_us, record.last_task = last_us, tasks[last_us]
    row.mark = line.mark
    if row.look_us != line.look_us:
        row.look_us = line.look_us
        _watch(tables, row)
    records = tables.fires.setdefault(line.schedule, [])
    records += [(call.mint(), record) for record in fire_records(line, tasks, now_us)]
    if len(records) > 2 * FIRES_KEPT:
        del records[:-FIRES_KEPT]
    return record.version


def delete(call: Call, schedule: str, version: int | None) -> Refused | None:
    row = call.tables.schedules.get(schedule)
    if row is None:
        return no_schedule(schedule)
    if version is not None and row.record.version != version:
        return schedule_moved(schedule, row.record.version, version)
    del call.tables.schedules[schedule]
    call.tables.fires.pop(schedule, None)
    return None
