"""Moving house: the file as the records that another store takes, page by page."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from mainspring.core.limits import CLOSED
from mainspring.core.progress import LogBlock, LogHead, LogPiece, Noted
from mainspring.core.schedule_rows import COLUMNS, Row
from mainspring.core.workflows import NOTHING, Callback, Tally
from mainspring.ports import FireRecord
from mainspring.stores.sqlite.limits import read_rule
from mainspring.stores.sqlite.progress import STEPS
from mainspring.stores.sqlite.reading import Reader, history
from mainspring.stores.sqlite.rows import RESERVED_DIGEST, TASK, TASK_JOINS, parents_of, task_of, tasks_by_id
from mainspring.stores.sqlite.schedules import AS_TEXT, read_texts
from mainspring.verbs.moving import (
    Dumped,
    Kind,
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
    moved_history,
    moved_task,
    page,
    parse_dump_cursor,
)

HIDDEN = "t.settled_token, t.settled_digest, t.unique_digest, t.fingerprint, t.noted_token, t.noted"
TASKS = f"SELECT {HIDDEN}, {TASK} FROM tasks t{TASK_JOINS} WHERE t.n > ? ORDER BY t.n LIMIT ?"
WORKFLOWS = (
    "SELECT n, id, created_at_us, name, labels, callbacks, forgotten FROM workflows"
    " WHERE n > ? ORDER BY n LIMIT ?"
)
TASKS_OF = "SELECT id FROM tasks INDEXED BY tasks_workflow WHERE workflow = ? ORDER BY n"
DEPENDENCIES = (
    "SELECT d.task, t.id, d.parents FROM dependencies d JOIN tasks t ON t.n = d.task"
    " WHERE d.task > ? ORDER BY d.task LIMIT ?"
)
OPEN_PARENTS = (
    "SELECT p.id FROM edges e INDEXED BY edges_open JOIN tasks p ON p.n = e.parent"
    " WHERE e.child = ? AND e.open = 1"
)
WITH_STEPS = (
    "SELECT DISTINCT s.task, t.id FROM steps s JOIN tasks t ON t.n = s.task"
    " WHERE s.task > ? ORDER BY s.task LIMIT ?"
)
LOGGED = (
    "SELECT l.task, t.id, l.token, l.base, l.ends, l.kept FROM logged l JOIN tasks t ON t.n = l.task"
    " WHERE l.task > ? ORDER BY l.task LIMIT ?"
)
BLOCKS = "SELECT ends, weight, pieces FROM logs WHERE task = ? ORDER BY ends"
WITH_HISTORY = (
    "SELECT DISTINCT task FROM history INDEXED BY history_task WHERE task > ? ORDER BY task LIMIT ?"
)
KEYS = (
    "SELECT principal, key, digest, expires_us, tasks FROM idempotency"
    " WHERE (principal, key) > (?, ?) ORDER BY principal, key LIMIT ?"
)
SCHEDULES = (
    f"SELECT {AS_TEXT}, version, mark, standing, look_us, quarantine, created_us, updated_us, last_fire_us,"
    " last_task, (SELECT count(*) FROM fires f WHERE f.schedule = schedules.id) FROM schedules"
    " WHERE id > ? ORDER BY id LIMIT ?"
)
FIRES = (
    "SELECT schedule, n, decided_us, first_us, last_us, count, task, reason FROM fires"
    " WHERE (schedule, n) > (?, ?) ORDER BY schedule, n LIMIT ?"
)
LIMITS = "SELECT name, rule FROM limits WHERE name > ? ORDER BY name LIMIT ?"
PAUSES = "SELECT queue, by FROM paused WHERE queue > ? ORDER BY queue LIMIT ?"
SHARES = "SELECT tenant, weight, virtual_us FROM shares WHERE tenant > ? ORDER BY tenant LIMIT ?"

_ids = msgspec.json.Decoder(tuple[str, ...])
_callbacks = msgspec.json.Decoder(dict[Callback, str])
_tally = msgspec.json.Decoder(Tally)
_pieces = msgspec.msgpack.Decoder(list[LogPiece])


def dump(reader: Reader, cursor: str | None, limit: int) -> Dumped:
    kind, after = parse_dump_cursor(cursor)
    if kind is Kind.SCHEDULES:
        return _schedules(reader, msgspec.json.decode(after)[0] if after else "", limit)
    statement, first, record_of = _DUMPS[kind]
    place = tuple(msgspec.json.decode(after)) if after else first
    rows = reader.db.execute(statement, (*place, limit)).fetchall()
    records = [record_of(reader, row) for row in rows]
    last = _place(kind, rows[-1]) if len(rows) == limit else None
    return page(kind, [record for record in records if record is not None], last)


def _place(kind: Kind, row: Sequence[Any]) -> str:
    """Where a page ends, as JSON."""
    if kind is Kind.TASKS:
        return _json(row[-1:])
    return _json(row[: len(_DUMPS[kind][1])])


def _json(values: Iterable[Any]) -> str:
    return msgspec.json.encode(tuple(values)).decode()


# --- what tasks have --------------------------------------------------------------------------------


def _task(reader: Reader, row: Sequence[Any]) -> MovedTask:
    settled_token, digest, unique, fingerprint, noted_token, noted, *values = row
    digest = 0 if digest == RESERVED_DIGEST else digest
    written = Noted(noted_token or 0, noted or 0)
    return moved_task(task_of(values, reader.lanes), settled_token, digest, unique, fingerprint, written)


def _workflow(reader: Reader, row: Sequence[Any]) -> MovedWorkflow:
    n, id_, created_at_us, name, labels, callbacks, forgotten = row
    return MovedWorkflow(
        id_, n, created_at_us, name, labels, dict(sorted(_callbacks.decode(callbacks).items())),
        _tally.decode(forgotten) if forgotten else NOTHING,
        tuple(task for (task,) in reader.db.execute(TASKS_OF, (n,)).fetchall()),
    )  # fmt: skip


def _dependencies(reader: Reader, row: Sequence[Any]) -> MovedDependencies:
    n, task, stored = row
    parents, open_ = parents_of(stored), {parent for (parent,) in reader.db.execute(OPEN_PARENTS, (n,))}
    return MovedDependencies(task, parents, tuple(parent for parent in parents if parent in open_))


def _steps(reader: Reader, row: Sequence[Any]) -> MovedSteps:
    n, task = row
    return MovedSteps(task, tuple(reader.db.execute(STEPS, (n,)).fetchall()))


def _log(reader: Reader, row: Sequence[Any]) -> MovedLog:
    n, task, *head = row
    blocks = reader.db.execute(BLOCKS, (n,)).fetchall()
    pieces = [LogBlock(ends, weight, _pieces.decode(stored)) for ends, weight, stored in blocks]
    return MovedLog(task, LogHead(*head), tuple(pieces))


def _history(reader: Reader, row: Sequence[Any]) -> MovedHistory | None:
    """A task that was forgotten while no history was kept has left its own behind."""
    (task,) = row
    record = tasks_by_id(reader.db, reader.lanes, (task,)).get(task)
    return None if record is None else moved_history(record, history(reader, task))


# --- what stands by itself --------------------------------------------------------------------------


def _key(_: Reader, row: Sequence[Any]) -> MovedKey:
    principal, key, digest, expires_us, tasks = row
    return MovedKey(principal, key, digest, expires_us, _ids.decode(tasks))


def _schedules(reader: Reader, after: str, limit: int) -> Dumped:
    """A text that is none is left out, and the row is in quarantine for it."""
    found = read_texts(reader.db, SCHEDULES, (after, limit))
    own, records = len(COLUMNS), list[Record]()
    for values, problem in found:
        id_, version, mark, standing, look_us, quarantine, *rest = values[own:]
        if id_ is not None:
            wrong = quarantine or (None if problem is None else str(problem))
            row = Row(*values[:own])
            records.append(MovedSchedule(id_, row, version, mark, standing, look_us, wrong, *rest))
    readable = [values[own] for values, _ in found if values[own] is not None]
    return page(Kind.SCHEDULES, records, _json(readable[-1:]) if len(found) == limit and readable else None)


def _fire(_: Reader, row: Sequence[Any]) -> MovedFire:
    schedule, place, *values = row
    return MovedFire(schedule, place, FireRecord(*values))


def _limit(_: Reader, row: Sequence[Any]) -> MovedLimit:
    name, rule = row
    return MovedLimit(name, read_rule(rule) or CLOSED)


def _pause(_: Reader, row: Sequence[Any]) -> MovedPause:
    return MovedPause(*row)


def _share(_: Reader, row: Sequence[Any]) -> MovedShare:
    return MovedShare(*row)


# Each with its statement, the place before its first row, and what makes a record of a row.
_DUMPS: dict[Kind, tuple[str, tuple[Any, ...], Callable[[Reader, Sequence[Any]], Record | None]]] = {
    Kind.TASKS: (TASKS, (0,), _task),
    Kind.WORKFLOWS: (WORKFLOWS, (0,), _workflow),
    Kind.DEPENDENCIES: (DEPENDENCIES, (0,), _dependencies),
    Kind.STEPS: (WITH_STEPS, (0,), _steps),
    Kind.LOGS: (LOGGED, (0,), _log),
    Kind.HISTORY: (WITH_HISTORY, ("",), _history),
    Kind.KEYS: (KEYS, ("", ""), _key),
    Kind.FIRES: (FIRES, ("", 0), _fire),
    Kind.LIMITS: (LIMITS, ("",), _limit),
    Kind.PAUSES: (PAUSES, ("",), _pause),
    Kind.SHARES: (SHARES, ("",), _share),
}
