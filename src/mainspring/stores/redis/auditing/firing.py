"""Schedules and the records of their fires: breaches, and what is put in their place."""

from collections.abc import Sequence

import msgspec

from mainspring.core.laws import Breach
from mainspring.core.schedule_laws import RECORDS_LOOKED_AT, ScheduleFacts, Span, schedule_breaches
from mainspring.stores.redis.auditing.texts import Page, Text, page
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import Reply, prefixed
from mainspring.stores.redis.schedules import fire_of, standing_of, stored_of
from mainspring.verbs import FIRES_KEPT, FireRecord
from mainspring.verbs.audit import Finding

_UNREADABLE = Breach("unreadable_standing", "how far it has come cannot be read")


async def look(db: Database, cursor: str, limit: int, records: int = RECORDS_LOOKED_AT) -> Page:
    """The next schedules, with their latest records."""
    reply, found, cursor = await page(db, "schedules", cursor, limit, records)
    return Page([finding for text in found for finding in findings(reply, text, records)], cursor)


async def look_at_all(db: Database) -> list[Finding]:
    found, cursor = [], "0"
    while cursor:
        slice_ = await look(db, cursor, 20, 2 * FIRES_KEPT)
        found += slice_.findings
        cursor = slice_.cursor
    return found


def findings(reply: Reply, text: Text, records: int) -> list[Finding]:
    subject, key = f"schedule {text.name}", ("schedule", text.name)
    told = [Finding(law, subject, detail, key) for law, detail in _breaches(reply, text, records)]
    is_listed, _ = text.besides
    if not is_listed:
        detail = "the index schedule_ids does not have it"
        told.append(Finding("damaged_index", subject, detail, key))
    return told


def _breaches(reply: Reply, text: Text, records: int) -> list[Breach]:
    stored = stored_of(text.text)
    if stored.standing is None or stored.quarantine is not None:
        return []
    facts = facts_of(reply, text, records)
    return [_UNREADABLE] if facts is None else schedule_breaches(facts)


def facts_of(reply: Reply, text: Text, records: int) -> ScheduleFacts | None:
    """`None` if it cannot be read how far the schedule has come."""
    stored = stored_of(text.text)
    try:
        standing = standing_of(stored)
    except msgspec.MsgspecError:
        return None
    if standing is None:
        return None
    spans = [
        Span(one.first_us, one.last_us, (one.task or one.reason) is not None) for one in fires_of(reply, text)
    ]
    is_cut = len(spans) >= min(records, FIRES_KEPT)
    look_us = None if text.place is None else int(text.place)
    return ScheduleFacts(standing, look_us, stored.updated_us, spans, is_cut)


def names_of_fires(reply: Reply, text: Text) -> list[bytes]:
    """The records' names in their index, the newest first."""
    _, parts = text.besides
    return [reply.part(number) or b"" for number in parts]


def fires_of(reply: Reply, text: Text) -> Sequence[FireRecord]:
    prefix = prefixed(text.name)
    return [fire_of(name, prefix) for name in names_of_fires(reply, text)]
