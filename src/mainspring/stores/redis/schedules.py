"""Schedules as they are stored and read: one text each, what is due, and the records of fires."""

from collections.abc import Sequence

import msgspec

from mainspring.core.schedule_rows import Row, read_row
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
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import can_be_stored, pack, prefixed
from mainspring.verbs import UNFINISHED_NAMED

BEHIND_ALL = b"\xff"
# Added to times in names, which must not be negative; as in `lua/belonging.lua`.
EPOCH = 1 << 52


class Stored(msgspec.Struct, array_like=True):
    """A schedule's text. `standing` is a text of its own, so that it may be unreadable alone."""

    row: Row = Row()
    version: int = 0
    mark: str = ""
    standing: str | None = None
    look_us: int | None = None
    quarantine: str | None = None
    created_us: int | None = None
    updated_us: int | None = None
    last_fire_us: int | None = None
    last_task: str | None = None


class _Fire(msgspec.Struct, array_like=True):
    decided_us: int
    first_us: int
    last_us: int
    count: int
    task: str | None
    reason: str | None


_stored = msgspec.json.Decoder(Stored)
_standing = msgspec.json.Decoder(Standing)
_fire = msgspec.json.Decoder(_Fire)


async def look(db: Database, ids: Sequence[str]) -> SeenSchedules:
    now_us, texts = await texts_of(db, [id_ for id_ in ids if can_be_stored(id_)])
    found = await _with_unfinished(db, [_seen(id_, text) for id_, text in texts.items()])
    by_id = {seen.record.id: seen for seen in found}
    return SeenSchedules(now_us, [by_id.get(id_) for id_ in ids])


async def texts_of(db: Database, ids: Sequence[str]) -> tuple[int, dict[str, bytes]]:
    """The store's time, and the schedules' texts as they are stored."""
    reply = await db.run("look", pack(list(ids)))
    return reply.now_us, reply.texts(ids, reply.answers[2])


async def due(db: Database, limit: int) -> DueSchedules:
    reply = await db.run("look", b"due", limit)
    ids, next_look_us, texts = reply.answers
    seen = [_seen(id_, text) for id_, text in reply.texts(ids, texts).items()]
    next_due_us = None if next_look_us is False else max(0, next_look_us - reply.now_us)
    return DueSchedules(reply.now_us, await _with_unfinished(db, seen), next_due_us)


async def find(db: Database, limit: int, cursor: str | None) -> SchedulePage:
    after = cursor or ""
    if not can_be_stored(after):
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    low = b"(" + after.encode() if after else b"-"
    names = await db.do("ZRANGEBYLEX", "schedule_ids", low, b"+", b"LIMIT", 0, limit + 1)
    ids = [name.decode() for name in names[:limit]]
    _, texts = await texts_of(db, ids)
    found = [_seen(id_, text).record for id_, text in texts.items()]
    return SchedulePage(found, ids[-1] if len(names) > limit else None)


async def fires(db: Database, schedule: str, limit: int, cursor: str | None) -> FirePage:
    behind = BEHIND_ALL if cursor is None else _number(cursor).to_bytes(8, "big")
    if not can_be_stored(schedule):
        return FirePage([])
    prefix = prefixed(schedule)
    high, low = b"(" + prefix + behind, b"[" + prefix
    names = await db.do("ZREVRANGEBYLEX", "fires", high, low, b"LIMIT", 0, limit + 1)
    found = [fire_of(name, prefix) for name in names[:limit]]
    cursor = str(int.from_bytes(names[limit - 1][len(prefix) :][:8], "big")) if len(names) > limit else None
    return FirePage(found, cursor)


def fires_at(schedule: str, fire_us: int) -> bytes:
    """Where fires of this time stand among those of all schedules."""
    return prefixed(schedule) + (fire_us + EPOCH).to_bytes(8, "big")


def fire_text(record: FireRecord) -> str:
    return msgspec.json.encode(msgspec.structs.astuple(record)).decode()


def fire_of(name: bytes, prefix: bytes) -> FireRecord:
    return FireRecord(*msgspec.structs.astuple(_fire.decode(name[len(prefix) + 8 :])))


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18:
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return int(cursor)


async def _with_unfinished(db: Database, found: list[SeenSchedule]) -> list[SeenSchedule]:
    """Told later than the rest: what is decided of both is written only if nothing was fired between."""
    asking = [
        seen
        for seen in found
        if seen.record.standing is not None and seen.record.standing.rules.overlap != "allow"
    ]
    if asking:
        ids = [seen.record.id for seen in asking]
        reply = await db.run("fire_facts", pack((ids, (), ())), UNFINISHED_NAMED)
        for seen, tasks in zip(asking, reply.answers[0], strict=True):
            seen.unfinished = tasks
    return found


def stored_of(text: bytes) -> Stored:
    """A text that means nothing is one whose standing cannot be read."""
    try:
        return _stored.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Stored(standing="")


def standing_of(stored: Stored) -> Standing | None:
    """Raises `msgspec.MsgspecError` for one that cannot be read."""
    return None if stored.standing is None else _standing.decode(stored.standing)


def _seen(id_: str, text: bytes) -> SeenSchedule:
    stored = stored_of(text)
    rules, template, problem = read_row(stored.row)
    unreadable = None if problem is None else str(problem)
    standing = None
    try:
        standing = standing_of(stored)
    except msgspec.MsgspecError as error:
        unreadable = f"standing: {error}"
    quarantine = stored.quarantine
    record = ScheduleRecord(
        id_, rules, template, stored.version, standing, None if quarantine else stored.look_us,
        quarantine or unreadable, stored.created_us, stored.updated_us, stored.last_fire_us, stored.last_task,
    )  # fmt: skip
    return SeenSchedule(record, unreadable=unreadable)
