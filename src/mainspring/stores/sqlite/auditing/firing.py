"""Schedules and the records of their fires: breaches, and what is put in their place."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.core.laws import Breach
from mainspring.core.schedule_laws import (
    RECORDS_LOOKED_AT,
    Gap,
    ScheduleFacts,
    Span,
    gaps,
    recorded,
    schedule_breaches,
)
from mainspring.core.schedules import LOST, Schedule, Standing
from mainspring.errors import InvalidInput
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.rows import text_of
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs import FIRES_KEPT
from mainspring.verbs.audit import Finding

_SCHEDULE = "SELECT CAST(id AS BLOB), standing, look_us, quarantine, updated_us FROM schedules"
SCHEDULES_FROM = f"{_SCHEDULE} WHERE id > ? ORDER BY id LIMIT ?"
ONE_SCHEDULE = f"{_SCHEDULE} WHERE id = ?"
SPANS = (
    "SELECT first_us, last_us, task IS NOT NULL OR reason IS NOT NULL FROM fires WHERE schedule = ?"
    " ORDER BY n DESC LIMIT ?"
)
# What the table's triggers take for a change by hand is not wanted here: a new mark says that it is none.
REMIND = "UPDATE schedules SET look_us = 0, mark = mark || '+' WHERE id = ?"
BEGIN_ANEW = "UPDATE schedules SET standing = NULL, look_us = 0, mark = mark || '+' WHERE id = ?"
NAME_TASKS = (
    "UPDATE fires SET task = (SELECT t.id FROM tasks t INDEXED BY tasks_fires"
    " WHERE t.schedule_id = fires.schedule AND t.schedule_id IS NOT NULL AND t.fire_at_us = fires.first_us)"
    " WHERE schedule = ? AND task IS NULL AND reason IS NULL AND first_us = last_us"
)
TELL_LOST = f"UPDATE fires SET reason = '{LOST}' WHERE schedule = ? AND task IS NULL AND reason IS NULL"
MADE_BETWEEN = (
    "SELECT fire_at_us, id FROM tasks INDEXED BY tasks_fires"
    " WHERE schedule_id = ? AND schedule_id IS NOT NULL AND fire_at_us > ? AND fire_at_us < ?"
    " ORDER BY fire_at_us"
)
ADD_RECORD = (
    "INSERT INTO fires (schedule, n, decided_us, first_us, last_us, count, task, reason)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_RECORDS = "UPDATE schedules SET records = records + ?, mark = mark || '+' WHERE id = ?"

_standing = msgspec.json.Decoder(Standing)


def look(db: Database, after: str, limit: int) -> tuple[list[Finding], list[str]]:
    """The next schedules by id, with their latest records."""
    rows = _rows(db, SCHEDULES_FROM, (after, limit))
    return [finding for row in rows for finding in findings(db, row)], [row[0] for row in rows]


def look_at_all(db: Database) -> list[Finding]:
    rows = _rows(db, SCHEDULES_FROM, ("", -1))
    return [finding for row in rows for finding in findings(db, row, 2 * FIRES_KEPT)]


def _rows(db: Database, sql: str, bindings: Sequence[object]) -> list[Sequence[Any]]:
    """Those whose ids are text: the others fire nothing, as nothing can be said of them."""
    rows = [(text_of(name), *rest) for name, *rest in db.execute(sql, bindings).fetchall()]
    return [row for row in rows if row[0] is not None]


def findings(db: Database, row: Sequence[Any], records: int = RECORDS_LOOKED_AT) -> list[Finding]:
    schedule, stored, _, quarantine, updated_us = row
    if stored is None or quarantine is not None or updated_us is None:
        return []
    facts = _facts(db, row, records)
    told = schedule_breaches(facts) if facts is not None else [_UNREADABLE]
    return [Finding(law, f"schedule {schedule}", detail, ("schedule", schedule)) for law, detail in told]


_UNREADABLE = Breach("unreadable_standing", "how far it has come cannot be read")


def _facts(db: Database, row: Sequence[Any], records: int) -> ScheduleFacts | None:
    schedule, stored, look_us, _, updated_us = row
    try:
        standing = _standing.decode(stored)
    except msgspec.MsgspecError:
        return None
    spans = [Span(*span) for span in db.execute(SPANS, (schedule, records)).fetchall()]
    is_cut = len(spans) >= min(records, FIRES_KEPT)
    return ScheduleFacts(standing, look_us, updated_us, spans, is_cut)


# --- mending ----------------------------------------------------------------------------------------


def mend(tx: Transaction, schedule: str, law: str) -> str | None:
    """What was done, or `None` if the schedule does not break the law any more."""
    rows = _rows(tx.db, ONE_SCHEDULE, (schedule,))
    if not rows or law not in {finding.law for finding in findings(tx.db, rows[0], 2 * FIRES_KEPT)}:
        return None
    if law == "unreadable_standing":
        tx.db.execute(BEGIN_ANEW, (schedule,))
        return "begins anew from now"
    if law == "forgotten_schedule":
        tx.db.execute(REMIND, (schedule,))
        return "the firer looks at it now"
    if law == "empty_fire":
        tx.db.execute(NAME_TASKS, (schedule,))
        tx.db.execute(TELL_LOST, (schedule,))
        return "its tasks named, the others told as lost"
    facts = _facts(tx.db, rows[0], 2 * FIRES_KEPT)
    assert facts is not None
    try:
        made = sum(_record(tx, schedule, facts.standing.rules, gap) for gap in gaps(facts))
    except InvalidInput as error:
        return f"not its rules: {error}"
    tx.db.execute(ADD_RECORDS, (made, schedule))
    return f"{made} records made anew"


def _record(tx: Transaction, schedule: str, rules: Schedule, gap: Gap) -> int:
    """Put on record what became of a gap's fire times: tasks that are there, and times nobody knows of."""
    made = dict(tx.db.execute(MADE_BETWEEN, (schedule, gap.after_us, gap.before_us)).fetchall())
    records = recorded(rules, gap, made)
    for fate in records:
        tx.db.execute(ADD_RECORD, (schedule, tx.mint(), tx.now_us, *fate))
    return len(records)
