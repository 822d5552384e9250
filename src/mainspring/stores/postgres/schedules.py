"""Schedules as they are read: rows that people may have written, what is due, and the records of fires."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.schedule_rows import COLUMNS, Row, read_row
from mainspring.core.schedules import Standing
from mainspring.ports import (
    DueSchedules,
    FirePage,
    FireRecord,
    SchedulePage,
    ScheduleRecord,
    SeenSchedule,
    SeenSchedules,
)
from mainspring.stores.postgres.pages import foreign_cursor, parse_cursor
from mainspring.stores.postgres.rows import can_be_stored, known_texts
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs import UNFINISHED_NAMED

if TYPE_CHECKING:
    from asyncpg import Record

_standing = msgspec.json.Decoder(Standing)


async def look(tx: Transaction, ids: Sequence[str]) -> SeenSchedules:
    rows = await tx.rows("schedules_by_id", known_texts(ids)) if ids else []
    found = {seen.record.id: seen for seen in await _with_unfinished(tx, rows)}
    return SeenSchedules(tx.now_us, [found.get(id_) for id_ in ids])


async def due(tx: Transaction, limit: int) -> DueSchedules:
    found = await _with_unfinished(tx, await tx.rows("due_schedules", tx.now_us, limit))
    next_look_us = await tx.value("next_look", len(found))
    next_due_us = None if next_look_us is None else max(0, next_look_us - tx.now_us)
    return DueSchedules(tx.now_us, found, next_due_us)


async def find(tx: Transaction, limit: int, cursor: str | None) -> SchedulePage:
    after = cursor or ""
    if not can_be_stored(after):
        raise foreign_cursor()
    rows = await tx.rows("schedules_after", after, limit + 1)
    found = [_seen(row).record for row in rows[:limit]]
    return SchedulePage(found, found[-1].id if len(rows) > limit else None)


async def fires(tx: Transaction, schedule: str, limit: int, cursor: str | None) -> FirePage:
    before = parse_cursor(cursor) if cursor else 1 << 62
    rows = await tx.rows("fires_before", schedule, before, limit + 1) if can_be_stored(schedule) else []
    found = [
        FireRecord(
            row["decided_us"], row["first_us"], row["last_us"], row["count"], row["task"], row["reason"]
        )
        for row in rows[:limit]
    ]
    return FirePage(found, str(rows[limit - 1]["n"]) if len(rows) > limit else None)


async def _with_unfinished(tx: Transaction, rows: Sequence["Record"]) -> list[SeenSchedule]:
    found = [_seen(row) for row in rows]
    for seen in found:
        standing = seen.record.standing
        if standing is not None and standing.rules.overlap != "allow":
            tasks = await tx.rows("unfinished_fires", seen.record.id, UNFINISHED_NAMED)
            seen.unfinished = [task["id"] for task in tasks]
    return found


def _seen(row: "Record") -> SeenSchedule:
    rules, template, problem = read_row(Row(*[row[name] for name in COLUMNS]))
    unreadable = None if problem is None else str(problem)
    standing = None
    if row["standing"] is not None:
        try:
            standing = _standing.decode(row["standing"])
        except msgspec.MsgspecError as error:
            unreadable = f"standing: {error}; accepted: NULL, to begin anew"
    quarantine = row["quarantine"]
    record = ScheduleRecord(
        row["id"], rules, template, row["version"], standing, None if quarantine else row["look_us"],
        quarantine or unreadable, row["created_us"], row["updated_us"], row["last_fire_us"], row["last_task"],
    )  # fmt: skip
    return SeenSchedule(record, unreadable=unreadable)
