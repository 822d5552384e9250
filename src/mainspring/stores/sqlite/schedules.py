"""Schedules as they are read: rows that people may have written, what is due, and the records of fires."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mainspring.core.schedule_rows import COLUMNS, Row, read_row
from mainspring.core.schedules import Standing
from mainspring.errors import InvalidInput
from mainspring.ports import (
    DueSchedules,
    FirePage,
    FireRecord,
    SchedulePage,
    ScheduleRecord,
    SeenSchedule,
    SeenSchedules,
)
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.reading import Reader, parse_cursor
from mainspring.stores.sqlite.rows import text_of, texts
from mainspring.verbs import UNFINISHED_NAMED

_NAMES = (*COLUMNS, "id")
_TEXTS = {"id", *(field.name for field in msgspec.structs.fields(Row) if field.type in (str, str | None))}
AS_TEXT = ", ".join(_NAMES)
AS_BYTES = ", ".join(f"CAST({name} AS BLOB)" if name in _TEXTS else name for name in _NAMES)
RECORD = (
    f"SELECT {AS_TEXT}, version, standing, look_us, quarantine, created_us, updated_us,"
    " last_fire_us, last_task FROM schedules"
)
BY_ID = f"{RECORD} WHERE id IN carray(?)"
DUE = f"{RECORD} INDEXED BY schedules_look WHERE look_us <= ? ORDER BY look_us LIMIT ?"
LOOKS = (
    "SELECT look_us FROM schedules INDEXED BY schedules_look WHERE look_us IS NOT NULL"
    " ORDER BY look_us LIMIT 1 OFFSET ?"
)
AFTER = f"{RECORD} WHERE id > ? ORDER BY id LIMIT ?"
# The index's own condition is repeated word for word: SQLite does not see that an equal is not NULL.
UNFINISHED = (
    "SELECT id FROM tasks INDEXED BY tasks_fires_open"
    " WHERE schedule_id = ? AND schedule_id IS NOT NULL AND state <= 4 ORDER BY fire_at_us LIMIT ?"
)
FIRES = (
    "SELECT n, decided_us, first_us, last_us, count, task, reason FROM fires"
    " WHERE schedule = ? AND n < ? ORDER BY n DESC LIMIT ?"
)

_DEFAULTS = msgspec.structs.astuple(Row())
_standing = msgspec.json.Decoder(Standing)


def look(reader: Reader, ids: Sequence[str]) -> SeenSchedules:
    rows = read_texts(reader.db, BY_ID, (texts(ids),)) if ids else ()
    found = {seen.record.id: seen for seen in _asked(reader.db, rows)}
    return SeenSchedules(reader.now_us, [found.get(id_) for id_ in ids])


def due(reader: Reader, limit: int) -> DueSchedules:
    rows = read_texts(reader.db, DUE, (reader.now_us, limit))
    next_look_us = reader.db.execute(LOOKS, (len(rows),)).get
    next_due_us = None if next_look_us is None else max(0, next_look_us - reader.now_us)
    return DueSchedules(reader.now_us, _asked(reader.db, rows), next_due_us)


def find(reader: Reader, limit: int, cursor: str | None) -> SchedulePage:
    rows = read_texts(reader.db, AFTER, (cursor or "", limit + 1))
    found = [seen.record for seen in _seen_in(rows[:limit])]
    return SchedulePage(found, found[-1].id if len(rows) > limit and found else None)


def fires(reader: Reader, schedule: str, limit: int, cursor: str | None) -> FirePage:
    before = parse_cursor(cursor) if cursor else 1 << 62
    rows = reader.db.execute(FIRES, (schedule, before, limit + 1)).fetchall()
    found = [FireRecord(*values) for _, *values in rows[:limit]]
    return FirePage(found, str(rows[limit - 1][0]) if len(rows) > limit else None)


Found = tuple[Sequence[Any], InvalidInput | None]
"""A row, and which of its columns is no text, if one is not."""


def read_texts(db: Database, sql: str, bindings: Sequence[object]) -> list[Found]:
    """Other programs write into a column of text what they like, also what is no text. Such a value would be
    the end of the whole answer, and of every schedule's fires: then all of it is read as bytes."""
    try:
        return [(values, None) for values in db.execute(sql, bindings).fetchall()]
    except UnicodeDecodeError:
        rows = db.execute(sql.replace(AS_TEXT, AS_BYTES, 1), bindings).fetchall()
        return [_in_text(values) for values in rows]


def _in_text(values: Sequence[Any]) -> Found:
    """What is no text is absent; an id that is none is `None`."""
    read, problem = list(values), None
    for place, value in enumerate(values):
        if type(value) is bytes:
            text = read[place] = text_of(value)
            if text is None and place < len(COLUMNS):
                read[place] = _DEFAULTS[place]
                problem = problem or InvalidInput(COLUMNS[place], "not text in UTF-8", "text in UTF-8")
    return read, problem


def _asked(db: Database, rows: Iterable[Found]) -> list[SeenSchedule]:
    """The schedules, with what their overlap policies ask for."""
    found = _seen_in(rows)
    for seen in found:
        standing = seen.record.standing
        if standing is not None and standing.rules.overlap != "allow":
            unfinished: Iterable[Any] = db.execute(UNFINISHED, (seen.record.id, UNFINISHED_NAMED))
            seen.unfinished = [task for (task,) in unfinished]
    return found


def _seen_in(rows: Iterable[Found]) -> list[SeenSchedule]:
    """A schedule whose id is no text has no name by which anybody could speak of it: it is passed over."""
    return [_seen(values, problem) for values, problem in rows if values[len(COLUMNS)] is not None]


def _seen(values: Sequence[Any], no_text: InvalidInput | None) -> SeenSchedule:
    row = Row(*values[: len(COLUMNS)])
    id_, version, stored, look_us, quarantine, created_us, updated_us, last_us, last = values[len(COLUMNS) :]
    rules, template, problem = read_row(row)
    problem = no_text or problem
    unreadable = None if problem is None else str(problem)
    standing = None
    if stored is not None:
        try:
            standing = _standing.decode(stored)
        except msgspec.MsgspecError as error:
            unreadable = f"standing: {error}; accepted: NULL, to begin anew"
    record = ScheduleRecord(
        id_, rules, template, version, standing, None if quarantine else look_us, quarantine or unreadable,
        created_us, updated_us, last_us, last,
    )  # fmt: skip
    return SeenSchedule(record, unreadable=unreadable)
