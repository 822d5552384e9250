"""Decisions about schedules: guarded by version and term, written whole or not at all."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from mainspring.core.schedule_rows import COLUMNS, write_row
from mainspring.ports import Action, Existing, Fired, FireLine, FireTask, Force, Group, Refused
from mainspring.stores.sqlite.claiming import LEADS
from mainspring.stores.sqlite.connection import DATA_ERRORS
from mainspring.stores.sqlite.editing import force
from mainspring.stores.sqlite.moves import release_children
from mainspring.stores.sqlite.rows import numbers, rows_by_id, texts
from mainspring.stores.sqlite.submitting import submit
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs import (
    FIRES_KEPT,
    deposed,
    fire_guard,
    fire_records,
    no_schedule,
    schedule_moved,
    with_parents_among,
)

KNOWN = "SELECT id, version, mark, records FROM schedules WHERE id IN carray(?)"
MADE_BEFORE = (
    "SELECT fire_at_us, id FROM tasks INDEXED BY tasks_fires"
    " WHERE schedule_id = ? AND schedule_id IS NOT NULL AND fire_at_us IN carray(?)"
)
CREATE = "INSERT INTO schedules (id, mark) VALUES (?, 'new')"
CHANGE = (
    f"UPDATE schedules SET mark = 'changing', {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE id = ?"
)
WRITE = (
    "UPDATE schedules SET version = ?1, mark = ?2, standing = ?3, look_us = ?4, quarantine = ?5,"
    " created_us = coalesce(created_us, ?6), updated_us = coalesce(?7, updated_us, ?6),"
    " last_task = CASE WHEN ?8 > coalesce(last_fire_us, 0) THEN ?9 ELSE last_task END,"
    " last_fire_us = CASE WHEN ?8 > coalesce(last_fire_us, 0) THEN ?8 ELSE last_fire_us END,"
    " records = ?10 WHERE id = ?11"
)
NAME_FIRE = "UPDATE tasks INDEXED BY tasks_id SET schedule_id = ?, fire_at_us = ? WHERE id = ?"
ADD_RECORD = (
    "INSERT INTO fires (schedule, n, decided_us, first_us, last_us, count, task, reason)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
TRIM = (
    "DELETE FROM fires WHERE schedule = ?1 AND n <="
    " (SELECT n FROM fires WHERE schedule = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)"
)
READ_VERSION = "SELECT version FROM schedules WHERE id = ?"
DELETE = "DELETE FROM schedules WHERE id = ?"


class Known(NamedTuple):
    """What guarding a decision takes of a stored schedule."""

    version: int
    mark: str
    records: int


class Plan(NamedTuple):
    """A decision that its guard has let pass. `tasks` are those of its fires by their times, with those that
    are stored already; `new` is what is left to make."""

    line: FireLine
    records: int
    tasks: dict[int, str]
    new: Sequence[FireTask]
    group: Group


class _Undone(Exception):
    """A change that came with tasks which the store does not take."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused


def fire(tx: Transaction, lines: Sequence[FireLine], term: int | None) -> Fired:
    if term is not None and not tx.db.execute(LEADS, (term, tx.now_us)).get:
        return Fired([deposed(term)] * len(lines))
    if not lines:
        return Fired([])
    rows = tx.db.execute(KNOWN, (texts(line.schedule for line in lines),))
    known = {schedule: Known(*row) for schedule, *row in rows}
    answers: list[int | Refused | Existing] = []
    plans: dict[int, Plan] = {}
    for place, line in enumerate(lines):
        stored = known.get(line.schedule)
        answer = fire_guard(line, None if stored is None else (stored.version, stored.mark))
        if answer is None and line.change is not None:
            answer = _change(tx, stored, line)
        elif answer is None and stored is not None:
            plans[place] = _plan(tx, line, stored.records)
            # A second decision of this call was made of a version that is over with the first.
            known[line.schedule] = Known(tx.mint(), line.mark, 0)
        answers.append(answer or 0)
    submitted = submit(tx, [plan.group for plan in plans.values()])
    for (place, plan), tasks in zip(plans.items(), submitted, strict=True):
        answers[place] = tasks if isinstance(tasks, Refused | Existing) else _write(tx, plan)
    release_children(tx)
    return Fired(answers, tx.heads(), tx.finished)


def _change(tx: Transaction, stored: Known | None, line: FireLine) -> int | Refused:
    assert line.change is not None
    try:
        with tx.db:
            if stored is None:
                tx.db.execute(CREATE, (line.schedule,))
            columns = msgspec.structs.astuple(write_row(line.change.rules, line.change.template))
            tx.db.execute(CHANGE, (*columns, line.schedule))
            plan = _plan(tx, line, 0 if stored is None else stored.records)
            (answer,) = submit(tx, [plan.group])
            if isinstance(answer, Refused):
                raise _Undone(answer)
            return _write(tx, plan)
    except _Undone as undone:
        return undone.refused
    except DATA_ERRORS as error:
        return Refused("invalid_input", f"a value cannot be stored: {error}")


def _plan(tx: Transaction, line: FireLine, records: int) -> Plan:
    tasks = {made.fire_us: made.task.id for made in line.made}
    before = dict(tx.db.execute(MADE_BEFORE, (line.schedule, numbers(tasks)))) if tasks else {}
    new = [made for made in line.made if made.fire_us not in before] if before else line.made
    new_tasks = [made.task for made in new]
    parents = {parent for task in new_tasks for parent in task.depends_on}
    if parents:
        new_tasks = with_parents_among(rows_by_id(tx.db, parents), new_tasks)
    return Plan(line, records, tasks | before, new, Group(new_tasks, line.key))


def _write(tx: Transaction, plan: Plan) -> int:
    """Write what a decision leaves behind, its tasks being stored; the schedule's new version."""
    line, now_us = plan.line, tx.now_us
    for made in plan.new:
        tx.db.execute(NAME_FIRE, (line.schedule, made.fire_us, made.task.id))
        for task in made.cancels:
            force(tx, Force(task, Action.CANCEL))
    records = plan.records + _record(tx, plan)
    last_us = max(plan.tasks, default=None)
    version = tx.mint()
    standing = None if line.standing is None else msgspec.json.encode(line.standing).decode()
    tx.db.execute(
        WRITE,
        (
            version, line.mark, standing, line.look_us, line.quarantine, now_us,
            None if line.change is None else now_us, last_us,
            None if last_us is None else plan.tasks[last_us], records, line.schedule,
        ),
    )  # fmt: skip
    return version


def _record(tx: Transaction, plan: Plan) -> int:
    """Keep what became of the fires; by how many records the schedule has more."""
    schedule = plan.line.schedule
    found = fire_records(plan.line, plan.tasks, tx.now_us)
    for record in found:
        tx.db.execute(ADD_RECORD, (schedule, tx.mint(), *msgspec.structs.astuple(record)))
    if plan.records + len(found) <= 2 * FIRES_KEPT:
        return len(found)
    tx.db.execute(TRIM, (schedule, FIRES_KEPT))
    return FIRES_KEPT - plan.records


def delete(tx: Transaction, schedule: str, version: int | None) -> Refused | None:
    found = tx.db.execute(READ_VERSION, (schedule,)).get
    if found is None:
        return no_schedule(schedule)
    if version is not None and found != version:
        return schedule_moved(schedule, found, version)
    tx.db.execute(DELETE, (schedule,))
    return None
