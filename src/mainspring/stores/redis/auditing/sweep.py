"""One slice of a rolling sweep over the whole namespace, and the inspection of all of it at once."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from mainspring.core.schedule_laws import ROWS_A_SCHEDULE
from mainspring.errors import InvalidInput
from mainspring.stores.redis.auditing import books, firing, graph, records, texts
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import can_be_stored
from mainspring.verbs.audit import Audit, Finding

# To look an entry of an index up costs a fraction of looking at a task.
ENTRIES_A_ROW = 20
ENTRIES_AT_ONCE = 2_000

_decode = msgspec.json.Decoder(tuple[str, tuple[str, ...] | None]).decode


class Slice(NamedTuple):
    """What a stage found from a position on, how many tasks it read, and where it goes on (`None`: it is
    through)."""

    findings: list[Finding]
    looked: int
    position: tuple[str, ...] | None


Look = Callable[[Database, tuple[str, ...], int], Awaitable[Slice]]


class Stage(NamedTuple):
    """`start` is its first position."""

    look: Look
    start: tuple[str, ...]


async def audit(db: Database, cursor: str | None, limit: int) -> Audit:
    """Look at up to `limit` tasks from `cursor` on. The books are looked at when a sweep begins."""
    name, position = _parse(cursor)
    findings: list[Finding] = []
    looked = 0
    while True:
        found, read, rest = await _STAGES[name].look(db, position, limit - looked)
        findings += found
        looked += read
        if rest is not None:
            return Audit(findings, _encode(name, rest), looked)
        following = _NEXT[name]
        if following is None:
            return Audit(findings, None, looked)
        name, position = following, _STAGES[following].start
        if looked >= limit:
            return Audit(findings, _encode(name, position), looked)


async def inspect(db: Database) -> list[Finding]:
    """Every number counted anew, every record of every schedule. Reads all of it."""
    counted = books.findings(await books.read(db, books.ALL, books.ALL))
    return counted + await firing.look_at_all(db)


# --- stages -----------------------------------------------------------------------------------------


async def _books(db: Database, position: tuple[str, ...], limit: int) -> Slice:
    return Slice(books.findings(await books.read(db)), 0, None)


async def _tasks(db: Database, position: tuple[str, ...], limit: int) -> Slice:
    (after,) = position
    found, last = await records.look(db, after, limit)
    findings = [finding for record in found for finding in record.findings()]
    is_through = last is None or len(found) < limit
    return Slice(findings, len(found), None if is_through or last is None else (last,))


async def _edges(db: Database, position: tuple[str, ...], limit: int) -> Slice:
    set_, cursor = position
    found: list[Finding] = []
    for step in _steps(limit):
        edges, set_, cursor = await graph.look(db, set_, cursor, step)
        found += [finding for edge in edges for finding in edge.findings()]
        if not set_:
            return Slice(found, 0, None)
    return Slice(found, 0, (set_, cursor))


async def _indexes(db: Database, position: tuple[str, ...], limit: int) -> Slice:
    table, cursor = int(position[0]), position[1]
    found: list[Finding] = []
    for step in _steps(limit):
        strays, table, cursor = await graph.strays(db, table, cursor, step)
        found += strays
        if not table:
            return Slice(found, 0, None)
    return Slice(found, 0, (str(table), cursor))


def _steps(limit: int) -> list[int]:
    """No script looks at more entries than are looked at in some milliseconds."""
    left = limit * ENTRIES_A_ROW
    return [min(ENTRIES_AT_ONCE, left - start) for start in range(0, left, ENTRIES_AT_ONCE)]


def _texts(look: Callable[[Database, str, int], Awaitable[texts.Page]], rows_each: int = 1) -> Look:
    async def stage(db: Database, position: tuple[str, ...], limit: int) -> Slice:
        findings, cursor = await look(db, position[0], max(1, limit // rows_each))
        return Slice(findings, 0, (cursor,) if cursor else None)

    return stage


_STAGES: dict[str, Stage] = {
    "books": Stage(_books, ()),
    "tasks": Stage(_tasks, ("",)),
    "edges": Stage(_edges, (graph.SETS[0], "0")),
    "indexes": Stage(_indexes, ("1", "0")),
    "keys": Stage(_texts(texts.look_at_keys), ("0",)),
    "schedules": Stage(_texts(firing.look, ROWS_A_SCHEDULE), ("0",)),
    "workflows": Stage(_texts(texts.look_at_workflows), ("0",)),
}
_NAMES = list(_STAGES)
_NEXT = dict(zip(_NAMES, [*_NAMES[1:], None], strict=True))


def _encode(name: str, position: tuple[str, ...]) -> str:
    return msgspec.json.encode([name, position]).decode()


def _parse(cursor: str | None) -> tuple[str, tuple[str, ...]]:
    if cursor is None:
        return _NAMES[0], ()
    try:
        name, position = _decode(cursor)
        stage = _STAGES[name]
    except (msgspec.MsgspecError, KeyError):
        raise _foreign() from None
    if position is None or len(position) != len(stage.start) or not all(map(can_be_stored, position)):
        raise _foreign()
    if not all(_is_place(name, part) for part in position):
        raise _foreign()
    return name, position


def _is_place(name: str, part: str) -> bool:
    if name == "tasks":
        return True
    return part.isdigit() or (name == "edges" and part in graph.SETS)


def _foreign() -> InvalidInput:
    return InvalidInput("cursor", "this cursor was not given out by this store")
