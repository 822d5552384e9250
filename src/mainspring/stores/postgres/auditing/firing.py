"""Schedules and the records of their fires: breaches, and what is put in their place."""

import msgspec
from asyncpg import Record

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
from mainspring.stores.postgres.transaction import Transaction, columns
from mainspring.verbs import FIRES_KEPT
from mainspring.verbs.audit import Finding

ALL = 1 << 31

_standing = msgspec.json.Decoder(Standing)
_UNREADABLE = Breach("unreadable_standing", "how far it has come cannot be read")


async def look(tx: Transaction, after: str, limit: int) -> tuple[list[Finding], list[str]]:
    """The next schedules by id, with their latest records."""
    rows = await tx.rows("schedules_after", after, limit)
    found = [finding for row in rows for finding in await _findings(tx, row)]
    return found, [row["id"] for row in rows]


async def look_at_all(tx: Transaction) -> list[Finding]:
    rows = await tx.rows("schedules_after", "", ALL)
    return [finding for row in rows for finding in await _findings(tx, row, 2 * FIRES_KEPT)]


async def _findings(tx: Transaction, row: Record, records: int = RECORDS_LOOKED_AT) -> list[Finding]:
    if row["standing"] is None or row["quarantine"] is not None or row["updated_us"] is None:
        return []
    facts = await _facts(tx, row, records)
    told = schedule_breaches(facts) if facts is not None else [_UNREADABLE]
    subject, key = f"schedule {row['id']}", ("schedule", row["id"])
    return [Finding(law, subject, detail, key) for law, detail in told]


async def _facts(tx: Transaction, row: Record, records: int) -> ScheduleFacts | None:
    try:
        standing = _standing.decode(row["standing"])
    except msgspec.MsgspecError:
        return None
    found = await tx.rows("spans", row["id"], records)
    spans = [Span(span["first_us"], span["last_us"], span["is_told"]) for span in found]
    is_cut = len(spans) >= min(records, FIRES_KEPT)
    return ScheduleFacts(standing, row["look_us"], row["updated_us"], spans, is_cut)


# --- mending ----------------------------------------------------------------------------------------


async def mend(tx: Transaction, schedule: str, law: str) -> str | None:
    """What was done, or `None` if the schedule does not break the law any more."""
    row = await tx.row("schedule_to_mend", schedule)
    if row is None:
        return None
    if law not in {finding.law for finding in await _findings(tx, row, 2 * FIRES_KEPT)}:
        return None
    if law == "unreadable_standing":
        await tx.do("begin_schedule_anew", schedule)
        return "begins anew from now"
    if law == "forgotten_schedule":
        await tx.do("remind_of_schedule", schedule, 0)
        return "the firer looks at it now"
    if law == "empty_fire":
        await tx.do("name_tasks_of_fires", schedule)
        await tx.do("tell_lost_fires", schedule, LOST)
        return "its tasks named, the others told as lost"
    facts = await _facts(tx, row, 2 * FIRES_KEPT)
    assert facts is not None
    try:
        made = sum([await _record(tx, schedule, facts.standing.rules, gap) for gap in gaps(facts)])
    except InvalidInput as error:
        return f"not its rules: {error}"
    await tx.do("count_fires", schedule, made)
    return f"{made} records made anew"


async def _record(tx: Transaction, schedule: str, rules: Schedule, gap: Gap) -> int:
    """Put on record what became of a gap's fire times: tasks that are there, and times nobody knows of."""
    rows = await tx.rows("made_between", schedule, gap.after_us, gap.before_us)
    fates = recorded(rules, gap, {row["fire_at_us"]: row["id"] for row in rows})
    if fates:
        await tx.do("add_fires", *columns([(schedule, tx.now_us, *fate) for fate in fates]))
    return len(fates)
